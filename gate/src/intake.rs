//! The agents' door: streams in, events to the loop.
//!
//! A loop that falls behind makes streams wait, and agents then send only their newest state, so nothing is lost by it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blueback_report::wire::proto::{self, from_agent};
use blueback_report::{Hello, Introduction, Invalid, MESSAGE_BYTES_MAX, Report, Slot};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::door::{Denied, Door, PodIdentity};
use crate::event::{Connection, Event};
use crate::executors::assignments::Assignments;
use crate::executors::streams::{Outbound, Streams};
use crate::kubernetes::elector::Standing;
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
    /// Knows whose agents may come in.
    pub door: Arc<dyn Door>,
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
    /// Slots of agents that do not know theirs; nobody assigns any when absent.
    pub assignments: Option<Assignments>,
    /// Where this gate stands among several; it is alone when absent.
    pub standing: Option<watch::Receiver<Standing>>,
}

/// Metadata with the address of the gate that leads.
const LEADER: &str = "blueback-leader";

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

    async fn serve(&self, connection: Connection, pod: Option<PodIdentity>, mut inbound: Streaming<proto::FromAgent>) {
        let mut closing = self.closing.clone();
        let mut patience = HELLO_MAX;
        loop {
            let message = tokio::select! {
                message = tokio::time::timeout(patience, inbound.message()) => message,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let event = match message {
                Ok(Ok(Some(proto::FromAgent { message: Some(from_agent::Message::Hello(hello)) }))) => {
                    match self.introduced(connection, pod.as_ref(), hello).await {
                        Ok(event) => event,
                        Err(status) => {
                            tracing::debug!(connection, %status, "Agent not accepted");
                            self.streams.end(connection, status);
                            break;
                        }
                    }
                }
                Ok(Ok(Some(proto::FromAgent { message: Some(from_agent::Message::Report(report)) }))) => {
                    Self::reported(connection, report)
                }
                Ok(Ok(Some(proto::FromAgent { message: None }))) => {
                    let invalid = Invalid::Missing { field: "message" };
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

    /// An agent says who it is, and is told its slot if it does not know it. Who it is is looked at before it is kept waiting.
    async fn introduced(
        &self,
        connection: Connection,
        pod: Option<&PodIdentity>,
        hello: proto::Hello,
    ) -> Result<Event, Status> {
        let check = |hello: &Hello| self.door.hello(pod, hello).map_err(|denied| self.refusal(&denied));
        let introduction = match Introduction::try_from(hello) {
            Ok(introduction) => introduction,
            Err(invalid) => return Ok(Event::AgentInvalid { connection, invalid }),
        };
        let hello = match introduction {
            Introduction::Known(hello) => {
                check(&hello)?;
                hello
            }
            Introduction::Unassigned(unassigned) => {
                let Some(assignments) = &self.assignments else {
                    return Ok(Event::AgentInvalid { connection, invalid: Invalid::Unassigned });
                };
                check(&unassigned.clone().assigned(Slot::Blue))?;
                // An instance is the pod's UID, or its name, and a start's own id.
                let instance = Arc::clone(unassigned.agent());
                let pod = instance.split('/').next().unwrap_or_default();
                let slot = assignments.slot_of(unassigned.service(), pod).await;
                unassigned.assigned(slot.ok_or_else(|| Status::unavailable("the pod has no slot yet; come again"))?)
            }
        };
        Ok(Event::AgentHello { connection, hello })
    }

    fn reported(connection: Connection, report: proto::Report) -> Event {
        match Report::try_from(report) {
            Ok(report) => Event::AgentReport { connection, report },
            Err(invalid) => Event::AgentInvalid { connection, invalid },
        }
    }

    /// Refuses when another gate leads, and says which.
    fn check_standing(&self) -> Result<(), Status> {
        let standing = self.standing.as_ref().map(|standing| standing.borrow().clone());
        let Some(Standing::Follows(leader)) = standing else { return Ok(()) };
        let mut status = Status::unavailable("another gate leads");
        if let Some(leader) = leader.and_then(|leader| leader.parse().ok()) {
            status.metadata_mut().insert(LEADER, leader);
        }
        Err(status)
    }

    /// What an agent is told that is not let in.
    fn refusal(&self, denied: &Denied) -> Status {
        let (reason, status): (_, fn(String) -> Status) = match denied {
            Denied::Unauthenticated(_) => ("unauthenticated", Status::unauthenticated),
            Denied::Forbidden(_) => ("foreign_pod", Status::permission_denied),
            Denied::Unguarded(_) => ("unknown_gate", Status::permission_denied),
            Denied::Unavailable(_) => ("unavailable", Status::unavailable),
        };
        self.metrics.agents_refused.with_label_values(&[reason]).inc();
        tracing::info!(%denied, reason, "Agent not let in");
        status(denied.to_string())
    }
}

#[tonic::async_trait]
impl intake_server::Intake for Intake {
    type StreamStream = Pin<Box<dyn tokio_stream::Stream<Item = Outbound> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<proto::FromAgent>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        self.check_standing()?;
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let pod = self.door.agent(token).await.map_err(|denied| self.refusal(&denied))?;
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        let outbound = self.streams.open(connection);
        let this = self.clone();
        tokio::spawn(async move { this.serve(connection, pod, request.into_inner()).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}
