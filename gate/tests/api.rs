//! The real server over a socket, with an agent that follows a script.

use std::time::Duration;

use blueback_gate::{Config, Server, Timestamp};
use blueback_report::wire::proto::{self, from_agent};
use blueback_report::{MESSAGE_BYTES_MAX, Outcome, Report, Slot};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::script::{Script, folder, get, next_event, post, until};
use crate::world::Front;

pub(crate) async fn start(config: Config) -> Server {
    Server::start(Config { api: "127.0.0.1:0".parse().expect("it is an address"), ..config }).await.expect("it starts")
}

/// An agent that is connected and has said what it knows.
pub(crate) async fn agent(server: &Server) -> (Script, Front) {
    let mut script = Script::connect(server.addr()).await;
    let front = Front::new("front/1", 0, Slot::Blue, Timestamp::from_unix_ms(0));
    script.hello(&front.hello()).await;
    assert_eq!(script.welcome().await, 0);
    let base = Report { replayed: true, ..front.report(Timestamp::from_unix_ms(1)) };
    script.report(&base).await;
    report(&mut script, &front, 2).await;
    (script, front)
}

/// Reports what was counted, by the agent's clock.
async fn report(script: &mut Script, front: &Front, at_ms: u64) {
    script.report(&front.report(Timestamp::from_unix_ms(at_ms))).await;
    script.acked(at_ms).await;
}

fn whats(release: &Value) -> Vec<&str> {
    let timeline = release["timeline"].as_array().expect("a release has a timeline");
    timeline.iter().map(|moment| moment["what"].as_str().expect("a moment has a word")).collect()
}

#[tokio::test]
async fn a_release_is_switched_followed_and_reverted() {
    let server = start(Config::default()).await;
    let api = server.addr();
    let (mut script, mut front) = agent(&server).await;
    let (status, services) = get(api, "/v1/services").json().await;
    assert_eq!((status, &services[0]["name"]), (StatusCode::OK, &json!("shop")), "{services}");

    let (status, release) = post(api, "/v1/services/shop/switch", &json!({"to": "green", "by": "ann"})).json().await;
    assert_eq!((status, &release["id"]), (StatusCode::OK, &json!("shop-1")), "{release}");
    let route = script.route().await;
    assert_eq!(route.green_share, 1.0);
    front.route = route.try_into().expect("the gate says what a route may say");

    let mut events = get(api, "/v1/releases/shop-1/events").send().await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let (mut rest, events) = (String::new(), events.body_mut());
    let (first, told) = next_event(events, &mut rest).await;
    assert_eq!(whats(&told), ["switched"]);

    // A call waits for the verdict while everything of green fails.
    let waiting = tokio::spawn(get(api, "/v1/releases/shop-1/verdict?wait=20s").json());
    let mut at_ms = 100;
    while !waiting.is_finished() {
        front.count(Slot::Green, Outcome::ServerError, 10);
        front.count(Slot::Blue, Outcome::Ok, 10);
        report(&mut script, &front, at_ms).await;
        at_ms += 100;
        tokio::time::timeout(Duration::from_millis(100), script.hear(|_| None::<()>))
            .await
            .expect_err("nothing is wanted");
    }
    let (status, verdict) = waiting.await.expect("the call ends");
    assert_eq!((status, &verdict["verdict"], &verdict["fail"]), (StatusCode::OK, &json!("revert"), &json!(true)));
    assert!(verdict["revision"].as_u64() > Some(first), "{verdict}");
    let service = until(api, "/v1/services/shop", |service| service["green_share"] == 0.0).await;
    let epoch = 1_000;
    assert_eq!(service["serving"], "blue");

    // The agent takes every route; the release comes home.
    front.route.epoch = epoch;
    let done =
        tokio::spawn(async move { until(api, "/v1/releases/shop-1", |release| release["phase"] == "reverted").await });
    while !done.is_finished() {
        report(&mut script, &front, at_ms).await;
        at_ms += 10;
    }
    let release = done.await.expect("the release ends");
    for what in ["shielded", "proven", "diverted", "reverted", "verified", "released", "announced"] {
        assert!(whats(&release).contains(&what), "{release:#}");
    }
    let (last, mut told) = next_event(events, &mut rest).await;
    assert!(last > first);
    while told["phase"] != "reverted" {
        told = next_event(events, &mut rest).await.1;
    }
    // Who knows the newest revision is told nothing old.
    let revision = release["revision"].as_u64().expect("a release has a revision").to_string();
    let mut again = get(api, "/v1/releases/shop-1/events").header("last-event-id", &revision).send().await;
    let silent =
        tokio::time::timeout(Duration::from_millis(200), next_event(again.body_mut(), &mut String::new())).await;
    assert!(silent.is_err(), "{silent:?}");

    let (_, evidence) = get(api, "/v1/releases/shop-1/evidence").json().await;
    assert!(!evidence["criteria"].as_array().expect("evidence has rules").is_empty());
    let file = get(api, "/v1/releases/shop-1/recording").send().await;
    assert_eq!(file.status(), StatusCode::OK);
    let file = file.into_body().collect().await.expect("the body is whole").to_bytes();
    let (told, recording) = blueback_gate::recording_file::read(&file).expect("it is a recording");
    assert_eq!((told.release.id.as_str(), recording.began.release.as_str()), ("shop-1", "shop-1"));
    let (_, metrics) = get(api, "/metrics").json().await;
    let metrics = metrics.as_str().expect("metrics are text");
    for name in [
        "blueback_gate_agents{gate=\"shop\",side=\"front\"} 1",
        "blueback_gate_releases{phase=\"reverted\"} 1",
        "blueback_gate_releases_total{gate=\"shop\",verdict=\"revert\"} 1",
        "blueback_gate_release_phase{gate=\"shop\",phase=\"reverted\"} 1",
        "blueback_gate_effect_seconds_count{step=\"switched\"} 1",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said() {
    let server = start(Config::default()).await;
    let api = server.addr();
    let (_script, _front) = agent(&server).await;
    let switch = "/v1/services/shop/switch";
    let cases = [
        (get(api, "/v1/services/none"), StatusCode::NOT_FOUND, None),
        (get(api, "/v1/releases/none"), StatusCode::NOT_FOUND, None),
        (get(api, "/v1/releases/none/verdict"), StatusCode::NOT_FOUND, None),
        (get(api, "/v1/releases/none/evidence"), StatusCode::NOT_FOUND, None),
        (get(api, "/v1/releases/none/recording"), StatusCode::NOT_FOUND, None),
        (get(api, "/v1/releases/none/verdict?wait=long"), StatusCode::BAD_REQUEST, Some("wait")),
        (get(api, "/v1/releases/none/verdict?wait=2h"), StatusCode::BAD_REQUEST, Some("wait")),
        (get(api, "/nowhere"), StatusCode::NOT_FOUND, None),
        (post(api, "/v1/services", &json!({})), StatusCode::METHOD_NOT_ALLOWED, None),
        (post(api, "/v1/services/none/switch", &json!({"to": "green"})), StatusCode::NOT_FOUND, None),
        (post(api, switch, &json!({"to": "red"})), StatusCode::BAD_REQUEST, Some("to")),
        (post(api, switch, &json!({})), StatusCode::BAD_REQUEST, Some("to")),
        (post(api, switch, &json!({"to": "green", "share": "much"})), StatusCode::BAD_REQUEST, Some("share")),
        (post(api, switch, &json!({"to": "green", "share": 2})), StatusCode::BAD_REQUEST, Some("share")),
        (post(api, switch, &json!({"to": "green", "speed": 2})), StatusCode::BAD_REQUEST, Some("speed")),
        (post(api, switch, &json!([])), StatusCode::BAD_REQUEST, None),
        (post(api, switch, &json!({})).raw("{"), StatusCode::BAD_REQUEST, None),
        (post(api, switch, &json!({})).raw(&"x".repeat(100_000)), StatusCode::PAYLOAD_TOO_LARGE, None),
        (post(api, switch, &json!({"to": "blue"})), StatusCode::CONFLICT, None),
        (post(api, "/v1/services/shop/revert", &json!({"why": "x"})), StatusCode::CONFLICT, None),
        (post(api, "/v1/services/shop/hold", &json!({"why": ""})), StatusCode::BAD_REQUEST, Some("why")),
    ];
    for (number, (call, wanted, field)) in cases.into_iter().enumerate() {
        let (status, problem) = call.json().await;
        assert_eq!(status, wanted, "case {number}: {problem}");
        assert!(problem["error"].as_str().is_some_and(|error| !error.is_empty()), "case {number}: {problem}");
        assert_eq!(problem["field"].as_str(), field, "case {number}: {problem}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn with_a_token_only_its_holder_changes_anything() {
    let token = "0123456789abcdef";
    let server = start(Config { token: Some(token.to_owned()), ..Config::default() }).await;
    let api = server.addr();
    let (_script, _front) = agent(&server).await;
    let switch = || post(api, "/v1/services/shop/switch", &json!({"to": "green"}));
    assert_eq!(switch().json().await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(switch().header("authorization", "Bearer 0123456789abcdeg").json().await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get(api, "/v1/services").json().await.0, StatusCode::OK);
    assert_eq!(switch().header("authorization", &format!("Bearer {token}")).json().await.0, StatusCode::OK);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_message_costs_only_that_message() {
    let server = start(Config::default()).await;
    let (mut script, mut front) = agent(&server).await;
    front.count(Slot::Blue, Outcome::Ok, 5);
    let mut wrong = proto::Report::from(&front.report(Timestamp::from_unix_ms(3)));
    wrong.series[0].slot = 77;
    script.say(from_agent::Message::Report(wrong)).await;
    report(&mut script, &front, 4).await;
    let wanted = "blueback_gate_reports_dropped_total{reason=\"invalid\"} 1";
    until(server.addr(), "/metrics", |metrics| metrics.as_str().is_some_and(|text| text.contains(wanted))).await;

    // What is too large ends its stream, and no other.
    let giant = proto::Report {
        series: vec![proto::Series { pod: "x".repeat(MESSAGE_BYTES_MAX), ..Default::default() }],
        ..Default::default()
    };
    let other = Script::connect(server.addr()).await;
    other.say(from_agent::Message::Report(giant)).await;
    let wanted = "blueback_gate_streams_broken_total 1";
    until(server.addr(), "/metrics", |metrics| metrics.as_str().is_some_and(|text| text.contains(wanted))).await;
    report(&mut script, &front, 5).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_gate_that_was_closed_goes_on() {
    let folder = folder("goes-on");
    let config = Config { store: Some(folder.to_path_buf()), ..Config::default() };
    let server = start(config.clone()).await;
    let (mut script, mut front) = agent(&server).await;
    let (status, _) = post(server.addr(), "/v1/services/shop/switch", &json!({"to": "green"})).json().await;
    assert_eq!(status, StatusCode::OK);
    front.route = script.route().await.try_into().expect("the gate says what a route may say");
    front.count(Slot::Green, Outcome::Ok, 500);
    report(&mut script, &front, 200).await;
    let before = until(server.addr(), "/v1/releases/shop-1", |release| release["verdict"]["requests"] == 500).await;
    server.shutdown().await;

    let server = start(config).await;
    let (_, after) = get(server.addr(), "/v1/releases/shop-1").json().await;
    assert_eq!(after["verdict"]["requests"], before["verdict"]["requests"], "{after:#}");
    assert!(whats(&after).contains(&"restarted"), "{after:#}");
    let mut script = Script::connect(server.addr()).await;
    script.hello(&front.hello()).await;
    assert_eq!(script.welcome().await, 200, "what was merged is known");
    server.shutdown().await;
    std::fs::remove_dir_all(&folder).expect("the store can go");
}

#[tokio::test]
async fn two_gates_do_not_share_a_store() {
    let folder = folder("shared");
    let config = Config { store: Some(folder.to_path_buf()), ..Config::default() };
    let server = start(config.clone()).await;
    let second = Config { api: "127.0.0.1:0".parse().expect("it is an address"), ..config };
    let error = Server::start(second).await.err().expect("the store is taken");
    assert!(format!("{error:#}").contains("store"), "{error:#}");
    server.shutdown().await;
    std::fs::remove_dir_all(&folder).expect("the store can go");
}
