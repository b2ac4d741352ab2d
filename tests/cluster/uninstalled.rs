//! The chart is uninstalled: traffic goes on, no agent diverts, pods start, and what a team wrote stays.

use blueback::sample::Fault;
use blueback_gate::kubernetes::types::AGENT_PORT;
use blueback_tests::cluster::{HOME, LoadPod, Namespace, command, gate_installed};
use serde_json::json;

use crate::{outage, served};

#[tokio::test]
async fn without_the_gate_traffic_flows_and_pods_start() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("uninstalled", &json!({"afterRevert": "Keep"})).await;
    served(&shop).await;
    let switched = LoadPod::start(&shop, "switched", "http://shop/", &["--rps", "50", "--connections", "fresh"]).await;
    switched.answered_by("blue", 200).await;
    shop.does("color=green", outage()).await;
    shop.select("green").await;
    shop.gate_until(|status| status["phase"] == "Reverted").await;
    shop.does("color=green", Fault::default()).await;
    switched.stop(&shop).await;
    // Whoever asks a reverted green is answered by blue, as long as somebody guards.
    let green = shop.pods("color=green").await.first().map(|pod| format!("http://{}:{AGENT_PORT}/", pod.ip));
    let astray = LoadPod::start(&shop, "astray", &green.expect("it is kept"), &["--rps", "20"]).await;
    astray.answered_by("blue", 40).await;
    let load = LoadPod::start(&shop, "load", "http://shop/", &["--rps", "50"]).await;
    load.answered_by("blue", 200).await;

    let told = command(["helm", "uninstall", HOME, "--namespace", HOME, "--wait"], "").await;
    told.unwrap_or_else(|error| panic!("{error}"));
    load.answered_by("blue", 200).await;
    astray.answered_by("green", 40).await;
    assert_eq!(astray.stop(&shop).await.failed, 0);
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
