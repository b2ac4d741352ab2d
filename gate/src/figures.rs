//! What the event loop counts, as plain numbers; [`crate::metrics`] gives them names.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{Counts, Outcome, Role, Slot};

use crate::api::types as api;
use crate::event::Step;
use crate::evidence::Usage;
use crate::examples::Examples;
use crate::gate::Gate;
use crate::revert::Revert;
use crate::service::Service;

/// Why a report, or an agent, was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A value that a report cannot have.
    Invalid,
    /// The stream has not said whose it is.
    NoHello,
    /// Measured in the future.
    Future,
    /// About a backend that the agent has not named.
    UnknownPod,
    /// More series than an agent may have.
    TooManySeries,
    /// More of the ring than an agent may have.
    TooManyReplayed,
    /// More agents than the gate takes.
    TooManyAgents,
    /// More services than the gate takes.
    TooManyServices,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Invalid,
        Self::NoHello,
        Self::Future,
        Self::UnknownPod,
        Self::TooManySeries,
        Self::TooManyReplayed,
        Self::TooManyAgents,
        Self::TooManyServices,
    ];

    /// One word, for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NoHello => "no_hello",
            Self::Future => "future",
            Self::UnknownPod => "unknown_pod",
            Self::TooManySeries => "too_many_series",
            Self::TooManyReplayed => "too_many_replayed",
            Self::TooManyAgents => "too_many_agents",
            Self::TooManyServices => "too_many_services",
        }
    }
}

/// Counts since the gate started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reports merged.
    pub merged: u64,
    /// Reports dropped, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Moments that a release's timeline had no room for.
    pub moments_dropped: u64,
}

impl Counters {
    /// Counts one.
    pub fn drop_one(&mut self, why: Dropped) {
        self.dropped[why as usize] += 1;
    }

    /// How many were dropped for this reason.
    #[must_use]
    pub const fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize]
    }
}

/// What ended on one side, since this gate started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideCounts {
    /// Requests, in the order of [`Outcome::ALL`].
    pub requests: [u64; Outcome::ALL.len()],
    /// Their latencies to the last byte.
    pub latency: Counts,
}

impl SideCounts {
    /// Adds what was seen of one outcome.
    pub(crate) fn add(&mut self, outcome: Outcome, latency: &Counts) {
        let sum = &mut self.requests[outcome as usize];
        *sum = sum.saturating_add(latency.total());
        self.latency.add(latency);
    }
}

/// How releases of a service ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    /// Traffic went back.
    pub reverted: u64,
    /// Every checkpoint was passed.
    pub passed: u64,
    /// A newer switch took its place.
    pub superseded: u64,
}

/// The state of a gate in numbers.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Counts since the gate started.
    pub counters: Counters,
    /// Each service.
    pub services: Vec<ServiceFigures>,
    /// Phases of the releases that are known.
    pub phases: Vec<api::Phase>,
}

/// The state of a service in numbers. Of two things, the first is blue's: that of the side that served before.
#[derive(Clone, Debug, Default)]
pub struct ServiceFigures {
    /// Its name.
    pub name: String,
    /// Share of the requests that each side is meant to get.
    pub shares: [f64; 2],
    /// Word of the verdict, while a release is watched.
    pub verdict: Option<String>,
    /// Its rules.
    pub criteria: Vec<api::Criterion>,
    /// What ended.
    pub sides: [SideCounts; 2],
    /// Examples of it that have a trace.
    pub examples: [Examples; 2],
    /// Agents of each side that have a stream.
    pub agents: [u32; 2],
    /// Front agents that have one.
    pub front_agents: u32,
    /// Pods of each side: those that are not ready, those that are.
    pub pods: [[u32; 2]; 2],
    /// Dependencies, and whether at least half of the agents that probe one reach it.
    pub dependencies: Vec<(Arc<str>, bool)>,
    /// Processor and memory of each side, used of what is allowed: the mean of its pods.
    pub usage: [Usage; 2],
    /// The newest release.
    pub release: Option<ReleaseFigures>,
    /// How releases ended since this gate started.
    pub endings: Endings,
}

/// The newest release of a service in numbers.
#[derive(Clone, Debug)]
pub struct ReleaseFigures {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub phase: api::Phase,
    /// Since when, in Unix milliseconds.
    pub phase_since_ms: u64,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
    /// State of the shield.
    pub shield: ShieldFigure,
    /// Attempts that failed at the step in hand of a revert under way.
    pub failed_attempts: Option<(Step, u32)>,
}

/// What the shield does, for whoever watches many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShieldFigure {
    /// It is down.
    Down,
    /// Single pods are shielded.
    Pods,
    /// Green as a whole is.
    Up,
}

impl ShieldFigure {
    /// All of them, each with one word for labels.
    pub const ALL: [(Self, &str); 3] = [(Self::Down, "down"), (Self::Pods, "pods"), (Self::Up, "up")];
}

/// When a release entered its phase: the moment of its timeline that began it.
fn phase_since_ms(release: &api::Release) -> u64 {
    let words: &[&str] = match release.phase {
        api::Phase::Watching => &["switched", "resumed"],
        api::Phase::Passed => &["passed"],
        api::Phase::Done => &["done"],
        api::Phase::Reverting => &["proven"],
        api::Phase::Reverted => &["announced"],
        api::Phase::Held => &["held"],
        api::Phase::Inconclusive => &["inconclusive"],
        api::Phase::Superseded => &["superseded"],
    };
    let began = release.timeline.iter().find(|moment| words.contains(&moment.what.as_str()));
    began.map_or(release.ended_ms.unwrap_or(release.started_ms), |moment| moment.at_ms)
}

impl Gate {
    /// The state in numbers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            counters: self.counters.clone(),
            services: self.services.values().map(|service| self.of_service(service)).collect(),
            phases: self.releases.values().map(|release| release.phase).collect(),
        }
    }

    fn of_service(&self, service: &Service) -> ServiceFigures {
        let blue = service.blue_side();
        let sides = [blue, blue.other()];
        let mut figures = ServiceFigures {
            name: service.name.to_string(),
            shares: sides.map(|slot| match slot {
                Slot::Green => service.route.green_share,
                Slot::Blue => 1.0 - service.route.green_share,
            }),
            verdict: service.live.as_ref().map(|live| live.record.release.verdict.verdict.clone()),
            criteria: service.live.as_ref().map(|live| crate::view::criteria(live.judge())).unwrap_or_default(),
            sides: service.sides.clone(),
            examples: service.examples.clone(),
            endings: service.endings,
            usage: sides.map(|slot| service.remembered.usage(slot, &service.pods)),
            ..ServiceFigures::default()
        };
        let mut dependencies: BTreeMap<&Arc<str>, [u32; 2]> = BTreeMap::new();
        for (_, agent) in self.ledger.of(&service.name).filter(|(_, agent)| agent.connection.is_some()) {
            match agent.role {
                Role::Front => figures.front_agents += 1,
                Role::Sidecar(slot) => figures.agents[usize::from(slot != blue)] += 1,
            }
            for known in agent.dependencies.iter().filter(|known| known.checks > 0) {
                dependencies.entry(&known.name).or_default()[usize::from(known.up)] += 1;
            }
        }
        let is_up = |(name, [down, up]): (&Arc<str>, [u32; 2])| (Arc::clone(name), up >= down);
        figures.dependencies = dependencies.into_iter().map(is_up).collect();
        for pod in &service.pods {
            figures.pods[usize::from(pod.slot != blue)][usize::from(pod.ready)] += 1;
        }
        figures.release = service.latest.as_ref().and_then(|id| self.releases.get(id)).map(|release| {
            let live = service.live.as_ref().filter(|live| *live.id == *release.id);
            let pods = live.is_some_and(|live| live.judge().shielded_pod().is_some());
            ReleaseFigures {
                id: release.id.clone(),
                phase: release.phase,
                phase_since_ms: phase_since_ms(release),
                started_ms: release.started_ms,
                shield: match (live, release.shield.as_str()) {
                    (None, _) | (_, "open") => ShieldFigure::Down,
                    _ if pods => ShieldFigure::Pods,
                    _ => ShieldFigure::Up,
                },
                failed_attempts: live.and_then(|live| live.revert.as_ref()).and_then(Revert::failed_attempts),
            }
        });
        figures
    }

    /// How much longer the newest report of a stream took than the quickest, in milliseconds.
    #[must_use]
    pub fn lag_ms(&self, connection: crate::event::Connection) -> Option<u64> {
        self.ledger.by_connection(connection).map(|agent| agent.lag_ms)
    }
}
