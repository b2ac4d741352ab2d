//! Green never becomes ready: its image cannot be pulled, or it crashes as soon as it starts.

use blueback_tests::cluster::{App, LoadPod, Namespace, gate_installed, service};
use serde_json::{Value, json};

/// Switches to a green that is like this, and expects blue back.
async fn taken_back(story: &str, mut green: Value, change: impl Fn(&mut Value)) {
    gate_installed(&[]).await;
    let shop = Namespace::guarded(story, &json!({})).await;
    change(&mut green);
    shop.apply(&[App::new("blue").deployment(), green, service("blue")]).await;
    shop.rolled_out("blue").await;
    let load = LoadPod::start(&shop, "load", "http://shop/", &["--rps", "100", "--connections", "fresh"]).await;
    load.answered_by("blue", 1_000).await;
    shop.until(crate::SOON, "pods", |pods| pods.to_string().contains("\"waiting\"")).await;

    shop.select("green").await;
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(shop.selected().await, "blue", "{gate}");
    load.answered_by("blue", 200).await;
    let load = load.stop(&shop).await;
    crate::tell(&format!("{} of 100 requests a second failed: {}", load.failed, gate["status"]["reason"]));
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_taken_back() {
    taken_back("no-image", App::new("green").deployment(), |green| {
        green["spec"]["template"]["spec"]["containers"][0]["image"] = json!("localhost/nothing:none");
    })
    .await;
}

#[tokio::test]
async fn a_crash_loop_is_taken_back() {
    taken_back("crash-loop", App::new("green").deployment(), |green| {
        green["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["sample-app", "--no-such-flag"]);
    })
    .await;
}
