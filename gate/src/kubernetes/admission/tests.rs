//! Reviews in, reviews out, through the router.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use tonic::codegen::Service as _;

use super::*;
use crate::kubernetes::gates::{Guards, PodIdentity};

/// One ReleaseGate: pods labelled `app: cart` in the namespace `shop`.
struct Cart(std::result::Result<IntOrString, Refusal>);

impl Gates for Cart {
    fn of_pod(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<GateFacts> {
        let selected = namespace == "shop" && labels.get("app").is_some_and(|app| app == "cart");
        selected.then(|| GateFacts {
            name: "cart".to_owned(),
            namespace: "shop".to_owned(),
            target: self.0.clone(),
            redirect: false,
            image: None,
            resources: None,
            dependencies: Vec::new(),
        })
    }

    fn lacks_service(&self, _: &str) -> bool {
        false
    }

    fn guards(&self, _: &str, _: &PodIdentity) -> Guards {
        Guards::No
    }
}

/// The same, whose Service is seen when it was asked for some times.
struct Late(Cart, AtomicU32);

impl Gates for Late {
    fn of_pod(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<GateFacts> {
        self.0.of_pod(namespace, labels).filter(|_| !self.lacks_service(namespace))
    }

    fn lacks_service(&self, _: &str) -> bool {
        self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn guards(&self, _: &str, _: &PodIdentity) -> Guards {
        Guards::No
    }
}

fn named() -> Arc<dyn Gates> {
    Arc::new(Cart(Ok(IntOrString::String("http".to_owned()))))
}

fn admission(gates: Arc<dyn Gates>) -> Admission {
    Admission {
        gates,
        agents: AgentDefaults {
            image: Some("blueback-agent:1".to_owned()),
            gate_url: Some("https://blueback-gate.blueback.svc:7070".to_owned()),
            otlp: None,
        },
        authorities: Arc::new(|| Some("PEM".to_owned())),
        metrics: Arc::new(Metrics::new()),
    }
}

async fn post(admission: Admission, path: &str, body: String) -> (StatusCode, Value) {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body));
    let answer = router(admission).call(request.expect("it is a request")).await.expect("a router answers");
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("the body ends").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// As the API server of Kubernetes 1.37 sends it, without what is of no interest.
fn pod_review(labels: &Value, namespace: &str) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0d1d2b2e-6a3c-4d52-9d4e-1f0c5f7c2c11",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "u",
                "groups": ["system:serviceaccounts", "system:authenticated"]},
            "object": {
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"generateName": "cart-6d5f-", "creationTimestamp": null, "labels": labels,
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6d5f", "uid": "r",
                        "controller": true, "blockOwnerDeletion": true}]},
                "spec": {
                    "volumes": [{"name": "kube-api-access-x", "projected": {"sources": [], "defaultMode": 420}}],
                    "containers": [{"name": "web", "image": "web:1", "resources": {},
                        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}],
                    "restartPolicy": "Always", "securityContext": {}, "schedulerName": "default-scheduler",
                },
                "status": {},
            },
            "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

fn patched(review: &Value, response: &Value) -> Value {
    assert_eq!(response["response"]["patchType"], "JSONPatch");
    let patch = response["response"]["patch"].as_str().expect("it is a text");
    let patch: Patch = serde_json::from_slice(&BASE64.decode(patch).expect("it is base64")).expect("it is a patch");
    let mut object = review["request"]["object"].clone();
    json_patch::patch(&mut object, &patch).expect("the patch fits");
    object
}

#[tokio::test]
async fn a_selected_pod_gets_its_agent() {
    let review = pod_review(&json!({"app": "cart"}), "shop");
    let admission = admission(named());
    let metrics = Arc::clone(&admission.metrics);
    let (status, response) = post(admission, "/inject", review.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(response["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(response["response"]["uid"], review["request"]["uid"]);
    assert_eq!(response["response"]["allowed"], true);
    assert!(response["response"].get("warnings").is_none(), "{response}");
    let pod = patched(&review, &response);
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "blueback-agent");
    assert_eq!(pod["metadata"]["labels"]["blueback.dev/gate"], "cart");
    let counted = "injections_total{result=\"injected\"} 1";
    assert!(metrics.text(&crate::figures::Figures::default()).contains(counted));
}

#[tokio::test]
async fn a_pod_waits_a_little_for_its_service() {
    let review = pod_review(&json!({"app": "cart"}), "shop");
    let late = |looks| Arc::new(Late(Cart(Ok(IntOrString::String("http".to_owned()))), AtomicU32::new(looks)));
    let (_, response) = post(admission(late(20)), "/inject", review.to_string()).await;
    assert_eq!(patched(&review, &response)["spec"]["initContainers"][0]["name"], "blueback-agent");

    let began = Instant::now();
    let (_, response) = post(admission(late(u32::MAX)), "/inject", review.to_string()).await;
    assert!(response["response"].get("patch").is_none(), "{response}");
    assert!(began.elapsed() >= SERVICES_MAX, "it was waited for");
}

#[tokio::test]
async fn other_pods_are_left_alone() {
    for (labels, namespace) in
        [(json!({"app": "other"}), "shop"), (json!({"app": "cart"}), "elsewhere"), (Value::Null, "shop")]
    {
        let (status, response) = post(admission(named()), "/inject", pod_review(&labels, namespace).to_string()).await;
        assert_eq!((status, &response["response"]["allowed"]), (StatusCode::OK, &json!(true)));
        assert!(response["response"].get("patch").is_none(), "{response}");
        assert!(response["response"].get("warnings").is_none(), "{response}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_the_pod_is_created_and_somebody_is_told() {
    let review = pod_review(&json!({"app": "cart"}), "shop");
    let refused = Arc::new(Cart(Err(Refusal::NoServicePort { service: "cart".to_owned(), wanted: String::new() })));
    let mut broken = review.clone();
    broken["request"]["object"]["spec"]["containers"] = json!("none");
    let mut host = review.clone();
    host["request"]["object"]["spec"]["hostNetwork"] = json!(true);
    let no_image = Admission { agents: AgentDefaults::default(), ..admission(named()) };
    let no_authority = Admission { authorities: Arc::new(|| None), ..admission(named()) };
    for (admission, review, wanted) in [
        (admission(named()), broken, "not understood"),
        (admission(named()), host, "network of its node"),
        (admission(refused), review.clone(), "Service \"cart\" has no TCP port"),
        (no_image, review.clone(), "--agent-image"),
        (no_authority, review.clone(), "no certificates yet"),
    ] {
        let (status, response) = post(admission, "/inject", review.to_string()).await;
        assert_eq!((status, &response["response"]["allowed"]), (StatusCode::OK, &json!(true)), "{response}");
        assert!(response["response"].get("patch").is_none(), "{response}");
        let warning = response["response"]["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.starts_with("blueback: no agent: ") && warning.contains(wanted), "{response}");
    }
}

#[tokio::test]
async fn what_is_no_review_is_said_to_be_none() {
    for body in ["", "{", "{}", "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\"}"] {
        for path in ["/inject", "/validate"] {
            let (status, _) = post(admission(named()), path, body.to_owned()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body:?}");
        }
    }
}

fn gate_review(operation: &str, spec: &Value, old: &Value) -> Value {
    let object = |spec: &Value| match spec {
        Value::Null => Value::Null,
        spec => json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
            "metadata": {"name": "cart", "namespace": "shop"}, "spec": spec}),
    };
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u-1", "name": "cart", "namespace": "shop", "operation": operation,
            "kind": {"group": "blueback.dev", "version": "v1alpha1", "kind": "ReleaseGate"},
            "resource": {"group": "blueback.dev", "version": "v1alpha1", "resource": "releasegates"},
            "userInfo": {"username": "ann"}, "object": object(spec), "oldObject": object(old), "dryRun": false,
        },
    })
}

#[tokio::test]
async fn rules_that_nobody_can_read_are_turned_away_with_a_caret() {
    let spec = json!({"traffic": {"service": "cart"}, "revertWhen": ["eror rate > 5%"], "bake": "soon"});
    let (_, response) =
        post(admission(named()), "/validate", gate_review("CREATE", &spec, &Value::Null).to_string()).await;
    assert_eq!(response["response"]["allowed"], false);
    let message = response["response"]["status"]["message"].as_str().unwrap_or_default();
    for part in ["spec.revertWhen[0]", "did you mean `error`?", "\n  eror rate > 5%\n  ^^^^", "spec.bake"] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
}

#[tokio::test]
async fn exactly_one_traffic_is_accepted() {
    for (traffic, wanted) in [
        (json!({"service": "cart"}), None),
        (json!({"httpRoute": {"name": "cart"}}), None),
        (json!({}), Some("there is none")),
        (json!({"service": "cart", "httpRoute": {"name": "cart"}}), Some("there are service, httpRoute")),
        (json!({"services": "cart"}), Some("services")),
    ] {
        let review = gate_review("CREATE", &json!({"traffic": traffic}), &Value::Null);
        let (_, response) = post(admission(named()), "/validate", review.to_string()).await;
        let message = response["response"]["status"]["message"].as_str();
        assert_eq!(response["response"]["allowed"], wanted.is_none(), "{response}");
        if let Some(wanted) = wanted {
            assert!(message.is_some_and(|message| message.contains(wanted)), "{response}");
        }
    }
}

#[tokio::test]
async fn who_does_not_touch_the_spec_is_not_blamed_for_it() {
    let (bad, good) = (json!({"traffic": {}}), json!({"traffic": {"service": "cart"}}));
    for (operation, new, old, allowed) in [
        ("UPDATE", &bad, &bad, true),
        ("UPDATE", &bad, &good, false),
        ("UPDATE", &good, &bad, true),
        ("DELETE", &Value::Null, &bad, true),
    ] {
        let (_, response) = post(admission(named()), "/validate", gate_review(operation, new, old).to_string()).await;
        assert_eq!(response["response"]["allowed"], allowed, "{operation}: {response}");
    }
}
