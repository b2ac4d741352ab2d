//! What the gate may not do is said, tried again, and works when it may.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::shop::Shop;

fn rules(services: &[&str]) -> Value {
    json!([
        {"apiGroups": ["blueback.dev"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": services},
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "patch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ])
}

#[tokio::test]
async fn a_gate_without_permission_says_so_and_goes_on_when_it_has_it() {
    let mut shop = Shop::open(json!({})).await;
    shop.gate.kill().await;
    let roles: Api<ClusterRole> = Api::all(shop.server.client.clone());
    let role = json!({"metadata": {"name": "gate"}, "rules": rules(&["get", "list", "watch"])});
    roles
        .create(&PostParams::default(), &serde_json::from_value(role).expect("it is a role"))
        .await
        .expect("it is made");
    let bindings: Api<ClusterRoleBinding> = Api::all(shop.server.client.clone());
    let binding = json!({"metadata": {"name": "gate"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gate"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "limited"}]});
    let binding = serde_json::from_value(binding).expect("it is a binding");
    bindings.create(&PostParams::default(), &binding).await.expect("it is made");
    shop.gate = shop.start_gate(shop.api, "gate-a", false);
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let gate = shop.until_gate("the condition", |status| {
        status["conditions"].as_array().into_iter().flatten().any(|condition| condition["reason"] == "Forbidden")
    });
    let gate = gate.await;
    assert_eq!(gate["status"]["phase"], "Reverting", "{gate}");
    assert_eq!(shop.color().await, "green");
    let role = Patch::Merge(json!({"rules": rules(&["get", "list", "watch", "patch"])}));
    roles.patch("gate", &PatchParams::default(), &role).await.expect("the role can be changed");
    shop.until_gate("the revert", |status| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        status["phase"] == "Reverted" && conditions.clone().all(|condition| condition["reason"] != "Forbidden")
    })
    .await;
    assert_eq!(shop.color().await, "blue");
}
