//! A pass rule about requests: evidence of health, over everything green did since the switch.

use super::trail::Trail;
use crate::metric::All;
use crate::statistics::pass::{pass_log_e, pass_threshold, requests_to_pass};

/// A share of bad requests below a target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PassTest {
    pub(crate) metric: usize,
    pub(crate) target: f64,
    requests_min: u64,
    /// Plain comparison over the last so many seconds, instead of a test over everything.
    pub(crate) over_s: Option<u64>,
    pub(crate) log_e: f64,
    /// Since when the evidence is at its threshold.
    pub(crate) crossed_ms: Option<u64>,
}

crate::save::saved!(PassTest { metric, target, requests_min, over_s, log_e, crossed_ms });

impl PassTest {
    pub(crate) fn new(metric: usize, target: f64, requests_min: Option<u64>, over_s: Option<u64>) -> Self {
        // With fewer requests in the window one bad one would decide.
        let least = if over_s.is_some() { (1.0 / target).ceil() as u64 } else { 1 };
        Self { metric, target, requests_min: requests_min.unwrap_or(least), over_s, log_e: 0.0, crossed_ms: None }
    }

    /// What it looks at.
    pub(crate) fn seen(&self, all: &All, trail: &Trail) -> All {
        self.over_s.map_or(*all, |over_s| trail.green(self.metric, over_s, 0))
    }

    /// At the end of each second.
    pub(crate) fn second(&mut self, now_ms: u64, all: &All, trail: &Trail) {
        let green = self.seen(all, trail);
        let (n, x) = (green.requests(), green.bad());
        let is_shown = match self.over_s {
            Some(over_s) => trail.now_s() >= over_s && green.rate().is_some_and(|rate| rate < self.target),
            None => {
                self.log_e = pass_log_e(n as f64, x as f64, self.target);
                self.log_e >= pass_threshold()
            }
        };
        if n >= self.requests_min && is_shown {
            self.crossed_ms.get_or_insert(now_ms);
        } else {
            self.crossed_ms = None;
        }
    }

    /// Requests that it still needs at the present rate; `None` when it would never get there.
    pub(crate) fn missing(&self, all: &All, trail: &Trail) -> Option<u64> {
        if self.crossed_ms.is_some() {
            return Some(0);
        }
        let green = self.seen(all, trail);
        let few = self.requests_min.saturating_sub(green.requests());
        if self.over_s.is_some() {
            return green.rate().is_none_or(|rate| rate < self.target).then_some(few);
        }
        Some(requests_to_pass(green.requests(), green.bad(), self.target)?.max(few))
    }
}
