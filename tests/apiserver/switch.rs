//! A switch of the selector is a release, and a revert puts the selector back.

use blueback_gate::kubernetes::types::ReleaseGate;
use blueback_tests::until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::shop::{SHOP, SOON, Shop};

#[tokio::test]
async fn a_selector_switched_by_hand_is_watched_and_taken_back() {
    let shop = Shop::open(json!({})).await;
    let gate = shop.until_gate("the gate to be ready", |status| {
        status["serving"] == "cart-blue-1" && status["conditions"][0]["status"] == "True"
    });
    let gate = gate.await;
    assert_eq!(gate["status"]["phase"], "Idle", "{gate}");

    shop.select("green").await;
    let gate = shop.until_gate("the switch to be watched", |status| status["phase"] == "Watching").await;
    assert_eq!(gate["status"]["release"], "cart-1", "{gate}");
    let release = shop.until_release("cart-1", "its Release", |status| status["phase"] == "Watching").await;
    assert_eq!(release["spec"]["blue"]["name"], "cart-blue-1", "{release}");
    assert_eq!(release["spec"]["green"]["name"], "cart-green-1", "{release}");
    assert_eq!(shop.color().await, "green");

    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test", "by": "me"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let gate = shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(shop.color().await, "blue");
    assert_eq!(gate["status"]["verdict"], "Revert", "{gate}");
    assert_eq!(gate["status"]["reason"], "Reverted by hand, by admin: a test", "{gate}");
    let release = shop.until_release("cart-1", "its end", |status| status["phase"] == "Reverted").await;
    let steps: Vec<_> = release["status"]["steps"].as_array().into_iter().flatten().map(|step| &step["step"]).collect();
    assert_eq!(steps, ["diverted", "switched", "verified", "released", "announced"], "{release}");

    let deployments: Api<Deployment> = Api::namespaced(shop.server.client.clone(), SHOP);
    let green = deployments.get("cart-green").await.expect("it is there");
    assert_eq!(green.spec.and_then(|spec| spec.replicas), Some(0));
    let annotations = green.metadata.annotations.expect("it has notes");
    assert_eq!(annotations["blueback.dev/replicas-before-revert"], "2");
    let blue = deployments.get("cart-blue").await.expect("it is there");
    assert_eq!(blue.spec.and_then(|spec| spec.replicas), Some(2));
}

#[tokio::test]
async fn a_release_gate_that_is_made_anew_begins_with_nothing() {
    let shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    shop.select("green").await;
    shop.until_gate("the switch to be watched", |status| status["phase"] == "Watching").await;
    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;

    // At once, so that nobody may have looked in between.
    let former = shop.gates().get("cart").await.expect("it is there");
    shop.gates().delete("cart", &DeleteParams::default()).await.expect("it is deleted");
    let anew = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
        "metadata": {"name": "cart"}, "spec": former.spec});
    shop.server.create::<ReleaseGate>(SHOP, anew).await;
    let gate = shop.until_gate("another one", |status| status["phase"] == "Idle" && status["resume"].is_string()).await;
    for told in ["release", "verdict", "reason"] {
        assert!(gate["status"][told].is_null(), "{told}: {gate:#}");
    }
    shop.select("green").await;
    let gate = shop.until_gate("its first release", |status| status["phase"] == "Watching").await;
    assert_eq!(gate["status"]["release"], "cart-2", "a name is given once: {gate:#}");
}

#[tokio::test]
async fn the_story_is_told_in_columns_and_events_and_history_is_bounded() {
    let shop = Shop::open(json!({"historyLimit": 1, "afterRevert": "Keep"})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    for number in 1..=2 {
        let answer = shop.post("/v1/services/shop%2Fcart/switch", &json!({"to": "green", "by": "me"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let name = format!("cart-{number}");
        shop.until_release(&name, "the switch to be made", |status| {
            status["timeline"].to_string().contains("selects app=cart,color=green")
        })
        .await;
        assert_eq!(shop.color().await, "green");
        let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        shop.until_gate("the revert", |status| status["phase"] == "Reverted" && status["release"] == name.as_str())
            .await;
        assert_eq!(shop.color().await, "blue");
    }
    until(SOON, "the history", async || {
        let releases = shop.releases().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<_> = releases.items.iter().map(ResourceExt::name_any).collect();
        if names == ["cart-2"] { Ok(()) } else { Err(names.join(", ")) }
    })
    .await;

    let request = http::Request::get("/apis/blueback.dev/v1alpha1/namespaces/shop/releasegates")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .expect("it is a request");
    let table: Value = shop.server.client.request(request).await.expect("it is a table");
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().into_iter().flatten().map(|column| &column["name"]).collect();
    assert_eq!(columns, ["Name", "Phase", "Verdict", "Since", "Reason"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(
        (&cells[1], &cells[2], &cells[4]),
        (&json!("Reverted"), &json!("Revert"), &json!("Reverted by hand, by admin: a test"))
    );

    let events: Api<Event> = Api::namespaced(shop.server.client.clone(), SHOP);
    let events = events.list(&ListParams::default()).await.expect("they can be listed").items;
    let told = |reason: &str| events.iter().any(|event| event.reason.as_deref() == Some(reason));
    assert!(["Switched", "Reverting", "Reverted"].into_iter().all(told), "{events:?}");
}
