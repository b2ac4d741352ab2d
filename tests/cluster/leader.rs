//! The gate that leads is killed in the middle of an incident; the other one brings it to an end.

use blueback_tests::cluster::{HOME, Namespace, gate_installed, kubectl, leader};
use serde_json::json;

use crate::{outage, served, switched, tell};

#[tokio::test]
async fn a_leader_killed_in_mid_incident_is_followed_by_another() {
    gate_installed(&["gate.replicas=2"]).await;
    let shop = Namespace::guarded("leader", &json!({})).await;
    served(&shop).await;
    let load = switched(&shop).await;
    let killed = leader().await;

    shop.does("color=green", outage()).await;
    kubectl(&["--namespace", HOME, "delete", "pod", &killed, "--grace-period=0", "--force"]).await;
    shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(shop.selected().await, "blue");
    assert_ne!(leader().await, killed);
    load.answered_by("blue", 200).await;
    let load = load.stop(&shop).await;
    assert!(load.lost.is_empty(), "{load:?}");
    tell(&format!(
        "{} of 100 requests a second failed, the last {} ms after the first",
        load.failed,
        load.last_failed.unwrap_or_default() - load.first_failed.unwrap_or_default()
    ));
    // A lease of its own length must end first; until then at the latest another leads and shields.
    assert!(load.failed < 2_500, "{load:?}");
    gate_installed(&[]).await;
}
