//! Lines that are critical, counted by whoever reads the logs.

use std::collections::VecDeque;

use blueback_report::Slot;

use super::Sights;
use crate::criteria::plain::Sight;
use crate::observation::Observation;
use crate::rules::Comparison;
use crate::text::{count, number, time};

/// Critical lines of each side since the switch, or of the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Logs {
    comparison: Comparison,
    pub(super) limit: u64,
    over_s: Option<u64>,
    sums: [Option<u64>; 2],
    /// Seconds with lines in the window, and their lines by side; as many as a rule may look back.
    seconds: VecDeque<(u64, [u64; 2])>,
}

crate::save::saved!(Logs { comparison, limit, over_s, sums, seconds });

impl Logs {
    pub(super) const fn new(comparison: Comparison, limit: u64, over_s: Option<u64>) -> Self {
        Self { comparison, limit, over_s, sums: [None; 2], seconds: VecDeque::new() }
    }

    pub(super) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        let Observation::Logs { slot, critical } = *observation else { return };
        let side = usize::from(slot != candidate);
        let critical = critical.min(1 << 32);
        let sum = self.sums[side].get_or_insert(0);
        *sum = sum.saturating_add(critical);
        if self.over_s.is_some() && critical > 0 {
            let second = now_ms / 1_000;
            if self.seconds.back().is_none_or(|(last, _)| *last < second) {
                self.seconds.push_back((second, [0; 2]));
            }
            if let Some((_, lines)) = self.seconds.back_mut() {
                lines[side] = lines[side].saturating_add(critical);
            }
        }
    }

    pub(super) fn look(&mut self, now_ms: u64) -> Sights {
        if let Some(over_s) = self.over_s {
            while self.seconds.front().is_some_and(|(second, _)| now_ms / 1_000 >= second + over_s) {
                let Some((_, lines)) = self.seconds.pop_front() else { break };
                for (sum, lines) in self.sums.iter_mut().zip(lines) {
                    *sum = sum.map(|sum| sum.saturating_sub(lines));
                }
            }
        }
        let [green, blue] = self.sums.map(|lines| {
            let value = lines.map(|lines| lines as f64);
            let holds = value.map(|value| self.comparison.holds(value, self.limit as f64));
            Sight { n: lines.unwrap_or(0), bad: lines.unwrap_or(0), value, holds }
        });
        [green, blue, Sight::default()]
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        let when =
            self.over_s.map_or("since the switch".to_owned(), |over_s| format!("in the last {}", time(over_s * 1_000)));
        format!("{} of green {when} (limit {})", count(green.n, "critical line"), number(self.limit))
    }
}
