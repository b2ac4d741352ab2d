//! An agent of green is killed in the middle of a release: the pod loses its door for a moment, and the release goes on.

use blueback_tests::cluster::{Namespace, condition, gate_installed, inside};
use serde_json::{Value, json};

use crate::{SOON, served, switched, tell};

/// Kills the agent of a pod. The node has process numbers of its own, so no process outside of it can be meant.
fn kill_agent(pod: &str) -> String {
    format!(
        r#"for pid in $(pgrep -x blueback-agent); do
            if tr '\0' '\n' <"/proc/$pid/environ" | grep -qx 'HOSTNAME={pod}'; then kill -9 "$pid"; exit; fi
        done
        exit 1"#
    )
}

/// How often agents were started again.
fn restarts(pods: &Value) -> u64 {
    let pods = pods["items"].as_array().into_iter().flatten();
    pods.filter_map(|pod| pod["status"]["initContainerStatuses"][0]["restartCount"].as_u64()).sum()
}

#[tokio::test]
async fn a_killed_agent_comes_back_and_nothing_is_reverted() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("agent-killed", &json!({"bake": "10m"})).await;
    served(&shop).await;
    let load = switched(&shop).await;

    let pod = &shop.pods("color=green").await[0].name;
    inside(["sh", "-c", &kill_agent(pod)], "").await.unwrap_or_else(|error| panic!("{error}"));
    shop.until(SOON, "pods", |pods| restarts(pods) == 1).await;
    shop.rolled_out("green").await;
    load.answered_by("green", 300).await;
    let gate = shop.gate_until(|status| condition(status, "AgentsConnected").0 == "True").await;
    assert_eq!((&gate["status"]["phase"], shop.selected().await.as_str()), (&json!("Watching"), "green"), "{gate}");
    let load = load.stop(&shop).await;
    tell(&format!("{} of {} requests failed", load.failed, load.requests));
}
