//! What a gate wants done. Executors do it, and come back with events.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::wire::proto;
use blueback_report::{Route, Slot, Watch, Welcome};

use crate::api::types as api;
use crate::event::{Connection, Step, Ticket};
use crate::recording::Frame;
use crate::records::{ReleaseRecord, ServiceRecord};
use crate::trace::TraceId;

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell an agent.
    Send {
        /// Its stream.
        connection: Connection,
        /// What.
        message: ToAgent,
    },
    /// End an agent's stream.
    Close {
        /// The stream.
        connection: Connection,
        /// Why, for the agent's log.
        why: String,
    },
    /// Make the durable change of traffic: [`Step::Switched`].
    ChangeTraffic(Job),
    /// Ask the platform to give the candidate the job's share: [`Step::Shifted`].
    ShiftTraffic(Job),
    /// See that the baseline can serve, by what only the platform knows: [`Step::Verified`].
    VerifyBaseline(Job),
    /// Let go of the candidate: [`Step::Released`].
    ReleaseCandidate(Job),
    /// Tell everybody: [`Step::Announced`].
    Announce(Job),
    /// The pods of a service that have a slot, by name and by UID, are these now.
    Assign {
        /// The service.
        service: Arc<str>,
        /// Pods and their slots.
        slots: Arc<BTreeMap<Arc<str>, Slot>>,
    },
    /// A service is not guarded any more; one that is guarded later under the same name begins with nothing.
    Forget {
        /// The service.
        service: Arc<str>,
    },
    /// Keep what the judge saw.
    Record {
        /// The release.
        release: Arc<str>,
        /// What and when.
        frame: Frame,
    },
    /// Keep the state of a service.
    SaveService(ServiceRecord),
    /// Keep the state of a release.
    SaveRelease(Box<ReleaseRecord>),
    /// A release changed; tell those who wait for it.
    Publish(Arc<api::Release>),
    /// Answer an operator.
    Answer {
        /// The question.
        ticket: Ticket,
        /// The release as it is now, or why not.
        answer: Result<Arc<api::Release>, Refusal>,
    },
}

/// A step of a revert for an executor. Doing it twice does no more than doing it once.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The release.
    pub release: Arc<str>,
    /// Its trace, for the log.
    pub trace: TraceId,
    /// Its service.
    pub service: Arc<str>,
    /// Which step.
    pub step: Step,
    /// The slot that shall serve.
    pub baseline: Slot,
    /// The slot that is taken back.
    pub candidate: Slot,
    /// The state to keep, where the step is to keep it.
    pub record: ServiceRecord,
    /// The story so far.
    pub text: String,
    /// The part of all requests that the candidate shall get.
    pub share: f64,
}

/// What the gate says to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum ToAgent {
    /// The newest time of this instance that is merged; zero when it is unknown.
    Welcome {
        /// By the agent's clock.
        merged_ms: u64,
        /// The slot of a sidecar.
        slot: Option<Slot>,
    },
    /// A report is merged.
    Ack {
        /// By the agent's clock.
        at_ms: u64,
    },
    /// Where requests go.
    Route(Route),
    /// What to look at, and how often to report.
    Watch(Watch),
}

impl From<&ToAgent> for proto::ToAgent {
    fn from(message: &ToAgent) -> Self {
        use proto::to_agent::Message;
        let message = match message {
            ToAgent::Welcome { merged_ms, slot } => {
                Message::Welcome(Welcome { merged_ms: *merged_ms, slot: *slot }.into())
            }
            ToAgent::Ack { at_ms } => Message::Ack(proto::Ack { at_ms: *at_ms }),
            ToAgent::Route(route) => Message::Route(route.into()),
            ToAgent::Watch(watch) => Message::Watch(watch.into()),
        };
        Self { message: Some(message) }
    }
}

/// Why an operator does not get what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// It is not the time for it.
    #[error("{0}")]
    Conflict(String),
    /// A field has a value that is not accepted.
    #[error("{field}: {message}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be accepted.
        message: String,
    },
}
