//! `for 5m`: exactly what the words say, counted over everything, whatever the tests think.

use super::trail::Trail;

/// The rule must hold in each part of its time of about this many seconds, so that one bad minute is not five.
const PART_S: u64 = 60;
/// A part with fewer requests decides nothing.
pub(crate) const PART_REQUESTS_MIN: u64 = 20;

/// A share of bad requests above a limit, over a time and in each minute of it.
#[derive(Clone, Debug)]
pub(crate) struct Persistent {
    pub(crate) metric: usize,
    pub(crate) p0: f64,
    pub(crate) for_s: u64,
    requests_min: u64,
    /// Since when it holds.
    pub(crate) fired_ms: Option<u64>,
    /// Blue had the same over the same time.
    pub(crate) is_shared: bool,
}

impl Persistent {
    pub(crate) const fn new(metric: usize, p0: f64, for_s: u64, requests_min: u64) -> Self {
        Self { metric, p0, for_s, requests_min, fired_ms: None, is_shared: false }
    }

    /// At the end of each second.
    pub(crate) fn second(&mut self, now_ms: u64, trail: &Trail) {
        if !self.holds(trail) {
            self.fired_ms = None;
            self.is_shared = false;
            return;
        }
        let blue = trail.blue(self.metric, self.for_s, 0);
        self.is_shared = blue.requests() >= PART_REQUESTS_MIN && blue.rate().is_some_and(|rate| rate > self.p0);
        self.fired_ms.get_or_insert(now_ms);
    }

    fn holds(&self, trail: &Trail) -> bool {
        if trail.now_s() < self.for_s {
            return false;
        }
        let pooled = trail.green(self.metric, self.for_s, 0);
        let parts = self.for_s.div_ceil(PART_S);
        let edge = |part: u64| self.for_s * part / parts;
        pooled.requests() >= self.requests_min
            && pooled.rate().is_some_and(|rate| rate > self.p0)
            && (0..parts).all(|part| {
                let counts = trail.green(self.metric, edge(part + 1), edge(part));
                counts.requests() >= PART_REQUESTS_MIN && counts.rate().is_some_and(|rate| rate > self.p0)
            })
    }
}
