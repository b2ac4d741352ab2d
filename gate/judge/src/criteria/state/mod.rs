//! The states that rules are about, one file a kind. Each keeps only what its own rule needs, within a bound.

mod dependency;
mod elsewhere;
mod logs;
mod pods;
mod resources;

#[cfg(test)]
mod tests;

use blueback_report::Slot;

use self::dependency::{Down, Slow};
use self::elsewhere::{QueryAnswer, ServiceUp};
use self::logs::Logs;
use self::pods::{Ready, Trouble, TroubleKind};
use self::resources::{Resource, Usage};
use super::plain::Sight;
use crate::observation::Observation;
use crate::rules::{Condition, Rule};

/// What a rule about a state looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sense {
    /// How many pods are ready.
    Ready(Ready),
    /// Pods whose containers die.
    Trouble(Trouble),
    /// A dependency that does not answer.
    Down(Down),
    /// A dependency that answers late.
    Slow(Slow),
    /// Another service.
    Service(ServiceUp),
    /// What a query says.
    Query(QueryAnswer),
    /// Processor or memory.
    Usage(Usage),
    /// Critical lines.
    Logs(Logs),
}

crate::save::saved_variants!(Sense {
    Ready(Ready) = 0,
    Trouble(Trouble) = 1,
    Down(Down) = 2,
    Slow(Slow) = 3,
    Service(ServiceUp) = 4,
    Query(QueryAnswer) = 5,
    Usage(Usage) = 6,
    Logs(Logs) = 7,
});

/// Green, blue, and what stands beside neither.
pub(crate) type Sights = [Sight; 3];

impl Sense {
    /// Of a rule; `None` when it is about something else.
    pub(crate) fn of(rule: &Rule) -> Option<Self> {
        let over_s = rule.over_ms.map(|ms| ms / 1_000);
        Some(match &rule.condition {
            &Condition::PodsReady(comparison, percent) => Self::Ready(Ready::new(comparison, percent / 100.0)),
            Condition::PodsRestarting => Self::Trouble(Trouble::new(TroubleKind::Restarting)),
            Condition::PodsCrashLooping => Self::Trouble(Trouble::new(TroubleKind::CrashLooping)),
            Condition::PodsOutOfMemory => Self::Trouble(Trouble::new(TroubleKind::OutOfMemory)),
            Condition::DependencyDown(name) => Self::Down(Down::new(name.clone())),
            Condition::DependencyLatency { name, percentile, comparison, limit_us } => {
                Self::Slow(Slow::new(name.clone(), percentile / 100.0, *comparison, *limit_us, over_s))
            }
            Condition::ServiceDown(name) => Self::Service(ServiceUp::new(name.clone())),
            Condition::Query(name, comparison, limit) => {
                Self::Query(QueryAnswer::new(name.clone(), *comparison, *limit))
            }
            &Condition::Cpu(comparison, percent) => Self::Usage(Usage::new(Resource::Cpu, comparison, percent / 100.0)),
            &Condition::Memory(comparison, percent) => {
                Self::Usage(Usage::new(Resource::Memory, comparison, percent / 100.0))
            }
            &Condition::CriticalLogs(comparison, limit) => Self::Logs(Logs::new(comparison, limit, over_s)),
            _ => return None,
        })
    }

    pub(super) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        match self {
            Self::Ready(ready) => ready.hear(candidate, observation),
            Self::Trouble(trouble) => trouble.hear(now_ms, candidate, observation),
            Self::Down(down) => down.hear(now_ms, candidate, observation),
            Self::Slow(slow) => slow.hear(now_ms, candidate, observation),
            Self::Service(service) => service.hear(now_ms, observation),
            Self::Query(query) => query.hear(now_ms, observation),
            Self::Usage(usage) => usage.hear(now_ms, candidate, observation),
            Self::Logs(logs) => logs.hear(now_ms, candidate, observation),
        }
    }

    pub(super) fn look(&mut self, now_ms: u64) -> Sights {
        match self {
            Self::Ready(ready) => ready.look(),
            Self::Trouble(trouble) => trouble.look(now_ms),
            Self::Down(down) => down.look(now_ms),
            Self::Slow(slow) => slow.look(now_ms),
            Self::Service(service) => service.look(now_ms),
            Self::Query(query) => query.look(now_ms),
            Self::Usage(usage) => usage.look(now_ms),
            Self::Logs(logs) => logs.look(now_ms),
        }
    }

    /// The rule's limit, in [`Sense::unit`].
    pub(crate) fn limit(&self) -> f64 {
        match self {
            Self::Ready(ready) => ready.limit,
            Self::Trouble(_) | Self::Down(_) | Self::Service(_) => 0.0,
            Self::Slow(slow) => slow.limit_us as f64 / 1_000.0,
            Self::Query(query) => query.limit,
            Self::Usage(usage) => usage.limit,
            Self::Logs(logs) => logs.limit as f64,
        }
    }

    /// `ratio`, `ms`, `count` or `value`.
    pub(crate) const fn unit(&self) -> &'static str {
        match self {
            Self::Ready(_) | Self::Usage(_) => "ratio",
            Self::Slow(_) => "ms",
            Self::Trouble(_) | Self::Down(_) | Self::Service(_) | Self::Logs(_) => "count",
            Self::Query(_) => "value",
        }
    }

    /// What is seen, for people.
    pub(crate) fn text(&self, green: &Sight) -> String {
        if green.holds.is_none() {
            return self.missing().to_owned();
        }
        match self {
            Self::Ready(ready) => ready.text(green),
            Self::Trouble(trouble) => trouble.text(green),
            Self::Down(down) => down.text(green),
            Self::Slow(slow) => slow.text(green),
            Self::Service(service) => service.text(),
            Self::Query(query) => query.text(green),
            Self::Usage(usage) => usage.text(green),
            Self::Logs(logs) => logs.text(green),
        }
    }

    const fn missing(&self) -> &'static str {
        match self {
            Self::Ready(_) => "no data: no pod of green is known",
            Self::Trouble(_) => "no data: nobody tells what becomes of pods",
            Self::Down(_) => "no data: no agent probes it",
            Self::Slow(_) => "no data: too few probes of it",
            Self::Service(_) => "no data: nobody tells how it is",
            Self::Query(_) => "no data: the query has no answer",
            Self::Usage(_) => "no data: no agent knows its pod's limits",
            Self::Logs(_) => "no data: nobody reads the logs",
        }
    }
}
