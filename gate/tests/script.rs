//! An agent that says what it is told to say, over a real stream; and a client of the API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use blueback_report::wire::proto::{self, from_agent, to_agent};
use blueback_report::{Hello, Report};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

#[expect(
    unused_qualifications,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated; documented in report.proto"
)]
#[rustfmt::skip]
#[path = "../../agent/src/generated/blueback.report.v1.rs"]
mod generated;

/// Longest time that a test waits for something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One stream.
pub(crate) struct Script {
    out: mpsc::Sender<proto::FromAgent>,
    inbound: tonic::Streaming<proto::ToAgent>,
}

impl Script {
    pub(crate) async fn connect(gate: SocketAddr) -> Self {
        let channel = Channel::from_shared(format!("http://{gate}")).expect("it is a URL").connect().await;
        let mut client = generated::intake_client::IntakeClient::new(channel.expect("the gate listens"));
        let (out, queue) = mpsc::channel(16);
        let stream = client.stream(ReceiverStream::new(queue)).await.expect("the gate takes streams");
        Self { out, inbound: stream.into_inner() }
    }

    pub(crate) async fn say(&self, message: from_agent::Message) {
        self.out.send(proto::FromAgent { message: Some(message) }).await.expect("the stream is open");
    }

    pub(crate) async fn hello(&self, hello: &Hello) {
        self.say(from_agent::Message::Hello(hello.into())).await;
    }

    pub(crate) async fn report(&self, report: &Report) {
        self.say(from_agent::Message::Report(report.into())).await;
    }

    /// Waits for a message that is wanted; others are let pass.
    pub(crate) async fn hear<T>(&mut self, wanted: impl Fn(to_agent::Message) -> Option<T>) -> T {
        let heard = async {
            loop {
                let message = self.inbound.message().await.expect("the stream is whole").expect("the stream is open");
                if let Some(found) = message.message.and_then(&wanted) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("the gate says it in time")
    }

    pub(crate) async fn welcome(&mut self) -> u64 {
        self.hear(|message| match message {
            to_agent::Message::Welcome(welcome) => Some(welcome.merged_ms),
            _ => None,
        })
        .await
    }

    pub(crate) async fn route(&mut self) -> proto::Route {
        self.hear(|message| match message {
            to_agent::Message::Route(route) => Some(route),
            _ => None,
        })
        .await
    }

    pub(crate) async fn acked(&mut self, at_ms: u64) {
        self.hear(|message| match message {
            to_agent::Message::Ack(ack) => (ack.at_ms >= at_ms).then_some(()),
            _ => None,
        })
        .await;
    }
}

/// A call, on a connection of its own.
pub(crate) struct Call {
    gate: SocketAddr,
    request: hyper::http::request::Builder,
    body: String,
}

pub(crate) fn get(gate: SocketAddr, path: &str) -> Call {
    Call { gate, request: Request::get(path), body: String::new() }
}

pub(crate) fn post(gate: SocketAddr, path: &str, body: &Value) -> Call {
    Call { gate, request: Request::post(path), body: body.to_string() }
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn raw(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(crate) async fn send(self) -> Response<Incoming> {
        let stream = TcpStream::connect(self.gate).await.expect("the gate listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
        tokio::spawn(connection);
        let request = self.request.header("host", "gate").body(Full::new(Bytes::from(self.body)));
        let answer = sender.send_request(request.expect("the request is one"));
        tokio::time::timeout(PATIENCE, answer).await.expect("the gate answers in time").expect("it answers")
    }

    pub(crate) async fn json(self) -> (StatusCode, Value) {
        let response = self.send().await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into())))
    }
}

/// The next event of a stream of server-sent events: its id and its data.
pub(crate) async fn next_event(body: &mut Incoming, rest: &mut String) -> (u64, Value) {
    let read = async {
        loop {
            if let Some((event, later)) = rest.split_once("\n\n") {
                let field = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    found.map(ToOwned::to_owned)
                };
                let told = field("id").zip(field("data"));
                *rest = later.to_owned();
                if let Some((id, data)) = told {
                    return (id.parse().expect("an id is a revision"), serde_json::from_str(&data).expect("JSON"));
                }
                continue;
            }
            let frame = body.frame().await.expect("the stream goes on").expect("the stream is whole");
            if let Ok(bytes) = frame.into_data() {
                rest.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("something happens in time")
}

/// Asks until the answer is as wanted.
pub(crate) async fn until(gate: SocketAddr, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ask = async {
        loop {
            let (_, value) = get(gate, path).json().await;
            if wanted(&value) {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("{path} does not come to it"))
}

/// A name for a folder that nothing else uses.
pub(crate) fn folder(name: &str) -> Arc<std::path::Path> {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    // It may be left from a run before.
    drop(std::fs::remove_dir_all(&folder));
    folder.into()
}
