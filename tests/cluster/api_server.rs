//! The API server stops in the middle of an incident: agents need none to divert, and the durable change comes when it is back.

use std::time::Duration;

use blueback_tests::cluster::{Namespace, gate_installed, inside};
use serde_json::json;

use crate::{outage, served, switched, tell};

/// How long it is away: longer than a lease, so that nobody leads in the meantime.
const AWAY: Duration = Duration::from_secs(20);

async fn api_server(signal: &str) {
    // The node has process numbers of its own: nobody else's API server can be meant.
    let command = format!("kill -{signal} $(pgrep -x kube-apiserver)");
    inside(["sh", "-c", &command], "").await.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn without_the_api_server_the_shield_holds_and_the_revert_follows() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("api-server", &json!({})).await;
    served(&shop).await;
    let load = switched(&shop).await;

    shop.does("color=green", outage()).await;
    api_server("STOP").await;
    tokio::time::sleep(AWAY).await;
    api_server("CONT").await;
    shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(shop.selected().await, "blue");
    load.answered_by("blue", 200).await;
    let load = load.stop(&shop).await;
    assert!(load.lost.is_empty(), "{load:?}");
    tell(&format!(
        "{} of 100 requests a second failed, the last {} ms after the first",
        load.failed,
        load.last_failed.unwrap_or_default() - load.first_failed.unwrap_or_default()
    ));
    // A tenth of what an outage of that length costs without a shield: what gets through is the trickle that proves.
    assert!(load.failed < 200, "{load:?}");
}
