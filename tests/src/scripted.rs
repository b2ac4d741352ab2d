//! An agent whose every message a test writes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blueback_agent::generated::intake_client::IntakeClient;
use blueback_report::wire::proto::{self, from_agent, to_agent};
use blueback_report::{Hello, Report, Role, Route, Slot, TargetState};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// Longest wait for an answer of the gate.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Messages that wait to be sent.
const MESSAGES_MAX: usize = 64;

/// A front agent with the backends `blue-1` and `green-1`.
#[derive(Debug)]
pub struct Scripted {
    sender: mpsc::Sender<proto::FromAgent>,
    answers: Streaming<proto::ToAgent>,
    started: Instant,
    /// What the gate has merged of this instance, as its Welcome said.
    pub merged_ms: u64,
    /// The route that the gate has commanded.
    pub route: Route,
}

/// The backends of the agent.
#[must_use]
pub fn targets() -> Vec<TargetState> {
    let target = |slot, pod: &str| TargetState { slot, pod: pod.into(), ready: true };
    vec![target(Slot::Blue, "blue-1"), target(Slot::Green, "green-1")]
}

impl Scripted {
    /// Connects as an instance of the service and waits for the Welcome. `started` is when the instance's clock was zero.
    ///
    /// # Errors
    ///
    /// When the gate does not welcome it.
    pub async fn connect(gate: SocketAddr, instance: &str, service: &str, started: Instant) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{gate}"))?.connect().await?;
        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let route = Route::all_to(Slot::Blue, 0);
        let hello = Hello {
            agent: instance.into(),
            service: service.into(),
            role: Role::Front,
            targets: targets(),
            route: route.clone(),
            version: "a test".to_owned(),
        };
        let hello = from_agent::Message::Hello((&hello).into());
        sender.send(proto::FromAgent { message: Some(hello) }).await?;
        let mut client = IntakeClient::new(channel);
        let stream = client.stream(ReceiverStream::new(receiver));
        let answers = timeout(ANSWER_MAX, stream).await.context("the stream is not answered")??.into_inner();
        let mut scripted = Self { sender, answers, started, merged_ms: 0, route };
        match scripted.answer().await? {
            to_agent::Message::Welcome(welcome) => scripted.merged_ms = welcome.merged_ms,
            other => anyhow::bail!("not a Welcome: {other:?}"),
        }
        Ok(scripted)
    }

    /// Milliseconds since the instance started.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The next message of the gate.
    ///
    /// # Errors
    ///
    /// When the stream has ended or is silent.
    pub async fn answer(&mut self) -> anyhow::Result<to_agent::Message> {
        let message = timeout(ANSWER_MAX, self.answers.message()).await.context("the gate is silent")??;
        let message = message.and_then(|message| message.message).context("the gate ended the stream")?;
        if let to_agent::Message::Route(route) = &message {
            self.route = Route::try_from(route.clone())?;
        }
        Ok(message)
    }

    /// Sends a report as it is on the wire, right or wrong.
    ///
    /// # Errors
    ///
    /// When the stream has ended.
    pub async fn send(&mut self, report: proto::Report) -> anyhow::Result<()> {
        let message = Some(from_agent::Message::Report(report));
        self.sender.send(proto::FromAgent { message }).await.context("the stream has ended")
    }

    /// Sends a report and waits until the gate has acknowledged it.
    ///
    /// # Errors
    ///
    /// When the stream ends before that.
    pub async fn deliver(&mut self, report: &Report) -> anyhow::Result<()> {
        self.send(report.into()).await?;
        loop {
            if matches!(self.answer().await?, to_agent::Message::Ack(ack) if ack.at_ms >= report.at_ms) {
                return Ok(());
            }
        }
    }
}
