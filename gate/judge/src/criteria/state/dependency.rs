//! What the application depends on, as agents probe it.
//!
//! Each agent's word has a time, and one that is not repeated is no evidence. Half of the agents may have a bad line to a
//! database; more than half of them means that the database is down for that side.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{Counts, Slot};

use super::Sights;
use crate::criteria::plain::{Side, Sight};
use crate::observation::Observation;
use crate::rules::Comparison;
use crate::text::{count, number};

/// Agents whose word is kept.
const AGENTS_MAX: usize = 1_024;
/// What was said longer ago is not known any more.
const STALE_MS: u64 = 15_000;
/// A latency is over this many seconds where the rule does not say.
const OVER_S: u64 = 60;
/// With fewer probes in it, nothing is known.
const PROBES_MIN: u64 = 20;

/// A dependency that does not answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Down {
    name: Arc<str>,
    agents: BTreeMap<u32, (Side, bool, u64)>,
}

crate::save::saved!(Down { name, agents });

impl Down {
    pub(super) const fn new(name: Arc<str>) -> Self {
        Self { name, agents: BTreeMap::new() }
    }

    pub(super) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        match observation {
            Observation::Dependency { agent, slot, name, up, .. }
                if **name == *self.name && (self.agents.len() < AGENTS_MAX || self.agents.contains_key(agent)) =>
            {
                self.agents.insert(*agent, (Side::of(*slot, candidate), *up, now_ms));
            }
            Observation::AgentGone { agent } => drop(self.agents.remove(agent)),
            _ => (),
        }
    }

    pub(super) fn look(&self, now_ms: u64) -> Sights {
        let mut sights = [Sight::default(); 3];
        let fresh = self.agents.values().filter(|(.., told_ms)| now_ms.saturating_sub(*told_ms) <= STALE_MS);
        for (side, up, _) in fresh {
            let sight = &mut sights[*side as usize];
            sight.n += 1;
            sight.bad += u64::from(!up);
        }
        for sight in sights.iter_mut().filter(|sight| sight.n > 0) {
            sight.value = Some(sight.bad as f64);
            sight.holds = Some(sight.bad * 2 > sight.n);
        }
        sights
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        format!("{} of {} that probe {} get no answer", number(green.bad), count(green.n, "agent"), self.name)
    }
}

/// A dependency that answers late: more than 1 - `quantile` of its probes took longer than the limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slow {
    name: Arc<str>,
    quantile: f64,
    comparison: Comparison,
    pub(super) limit_us: u64,
    over_s: u64,
    /// The second that is being counted.
    second: u64,
    /// Probes and those over the limit, by side: of each of the last seconds, as a ring, and of all of them.
    ring: Vec<[(u64, u64); 3]>,
    sums: [(u64, u64); 3],
    /// For people: of green or of neither, of this window and of the one before.
    counts: [Counts; 2],
    counts_since_s: u64,
}

crate::save::saved!(Slow { name, quantile, comparison, limit_us, over_s, second, ring, sums, counts, counts_since_s });

impl Slow {
    pub(super) fn new(
        name: Arc<str>,
        quantile: f64,
        comparison: Comparison,
        limit_us: u64,
        over_s: Option<u64>,
    ) -> Self {
        let over_s = over_s.unwrap_or(OVER_S);
        Self {
            name,
            quantile,
            comparison,
            limit_us,
            over_s,
            second: 0,
            ring: vec![[(0, 0); 3]; usize::try_from(over_s).unwrap_or(1)],
            sums: [(0, 0); 3],
            counts: [Counts::default(), Counts::default()],
            counts_since_s: 0,
        }
    }

    fn advance(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        let ring = self.ring.len() as u64;
        for next in (self.second + 1..=second).rev().take(self.ring.len()) {
            let old = std::mem::take(&mut self.ring[(next % ring) as usize]);
            for (sum, old) in self.sums.iter_mut().zip(old) {
                *sum = (sum.0 - old.0, sum.1 - old.1);
            }
        }
        self.second = self.second.max(second);
        if second >= self.counts_since_s + self.over_s {
            self.counts_since_s = second;
            self.counts[1] = std::mem::take(&mut self.counts[0]);
        }
    }

    pub(super) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        let Observation::Dependency { slot, name, latency, .. } = observation else { return };
        if **name != *self.name {
            return;
        }
        self.advance(now_ms);
        // More cannot have been probed by honest agents, and sums must not overflow.
        let bounded = |count: u64| count.min(1 << 32);
        let (n, over) = (bounded(latency.total()), bounded(latency.over(self.limit_us)));
        let side = Side::of(*slot, candidate);
        let place = (self.second % self.ring.len() as u64) as usize;
        for sum in [&mut self.ring[place][side as usize], &mut self.sums[side as usize]] {
            *sum = (sum.0.saturating_add(n), sum.1.saturating_add(over.min(n)));
        }
        if side != Side::Blue {
            self.counts[0].add(latency);
        }
    }

    pub(super) fn look(&mut self, now_ms: u64) -> Sights {
        self.advance(now_ms);
        self.sums.map(|(n, over)| {
            if n < PROBES_MIN {
                return Sight { n, bad: over, ..Sight::default() };
            }
            let late = over as f64 / n as f64;
            // The quantile is over the limit when more than its complement are.
            let is_over = late > 1.0 - self.quantile;
            let holds = Some(is_over == (self.comparison == Comparison::Over));
            Sight { n, bad: over, value: None, holds }
        })
    }

    /// The quantile of late, in milliseconds.
    pub(crate) fn value_ms(&self) -> Option<f64> {
        let mut late = self.counts[0].clone();
        late.add(&self.counts[1]);
        late.quantile_us(self.quantile).map(|us| us as f64 / 1_000.0)
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        let value = self.value_ms().map_or(String::new(), |ms| format!(", p{} {ms:.0} ms", self.quantile * 100.0));
        format!(
            "{} of {} of {} took longer than {} ms in the last {} s{value}",
            number(green.bad),
            count(green.n, "probe"),
            self.name,
            self.limit_us as f64 / 1_000.0,
            self.over_s,
        )
    }
}
