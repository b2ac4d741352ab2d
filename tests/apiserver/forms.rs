//! A rolling update, and a route.

use blueback_gate::kubernetes::types::ReleaseGate;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use crate::shop::{SHOP, Shop, labels};

#[tokio::test]
async fn a_rolling_update_is_taken_back_by_its_old_template() {
    let shop = Shop::open(json!({})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    // The Deployment is updated: its controller makes another ReplicaSet, whose first pod is ready.
    let deployments: Api<Deployment> = Api::namespaced(shop.server.client.clone(), SHOP);
    let template = |image: &str| json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    let update = Patch::Strategic(json!({"spec": {"template": template("newer")}}));
    deployments.patch("cart-blue", &PatchParams::default(), &update).await.expect("it can be updated");
    let sets: Api<ReplicaSet> = Api::namespaced(shop.server.client.clone(), SHOP);
    let old = sets.get("cart-blue-1").await.expect("it is there");
    let owner = serde_json::to_value(&old.metadata.owner_references).expect("it has an owner");
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels("blue")},
        "template": {"metadata": {"labels": labels("blue")}, "spec": template("newer")["spec"]}});
    let set =
        json!({"metadata": {"name": "cart-blue-2", "labels": labels("blue"), "ownerReferences": owner}, "spec": spec});
    shop.server.create::<ReplicaSet>(SHOP, set).await;
    shop.pods.make("cart-blue-2-1", &labels("blue"), Some("cart-blue-2")).await;
    shop.pods.set_ready("cart-blue-2-1", true).await;
    let release =
        shop.until_release("cart-1", "the update to be watched", |status| status["phase"] == "Watching").await;
    assert_eq!(release["spec"]["green"]["name"], "cart-blue-2", "{release}");
    assert_eq!(release["status"]["sharePercent"], 33, "{release}");
    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let release = shop.until_release("cart-1", "the revert", |status| status["phase"] == "Reverted").await;
    let deployment = deployments.get("cart-blue").await.expect("it is there");
    let deployment = serde_json::to_value(deployment).expect("it is JSON");
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "blue", "{deployment}");
    assert_eq!(deployment["spec"]["replicas"], 2, "what blue needs is not scaled down");
    let story = release["status"]["timeline"].to_string();
    assert!(story.contains("takes green's away itself"), "{story}");
}

fn routes() -> CustomResourceDefinition {
    let definition = json!({
        "metadata": {"name": "httproutes.gateway.networking.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": "HTTPRoute", "plural": "httproutes"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    serde_json::from_value(definition).expect("it is a definition")
}

fn weights(route: &Value) -> (u64, u64) {
    let backends = &route["spec"]["rules"][0]["backendRefs"];
    let weight = |place: usize| backends[place]["weight"].as_u64().unwrap_or(1);
    (weight(0), weight(1))
}

#[tokio::test]
async fn weights_of_a_route_are_shifted_and_taken_back() {
    let shop = Shop::open(json!({})).await;
    shop.server.define(routes()).await;
    for (name, color) in [("pay-a", "blue"), ("pay-b", "green")] {
        let service = json!({"metadata": {"name": name}, "spec": {"selector": labels(color), "ports": [{"port": 80}]}});
        shop.server.create::<Service>(SHOP, service).await;
    }
    let gvk = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "httproutes");
    let api: Api<DynamicObject> = Api::namespaced_with(shop.server.client.clone(), SHOP, &resource);
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "pay"},
        "spec": {"rules": [{"backendRefs": [{"name": "pay-a", "port": 80, "weight": 100}, {"name": "pay-b", "port": 80, "weight": 0}]}]}});
    let route = serde_json::from_value(route).expect("it is an object");
    api.create(&kube::api::PostParams::default(), &route).await.expect("the route is made");
    shop.server
        .create::<ReleaseGate>(
            SHOP,
            json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
        "metadata": {"name": "pay"}, "spec": {"traffic": {"httpRoute": {"name": "pay"}}}}),
        )
        .await;
    shop.until_gate_of("pay", "the gate", |status| status["serving"] == "cart-blue-1").await;
    let seen = async || serde_json::to_value(api.get("pay").await.expect("it is there")).expect("it is JSON");
    for (share, expected) in [(0.2, (80, 20)), (1.0, (0, 100))] {
        let answer = shop.post("/v1/services/shop%2Fpay/switch", &json!({"to": "green", "share": share})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        blueback_tests::until(crate::shop::SOON, "the weights", async || {
            let now = weights(&seen().await);
            if now == expected { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    }
    let answer = shop.post("/v1/services/shop%2Fpay/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate_of("pay", "the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(weights(&seen().await), (100, 0));
}

#[tokio::test]
async fn any_object_with_a_weight_is_patched_as_the_guide_says() {
    const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
    let shop = Shop::open(json!({})).await;
    for (name, color) in [("cart-blue", "blue"), ("cart-green", "green")] {
        let service = json!({"metadata": {"name": name}, "spec": {"selector": labels(color), "ports": [{"port": 80}]}});
        shop.server.create::<Service>(SHOP, service).await;
    }
    let ingress = json!({"metadata": {"name": "cart-canary", "annotations": {"nginx.ingress.kubernetes.io/canary": "true"}},
        "spec": {"defaultBackend": {"service": {"name": "cart-green", "port": {"number": 80}}}}});
    shop.server.create::<Ingress>(SHOP, ingress).await;
    // The very words of the guide.
    let guide = include_str!("../../docs/kubernetes.md");
    let block = guide.split("```yaml\n").find(|block| block.contains("cart-canary")).expect("the guide has it");
    let yaml = block.split("```").next().expect("a block ends");
    let traffic: Value = serde_saphyr::from_str(yaml).expect("the guide's YAML is YAML");
    let mut gate =
        json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate", "metadata": {"name": "canary"}});
    gate["spec"] = traffic;
    shop.server.create::<ReleaseGate>(SHOP, gate).await;
    shop.until_gate_of("canary", "the gate", |status| status["serving"] == "cart-blue-1").await;
    let ingresses: Api<Ingress> = Api::namespaced(shop.server.client.clone(), SHOP);
    let weight = async || {
        let annotations = ingresses.get("cart-canary").await.expect("it is there").metadata.annotations;
        annotations.and_then(|annotations| annotations.get(WEIGHT).cloned())
    };
    let answer = shop.post("/v1/services/shop%2Fcanary/switch", &json!({"to": "green", "share": 0.2})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    blueback_tests::until(crate::shop::SOON, "the weight", async || match weight().await {
        Some(weight) if weight == "20" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let answer = shop.post("/v1/services/shop%2Fcanary/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate_of("canary", "the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(weight().await.as_deref(), Some("0"));
}
