//! The agents' door: streams in, events to the loop.
//!
//! A loop that falls behind makes streams wait, and agents then send only their newest state, so nothing is lost by it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blueback_report::wire::proto::{self, from_agent};
use blueback_report::{Hello, MESSAGE_BYTES_MAX, Report};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::event::{Connection, Event};
use crate::executors::streams::{Outbound, Streams};
use crate::metrics::Metrics;
use crate::server::Message;

/// The generated server.
#[expect(
    unused_qualifications,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; documented in report.proto"
)]
#[rustfmt::skip]
#[path = "generated/blueback.report.v1.rs"]
mod generated;

use generated::intake_server::{self, IntakeServer};

/// How long a new stream may take to say whose it is.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long an agent may be silent: many times its slowest cadence. Then its stream is over.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Accepts streams.
#[derive(Clone)]
pub struct Intake {
    /// To the loop.
    pub messages: mpsc::Sender<Message>,
    /// To the agents.
    pub streams: Streams,
    /// Counts what goes wrong.
    pub metrics: Arc<Metrics>,
    /// Tells when the gate closes.
    pub closing: watch::Receiver<bool>,
    /// Number of the next stream.
    pub next: Arc<AtomicU64>,
}

impl Intake {
    /// As a service for the router.
    #[must_use]
    pub fn service(self) -> IntakeServer<Self> {
        IntakeServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Path of the one method.
    pub const PATH: &'static str = "/blueback.report.v1.Intake/Stream";

    async fn tell(&self, event: Event) -> bool {
        let message = match self.messages.try_send(Message::Event(event)) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Full(message)) => message,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
        };
        self.metrics.queue_full.inc();
        self.messages.send(message).await.is_ok()
    }

    async fn serve(&self, connection: Connection, mut inbound: Streaming<proto::FromAgent>) {
        let mut closing = self.closing.clone();
        let mut patience = HELLO_MAX;
        loop {
            let message = tokio::select! {
                message = tokio::time::timeout(patience, inbound.message()) => message,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let event = match message {
                Ok(Ok(Some(proto::FromAgent { message: Some(message) }))) => Self::event(connection, message),
                Ok(Ok(Some(proto::FromAgent { message: None }))) => {
                    let invalid = blueback_report::Invalid::Missing { field: "message" };
                    Event::AgentInvalid { connection, invalid }
                }
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    // Not even a message: too large, or not the protocol. A connection that is cut ends here as well.
                    self.metrics.streams_broken.inc();
                    tracing::debug!(connection, %error, "Stream broken");
                    break;
                }
                Err(_) => {
                    tracing::info!(connection, "Agent silent, stream ended");
                    break;
                }
            };
            if let Event::AgentInvalid { invalid, .. } = &event {
                tracing::debug!(connection, %invalid, "Message dropped");
            }
            patience = SILENCE_MAX;
            if !self.tell(event).await {
                break;
            }
        }
        self.streams.close(connection, "the stream is over");
        self.tell(Event::AgentGone { connection }).await;
    }

    fn event(connection: Connection, message: from_agent::Message) -> Event {
        match message {
            from_agent::Message::Hello(hello) => match Hello::try_from(hello) {
                Ok(hello) => Event::AgentHello { connection, hello },
                Err(invalid) => Event::AgentInvalid { connection, invalid },
            },
            from_agent::Message::Report(report) => match Report::try_from(report) {
                Ok(report) => Event::AgentReport { connection, report },
                Err(invalid) => Event::AgentInvalid { connection, invalid },
            },
        }
    }
}

#[tonic::async_trait]
impl intake_server::Intake for Intake {
    type StreamStream = Pin<Box<dyn tokio_stream::Stream<Item = Outbound> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<proto::FromAgent>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        let outbound = self.streams.open(connection);
        let this = self.clone();
        tokio::spawn(async move { this.serve(connection, request.into_inner()).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}
