//! After a revert the next upgrade works, whoever owns the selector.

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::shop::{SHOP, Shop, labels};

/// A chart's Service, as helm 4 applies it.
fn manifest(color: &'static str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "labels": {"chart": "cart"}},
        "spec": {"selector": labels(color), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

async fn revert(shop: &Shop, number: u32) {
    shop.until_gate("the switch", |status| {
        status["phase"] == "Watching" && status["release"] == format!("cart-{number}")
    })
    .await;
    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(shop.color().await, "blue");
}

fn owners(service: &Service) -> Vec<(String, String)> {
    let entries = service.metadata.managed_fields.iter().flatten();
    let selector = entries.filter(|entry| {
        serde_json::to_value(&entry.fields_v1).is_ok_and(|fields| !fields["f:spec"]["f:selector"].is_null())
    });
    selector
        .map(|entry| (entry.manager.clone().unwrap_or_default(), entry.operation.clone().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn who_applies_server_side_goes_on_applying() {
    let shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    let services: Api<Service> = Api::namespaced(shop.server.client.clone(), SHOP);
    // The chart is installed: it makes the Service, and upgrades it.
    services.delete("cart", &DeleteParams::default()).await.expect("it can be deleted");
    let helm = PatchParams::apply("helm");
    services.patch("cart", &helm, &Patch::Apply(manifest("blue"))).await.expect("it is made");
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    services.patch("cart", &helm, &Patch::Apply(manifest("green"))).await.expect("nobody else owns it");
    revert(&shop, 1).await;
    let service = services.get("cart").await.expect("it is there");
    assert!(owners(&service).iter().all(|(manager, _)| manager != "blueback"), "{:?}", owners(&service));
    assert_eq!(service.spec.and_then(|spec| spec.ports).map(|ports| ports.len()), Some(1), "nothing else is lost");
    assert_eq!(service.metadata.labels.expect("it has labels")["chart"], "cart");
    // The next upgrade is not forced, and is not refused.
    services.patch("cart", &helm, &Patch::Apply(manifest("green"))).await.expect("helm still owns it");
    assert_eq!(shop.color().await, "green");
    // But it is what was reverted, so it is left, and told.
    let gate = shop.until_gate("the conflict", |status| {
        status["conditions"].as_array().into_iter().flatten().any(|condition| condition["reason"] == "Conflict")
    });
    assert_eq!(gate.await["status"]["release"], "cart-1");
}

#[tokio::test]
async fn who_updates_goes_on_updating() {
    let shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    let services: Api<Service> = Api::namespaced(shop.server.client.clone(), SHOP);
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    let helm = PatchParams { field_manager: Some("helm".to_owned()), ..PatchParams::default() };
    let upgrade = Patch::Strategic(json!({"spec": {"selector": labels("green")}}));
    services.patch("cart", &helm, &upgrade).await.expect("helm 3 patches");
    revert(&shop, 1).await;
    let service = services.get("cart").await.expect("it is there");
    assert_eq!(owners(&service), [("helm".to_owned(), "Update".to_owned())]);
    assert!(service.metadata.annotations.expect("it has a note").contains_key("blueback.dev/fence"));
}
