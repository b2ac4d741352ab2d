//! The chart is uninstalled: traffic goes on, pods start, and what a team wrote stays.

use blueback_tests::cluster::{HOME, LoadPod, Namespace, command, gate_installed};
use serde_json::json;

use crate::served;

#[tokio::test]
async fn without_the_gate_traffic_flows_and_pods_start() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("uninstalled", &json!({})).await;
    served(&shop).await;
    let load = LoadPod::start(&shop, "load", "http://shop/", &["--rps", "50"]).await;
    load.answered_by("blue", 200).await;

    let told = command(["helm", "uninstall", HOME, "--namespace", HOME, "--wait"], "").await;
    told.unwrap_or_else(|error| panic!("{error}"));
    load.answered_by("blue", 200).await;
    shop.kubectl(&["rollout", "restart", "deployment/green"]).await;
    shop.rolled_out("green").await;
    for pod in shop.pods("color=green").await {
        let pod = shop.kubectl(&["get", "pod", &pod.name, "-o", "json"]).await;
        assert!(!pod.contains("blueback-agent"), "nobody injects any more: {pod}");
    }
    assert!(shop.get("releasegate/shop").await.is_ok(), "what the team wrote stays");
    let load = load.stop(&shop).await;
    assert_eq!((load.failed, load.lost.len()), (0, 0), "{load:?}");
}
