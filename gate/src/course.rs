//! The course of a release: how the evidence of each rule rose, and how many requests were lost since the switch.
//!
//! The judge knows only where its evidence stands now. A person wants to see how it got there, so the gate notes it once a
//! second, for as long as the history of the service reaches.

use std::collections::VecDeque;

use blueback_judge::Judge;
use blueback_report::Slot;

use crate::api::types as api;
use crate::history::HISTORY_SECONDS;
use crate::recording::Entry;
use crate::view;

/// Time between two weighings, in milliseconds: as fine as the points beside which they are drawn.
const WEIGH_EVERY_MS: u64 = 1_000;
/// Weighings kept; the oldest go first.
const WEIGHINGS_MAX: usize = HISTORY_SECONDS as usize;

/// How a release went so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    weighings: VecDeque<api::Weighing>,
    sums: [api::Sum; 2],
}

impl Course {
    /// Notes how the evidence stands, unless it was just noted.
    pub(crate) fn weigh(&mut self, after_ms: u64, judge: &Judge) {
        if self.weighings.back().is_some_and(|newest| after_ms < newest.after_ms + WEIGH_EVERY_MS) {
            return;
        }
        self.weigh_now(after_ms, judge);
    }

    /// Notes how the evidence stands: what decided must not fall between two seconds.
    pub(crate) fn weigh_now(&mut self, after_ms: u64, judge: &Judge) {
        let evidence = judge.criteria().iter().map(|criterion| criterion.ln_e.and_then(view::finite)).collect();
        self.note(api::Weighing { after_ms, evidence });
    }

    fn note(&mut self, weighing: api::Weighing) {
        if self.weighings.len() >= WEIGHINGS_MAX {
            self.weighings.pop_front();
        }
        self.weighings.push_back(weighing);
    }

    /// Counts the requests in what the judge is told.
    pub(crate) fn count(&mut self, entry: &Entry) {
        let Entry::Growth(growth) = entry else { return };
        for (key, latency) in &growth.totals.series {
            let ended = latency.last_byte.total();
            let sum = &mut self.sums[key.slot as usize];
            sum.requests = sum.requests.saturating_add(ended);
            if key.outcome.is_fault() {
                sum.failed = sum.failed.saturating_add(ended);
            }
        }
    }

    /// What was noted, oldest first.
    #[must_use]
    pub(crate) fn weighings(&self) -> Vec<api::Weighing> {
        self.weighings.iter().cloned().collect()
    }

    /// Requests of a slot since the switch.
    #[must_use]
    pub(crate) const fn sum(&self, slot: Slot) -> api::Sum {
        self.sums[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let mut course = Course::default();
        for second in 0..2 * HISTORY_SECONDS {
            course.note(api::Weighing { after_ms: second * 1_000, evidence: vec![None] });
        }
        let kept = course.weighings();
        assert_eq!(kept.len(), WEIGHINGS_MAX);
        assert_eq!(kept.last().map(|newest| newest.after_ms), Some((2 * HISTORY_SECONDS - 1) * 1_000));
    }
}
