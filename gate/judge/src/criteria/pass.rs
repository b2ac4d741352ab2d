//! A pass rule: evidence of health, over everything green did since the switch.

use crate::metric::All;
use crate::statistics::pass::{pass_log_e, pass_threshold, requests_to_pass};

/// A share of bad requests below a target.
#[derive(Clone, Debug)]
pub(crate) struct PassTest {
    pub(crate) metric: usize,
    pub(crate) target: f64,
    requests_min: u64,
    pub(crate) log_e: f64,
    /// Since when the evidence is at its threshold.
    pub(crate) crossed_ms: Option<u64>,
}

impl PassTest {
    pub(crate) const fn new(metric: usize, target: f64, requests_min: u64) -> Self {
        Self { metric, target, requests_min, log_e: 0.0, crossed_ms: None }
    }

    /// At the end of each second.
    pub(crate) fn second(&mut self, now_ms: u64, green: &All) {
        let (n, x) = (green.requests(), green.bad());
        self.log_e = pass_log_e(n as f64, x as f64, self.target);
        if n >= self.requests_min && self.log_e >= pass_threshold() {
            self.crossed_ms.get_or_insert(now_ms);
        } else {
            self.crossed_ms = None;
        }
    }

    /// Requests that it still needs at the present rate; `None` when it would never get there.
    pub(crate) fn missing(&self, green: &All) -> Option<u64> {
        if self.crossed_ms.is_some() {
            return Some(0);
        }
        let missing = requests_to_pass(green.requests(), green.bad(), self.target)?;
        Some(missing.max(self.requests_min.saturating_sub(green.requests())))
    }
}
