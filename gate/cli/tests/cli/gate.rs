//! A gate that plays a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use blueback_gate::api::types::{Moment, Phase, Problem, Release, Service, Slot, Verdict};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What one stream of events does.
#[derive(Clone, Debug)]
pub(crate) enum Stream {
    /// Sends these states and then nothing, but stays open.
    Stays(Vec<Release>),
    /// Sends these states, then breaks off.
    Breaks(Vec<Release>),
    /// Sends these states in pieces of this many bytes, then stays open.
    Pieces(usize, Vec<Release>),
    /// Answers 503 instead, as a gate behind a balancer does while it restarts.
    Unavailable,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) last_event_id: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Debug)]
struct Script {
    services: Vec<Service>,
    release: Release,
    streams: VecDeque<Stream>,
    asked: Vec<Asked>,
}

/// A running scripted gate.
#[derive(Debug)]
pub(crate) struct ScriptedGate {
    addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl ScriptedGate {
    pub(crate) async fn start(release: Release, streams: impl IntoIterator<Item = Stream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let addr = listener.local_addr().expect("it is bound");
        let script = Script {
            services: vec![service("shop", Some(&release))],
            release,
            streams: streams.into_iter().collect(),
            asked: Vec::new(),
        };
        let script = Arc::new(Mutex::new(script));
        let task = tokio::spawn(serve(listener, script.clone()));
        Self { addr, script, task }
    }

    pub(crate) fn guards(self, services: Vec<Service>) -> Self {
        self.script.lock().expect("no test panics inside").services = services;
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.lock().expect("no test panics inside").asked.clone()
    }
}

impl Drop for ScriptedGate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn service(name: &str, release: Option<&Release>) -> Service {
    Service {
        name: name.to_owned(),
        serving: Slot::Blue,
        green_share: 1.0,
        release: release.map(|release| release.id.clone()),
        phase: release.map(|release| release.phase),
        agents: 1,
        backends: Vec::new(),
        requests_per_second: 100.0,
    }
}

/// Release shop-1 in this phase; the revision is also the length of its timeline.
pub(crate) fn release(phase: Phase, revision: u64, text: &str) -> Release {
    let verdict = match phase {
        Phase::Watching | Phase::Superseded => "watching",
        Phase::Passed | Phase::Done => "pass",
        Phase::Reverting | Phase::Reverted => "revert",
        Phase::Held => "hold",
        Phase::Inconclusive => "inconclusive",
    };
    let is_reverted = verdict == "revert";
    Release {
        id: "shop-1".to_owned(),
        service: "shop".to_owned(),
        candidate: Slot::Green,
        baseline: Slot::Blue,
        target_share: 1.0,
        share: if is_reverted { 0.0 } else { 1.0 },
        phase,
        verdict: Verdict {
            verdict: verdict.to_owned(),
            pass: verdict == "pass",
            fail: is_reverted,
            text: text.to_owned(),
            rule: is_reverted.then(|| "error rate > 5%".to_owned()),
            value: None,
            limit: None,
            unit: None,
            evidence: None,
            threshold: None,
            requests: 812,
            requests_needed: None,
            pod: None,
            since_ms: None,
            pods: None,
            change: None,
        },
        shield: "open".to_owned(),
        started_ms: 1_795_472_369_000,
        ended_ms: None,
        passed: if verdict == "pass" { vec!["bake".to_owned()] } else { Vec::new() },
        timeline: (1..=revision)
            .map(|number| Moment {
                at_ms: 1_795_472_369_000 + number,
                after_ms: number,
                what: "stepped".to_owned(),
                text: format!("moment {number}"),
                measured: None,
            })
            .collect(),
        by: Some("ada".to_owned()),
        source_revision: None,
        revision,
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let script = script.clone();
        let service = service_fn(move |request| answer(script.clone(), request));
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

async fn answer(script: Arc<Mutex<Script>>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut script = script.lock().expect("no test panics inside");
    script.asked.push(Asked {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
        last_event_id: header("last-event-id"),
        authorization: header("authorization"),
    });
    let stream = if head.uri.path().ends_with("/events") { script.streams.pop_front() } else { None };
    if let Some(Stream::Stays(releases) | Stream::Breaks(releases) | Stream::Pieces(_, releases)) = &stream
        && let Some(newest) = releases.last()
    {
        script.release = newest.clone();
    }
    Ok(match head.uri.path() {
        "/v1/services" => json(StatusCode::OK, &script.services),
        "/v1/releases/shop-1/events" => match stream {
            Some(Stream::Stays(releases)) => events(&releases, usize::MAX, true),
            Some(Stream::Breaks(releases)) => events(&releases, usize::MAX, false),
            Some(Stream::Pieces(size, releases)) => events(&releases, size, true),
            Some(Stream::Unavailable) | None => {
                json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error: "restarting".to_owned(), field: None })
            }
        },
        "/v1/releases" => json(StatusCode::OK, &[&script.release]),
        "/v1/releases/shop-1"
        | "/v1/services/shop/switch"
        | "/v1/services/shop/revert"
        | "/v1/services/shop/hold"
        | "/v1/services/shop/signals" => json(StatusCode::OK, &script.release),
        path => {
            json(StatusCode::NOT_FOUND, &Problem { error: format!("no {path} here"), field: Some("id".to_owned()) })
        }
    })
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let body = Full::new(serde_json::to_vec(value).expect("plain data").into()).map_err(|never| match never {}).boxed();
    Response::builder().status(status).body(body).expect("the parts are valid")
}

fn events(releases: &[Release], piece: usize, stays: bool) -> Answer {
    let mut text = ": hello\n\n".to_owned();
    for release in releases {
        let data = serde_json::to_string(release).expect("plain data");
        text.push_str(&format!("event: release\nid: {}\ndata: {data}\n\n", release.revision));
    }
    let mut pieces: Vec<Bytes> = text.as_bytes().chunks(piece.min(text.len())).map(Bytes::copy_from_slice).collect();
    pieces.reverse();
    Response::new(Pieces { pieces, stays, flushed: false }.boxed())
}

/// A body of pieces that then stays open, or breaks.
struct Pieces {
    pieces: Vec<Bytes>,
    stays: bool,
    flushed: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match self.pieces.pop() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.stays => Poll::Pending,
            None if !self.flushed => {
                // What was said goes out before the end comes.
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into()))),
        }
    }
}
