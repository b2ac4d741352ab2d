//! Pods come and go in the middle of a release: that is no release of its own, and nothing is reverted for it.

use blueback_tests::cluster::{Namespace, gate_installed};
use serde_json::json;

use crate::{served, switched};

#[tokio::test]
async fn scaling_and_restarts_in_mid_release_change_nothing() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("churn", &json!({"bake": "10m"})).await;
    served(&shop).await;
    let load = switched(&shop).await;
    let release = shop.gate_until(|status| status["phase"] == "Watching").await["status"]["release"].clone();

    for replicas in ["4", "1", "2"] {
        shop.kubectl(&["scale", "deployment/green", "--replicas", replicas]).await;
        shop.rolled_out("green").await;
        load.answered_by("green", 200).await;
    }
    // As a drained node does it: one after the other, by eviction.
    for pod in shop.pods("color=green").await {
        shop.kubectl(&["delete", "pod", &pod.name]).await;
        shop.rolled_out("green").await;
        load.answered_by("green", 100).await;
    }
    shop.kubectl(&["rollout", "restart", "deployment/blue"]).await;
    shop.rolled_out("blue").await;
    load.answered_by("green", 200).await;

    let gate = shop.gate_until(|_| true).await;
    assert_eq!((&gate["status"]["phase"], &gate["status"]["release"]), (&json!("Watching"), &release), "{gate}");
    assert_eq!(shop.selected().await, "green");
    let load = load.stop(&shop).await;
    assert_eq!((load.failed, load.lost.len()), (0, 0), "no request fails by it: {load:?}");
}
