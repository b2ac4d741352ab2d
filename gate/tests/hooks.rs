//! What other systems send and ask: Alertmanager, pipelines, Argo Rollouts, Flagger.

use blueback_gate::{Config, RulesFile, Server};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::api::{agent, start};
use crate::script::{get, post, until};

async fn switched(
    revision: Option<&str>,
    rules: &str,
) -> (Server, (crate::script::Script, crate::world::Front), Value) {
    let rules = RulesFile::from_yaml(rules).expect("they are rules");
    let server = start(Config { rules, ..Config::default() }).await;
    let agent = agent(&server).await;
    let mut body = json!({"to": "green"});
    if let Some(revision) = revision {
        body["revision"] = json!(revision);
    }
    let (status, release) = post(server.addr(), "/v1/services/shop/switch", &body).json().await;
    assert_eq!(status, StatusCode::OK, "{release}");
    (server, agent, release)
}

fn signals(release: &Value) -> Vec<&str> {
    let timeline = release["timeline"].as_array().expect("a release has a timeline");
    let texts = timeline.iter().filter(|moment| moment["what"] == "signal");
    texts.map(|moment| moment["text"].as_str().expect("a moment has a text")).collect()
}

#[tokio::test]
async fn alerts_raise_signals_once_and_others_are_passed_over() {
    let rules = "revertWhen: [error rate > 5%]\nalertWhen: [signal data-corruption]\nsignals:\n  wrong-prices: [\"alertname = PriceCheck\"]\n";
    let (server, _agent, release) = switched(None, rules).await;
    let api = server.addr();
    let later = "2099-01-01T00:00:00Z";
    let alert = |status: &str, labels: Value, starts_at: &str| {
        json!({"status": status, "labels": labels, "startsAt": starts_at, "fingerprint": labels.to_string(),
            "annotations": {"summary": "41 orders"}, "newField": [1]})
    };
    let message = json!({"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "notification_reason": "new", "alerts": [
        alert("firing", json!({"alertname": "DataCorruption", "gate": "shop"}), later),
        alert("firing", json!({"alertname": "PriceCheck", "service": "shop"}), later),
        alert("firing", json!({"alertname": "DataCorruption", "gate": "shop", "old": "1"}), "2001-01-01T00:00:00Z"),
        alert("firing", json!({"alertname": "DataCorruption", "gate": "none"}), later),
        alert("firing", json!({"alertname": "BluebackReleaseReverted", "gate": "shop"}), later),
    ]});
    let (status, heard) = post(api, "/v1/alertmanager", &message).json().await;
    assert_eq!(status, StatusCode::OK, "{heard}");
    assert_eq!((&heard["raised"], &heard["ignored"]), (&json!(2), &json!(3)), "{heard:#}");
    assert_eq!(heard["alerts"][0]["signal"], "data-corruption");
    assert_eq!(heard["alerts"][2]["outcome"], "it began before the switch");
    let (_, again) = post(api, "/v1/alertmanager", &message).json().await;
    assert_eq!((&again["raised"], &again["repeated"]), (&json!(0), &json!(2)), "{again:#}");

    let over = json!({"version": "4", "alerts": [
        alert("resolved", json!({"alertname": "PriceCheck", "service": "shop"}), later)]});
    let (_, heard) = post(api, "/v1/alertmanager", &over).json().await;
    assert_eq!(heard["ended"], 1, "{heard:#}");
    let path = format!("/v1/releases/{}", release["id"].as_str().expect("a release has an id"));
    let (_, release) = get(api, &path).json().await;
    assert_eq!(
        signals(&release),
        [
            "Signal data-corruption, by alertmanager: DataCorruption: 41 orders",
            "Signal wrong-prices, by alertmanager: PriceCheck: 41 orders",
            "Signal wrong-prices is over, by alertmanager: PriceCheck: 41 orders",
        ]
    );
    server.shutdown().await;
}

#[tokio::test]
async fn messages_are_bounded_and_held_against_their_version() {
    let server = start(Config { token: Some("0123456789abcdef".to_owned()), ..Config::default() }).await;
    let post = |body: String| {
        post(server.addr(), "/v1/alertmanager", &json!({}))
            .raw(&body)
            .header("authorization", "Bearer 0123456789abcdef")
            .json()
    };
    for (body, wanted) in [
        (json!({"version": "4", "alerts": []}).to_string(), StatusCode::OK),
        (json!({"version": "5", "alerts": []}).to_string(), StatusCode::BAD_REQUEST),
        (json!({"version": "4"}).to_string(), StatusCode::BAD_REQUEST),
        (format!(r#"{{"version":"4","alerts":[],"x":"{}"}}"#, "x".repeat(500_000)), StatusCode::OK),
        (format!(r#"{{"version":"4","alerts":[],"x":"{}"}}"#, "x".repeat(2 << 20)), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (status, answer) = post(body.clone()).await;
        assert_eq!(status, wanted, "{}: {answer}", &body[..body.len().min(60)]);
    }
    let (status, _) = crate::script::post(server.addr(), "/v1/alertmanager", &json!({"alerts": []})).json().await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    server.shutdown().await;
}

#[tokio::test]
async fn a_revision_is_released_once() {
    let (server, _agent, first) = switched(Some("4f2a"), "").await;
    let api = server.addr();
    assert_eq!(first["source_revision"], "4f2a", "{first:#}");
    let switch = |revision: &str| post(api, "/v1/services/shop/switch", &json!({"to": "green", "revision": revision}));
    let (status, again) = switch("4f2a").json().await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]), "{again}");
    let (status, other) = switch("9c1d").json().await;
    assert_eq!(status, StatusCode::CONFLICT, "{other}");
    assert!(other["error"].as_str().is_some_and(|error| error.contains("4f2a")), "{other}");
    let (status, empty) = switch(" ").json().await;
    assert_eq!((status, &empty["field"]), (StatusCode::BAD_REQUEST, &json!("revision")), "{empty}");
    server.shutdown().await;
}

#[tokio::test]
async fn argo_and_flagger_get_the_same_verdict() {
    let (server, _agent, _) = switched(Some("4f2a"), "").await;
    let api = server.addr();
    let flagger = |verb: &str, metadata: Value| {
        let body =
            json!({"name": "shop", "namespace": "test", "phase": "Progressing", "checksum": "1", "metadata": metadata});
        post(api, &format!("/v1/flagger/{verb}"), &body)
    };
    let (status, verdict) = get(api, "/v1/argo/shop").json().await;
    assert_eq!((status, &verdict["verdict"], &verdict["pending"]), (StatusCode::OK, &json!("pending"), &json!(true)));
    for verb in ["confirm", "rollback"] {
        let (status, answer) = flagger(verb, json!({})).json().await;
        assert_eq!(status, StatusCode::CONFLICT, "{verb}: {answer}");
    }
    let (status, _) = post(api, "/v1/services/shop/revert", &json!({"why": "wrong prices"})).json().await;
    assert_eq!(status, StatusCode::OK);
    let verdict = until(api, "/v1/argo/shop?revision=4f2a", |verdict| verdict["fail"] == true).await;
    assert_eq!((&verdict["verdict"], &verdict["pass"]), (&json!("fail"), &json!(false)), "{verdict}");
    let (_, other) = get(api, "/v1/argo/shop?revision=9c1d").json().await;
    assert_eq!(other["verdict"], "pending", "the last verdict is not the next one's: {other}");

    let (status, answer) = flagger("rollback", json!({})).json().await;
    assert_eq!((status, &answer["verdict"]), (StatusCode::OK, &json!("fail")), "{answer}");
    assert_eq!(flagger("confirm", json!({})).json().await.0, StatusCode::CONFLICT);
    assert_eq!(flagger("rollback", json!({"revision": "9c1d"})).json().await.0, StatusCode::CONFLICT);
    // Nothing that goes wrong may look like "roll back".
    let unknown = json!({"name": "none", "namespace": "test"});
    for path in ["/v1/flagger/rollback", "/v1/flagger/confirm"] {
        assert_eq!(post(api, path, &unknown).json().await.0, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(post(api, path, &json!({})).json().await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(get(api, "/v1/argo/none").json().await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(api, "/v1/argo/shop?revison=x").json().await.0, StatusCode::BAD_REQUEST);
    server.shutdown().await;
}
