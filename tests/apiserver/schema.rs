//! What `kubectl apply` is told at once.

use blueback_gate::kubernetes::types::ReleaseGate;
use blueback_tests::ApiServer;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

#[tokio::test]
async fn a_release_gate_that_cannot_be_meant_is_refused() {
    let server = ApiServer::start().await;
    let gates: Api<ReleaseGate> = Api::namespaced(server.client.clone(), "default");
    let create = async |name: &str, spec: Value| {
        let object = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate", "metadata": {"name": name}, "spec": spec});
        let request =
            http::Request::post("/apis/blueback.dev/v1alpha1/namespaces/default/releasegates?fieldValidation=Strict")
                .header("content-type", "application/json")
                .body(object.to_string().into_bytes())
                .expect("it is a request");
        server.client.request_text(request).await.map_err(|error| error.to_string())
    };
    let cart = || json!({"service": "cart"});
    create("least", json!({"traffic": cart()})).await.expect("this is all that is needed");
    let least = gates.get("least").await.expect("it was made");
    assert_eq!((least.spec.history_limit, least.spec.paused), (10, false));
    let long = "a".repeat(64);
    for (name, spec, told) in [
        ("none", json!({"traffic": {}}), "exactly one of service, httpRoute, grpcRoute, patch and webhook"),
        ("two", json!({"traffic": {"service": "a", "httpRoute": {"name": "b"}}}), "exactly one of service"),
        (long.as_str(), json!({"traffic": cart()}), "at most 63 characters"),
        ("history", json!({"traffic": cart(), "historyLimit": 0}), "historyLimit"),
        ("after", json!({"traffic": cart(), "afterRevert": "Explode"}), "Unsupported value"),
        ("unknown", json!({"traffic": cart(), "bakes": "5m"}), "unknown field"),
        (
            "probe",
            json!({"traffic": cart(), "dependencies": [{"name": "db"}]}),
            "exactly one of tcp, http, postgres and redis",
        ),
    ] {
        let error = create(name, spec).await.expect_err(name);
        assert!(error.contains(told), "{name}: {error}");
    }
    // A Release says what was.
    let releases: Api<blueback_gate::kubernetes::types::Release> = Api::namespaced(server.client.clone(), "default");
    let release = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "Release", "metadata": {"name": "least-1"}, "spec": {
        "gate": "least", "startedAt": "2026-01-01T00:00:00Z",
        "blue": {"name": "a", "key": "a", "slot": "blue"}, "green": {"name": "b", "key": "b", "slot": "green"}}});
    let release = serde_json::from_value(release).expect("it is a Release");
    let mut made = releases.create(&PostParams::default(), &release).await.expect("it is complete");
    made.spec.gate = "other".to_owned();
    let error = releases.replace("least-1", &PostParams::default(), &made).await.expect_err("it is fixed");
    assert!(error.to_string().contains("a Release says what was"), "{error}");
}
