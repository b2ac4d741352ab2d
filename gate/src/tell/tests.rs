//! Releases in, words out; and the senders against servers that answer as told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::alerts::{Alert, Alerting, RESOLVED_MS, REVERT_MS, RULE_MS, SHIELD_MS, TOLD_MS, due};
use super::config::Links;
use super::grafana::{Grafana, GrafanaConfig};
use super::http::{Client, Target, Trouble};
use super::news::{AGAIN_MS, Kind, MINOR_A_MINUTE_MAX, News, Reader};
use super::queue::Receiver as _;
use super::signature::sign;
use super::template::Template;
use super::webhook::{Proof, Webhook, WebhookConfig, cloud_event};
use super::{Tell, TellConfig};
use crate::api::types::{Moment, Phase, Release, Slot};
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::view;

/// When the release of these tests began: later than any clock that runs them, so that theirs begin here.
pub(crate) const BEGAN: u64 = 4_102_480_800_000;

pub(crate) fn release(id: &str, phase: Phase, moments: &[(u64, &str, &str)]) -> Arc<Release> {
    let timeline = moments.iter().map(|(after_ms, what, text)| Moment {
        at_ms: BEGAN + after_ms,
        after_ms: *after_ms,
        what: (*what).to_owned(),
        text: (*text).to_owned(),
        measured: None,
    });
    Arc::new(Release {
        id: id.to_owned(),
        service: "shop".to_owned(),
        candidate: Slot::Green,
        baseline: Slot::Blue,
        target_share: 1.0,
        share: 0.5,
        phase,
        verdict: view::nothing_yet(),
        shield: "open".to_owned(),
        started_ms: BEGAN,
        ended_ms: None,
        passed: Vec::new(),
        timeline: timeline.collect(),
        by: Some("ann".to_owned()),
        source_revision: Some("4f2a".to_owned()),
        revision: moments.len() as u64,
    })
}

fn kinds(news: &[News]) -> Vec<&'static str> {
    news.iter().map(|news| news.kind.as_str()).collect()
}

fn names(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.labels["alertname"].as_str()).collect()
}

pub(crate) const REVERT: [(u64, &str, &str); 8] = [
    (0, "switched", "green gets all"),
    (900, "shielded", "5 of 9 failed"),
    (1_400, "proven", "52% failed"),
    (1_500, "diverted", "all agents"),
    (1_600, "reverted", "back on blue"),
    (1_700, "verified", "blue answers"),
    (1_800, "released", "green is let go"),
    (1_900, "announced", "Told"),
];

#[test]
fn a_revert_is_two_messages_and_each_is_told_once() {
    let mut reader = Reader::new(BEGAN);
    let now_ms = BEGAN + 2_000;
    let begun = reader.read(&release("shop-1", Phase::Watching, &REVERT[..2]), now_ms);
    assert_eq!(kinds(&begun), ["started", "shielded"]);
    let whole = release("shop-1", Phase::Reverted, &REVERT);
    let rest = reader.read(&whole, now_ms);
    assert_eq!(kinds(&rest), ["reverting", "reverted"]);
    assert_eq!(rest[0].text, "52% failed");
    assert!(reader.read(&whole, now_ms).is_empty(), "nothing is new");
}

#[test]
fn a_restarted_gate_tells_the_last_minute_again_with_the_same_ids() {
    let whole = release("shop-1", Phase::Reverted, &REVERT);
    let before = Reader::new(BEGAN).read(&whole, BEGAN + 2_000);
    let soon = Reader::new(BEGAN + 2_000).read(&whole, BEGAN + 2_000);
    assert_eq!(before, soon);
    let late = Reader::new(BEGAN + 1_000 + AGAIN_MS).read(&whole, BEGAN + 1_000 + AGAIN_MS);
    assert_eq!(kinds(&late), ["reverting", "reverted"], "what was before is told by somebody else");
    assert_eq!(late[..], before[2..]);
    let mut ids: Vec<_> = before.iter().map(|news| news.id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), before.len(), "each has its own");
}

#[test]
fn flapping_is_limited_and_what_matters_is_never_left_out() {
    let mut moments: Vec<(u64, &str, String)> =
        (0..40).map(|turn| (turn, if turn % 2 == 0 { "shielded" } else { "opened" }, format!("turn {turn}"))).collect();
    moments.push((50, "held", "a person decides".to_owned()));
    let moments: Vec<_> = moments.iter().map(|(at, what, text)| (*at, *what, text.as_str())).collect();
    let news = Reader::new(BEGAN).read(&release("shop-1", Phase::Held, &moments), BEGAN + 60);
    assert_eq!(news.len(), MINOR_A_MINUTE_MAX + 1);
    let last = news.last().expect("there are messages");
    assert_eq!((last.kind, last.omitted), (Kind::Held, 40 - MINOR_A_MINUTE_MAX));
}

#[test]
fn the_same_words_are_told_once_a_minute() {
    let failed = [
        (0, "failed", "switched: 403"),
        (10_000, "failed", "switched: 403"),
        (20_000, "failed", "switched: 500"),
        (90_000, "failed", "switched: 500"),
    ];
    let news = Reader::new(BEGAN).read(&release("shop-1", Phase::Reverting, &failed), BEGAN + 90_000);
    let told: Vec<_> = news.iter().map(|news| (news.at_ms - BEGAN, news.text.as_str())).collect();
    assert_eq!(told, [(0, "switched: 403"), (20_000, "switched: 500"), (90_000, "switched: 500")]);
}

#[test]
fn each_state_has_its_alert_for_as_long_as_it_matters() {
    let at = |ms: u64| BEGAN + ms;
    let check = |release: &Release, now_ms: u64, expected: &[&str]| {
        assert_eq!(names(&due(release, now_ms)), expected, "{:?} after {} ms", release.phase, now_ms - BEGAN);
    };
    let watching = release("shop-1", Phase::Watching, &REVERT[..1]);
    check(&watching, at(10), &[]);
    let mut shielded = Release::clone(&release("shop-1", Phase::Watching, &REVERT[..2]));
    shielded.shield = "shielded".to_owned();
    check(&shielded, at(900 + SHIELD_MS - 1), &[]);
    check(&shielded, at(900 + SHIELD_MS), &["BluebackShieldUp"]);
    let reverting = release("shop-1", Phase::Reverting, &REVERT[..4]);
    check(&reverting, at(1_500), &["BluebackReleaseReverted"]);
    check(&reverting, at(1_400 + REVERT_MS), &["BluebackReleaseReverted", "BluebackRevertSlow"]);
    let stuck = release("shop-1", Phase::Reverting, &[REVERT[2], (3_000, "failed", "switched: 403 Forbidden")]);
    let alerts = due(&stuck, at(4_000));
    assert_eq!(names(&alerts), ["BluebackReleaseReverted", "BluebackRevertStepFailing"]);
    assert_eq!((alerts[1].labels["step"].as_str(), alerts[1].starts_ms), ("switched", at(3_000)));
    let mut reverted = Release::clone(&release("shop-1", Phase::Reverted, &REVERT));
    reverted.ended_ms = Some(at(2_000));
    check(&reverted, at(2_000 + TOLD_MS - 1), &["BluebackReleaseReverted"]);
    check(&reverted, at(2_000 + TOLD_MS), &[]);
    check(&release("shop-1", Phase::Held, &[(5, "held", "why")]), at(TOLD_MS * 9), &["BluebackReleaseHeld"]);
    let unknown = release("shop-1", Phase::Inconclusive, &[(5, "inconclusive", "812 of 2,995")]);
    check(&unknown, at(10), &["BluebackReleaseInconclusive"]);
    check(&unknown, at(5 + TOLD_MS), &[]);
    let met = release("shop-1", Phase::Watching, &[(5, "alert", "cpu > 70%: 81%")]);
    check(&met, at(10), &["BluebackAlertRuleMet"]);
    check(&met, at(5 + RULE_MS), &[]);
    assert_eq!(due(&met, at(10))[0].description, "cpu > 70%: 81%");
}

#[test]
fn an_alert_begins_lasts_ends_and_its_end_is_repeated() {
    let mut alerting = Alerting::default();
    let held = release("shop-1", Phase::Held, &[(5, "held", "why")]);
    alerting.see(Arc::clone(&held));
    let first = alerting.look(BEGAN + 10).expect("it is new");
    assert_eq!((names(&first), first[0].ends_ms), (vec!["BluebackReleaseHeld"], None));
    assert!(alerting.look(BEGAN + 20).is_none(), "nothing has changed");

    // Another gate comes to the same alert.
    let mut other = Alerting::default();
    other.see(held);
    assert_eq!(other.look(BEGAN + 99), Some(first));

    alerting.see(release("shop-1", Phase::Watching, &[(5, "held", "why"), (50, "resumed", "go on")]));
    let ended = alerting.look(BEGAN + 60).expect("it has ended");
    assert_eq!((names(&ended), ended[0].ends_ms), (vec!["BluebackReleaseHeld"], Some(BEGAN + 60)));
    assert!(alerting.look(BEGAN + 60 + RESOLVED_MS).expect("it is forgotten").is_empty());
}

#[test]
fn only_the_newest_release_of_a_service_alerts() {
    let mut alerting = Alerting::default();
    let mut reverted = Release::clone(&release("shop-1", Phase::Reverted, &REVERT));
    reverted.ended_ms = Some(BEGAN + 2_000);
    alerting.see(Arc::new(reverted.clone()));
    assert_eq!(alerting.look(BEGAN + 3_000).expect("it is new").len(), 1);
    let mut next = Release::clone(&release("shop-2", Phase::Watching, &[]));
    next.started_ms = BEGAN + 4_000;
    alerting.see(Arc::new(next));
    let alerts = alerting.look(BEGAN + 5_000).expect("it has changed");
    assert_eq!(alerts[0].ends_ms, Some(BEGAN + 5_000));
    // A late word about the old one changes nothing.
    alerting.see(Arc::new(reverted));
    assert!(alerting.look(BEGAN + 6_000).is_none());
}

/// A request as a receiver saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    method: Method,
    pub(crate) path: String,
    headers: axum::http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Told {
    seen: Vec<Seen>,
    answers: VecDeque<(u16, String)>,
}

/// A server that writes down what it is sent and answers as told; with 200 and `{}` when nothing is left to say.
#[derive(Clone)]
pub(crate) struct Scripted {
    addr: SocketAddr,
    told: Arc<Mutex<Told>>,
}

impl Scripted {
    pub(crate) async fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let addr = listener.local_addr().expect("it is bound");
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let told = Arc::new(Mutex::new(Told { seen: Vec::new(), answers }));
        let this = Self { addr, told };
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream, None));
            }
        });
        this
    }

    /// The same behind TLS.
    async fn start_tls(config: Arc<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let this = Self { addr: listener.local_addr().expect("it is bound"), told: Arc::default() };
        let server = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream, Some(Arc::clone(&config))));
            }
        });
        this
    }

    async fn serve(self, stream: tokio::net::TcpStream, tls: Option<Arc<rustls::ServerConfig>>) {
        let answer = service_fn(move |request: Request<Incoming>| {
            let told = Arc::clone(&self.told);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let mut told = told.lock().expect("no test panics inside");
                let path = head.uri.to_string();
                told.seen.push(Seen { method: head.method, path, headers: head.headers, body });
                let (status, body) = told.answers.pop_front().unwrap_or((200, "{}".to_owned()));
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = StatusCode::from_u16(status).expect("it is a status");
                Ok::<_, Infallible>(response)
            }
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        match tls {
            None => drop(builder.serve_connection(TokioIo::new(stream), answer).await),
            Some(config) => {
                // A client that does not trust us hangs up.
                let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await else { return };
                drop(builder.serve_connection(TokioIo::new(stream), answer).await);
            }
        }
    }

    fn target(&self) -> Target {
        Target::parse(&format!("http://{}/hook?key=1", self.addr)).expect("it is a URL")
    }

    pub(crate) fn root(&self) -> Target {
        Target::parse(&format!("http://{}", self.addr)).expect("it is a URL")
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.told.lock().expect("no test panics inside").seen.clone()
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let wait = async {
            loop {
                let seen = self.seen();
                if wanted(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("waited for {what}; seen: {:?}", self.seen()))
    }
}

pub(crate) fn client() -> Client {
    Client::new(None).expect("it needs nothing")
}

fn links() -> Links {
    Links { external: Some("https://gate.example.com".to_owned()) }
}

fn news(kind_of: usize) -> News {
    Reader::new(BEGAN).read(&release("shop-1", Phase::Reverted, &REVERT), BEGAN + 2_000).swap_remove(kind_of)
}

fn file(name: &str, text: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("blueback-tell-{}-{name}", std::process::id()));
    std::fs::write(&path, text).expect("the file can be written");
    path
}

#[tokio::test]
async fn a_webhook_is_sent_a_signed_cloud_event() {
    let server = Scripted::start(&[]).await;
    let secret = file("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let config =
        WebhookConfig { target: server.target(), secret: Some(secret.clone()), proof: Proof::Hmac, template: None };
    let news = news(2);
    Webhook::new(client(), config, links()).send(&news).await.expect("it is taken");
    let seen = server.seen();
    let [seen] = seen.as_slice() else { panic!("one request: {seen:?}") };
    assert_eq!((&seen.method, seen.path.as_str()), (&Method::POST, "/hook?key=1"));
    assert_eq!(seen.header("content-type"), "application/cloudevents+json; charset=utf-8");
    let event = seen.json();
    for (field, value) in [
        ("specversion", json!("1.0")),
        ("type", json!("dev.blueback.release.reverting")),
        ("source", json!("https://gate.example.com/v1/services/shop")),
        ("subject", json!("shop-1")),
        ("time", json!("2100-01-01T10:00:01.400Z")),
    ] {
        assert_eq!(event[field], value, "{field} of {event:#}");
    }
    assert_eq!((&event["data"]["text"], &event["data"]["revision"]), (&json!("52% failed"), &json!("4f2a")));
    assert_eq!(event["data"]["link"], "https://gate.example.com/releases/shop-1");
    assert_eq!(event, cloud_event(&news, &links()));
    let (id, at) = (seen.header("webhook-id"), seen.header("webhook-timestamp"));
    assert_eq!(id, news.id);
    let at: u64 = at.parse().expect("a time in seconds");
    let expected = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", id, at, &seen.body);
    assert_eq!(seen.header("webhook-signature"), expected);
    drop(std::fs::remove_file(secret));
}

#[tokio::test]
async fn a_webhook_may_have_a_body_and_a_token_of_its_own() {
    let server = Scripted::start(&[]).await;
    let secret = file("token", "opensesame");
    let template = Template::parse(r#"{"text": "$(summary): $(text) <$(link)>"}"#).expect("it is one");
    let config = WebhookConfig {
        target: server.target(),
        secret: Some(secret.clone()),
        proof: Proof::Bearer,
        template: Some(Arc::new(template)),
    };
    Webhook::new(client(), config, links()).send(&news(3)).await.expect("it is taken");
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), "Bearer opensesame");
    let text = "The release of shop was reverted: back on blue <https://gate.example.com/releases/shop-1>";
    assert_eq!(seen[0].json(), json!({ "text": text }));
    drop(std::fs::remove_file(secret));
}

#[tokio::test]
async fn what_may_help_is_told_from_what_will_not() {
    let server = Scripted::start(&[(503, "busy"), (429, "slow down"), (400, "no"), (404, "no")]).await;
    let webhook = || {
        let target = server.target();
        Webhook::new(client(), WebhookConfig { target, secret: None, proof: Proof::Hmac, template: None }, links())
    };
    for passing in [true, true, false, false] {
        let trouble = webhook().send(&news(0)).await.expect_err("it is refused");
        assert_eq!(matches!(trouble, Trouble::Passing(_)), passing, "{trouble:?}");
    }
    webhook().send(&news(0)).await.expect("it is taken");
}

#[tokio::test]
async fn https_needs_an_authority_that_is_trusted() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made");
    let authority = file("ca.pem", &key.cert.pem());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS has versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls_pki_types::PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into()),
        )
        .expect("they belong together");
    let server = Scripted::start_tls(Arc::new(config)).await;
    let target = Target::parse(&format!("https://localhost:{}/x", server.addr.port())).expect("it is a URL");
    let config = WebhookConfig { target, secret: None, proof: Proof::Hmac, template: None };
    let stranger = Webhook::new(client(), config.clone(), links()).send(&news(0)).await;
    assert!(matches!(stranger, Err(Trouble::Passing(ref why)) if why.contains("certificate")), "{stranger:?}");
    let trusting = Client::new(Some(&authority)).expect("the file has a certificate");
    Webhook::new(trusting, config, links()).send(&news(0)).await.expect("it is trusted");
    assert_eq!(server.seen().len(), 1);
    drop(std::fs::remove_file(authority));
}

#[tokio::test]
async fn grafana_gets_a_region_and_marks_each_once() {
    let found = r#"[{"id": 42}]"#;
    let server = Scripted::start(&[
        (200, "[]"),
        (200, r#"{"id": 42}"#),
        (200, "[]"),
        (200, r#"{"id": 43}"#),
        (200, found),
        (200, found),
        (200, "{}"),
    ])
    .await;
    let token = file("grafana", "glsa_1");
    let grafana = Grafana::new(client(), GrafanaConfig { target: server.root(), token: Some(token.clone()) }, links());
    // Began; shielded; shielded once more, as an answer was lost; reverted.
    for kind in [0, 1, 1, 3] {
        grafana.send(&news(kind)).await.expect("it is taken");
    }
    let seen = server.seen();
    let calls: Vec<_> =
        seen.iter().map(|seen| (seen.method.as_str(), seen.path.split('?').next().unwrap_or_default())).collect();
    let (find, make) = (("GET", "/api/annotations"), ("POST", "/api/annotations"));
    assert_eq!(calls, [find, make, find, make, find, find, ("PATCH", "/api/annotations/42")]);
    assert!(seen.iter().all(|seen| seen.header("authorization") == "Bearer glsa_1"), "{seen:?}");
    assert!(seen[0].path.contains("tags=release%3Ashop-1") && seen[0].path.contains("matchAny=false"), "{seen:?}");
    let begun = seen[1].json();
    assert_eq!(begun["time"], BEGAN);
    assert!(begun["tags"].as_array().is_some_and(|tags| tags.contains(&json!("gate:shop"))), "{begun}");
    assert_eq!(seen[6].json()["timeEnd"], BEGAN + 1_600);
    drop(std::fs::remove_file(token));
}

/// Everything together: what is published is told, though the receivers are away at first.
#[tokio::test]
async fn receivers_that_were_away_are_told_when_they_are_back() {
    let alertmanager = Scripted::start(&[(503, ""), (503, "")]).await;
    let webhook = Scripted::start(&[(500, "")]).await;
    let config = TellConfig {
        alertmanagers: vec![alertmanager.root(), Target::parse("http://127.0.0.1:1").expect("it is a URL")],
        webhook: Some(WebhookConfig { target: webhook.target(), secret: None, proof: Proof::Hmac, template: None }),
        links: links(),
        ..TellConfig::default()
    };
    let (closing, closed) = watch::channel(false);
    let (tell, metrics) = (Tell::default(), Arc::new(Metrics::new()));
    let clock = Clock::start(Timestamp::from_unix_ms(BEGAN));
    tell.start(&config, clock, &metrics, None, &closed).expect("it starts");
    let begun = release("shop-1", Phase::Held, &[(0, "switched", "all"), (5, "held", "why")]);
    // What is published faster than it is told is told whole.
    tell.publish(&release("shop-1", Phase::Watching, &[(0, "switched", "all")]));
    tell.publish(&begun);
    let seen = webhook.until("two events and a failure", |seen| seen.len() >= 3).await;
    let types: Vec<_> = seen.iter().map(|seen| seen.json()["type"].clone()).collect();
    assert_eq!(types, ["started", "started", "held"].map(|kind| json!(format!("dev.blueback.release.{kind}"))));
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"), "the second attempt is the same message");

    let seen = alertmanager.until("the third attempt", |seen| seen.len() >= 3).await;
    let alert = &seen[2].json()[0];
    assert_eq!(seen[2].path, "/api/v2/alerts");
    assert_eq!(alert["labels"]["alertname"], "BluebackReleaseHeld");
    assert_eq!((&alert["labels"]["gate"], &alert["startsAt"]), (&json!("shop"), &json!("2100-01-01T10:00:00.005Z")));
    assert!(alert["annotations"]["runbook_url"].as_str().is_some_and(|url| url.ends_with("/RB-009.md")), "{alert}");
    let told = metrics.text(&crate::figures::Figures::default());
    for line in [
        "notifications_total{receiver=\"alertmanager\",result=\"sent\"} 1",
        "notifications_total{receiver=\"webhook\",result=\"failed\"} 1",
        "notifications_total{receiver=\"grafana\",result=\"sent\"} 0",
    ] {
        assert!(told.lines().any(|told| told.ends_with(line)), "{line} is not in\n{told}");
    }
    closing.send_replace(true);
}

#[test]
fn urls_are_checked_and_hold_no_password() {
    for (url, part) in [
        ("alertmanager:9093", "accepted"),
        ("ftp://x", "scheme"),
        ("http://", "accepted"),
        ("http://ann:secret@x:1", "file"),
    ] {
        let error = Target::parse(url).expect_err(url);
        assert!(error.contains(part) && !error.contains("secret"), "{url}: {error}");
    }
    assert_eq!(Target::parse("https://x/y").map(|target| target.place()), Ok("x:443".to_owned()));
}
