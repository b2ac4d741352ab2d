//! The main story: a chart, five lines of YAML, and a total outage after a switch of the selector.

use blueback_tests::cluster::{LoadPod, Namespace, answered, gate_installed};
use serde_json::{Value, json};

use crate::{SOON, outage, served, tell};

/// Requests a second: half of them over kept connections, half over a new one each.
const HALF: &str = "50";

fn agents(pods: &Value) -> usize {
    let pods = pods["items"].as_array().into_iter().flatten();
    let has_agent = |pod: &&Value| pod["spec"]["initContainers"].to_string().contains("blueback-agent");
    pods.filter(has_agent).count()
}

#[tokio::test]
async fn an_outage_after_a_switch_of_the_selector_is_taken_back() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("outage", &json!({})).await;
    served(&shop).await;
    assert_eq!(agents(&shop.get("pods").await.expect("there are pods")), 4, "every pod has an agent");
    let kept = LoadPod::start(&shop, "kept", "http://shop/", &["--rps", HALF]).await;
    let fresh = LoadPod::start(&shop, "fresh", "http://shop/", &["--rps", HALF, "--connections", "fresh"]).await;
    // What is normal must be known before it is left.
    kept.answered_by("blue", 1_000).await;
    shop.select("green").await;
    fresh.answered_by("green", 100).await;
    // Kept connections are let go, so those clients really try green.
    kept.answered_by("green", 100).await;
    shop.gate_until(|status| status["phase"] == "Watching").await;

    shop.does("color=green", outage()).await;
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(shop.selected().await, "blue");
    assert_eq!(gate["status"]["verdict"], "Revert", "{gate}");
    shop.until(SOON, "deployment/green", |green| green["spec"]["replicas"] == 0).await;
    kept.answered_by("blue", 200).await;
    fresh.answered_by("blue", 200).await;
    let (kept, fresh) = (kept.stop(&shop).await, fresh.stop(&shop).await);

    let name = gate["status"]["release"].as_str().expect("the gate names its release");
    let release = shop.get(&format!("release/{name}")).await.expect("the release is kept");
    let steps = release["status"]["steps"].clone();
    let took: Vec<_> = steps.as_array().into_iter().flatten().map(|step| step["step"].as_str()).collect();
    assert_eq!(took, ["diverted", "switched", "verified", "released", "announced"].map(Some), "{release}");
    let events = shop.kubectl(&["get", "events", "-o", "json"]).await;
    assert!(events.contains("\"Reverted\""), "{events}");
    for (what, load) in [("kept", &kept), ("fresh", &fresh)] {
        let (blue, green) = (answered(load, "blue"), answered(load, "green"));
        assert_eq!(blue.failed, 0, "{what}: {load:?}");
        assert!(load.lost.is_empty(), "{what}: no request is lost by a switch or a revert: {load:?}");
        assert!(green.failed > 0 && green.last < blue.last, "{what}: {load:?}");
    }
    let first = kept.first_failed.into_iter().chain(fresh.first_failed).min().unwrap_or_default();
    let last = kept.last_failed.into_iter().chain(fresh.last_failed).max().unwrap_or_default();
    tell(&format!(
        "{} of 100 requests a second failed ({} kept, {} fresh), the last {} ms after the first; steps {steps}; timeline {:#}",
        kept.failed + fresh.failed,
        kept.failed,
        fresh.failed,
        last - first,
        release["status"]["timeline"],
    ));
}
