//! After a revert the next upgrade works, whoever owns the selector.

use blueback_gate::kubernetes::types::ReleaseGate;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
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

/// A kind without a schema: the API server takes every list in it for one field.
fn traefik_services() -> CustomResourceDefinition {
    let definition = json!({
        "metadata": {"name": "traefikservices.traefik.io"},
        "spec": {
            "group": "traefik.io", "scope": "Namespaced",
            "names": {"kind": "TraefikService", "plural": "traefikservices"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    serde_json::from_value(definition).expect("it is a definition")
}

/// Who owns the weights of the TraefikService.
fn owners_of_weights(object: &DynamicObject) -> Vec<String> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let owning = entries.filter(|entry| {
        serde_json::to_value(&entry.fields_v1)
            .is_ok_and(|fields| !fields["f:spec"]["f:weighted"]["f:services"].is_null())
    });
    owning.filter_map(|entry| entry.manager.clone()).collect()
}

#[tokio::test]
async fn who_changed_a_weight_last_owns_it_and_not_who_made_the_object() {
    let shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    shop.server.define(traefik_services()).await;
    for (name, color) in [("cart-blue", "blue"), ("cart-green", "green")] {
        let service = json!({"metadata": {"name": name}, "spec": {"selector": labels(color), "ports": [{"port": 80}]}});
        shop.server.create::<Service>(SHOP, service).await;
    }
    let weights =
        |blue: u32| json!([{"name": "cart-blue", "weight": blue}, {"name": "cart-green", "weight": 100 - blue}]);
    let gvk = GroupVersionKind::gvk("traefik.io", "v1alpha1", "TraefikService");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "traefikservices");
    let api: Api<DynamicObject> = Api::namespaced_with(shop.server.client.clone(), SHOP, &resource);
    let object = json!({"apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "metadata": {"name": "cart"},
        "spec": {"weighted": {"services": weights(100)}}});
    let made = PostParams { field_manager: Some("installer".to_owned()), ..PostParams::default() };
    api.create(&made, &serde_json::from_value(object).expect("it is an object")).await.expect("it is made");
    let pointer = |place: u32| format!("/spec/weighted/services/{place}/weight");
    shop.server
        .create::<ReleaseGate>(
            SHOP,
            json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate", "metadata": {"name": "traefik"},
            "spec": {"afterRevert": "Keep", "traffic": {"patch": {
                "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "name": "cart",
                "services": ["cart-blue", "cart-green"], "weight": pointer(1),
                "patch": [{"op": "replace", "path": pointer(0), "value": "$(first)"},
                    {"op": "replace", "path": pointer(1), "value": "$(second)"}],
            }}}}),
        )
        .await;
    shop.until_gate_of("traefik", "the gate", |status| status["serving"] == "cart-blue-1").await;

    let changed = PatchParams { field_manager: Some("argocd".to_owned()), ..PatchParams::default() };
    let change = Patch::Merge(json!({"spec": {"weighted": {"services": weights(0)}}}));
    let object = api.patch("cart", &changed, &change).await.expect("it is changed");
    assert_eq!(owners_of_weights(&object), ["argocd"]);
    shop.until_gate_of("traefik", "the release", |status| status["phase"] == "Watching").await;
    let answer = shop.post("/v1/services/shop%2Ftraefik/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate_of("traefik", "the revert", |status| status["phase"] == "Reverted").await;
    let object = api.get("cart").await.expect("it is there");
    assert_eq!(object.data["spec"]["weighted"]["services"], weights(100));
    assert_eq!(owners_of_weights(&object), ["argocd"], "{:?}", object.metadata.managed_fields);
}
