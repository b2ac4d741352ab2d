//! Another gate goes on where the leader was killed, and an API server that is away does no harm.

use std::time::Duration;

use blueback_tests::{free_address, until};
use serde_json::json;

use crate::shop::{SOON, Shop};

#[tokio::test]
async fn another_gate_goes_on_with_the_release() {
    let mut shop = Shop::open(json!({})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    let second = free_address();
    let _second = shop.start_gate(second, "gate-b", true);
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    shop.until_release("cart-1", "a judge that can be taken over", |status| status["resume"]["judge"].is_string())
        .await;
    // Whoever does not lead passes questions on.
    until(SOON, "the second gate to know the leader", async || {
        let answer = shop.caller.get(second, "/v1/services").await.map_err(|error| error.to_string())?;
        if answer.status == 200 && answer.text.contains("shop/cart") { Ok(()) } else { Err(answer.text) }
    })
    .await;
    // Each tells of itself whether it leads.
    let leads = async |gate, word: &str| {
        until(SOON, word, async || {
            let answer = shop.caller.get(gate, "/metrics").await.map_err(|error| error.to_string())?;
            if answer.text.lines().any(|line| line == word) { Ok(()) } else { Err(answer.text) }
        })
        .await;
    };
    leads(shop.api, "blueback_gate_leader 1").await;
    leads(second, "blueback_gate_leader 0").await;
    shop.gate.kill().await;
    shop.api = second;
    let revert = json!({"why": "the leader is gone"});
    until(SOON, "the second gate to lead", async || {
        let answer = shop.caller.post(second, "/v1/services/shop%2Fcart/revert", &revert.to_string()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(shop.color().await, "blue");
    let release = shop.until_release("cart-1", "its end", |status| status["phase"] == "Reverted").await;
    let story: Vec<_> =
        release["status"]["timeline"].as_array().into_iter().flatten().map(|moment| &moment["what"]).collect();
    assert!(story.contains(&&json!("restarted")), "{story:?}");
}

#[tokio::test]
async fn a_revert_waits_for_the_api_server() {
    let mut shop = Shop::open(json!({})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    shop.server.stop();
    // Nobody can say who may what now, so it takes the gate's own token.
    let revert = json!({"why": "the API server is away"});
    assert_eq!(shop.post("/v1/services/shop%2Fcart/revert", &revert).await.status, 503);
    let owner = shop.owner();
    let answer = owner.post(shop.api, "/v1/services/shop%2Fcart/revert", &revert.to_string()).await;
    let answer = answer.expect("the gate answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    until(Duration::from_secs(30), "a failed attempt", async || {
        let answer = owner.get(shop.api, "/v1/releases/shop%2Fcart-1").await.map_err(|error| error.to_string())?;
        if answer.text.contains("\"failed\"") { Ok(()) } else { Err(answer.text) }
    })
    .await;
    shop.server.serve().await;
    shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(shop.color().await, "blue");
}
