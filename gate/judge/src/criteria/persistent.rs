//! `for 5m`: exactly what the words say, counted over everything, whatever the tests think.

use super::trail::Trail;
use crate::rules::Rule;

/// Without `over` the rule must hold in each part of its time of about this many seconds, so that one bad minute is not five.
const PART_S: u64 = 60;
/// A part with fewer requests decides nothing.
pub(crate) const PART_REQUESTS_MIN: u64 = 20;

/// A share of bad requests above a limit, over a time and in each part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Persistent {
    pub(crate) metric: usize,
    pub(crate) p0: f64,
    /// The time that is looked at, in seconds.
    pub(crate) for_s: u64,
    part_s: u64,
    /// How long it must have been so.
    hold_ms: u64,
    requests_min: u64,
    since_ms: Option<u64>,
    /// Since when it holds.
    pub(crate) fired_ms: Option<u64>,
    /// Blue had the same over the same time.
    pub(crate) is_shared: bool,
    /// Blue had it when it was last asked, before the switch, and green has had it ever since.
    blue_had_it: bool,
}

crate::save::saved!(Persistent {
    metric,
    p0,
    for_s,
    part_s,
    hold_ms,
    requests_min,
    since_ms,
    fired_ms,
    is_shared,
    blue_had_it,
});

impl Persistent {
    /// `over` is the length of a part; where it is longer than `for`, it is looked back over all of it, for that long.
    pub(crate) fn new(metric: usize, p0: f64, rule: &Rule, blue_had_it: bool) -> Self {
        let seconds = |ms: Option<u64>| ms.unwrap_or(0) / 1_000;
        let (over_s, for_s) = (seconds(rule.over_ms), seconds(rule.for_ms));
        let (for_s, part_s, hold_ms) = match over_s {
            0 => (for_s, PART_S, 0),
            _ if over_s <= for_s => (for_s, over_s, 0),
            _ => (over_s, over_s, for_s * 1_000),
        };
        Self {
            metric,
            p0,
            for_s,
            part_s,
            hold_ms,
            requests_min: rule.requests_min.unwrap_or(0),
            since_ms: None,
            fired_ms: None,
            is_shared: false,
            blue_had_it,
        }
    }

    /// At the end of each second.
    pub(crate) fn second(&mut self, now_ms: u64, trail: &Trail) {
        if trail.now_s() < self.for_s {
            return;
        }
        if !self.holds(trail) {
            (self.since_ms, self.fired_ms) = (None, None);
            (self.is_shared, self.blue_had_it) = (false, false);
            return;
        }
        let blue = trail.blue(self.metric, self.for_s, 0);
        self.is_shared = if blue.requests() >= PART_REQUESTS_MIN {
            blue.rate().is_some_and(|rate| rate > self.p0)
        } else {
            self.blue_had_it
        };
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        if now_ms - since_ms >= self.hold_ms {
            self.fired_ms.get_or_insert(now_ms);
        }
    }

    fn holds(&self, trail: &Trail) -> bool {
        let pooled = trail.green(self.metric, self.for_s, 0);
        let parts = self.for_s.div_ceil(self.part_s).max(1);
        let edge = |part: u64| self.for_s * part / parts;
        pooled.requests() >= self.requests_min
            && pooled.rate().is_some_and(|rate| rate > self.p0)
            && (0..parts).all(|part| {
                let counts = trail.green(self.metric, edge(part + 1), edge(part));
                counts.requests() >= PART_REQUESTS_MIN && counts.rate().is_some_and(|rate| rate > self.p0)
            })
    }
}
