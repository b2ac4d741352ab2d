//! Weights instead of a selector, with Traefik as the data plane: an HTTPRoute of the Gateway API, and Traefik's own TraefikService.
//!
//! Traefik runs in a pod of the story. It sends requests to the pods' addresses by itself, so kube-proxy has no part in it.

use blueback::sample::Fault;
use blueback_tests::cluster::{
    App, LoadPod, Namespace, answered, command, condition, gate_installed, inside, release_gate,
};
use serde_json::{Value, json};

use crate::{SOON, outage, tell};

/// Where Traefik listens. A Gateway's listener names it too.
const PORT: u16 = 8000;
/// Traefik waits until all its kinds are there.
const KINDS: [(&str, &str); 10] = [
    ("IngressRoute", "ingressroutes"),
    ("IngressRouteTCP", "ingressroutetcps"),
    ("IngressRouteUDP", "ingressrouteudps"),
    ("Middleware", "middlewares"),
    ("MiddlewareTCP", "middlewaretcps"),
    ("ServersTransport", "serverstransports"),
    ("ServersTransportTCP", "serverstransporttcps"),
    ("TLSOption", "tlsoptions"),
    ("TLSStore", "tlsstores"),
    ("TraefikService", "traefikservices"),
];

/// The resources of the Gateway API as published, and Traefik's without a schema, which is how lists lose their keys.
async fn defined() {
    let path = inside(["sh", "-c", "echo $KUBE_BIN/gateway-api.yaml"], "").await.expect("the node runs commands");
    let apply = ["kubectl", "apply", "--server-side", "-f", path.trim()];
    command(apply, "").await.unwrap_or_else(|error| panic!("{error}"));
    let kinds = KINDS.map(|(kind, plural)| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.traefik.io")},
            "spec": {
                "group": "traefik.io", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
            },
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": kinds}).to_string();
    command(["kubectl", "apply", "-f", "-"], &list).await.unwrap_or_else(|error| panic!("{error}"));
    let established = ["kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    command(established, "").await.unwrap_or_else(|error| panic!("{error}"));
}

/// Traefik: its account and rights, its pod, and the two names under which it is reached.
async fn traefik(shop: &Namespace) {
    let binary = inside(["sh", "-c", "command -v traefik"], "").await.expect("tests/cluster/build has it");
    let (labels, owner) = (json!({"app": "traefik"}), shop.name());
    let sees = ["get", "list", "watch"];
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]}})
    };
    let arguments = [
        &format!("--entrypoints.web.address=:{PORT}"),
        "--ping=true",
        "--ping.entrypoint=web",
        "--providers.kubernetesgateway=true",
        "--providers.kubernetescrd=true",
        "--providers.providersthrottleduration=100ms",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ];
    shop.apply(&[
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "traefik"}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "traefik"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "secrets", "nodes", "namespaces", "configmaps"], "verbs": sees},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": sees},
                {"apiGroups": ["gateway.networking.k8s.io", "traefik.io"], "resources": ["*"], "verbs": sees},
                {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["*/status"], "verbs": ["update", "patch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "traefik"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "traefik"},
            "subjects": [{"kind": "ServiceAccount", "name": "traefik", "namespace": owner}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "traefik", "labels": labels},
            "spec": {
                "serviceAccountName": "traefik", "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "traefik", "image": "localhost/blueback:test", "imagePullPolicy": "Never",
                    "command": ["/traefik"], "args": arguments,
                    "readinessProbe": {"httpGet": {"path": "/ping", "port": PORT}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "binary", "mountPath": "/traefik", "readOnly": true}],
                }],
                // As it lies on the node: an image of 185 MB for one story takes longer to make than the story.
                "volumes": [{"name": "binary", "hostPath": {"path": binary.trim(), "type": "File"}}],
            },
        }),
        service("edge"),
        service("traefik"),
    ])
    .await;
}

/// Two Services, and the weights between them by either way.
fn routes() -> Vec<Value> {
    let service = |color: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("shop-{color}")},
            "spec": {"selector": {"app": "shop", "color": color}, "ports": [{"port": 80, "targetPort": "http"}]}})
    };
    let backends = weights(0);
    vec![
        service("blue"),
        service("green"),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "edge"},
            "spec": {"gatewayClassName": "traefik", "listeners": [{"name": "web", "port": PORT, "protocol": "HTTP"}]}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
            "spec": {"parentRefs": [{"name": "edge"}], "hostnames": ["edge"], "rules": [{"backendRefs": backends}]}}),
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "metadata": {"name": "shop"},
            "spec": {"weighted": {"services": backends}}}),
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "shop"},
            "spec": {"entryPoints": ["web"], "routes": [{"kind": "Rule", "match": "Host(`traefik`)",
                "services": [{"kind": "TraefikService", "name": "shop"}]}]}}),
    ]
}

fn weights(green: u32) -> Value {
    json!([{"name": "shop-blue", "port": 80, "weight": 100 - green}, {"name": "shop-green", "port": 80, "weight": green}])
}

/// The weights of the HTTPRoute or of the TraefikService, as a person would set them.
async fn shift(shop: &Namespace, object: &str, green: u32) {
    // The whole list, as an apply of the manifest does it.
    let path = if object.starts_with("httproute") { "/spec/rules/0/backendRefs" } else { "/spec/weighted/services" };
    let patch = json!([{"op": "replace", "path": path, "value": weights(green)}]);
    shop.kubectl(&["patch", object, "--type=json", "--patch", &patch.to_string()]).await;
}

/// What green gets by an object, and who else than people and Traefik owns a part of what was set.
async fn seen(shop: &Namespace, object: &str) -> (Value, bool) {
    let text = shop.kubectl(&["get", object, "-o", "json", "--show-managed-fields"]).await;
    let found: Value = serde_json::from_str(&text).expect("kubectl writes JSON");
    let pointers = ["/spec/rules/0/backendRefs/1/weight", "/spec/weighted/services/1/weight"];
    let weight = pointers.iter().find_map(|pointer| found.pointer(pointer)).cloned().unwrap_or_default();
    let entries = found["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let ours = entries.iter().any(|entry| entry["manager"] == "blueback" && !entry["fieldsV1"]["f:spec"].is_null());
    (weight, ours)
}

/// Waits until a release is watched at this share, and returns its name.
async fn watched(shop: &Namespace, share: u64) -> String {
    let gate = shop.gate_until(|status| status["phase"] == "Watching").await;
    let name = gate["status"]["release"].as_str().expect("the gate names its release").to_owned();
    shop.until(SOON, &format!("release/{name}"), |release| release["status"]["sharePercent"] == share).await;
    name
}

#[tokio::test]
async fn weights_are_stepped_up_and_taken_back() {
    gate_installed(&["rbac.traffic.traefik=true"]).await;
    defined().await;
    let spec = json!({"traffic": {"httpRoute": {"name": "shop"}}, "afterRevert": "Keep", "bake": "10m"});
    let shop = Namespace::guarded("route", &spec).await;
    traefik(&shop).await;
    shop.apply(&routes()).await;
    shop.until(SOON, "releasegate/shop", |gate| condition(&gate["status"], "Ready").1 == "NothingServes").await;
    shop.apply(&[App::new("blue").deployment(), App::new("green").deployment()]).await;
    shop.rolled_out("blue").await;
    shop.rolled_out("green").await;
    shop.gate_until(|status| condition(status, "AgentsConnected").0 == "True" && status["phase"] == "Idle").await;
    let load = LoadPod::start(&shop, "load", "http://edge/", &["--rps", "100", "--connections", "fresh"]).await;
    load.answered_by("blue", 1_000).await;

    // A canary: every step is a step of the same release.
    let mut releases = Vec::new();
    for share in [10, 50, 100] {
        shift(&shop, "httproute/shop", share).await;
        releases.push(watched(&shop, share.into()).await);
        load.answered_by("green", 2 * u64::from(share)).await;
    }
    releases.dedup();
    assert_eq!(releases.len(), 1, "{releases:?}");
    let before = load.totals();
    assert_eq!((before.failed, before.lost.len()), (0, 0), "no request fails by a step: {before:?}");

    shop.does("color=green", outage()).await;
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(gate["status"]["release"], releases[0].as_str(), "{gate}");
    assert_eq!(
        seen(&shop, "httproute/shop").await,
        (json!(0), false),
        "blue has it all, and the next apply is no conflict"
    );
    load.answered_by("blue", 300).await;
    let load = load.stop(&shop).await;
    assert_eq!(answered(&load, "blue").failed, 0, "{load:?}");
    let took = load.last_failed.unwrap_or_default() - load.first_failed.unwrap_or_default();
    tell(&format!("HTTPRoute: {} of 100 requests a second failed, the last {took} ms after the first", load.failed));
    assert!(load.failed > 0 && load.failed < 200, "{load:?}");

    // The same by Traefik's own kind and a mended green, whose second step is a bad one.
    let patch = json!({"patch": {
        "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService", "name": "shop", "services": ["shop-blue", "shop-green"],
        "weight": "/spec/weighted/services/1/weight", "patch": [
            {"op": "replace", "path": "/spec/weighted/services/0/weight", "value": "$(first)"},
            {"op": "replace", "path": "/spec/weighted/services/1/weight", "value": "$(second)"}],
    }});
    shop.kubectl(&["delete", "releasegate", "shop"]).await;
    shop.does("color=green", Fault::default()).await;
    shop.apply(&[release_gate(&json!({"traffic": patch, "afterRevert": "Keep", "bake": "10m"}))]).await;
    shop.kubectl(&["rollout", "restart", "deployment/green"]).await;
    shop.rolled_out("green").await;
    shop.gate_until(|status| condition(status, "AgentsConnected").0 == "True" && status["phase"] == "Idle").await;
    let load = LoadPod::start(&shop, "again", "http://traefik/", &["--rps", "100", "--connections", "fresh"]).await;
    load.answered_by("blue", 1_000).await;
    shift(&shop, "traefikservice/shop", 20).await;
    let release = watched(&shop, 20).await;
    load.answered_by("green", 40).await;
    assert_eq!(load.totals().failed, 0);
    shop.does("color=green", outage()).await;
    shift(&shop, "traefikservice/shop", 50).await;
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!(gate["status"]["release"], release.as_str(), "{gate}");
    assert_eq!(seen(&shop, "traefikservice/shop").await, (json!(0), false), "in the name of who changed it");
    load.answered_by("blue", 300).await;
    let load = load.stop(&shop).await;
    assert_eq!(answered(&load, "blue").failed, 0, "{load:?}");
    tell(&format!("TraefikService: {} of 100 requests a second failed", load.failed));
    command(["kubectl", "delete", "clusterrole,clusterrolebinding", "traefik"], "").await.expect("they can be deleted");
}
