//! What the event loop counts, as plain numbers; [`crate::metrics`] gives them names.

use blueback_report::Slot;

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::gate::Gate;

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

/// The state of a gate in numbers.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Counts since the gate started.
    pub counters: Counters,
    /// Agents with a stream.
    pub agents: usize,
    /// Each service.
    pub services: Vec<ServiceFigures>,
    /// Phases of the releases that are known.
    pub phases: Vec<api::Phase>,
}

/// The state of a service in numbers.
#[derive(Clone, Debug)]
pub struct ServiceFigures {
    /// Its name.
    pub name: String,
    /// Share of the requests that the green slot gets.
    pub green_share: f64,
    /// Word of the verdict, while a release is watched.
    pub verdict: Option<String>,
    /// Its rules.
    pub criteria: Vec<api::Criterion>,
    /// Blue and green.
    pub sides: Vec<SideFigures>,
}

/// One slot in numbers.
#[derive(Clone, Debug)]
pub struct SideFigures {
    /// The slot.
    pub slot: Slot,
    /// Requests ended since the gate started.
    pub ended: u64,
    /// Of those, failed by the application's fault.
    pub failed: u64,
    /// The last ten seconds.
    pub latest: api::PointSide,
}

impl Gate {
    /// The state in numbers.
    #[must_use]
    pub fn figures(&self, now: Timestamp) -> Figures {
        let services = self.services.values().map(|service| ServiceFigures {
            name: service.name.to_string(),
            green_share: service.route.green_share,
            verdict: service.live.as_ref().map(|live| live.record.release.verdict.verdict.clone()),
            criteria: service.live.as_ref().map(|live| crate::view::criteria(live.judge())).unwrap_or_default(),
            sides: [Slot::Blue, Slot::Green]
                .map(|slot| SideFigures {
                    slot,
                    ended: service.ended[slot as usize],
                    failed: service.failed[slot as usize],
                    latest: service.history.latest(slot, now),
                })
                .into(),
        });
        Figures {
            counters: self.counters.clone(),
            agents: self.ledger.connected(),
            services: services.collect(),
            phases: self.releases.values().map(|release| release.phase).collect(),
        }
    }

    /// How much longer the newest report of a stream took than the quickest, in milliseconds.
    #[must_use]
    pub fn lag_ms(&self, connection: crate::event::Connection) -> Option<u64> {
        self.ledger.by_connection(connection).map(|agent| agent.lag_ms)
    }
}
