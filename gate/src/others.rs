//! What a release is told of the rest of the world: how things were before it, and how other guarded services fare.

use std::sync::Arc;

use blueback_judge::Rules;
use blueback_judge::rules::Condition;
use blueback_report::{Counts, Outcome, Role, Slot};

use crate::clock::Timestamp;
use crate::effect::Effect;
use crate::evidence::Evidence;
use crate::figures::SideCounts;
use crate::gate::{Gate, SERVICES_MAX};
use crate::history::HISTORY_SECONDS;
use crate::recording::Entry;
use crate::service::Service;

/// Time between two tellings.
const TELL_MS: u64 = 1_000;
/// Other services that one release is told of, the busiest first: as many as the judge tells apart.
const OTHERS_MAX: usize = 16;

/// What was told last of another service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Other {
    name: Arc<str>,
    ended: u64,
    failed: u64,
}

impl Gate {
    /// How things were before a release of this service begins now.
    pub(crate) fn seen_before(&self, name: &str, now: Timestamp) -> Vec<Evidence> {
        let Some(service) = self.services.get(name) else { return Vec::new() };
        let mut evidence = service.remembered.now();
        for (_, agent) in self.ledger.of(name).filter(|(_, agent)| agent.connection.is_some()) {
            let slot = match agent.role {
                Role::Sidecar(slot) => Some(slot),
                Role::Front => None,
            };
            evidence.extend(agent.dependencies.iter().filter(|known| known.checks > 0).map(|known| {
                let latency = Counts::default();
                Evidence::Dependency { agent: agent.number, slot, name: known.name.clone(), up: known.up, latency }
            }));
        }
        let others = self.services.values().filter(|other| &*other.name != name);
        let mut others: Vec<_> = others.map(|other| (other.requests_before(now), other)).collect();
        others.sort_by(|((a, _), one), ((b, _), two)| (b, &one.name).cmp(&(a, &two.name)));
        evidence.extend(others.iter().take(OTHERS_MAX).filter(|((requests, _), _)| *requests > 0).map(
            |((requests, failed), other)| Evidence::ServiceBefore {
                name: Arc::clone(&other.name),
                requests: *requests,
                failed: *failed,
            },
        ));
        evidence
    }

    /// Once a second: releases whose rules ask for it hear of other services.
    pub(crate) fn tell_of_others(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if now.since(self.others_told) < TELL_MS {
            return;
        }
        self.others_told = now;
        let asks = |service: &Service| service.live.as_ref().is_some_and(|live| asks_for_others(live.judge().rules()));
        if self.services.len() < 2 || !self.services.values().any(asks) {
            return;
        }
        let state = |service: &Service| {
            let is_up = service.pods.iter().any(|pod| pod.slot == service.serving && pod.ready);
            (Arc::clone(&service.name), is_up, service.ended(|_| true), service.ended(Outcome::is_fault))
        };
        // A service of which no backend is known says nothing.
        let known = self.services.values().filter(|service| !service.pods.is_empty());
        let states: Vec<_> = known.map(state).collect();
        for service in self.services.values_mut().filter(|service| asks(service)) {
            let Some(live) = &mut service.live else { continue };
            for (name, up, ended, failed) in states.iter().filter(|(name, ..)| *name != service.name) {
                let evidence = live.others.grown(name, *up, *ended, *failed);
                if let Some(evidence) = evidence {
                    live.feed(Entry::Evidence(evidence), now, effects);
                }
            }
        }
    }
}

impl Service {
    /// Requests of both slots that ended like this, since this gate started.
    fn ended(&self, like: impl Fn(Outcome) -> bool) -> u64 {
        let of = |side: &SideCounts| -> u64 {
            let counted = Outcome::ALL.into_iter().zip(side.requests);
            counted.filter(|(outcome, _)| like(*outcome)).map(|(_, requests)| requests).fold(0, u64::saturating_add)
        };
        self.sides.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Requests of both slots that ended in the last ten minutes, and those that failed.
    fn requests_before(&self, now: Timestamp) -> (u64, u64) {
        [Slot::Blue, Slot::Green]
            .map(|slot| self.history.recent(slot, HISTORY_SECONDS, Timestamp::default(), now))
            .into_iter()
            .fold((0, 0), |sum, next| (sum.0.saturating_add(next.0), sum.1.saturating_add(next.1)))
    }
}

fn asks_for_others(rules: &Rules) -> bool {
    rules.iter().any(|(_, rule)| matches!(rule.condition, Condition::FailuresCascading | Condition::ServiceDown(_)))
}

/// What one release was told of others.
#[derive(Debug, Default)]
pub(crate) struct Others(Vec<Other>);

impl Others {
    /// What a service did since it was told last; the first time only says whether it is up.
    fn grown(&mut self, name: &Arc<str>, up: bool, ended: u64, failed: u64) -> Option<Evidence> {
        let growth = if let Some(other) = self.0.iter_mut().find(|other| other.name == *name) {
            let growth = (ended.saturating_sub(other.ended), failed.saturating_sub(other.failed));
            (other.ended, other.failed) = (ended, failed);
            growth
        } else if self.0.len() < SERVICES_MAX {
            self.0.push(Other { name: Arc::clone(name), ended, failed });
            (0, 0)
        } else {
            return None;
        };
        Some(Evidence::Service { name: Arc::clone(name), up, requests: growth.0, failed: growth.1 })
    }
}
