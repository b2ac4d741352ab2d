//! What the judge is told, and what it answers beside its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{AdmissionKey, Counts, Role, Slot, Totals};

use crate::statistics::shield::State;

/// How a release begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// The slot that is new.
    pub candidate: Slot,
    /// Share of the requests that the operator wants it to get, 0 to 1.
    pub target_share: f64,
    /// The pods of both slots.
    pub pods: Vec<PodState>,
    /// What was counted in each of the last seconds before the switch (at most 600), oldest first, both slots.
    pub history: Vec<Totals>,
}

/// A pod and whether it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodState {
    /// The set it belongs to.
    pub slot: Slot,
    /// Its name.
    pub pod: Arc<str>,
    /// It answers its probe.
    pub ready: bool,
}

/// What became of a pod's containers. Counts are since the pod was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFate {
    /// The set it belongs to.
    pub slot: Slot,
    /// Its name.
    pub pod: Arc<str>,
    /// How often a container of it was started again.
    pub restarts: u32,
    /// How often one was killed for want of memory.
    pub out_of_memory: u32,
    /// The cluster waits before it starts one again (`CrashLoopBackOff`).
    pub crash_looping: bool,
}

/// Something that was seen. Further kinds of evidence are further variants.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// An agent reported.
    Growth {
        /// Which agent: a number that is its own in this release.
        agent: u32,
        /// Where it stands.
        role: Role,
        /// Epoch of the route in force there.
        epoch: u64,
        /// What its counts grew by.
        totals: &'a Totals,
        /// Its unanswered requests, by the epoch that admitted them.
        in_flight: &'a BTreeMap<AdmissionKey, u64>,
    },
    /// An agent is gone; its gauges are void.
    AgentGone {
        /// Which one.
        agent: u32,
    },
    /// A route was sent to the agents.
    Share {
        /// Its epoch.
        epoch: u64,
        /// The candidate's share of the requests under it, 0 to 1.
        candidate_share: f64,
    },
    /// The operator wants another share.
    Target {
        /// The candidate's, 0 to 1.
        share: f64,
    },
    /// The state of the pods, all of them.
    Pods {
        /// The pods of both slots.
        pods: &'a [PodState],
    },
    /// What became of pods' containers, as often as it changes. What is told first is what was before; a pod that is told of
    /// later began with nothing. Pods that are not named are as they were.
    Fates {
        /// Pods of both slots.
        pods: &'a [PodFate],
    },
    /// An agent probed something that the application depends on. It says so at least every ten seconds.
    Dependency {
        /// Which agent, as in [`Observation::Growth`].
        agent: u32,
        /// The slot of the pod it stands beside; `None` for one that stands in front.
        slot: Option<Slot>,
        /// The dependency's name, as rules refer to it.
        name: &'a str,
        /// It answered the newest probe.
        up: bool,
        /// How long probes took since it was told last.
        latency: &'a Counts,
    },
    /// What another guarded service answered in the ten minutes before the switch. Told once, at the beginning.
    ServiceBefore {
        /// Its name.
        name: &'a str,
        /// Requests that ended.
        requests: u64,
        /// Of those, failed by its fault.
        failed: u64,
    },
    /// Another guarded service, or one that is probed. It is told at least every ten seconds.
    Service {
        /// Its name, as rules refer to it.
        name: &'a str,
        /// It serves.
        up: bool,
        /// Requests that ended since it was told last.
        requests: u64,
        /// Of those, failed by its fault.
        failed: u64,
    },
    /// A query was answered, or was not.
    Query {
        /// Its name, as rules refer to it.
        name: &'a str,
        /// The answer; `None` when there was none.
        value: Option<f64>,
    },
    /// How much of what it may use a pod uses, as ratios. It is told at least every half minute.
    Resources {
        /// The set it belongs to.
        slot: Slot,
        /// Its name.
        pod: &'a str,
        /// Of its processor limit (or request, without a limit); `None` when that is not known.
        cpu: Option<f64>,
        /// Of its memory limit.
        memory: Option<f64>,
    },
    /// Lines that are critical were logged; told with 0 as well, which says that somebody looks.
    Logs {
        /// By pods of this slot.
        slot: Slot,
        /// How many since it was told last.
        critical: u64,
    },
    /// What became of requests that agents beside green's pods were to divert.
    Diverted {
        /// Requests that were to go to blue.
        requests: u64,
        /// Of those, not delivered, so that green answered them after all.
        undelivered: u64,
    },
    /// Somebody raised a signal.
    Signal {
        /// Its name, as rules refer to it.
        name: &'a str,
        /// What happened.
        why: &'a str,
    },
    /// A person wants to decide: the share stays as it is, and nothing is reverted or passed.
    Hold {
        /// Why.
        why: &'a str,
    },
    /// The person lets go.
    Resume,
}

/// The part of the candidate's requests that may go to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowance {
    /// Of all of them, 0 to 1.
    pub all: f64,
    /// Of their turn, pods that get less.
    pub pods: Vec<(Arc<str>, f64)>,
}

/// Where the shield is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShieldState {
    /// Everything that is meant for green goes to green.
    Open,
    /// All but a trickle goes to blue.
    Shielded,
    /// Green was clear on the trickle and gets a quarter.
    Probing,
    /// Blue has the same fault, so all but a trickle goes to green.
    Shared,
    /// It comes and goes: a trickle, until a person decides.
    Held,
    /// Traffic goes back to blue for good.
    Reverted,
}

impl ShieldState {
    /// `open`, `shielded`, `probing`, `shared`, `held` or `reverted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Shielded => "shielded",
            Self::Probing => "probing",
            Self::Shared => "shared",
            Self::Held => "held",
            Self::Reverted => "reverted",
        }
    }
}

impl From<State> for ShieldState {
    fn from(state: State) -> Self {
        match state {
            State::Open => Self::Open,
            State::Shielded => Self::Shielded,
            State::Probing => Self::Probing,
            State::Shared => Self::Shared,
            State::Held => Self::Held,
            State::Reverted => Self::Reverted,
        }
    }
}

/// Requests since the switch, the bad ones by one rule, and the value that the rule measures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Requests.
    pub n: u64,
    /// Of those, bad.
    pub bad: u64,
    /// The rule's value, in its unit.
    pub value: Option<f64>,
}

/// One rule and what is known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct CriterionView {
    /// The rule as it is printed back.
    pub words: String,
    /// `revert`, `pass` or `alert`.
    pub list: &'static str,
    /// The checkpoint that it belongs to, as it was written.
    pub checkpoint: Option<String>,
    /// `proven`, `for`, `pass`, `signal`, `cascade` or `state`.
    pub kind: &'static str,
    /// `holds`, `quiet`, `no data` or `not applicable`.
    pub standing: &'static str,
    /// It is shown and never acts.
    pub dry_run: bool,
    /// Green.
    pub green: Seen,
    /// Blue.
    pub blue: Seen,
    /// The rule's limit, in its unit; 0 where it has none.
    pub limit: f64,
    /// `ratio`, `ms`, `count` or, for a query, `value`.
    pub unit: &'static str,
    /// ln E, for tests.
    pub ln_e: Option<f64>,
    /// What it must reach.
    pub threshold: Option<f64>,
    /// Since when the rule holds, in milliseconds since the switch.
    pub fired_at_ms: Option<u64>,
    /// What is seen, for people.
    pub text: String,
}
