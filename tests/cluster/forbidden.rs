//! The gate may not change the traffic: it says so, the shield holds, and the revert follows when it may.

use blueback_tests::cluster::{Namespace, command, condition, gate_installed, kubectl};
use serde_json::{Value, json};

use crate::{outage, served, switched, tell};

/// Gives the gate the rights of a role in the place of those that it has.
async fn may(role: &Value) {
    let told = command(["kubectl", "replace", "-f", "-"], &role.to_string()).await;
    told.unwrap_or_else(|error| panic!("{error}"));
}

/// The role without the right to change Services.
fn without_services(role: &Value) -> Value {
    let mut role = role.clone();
    let rules = role["rules"].as_array_mut().expect("a role has rules");
    let rule =
        rules.iter_mut().find(|rule| rule["resources"] == json!(["services"])).expect("Services are its business");
    rule["verbs"] = json!(["get", "list", "watch"]);
    role
}

#[tokio::test]
async fn a_gate_that_may_not_revert_says_so_and_shields() {
    gate_installed(&[]).await;
    let role = kubectl(&["get", "clusterrole", "blueback-gate", "-o", "json"]).await;
    let mut role: Value = serde_json::from_str(&role).expect("kubectl writes JSON");
    // It is replaced twice, and its version would fit only once.
    role["metadata"]["resourceVersion"].take();
    let shop = Namespace::guarded("forbidden", &json!({})).await;
    served(&shop).await;
    let load = switched(&shop).await;

    may(&without_services(&role)).await;
    shop.does("color=green", outage()).await;
    let gate = shop.gate_until(|status| condition(status, "TrafficOwned") == ("False", "Forbidden")).await;
    let said = gate["status"]["conditions"].to_string();
    assert!(
        said.contains("cannot patch resource") && said.contains("services"),
        "who can mend it reads what to mend: {said}"
    );
    assert_eq!(condition(&gate["status"], "Degraded").0, "True", "{said}");
    assert_ne!(gate["status"]["phase"], "Reverted", "what is not done is not said to be done: {gate}");
    // Nobody has moved the traffic, and yet blue answers.
    assert_eq!(shop.selected().await, "green");
    load.answered_by("blue", 100).await;
    let before = load.totals();
    load.answered_by("blue", 300).await;
    assert_eq!(load.totals().failed, before.failed, "the shield holds");
    let events = shop.kubectl(&["get", "events", "-o", "json"]).await;
    assert!(events.contains("cannot patch resource"), "{events}");

    may(&role).await;
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(shop.selected().await, "blue");
    shop.gate_until(|status| condition(status, "TrafficOwned").0 == "True").await;
    load.answered_by("blue", 200).await;
    let load = load.stop(&shop).await;
    assert!(load.lost.is_empty(), "{load:?}");
    tell(&format!("{} of 100 requests a second failed: {}", load.failed, gate["status"]["reason"]));
}
