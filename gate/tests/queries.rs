//! Rules that ask Prometheus and Loki. A Loki cannot be had everywhere, so a server stands in for it that answers in its form and
//! writes down what it was asked; `tests/process` asks a real Prometheus.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use axum::{Json, Router};
use blueback_gate::ask::AskConfig;
use blueback_gate::tell::http::Target;
use blueback_gate::{Config, RulesFile};
use serde_json::{Value, json};

use crate::api::{agent, start};
use crate::script::{folder, get, until};

/// A question about critical lines: the pods, when its window ends, and how long it is, in seconds.
type Window = (String, u64, u64);

/// What the server is told to answer, and what it was asked.
#[derive(Default)]
struct Told {
    /// Critical lines of green in the next window.
    critical: u64,
    /// The pods have written something of late.
    alive: bool,
    windows: Vec<Window>,
    plain: Vec<String>,
}

type Shared = Arc<Mutex<Told>>;

fn vector(value: Option<u64>) -> Json<Value> {
    let series: Vec<_> =
        value.map(|value| json!({"metric": {}, "value": [1.5, value.to_string()]})).into_iter().collect();
    Json(json!({"status": "success", "data": {"resultType": "vector", "result": series, "stats": {}}}))
}

async fn loki(State(shared): State<Shared>, headers: HeaderMap, form: String) -> (StatusCode, Json<Value>) {
    // A form is written as a query is.
    let form: Uri = format!("/?{form}").parse().expect("it is a form");
    let Query(form) = Query::<BTreeMap<String, String>>::try_from_uri(&form).expect("it is a form");
    if headers.get("x-scope-orgid").is_none_or(|tenant| tenant != "shop-team")
        || headers.get("authorization").is_none_or(|token| token != "Bearer a-token-of-loki")
    {
        return (StatusCode::UNAUTHORIZED, Json(json!("no org id")));
    }
    let mut told = shared.lock().expect("nobody panics");
    let query = &form["query"];
    let Some(lines) = query.strip_prefix("sum(count_over_time({pod=~\"") else {
        told.plain.push(query.clone());
        return (StatusCode::OK, vector(Some(3)));
    };
    let (pods, rest) = lines.split_once('"').expect("the pods are quoted");
    if rest == "} [10m]))" {
        return (StatusCode::OK, vector(told.alive.then_some(12)));
    }
    let long = rest.strip_prefix("} |= \"CRITICAL\" [").and_then(|rest| rest.strip_suffix("s]))"));
    let long = long.unwrap_or_else(|| panic!("{query}")).parse().expect("a window has a length");
    let time: u64 = form["time"].parse().expect("a time is nanoseconds");
    assert_eq!(time % 1_000_000_000, 0, "windows have whole seconds");
    told.windows.push((pods.to_owned(), time / 1_000_000_000, long));
    let critical = if pods.contains("green") { std::mem::take(&mut told.critical) } else { 0 };
    // That there are none is said in both ways.
    (StatusCode::OK, vector((critical > 0 || (told.windows.len() / 2).is_multiple_of(2)).then_some(critical)))
}

async fn prometheus() -> (StatusCode, Json<Value>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "error", "errorType": "timeout", "error": "too slow"})))
}

async fn monitoring() -> (SocketAddr, Shared) {
    let shared = Shared::default();
    let router = Router::new()
        .route("/loki/api/v1/query", post(loki))
        .route("/prefix/api/v1/query", post(prometheus))
        .with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let addr = listener.local_addr().expect("it listens");
    tokio::spawn(async { axum::serve(listener, router).await });
    (addr, shared)
}

fn criterion<'a>(evidence: &'a Value, rule: &str) -> &'a Value {
    let mut criteria = evidence["criteria"].as_array().into_iter().flatten();
    criteria.find(|seen| seen["rule"] == rule).unwrap_or(&Value::Null)
}

const RULES: &str = r#"
revertWhen:
  - query "failed logins" > 5
  - query "broken" > 0
  - critical logs > 2
queries:
  failed logins: {loki: 'sum(count_over_time({app="$service", pod=~"$candidate"} |= "login failed" [1m]))'}
  broken: {prometheus: 'up'}
  asked by no rule: {prometheus: 'up'}
criticalLogs: '{pod=~"$pods"} |= "CRITICAL"'
"#;

#[tokio::test]
async fn loki_is_asked_and_every_critical_line_counts_once() {
    let (addr, shared) = monitoring().await;
    let token = folder("loki-token");
    std::fs::create_dir_all(&token).expect("the folder can be made");
    std::fs::write(token.join("token"), "a-token-of-loki\n").expect("it can be written");
    let target = |path: &str| Some(Target::parse(&format!("http://{addr}{path}")).expect("it is a URL"));
    let ask = AskConfig {
        prometheus: target("/prefix/"),
        loki: target(""),
        loki_token: Some(token.join("token")),
        loki_tenant: Some("shop-team".to_owned()),
        ..AskConfig::default()
    };
    let rules = RulesFile::from_yaml(RULES).expect("they are rules");
    let server = start(Config { rules, ask, ..Config::default() }).await;
    let _agent = agent(&server).await;
    let api = server.addr();
    let (status, release) = crate::script::post(api, "/v1/services/shop/switch", &json!({"to": "green"})).json().await;
    assert_eq!(status, StatusCode::OK, "{release}");

    let evidence = "/v1/releases/shop-1/evidence";
    until(api, evidence, |told| criterion(told, "query \"failed logins\" > 5")["candidate"]["value"] == 3.0).await;
    // Pods that write nothing at all are not healthy for that.
    let asked = |at_least: usize| {
        let shared = Arc::clone(&shared);
        async move {
            until(api, "/v1/services", |_| shared.lock().expect("nobody panics").windows.len() >= at_least).await;
        }
    };
    asked(2).await;
    let (_, told) = get(api, evidence).json().await;
    assert_eq!(criterion(&told, "critical logs > 2")["standing"], "not applicable", "{told:#}");
    assert_eq!(criterion(&told, "query \"broken\" > 0")["standing"], "not applicable", "{told:#}");
    shared.lock().expect("nobody panics").alive = true;
    until(api, evidence, |told| criterion(told, "critical logs > 2")["candidate"]["value"] == 0.0).await;
    shared.lock().expect("nobody panics").critical = 3;
    // Nobody says that blue is ready, so it is held.
    let release = until(api, "/v1/releases/shop-1", |release| release["verdict"]["rule"] == "critical logs > 2").await;
    let text = release["verdict"]["text"].as_str().expect("a verdict has a text");
    assert!(text.contains("3 critical lines of green"), "{text}");

    let Told { plain, windows, .. } = std::mem::take(&mut *shared.lock().expect("nobody panics"));
    assert!(
        plain.iter().all(|query| query.starts_with("sum(count_over_time({app=\"shop\", pod=~\"green")),
        "{:?}",
        plain
    );
    let started_s = release["started_ms"].as_u64().expect("it has begun").div_ceil(1_000);
    for side in ["green", "blue"] {
        let windows: Vec<_> = windows.iter().filter(|(pods, ..)| pods.contains(side)).collect();
        assert!(windows.len() >= 2, "{windows:?}");
        let mut counted_s = started_s;
        for (_, until_s, long) in &windows {
            // Until lines come from the pods nothing is counted, and the same window only grows.
            let from_s = until_s - long;
            assert!(from_s == counted_s || from_s == started_s, "a gap or an overlap: {windows:?}");
            counted_s = *until_s;
        }
    }
    let metrics = get(api, "/metrics").send().await;
    let metrics = http_body_util::BodyExt::collect(metrics.into_body()).await.expect("it is whole").to_bytes();
    let metrics = String::from_utf8_lossy(&metrics);
    for (backend, result) in [("loki", "answered"), ("loki", "no_data"), ("prometheus", "failed")] {
        let zero = format!("blueback_gate_queries_total{{backend=\"{backend}\",result=\"{result}\"}} 0");
        assert!(metrics.contains(zero.trim_end_matches('0')) && !metrics.contains(&zero), "{zero}\n{metrics}");
    }
}

#[tokio::test]
async fn what_nobody_can_answer_is_refused() {
    let rules = |yaml: &str| RulesFile::from_yaml(yaml).expect("they are rules");
    let refused = |yaml: &str, ask: AskConfig| {
        let config = Config { rules: rules(yaml), ask, ..Config::default() };
        config.check().expect_err(yaml).to_string()
    };
    let known = AskConfig { prometheus: Target::parse("http://127.0.0.1:9").ok(), ..AskConfig::default() };
    let undefined = "revertWhen: ['query \"latency\" > 1']\nqueries: {latencies: {prometheus: up}}\n";
    let error = refused(undefined, known.clone());
    assert!(error.contains("revertWhen[0]") && error.contains("did you mean `\"latencies\"`"), "{error}");
    assert!(error.ends_with("\n  query \"latency\" > 1\n        ^^^^^^^^^"), "{error}");
    for (yaml, part) in [
        ("queries: {a: {loki: up}}\n", "queries: a: asks loki, and the gate has no --loki"),
        ("queries: {a: {prometheus: up, loki: up}}\n", "exactly one"),
        ("criticalLogs: '{pod=~\"$pods\"}'\n", "criticalLogs: the gate has no --loki"),
        ("criticalLogs: '{app=\"a\"}'\n", "without $pods"),
    ] {
        let error = refused(yaml, known.clone());
        assert!(error.contains(part), "{yaml}: {error}");
    }
    let good = "revertWhen: ['query \"a\" > 1']\nqueries: {a: {prometheus: up}}\n";
    Config { rules: rules(good), ask: known, ..Config::default() }.check().expect("all is known");
}
