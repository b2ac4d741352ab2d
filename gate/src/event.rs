//! What can happen to a gate.

use std::sync::Arc;

use blueback_report::{Hello, Invalid, Report, Slot};

use crate::evidence::Evidence;
use crate::platform::Snapshot;
use crate::recording::Recording;
use crate::records::{ReleaseRecord, ServiceRecord};

/// A stream of one agent, numbered by whoever accepts it; never reused within a gate's life.
pub type Connection = u64;

/// A question of an operator waiting for its answer, numbered by whoever asks.
pub type Ticket = u64;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// An agent opened a stream and said who it is.
    AgentHello {
        /// Its stream.
        connection: Connection,
        /// What it said.
        hello: Hello,
    },
    /// An agent reported.
    AgentReport {
        /// Its stream.
        connection: Connection,
        /// What it said.
        report: Report,
    },
    /// An agent sent something that is not a report; it is counted and otherwise ignored.
    AgentInvalid {
        /// Its stream.
        connection: Connection,
        /// What is wrong with it.
        invalid: Invalid,
    },
    /// An agent's stream ended.
    AgentGone {
        /// Its stream.
        connection: Connection,
    },
    /// Time has passed; comes every [`crate::gate::TICK_MS`] milliseconds.
    Tick,
    /// A person, or a machine on a person's behalf, wants something.
    Operator {
        /// Comes back with the answer.
        ticket: Ticket,
        /// The service it is about.
        service: Arc<str>,
        /// What is wanted.
        command: Command,
        /// Who wants it.
        by: Option<String>,
    },
    /// Something was seen that is no count of requests: what becomes of pods, answers to queries, usage, logs. Whoever sees it
    /// tells it as it comes, release or not.
    Evidence {
        /// The service it is about; one that is not known is passed over.
        service: Arc<str>,
        /// What was seen.
        evidence: Evidence,
    },
    /// Something was asked for a release, and this is the answer. For a release that is over it comes too late, and is passed over.
    Answered {
        /// The release.
        release: Arc<str>,
        /// What was seen.
        evidence: Evidence,
    },
    /// An executor has carried out a step of a revert.
    EffectDone {
        /// The release.
        release: Arc<str>,
        /// The step.
        step: Step,
        /// How, for people; empty when there is nothing to say.
        text: String,
    },
    /// An executor could not carry out a step, and will try again.
    EffectFailed {
        /// The release.
        release: Arc<str>,
        /// The step.
        step: Step,
        /// How often it has tried.
        attempt: u32,
        /// Why not.
        error: String,
    },
    /// A platform was seen to do this with a service's requests.
    Platform {
        /// The service.
        service: Arc<str>,
        /// What was seen.
        snapshot: Box<Snapshot>,
    },
    /// A service whose requests a platform splits is not guarded any more.
    PlatformGone {
        /// The service.
        service: Arc<str>,
    },
    /// What a former gate has left in the store. Only meaningful as the first event.
    Restore(Box<Stored>),
}

/// What an operator can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Give a slot this share of the requests (above 0, up to 1; all when absent), and watch it.
    Switch {
        /// The slot.
        to: Slot,
        /// Its share.
        share: Option<f64>,
    },
    /// The same, unless the newest release of the service is of this revision already.
    SwitchOnce {
        /// The slot.
        to: Slot,
        /// Its share.
        share: Option<f64>,
        /// What is released; not empty.
        revision: String,
    },
    /// Take the release back.
    Revert {
        /// Why; not empty.
        why: String,
    },
    /// Keep the share as it is, and decide nothing.
    Hold {
        /// Why; not empty.
        why: String,
    },
    /// Let the judge decide again.
    Resume {
        /// Why; not empty.
        why: String,
    },
    /// Something happened that rules may refer to.
    Signal {
        /// The signal's name.
        name: String,
        /// What happened.
        why: String,
    },
    /// What raised a signal is over. It is written down; what rules have made of the signal stays.
    SignalOver {
        /// The signal's name.
        name: String,
        /// What is over.
        why: String,
    },
}

/// The steps of a revert, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Every agent sends new requests to the baseline.
    Diverted,
    /// The durable change of traffic is made.
    Switched,
    /// The baseline has ready pods and answers.
    Verified,
    /// The candidate is let go.
    Released,
    /// Everybody who should know has been told.
    Announced,
    /// No step of a revert: a platform is asked to give the candidate another share.
    Shifted,
}

impl Step {
    /// The steps of a revert, in order.
    pub const ALL: [Self; 5] = [Self::Diverted, Self::Switched, Self::Verified, Self::Released, Self::Announced];

    /// One word, for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Diverted => "diverted",
            Self::Switched => "switched",
            Self::Verified => "verified",
            Self::Released => "released",
            Self::Announced => "announced",
            Self::Shifted => "shifted",
        }
    }
}

/// What a store holds when a gate starts.
#[derive(Debug, Default)]
pub struct Stored {
    /// Services.
    pub services: Vec<ServiceRecord>,
    /// Releases, oldest first.
    pub releases: Vec<ReleaseRecord>,
    /// What the judge saw of releases that are still watched, by id.
    pub recordings: Vec<(Arc<str>, Recording)>,
}
