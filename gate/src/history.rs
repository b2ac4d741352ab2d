//! The last ten minutes of a service, by the second: what a release's judge calibrates on, and what a page draws.

use std::collections::VecDeque;
use std::sync::OnceLock;

use blueback_report::{Counts, Slot, Totals, buckets};

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::ledger::add;

/// Seconds kept: as far back as an agent's ring reaches.
pub(crate) const HISTORY_SECONDS: u64 = 600;
/// Seconds over which the rate of requests is told.
const RATE_SECONDS: u64 = 10;

/// Growth by the second, oldest first, without gaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    seconds: VecDeque<Second>,
}

/// One second.
#[derive(Clone, Debug)]
struct Second {
    unix_s: u64,
    green_share: f64,
    growth: Totals,
    /// What is drawn of it, blue and green: summed up once, as whoever looks at a release looks at all of it every second.
    drawn: OnceLock<[api::PointSide; 2]>,
}

impl Second {
    fn new(unix_s: u64, green_share: f64) -> Self {
        Self { unix_s, green_share, growth: Totals::default(), drawn: OnceLock::new() }
    }

    fn grow(&mut self, growth: &Totals) {
        add(&mut self.growth, growth);
        self.drawn = OnceLock::new();
    }

    fn side(&self, slot: Slot) -> api::PointSide {
        let drawn = self.drawn.get_or_init(|| [Slot::Blue, Slot::Green].map(|slot| side(&self.growth, slot)));
        drawn[slot as usize].clone()
    }
}

impl History {
    /// Adds what was counted at a time. What is older than the history is left out.
    pub(crate) fn add(&mut self, at: Timestamp, growth: &Totals) {
        let unix_s = at.unix_ms() / 1_000;
        let Some(newest) = self.seconds.back().map(|second| second.unix_s) else {
            let mut second = Second::new(unix_s, 0.0);
            second.grow(growth);
            self.seconds.push_back(second);
            return;
        };
        if unix_s > newest {
            let green_share = self.seconds.back().map_or(0.0, |second| second.green_share);
            self.extend(unix_s, green_share);
        }
        let oldest = self.seconds.front().map_or(unix_s, |second| second.unix_s);
        if unix_s < oldest {
            // A replay that reaches further back than what was heard so far.
            if self.seconds.back().is_some_and(|newest| newest.unix_s - unix_s >= HISTORY_SECONDS) {
                return;
            }
            for second in (unix_s..oldest).rev() {
                let green_share = self.seconds.front().map_or(0.0, |second| second.green_share);
                self.seconds.push_front(Second::new(second, green_share));
            }
        }
        let oldest = self.seconds.front().map_or(unix_s, |second| second.unix_s);
        if let Some(second) = self.seconds.get_mut((unix_s - oldest) as usize) {
            second.grow(growth);
        }
    }

    /// Time has come to `now`, and green gets this share.
    pub(crate) fn touch(&mut self, now: Timestamp, green_share: f64) {
        let unix_s = now.unix_ms() / 1_000;
        match self.seconds.back_mut() {
            Some(newest) if newest.unix_s >= unix_s => newest.green_share = green_share,
            _ => self.extend(unix_s, green_share),
        }
    }

    fn extend(&mut self, unix_s: u64, green_share: f64) {
        let first = unix_s.saturating_sub(HISTORY_SECONDS - 1);
        let next = self.seconds.back().map_or(unix_s, |newest| newest.unix_s + 1).max(first);
        for unix_s in next..=unix_s {
            self.seconds.push_back(Second::new(unix_s, green_share));
        }
        while self.seconds.front().is_some_and(|oldest| oldest.unix_s < first) {
            self.seconds.pop_front();
        }
    }

    /// Growth of each second before `now`, oldest first. The present second is in it as far as it has come.
    #[must_use]
    pub(crate) fn before(&self, now: Timestamp) -> Vec<Totals> {
        let first = (now.unix_ms() / 1_000).saturating_sub(HISTORY_SECONDS - 1);
        self.seconds.iter().filter(|second| second.unix_s >= first).map(|second| second.growth.clone()).collect()
    }

    /// Requests that ended a second, over the last ten whole seconds.
    #[must_use]
    pub(crate) fn rate(&self, now: Timestamp) -> f64 {
        let end = now.unix_ms() / 1_000;
        let ended: u64 = self
            .seconds
            .iter()
            .rev()
            .skip_while(|second| second.unix_s >= end)
            .take_while(|second| second.unix_s + RATE_SECONDS >= end)
            .fold(0, |sum, second| sum.saturating_add(second.growth.ended()));
        ended as f64 / RATE_SECONDS as f64
    }

    /// Requests of a slot that ended, and those that failed, in the last `seconds` seconds, not before `since`.
    #[must_use]
    pub(crate) fn recent(&self, slot: Slot, seconds: u64, since: Timestamp, now: Timestamp) -> (u64, u64) {
        let first = (now.unix_ms() / 1_000).saturating_sub(seconds).max(since.unix_ms() / 1_000);
        let mut sums = (0_u64, 0_u64);
        for second in self.seconds.iter().rev().take_while(|second| second.unix_s >= first) {
            for (key, latency) in second.growth.series.iter().filter(|(key, _)| key.slot == slot) {
                let ended = latency.last_byte.total();
                sums.0 = ended.saturating_add(sums.0);
                if key.outcome.is_fault() {
                    sums.1 = ended.saturating_add(sums.1);
                }
            }
        }
        sums
    }

    /// The seconds as points around a release.
    #[must_use]
    pub(crate) fn points(&self, started: Timestamp, candidate: Slot) -> Vec<api::Point> {
        self.seconds
            .iter()
            .map(|second| api::Point {
                after_ms: (second.unix_s as i64 + 1) * 1_000 - started.unix_ms() as i64,
                share: match candidate {
                    Slot::Green => second.green_share,
                    Slot::Blue => 1.0 - second.green_share,
                },
                candidate: second.side(candidate),
                baseline: second.side(candidate.other()),
            })
            .collect()
    }
}

fn side(growth: &Totals, slot: Slot) -> api::PointSide {
    let mut side = api::PointSide::default();
    let mut all = Counts::default();
    for (key, latency) in growth.series.iter().filter(|(key, _)| key.slot == slot) {
        let ended = latency.last_byte.total();
        side.requests = side.requests.saturating_add(ended);
        if key.outcome.is_fault() {
            side.failed = side.failed.saturating_add(ended);
        }
        all.add(&latency.last_byte);
    }
    side.p50_ms = quantile_ms(&all, 0.50);
    side.p99_ms = quantile_ms(&all, 0.99);
    side
}

/// The upper edge of the bucket that holds the quantile. A whole HDR histogram for each point would cost more than the
/// rest of the page.
fn quantile_ms(counts: &Counts, quantile: f64) -> Option<f64> {
    let rank = ((counts.total() as f64 * quantile).ceil() as u64).max(1);
    let mut seen = 0_u64;
    counts.iter().find_map(|(index, count)| {
        seen = count.saturating_add(seen);
        (seen >= rank).then(|| buckets::highest_us(index) as f64 / 1_000.0)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blueback_report::{Age, Latency, Outcome, Protocol, SeriesKey};

    use super::*;

    fn growth(count: u64) -> Totals {
        let mut totals = Totals::default();
        let key = SeriesKey {
            slot: Slot::Green,
            pod: Arc::from("g"),
            route: Arc::from(""),
            protocol: Protocol::Http1,
            age: Age::Current,
            outcome: Outcome::Ok,
        };
        let mut latency = Latency::default();
        latency.last_byte.record_n(3_000, count);
        totals.series.insert(key, latency);
        totals
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_ms(second * 1_000 + 500)
    }

    #[test]
    fn seconds_are_contiguous_and_bounded() {
        let mut history = History::default();
        history.add(at(1_000), &growth(1));
        history.add(at(1_005), &growth(2));
        history.add(at(998), &growth(3));
        let seen: Vec<_> = history.before(at(1_005)).iter().map(Totals::ended).collect();
        assert_eq!(seen, [3, 0, 1, 0, 0, 0, 0, 2]);
        history.touch(at(1_599), 1.0);
        assert_eq!(history.before(at(1_599)).len(), HISTORY_SECONDS as usize);
        assert_eq!(history.before(at(1_599)).iter().map(Totals::ended).sum::<u64>(), 3);
        history.touch(at(9_999), 1.0);
        assert_eq!(history.before(at(9_999)).iter().map(Totals::ended).sum::<u64>(), 0);
        assert_eq!(history.seconds.len(), HISTORY_SECONDS as usize);
    }

    #[test]
    fn what_is_late_is_drawn_all_the_same() {
        let mut history = History::default();
        history.add(at(1_000), &growth(1));
        let requests = |history: &History| history.points(at(1_000), Slot::Green)[0].candidate.requests;
        assert_eq!(requests(&history), 1);
        history.add(at(1_000), &growth(2));
        assert_eq!(requests(&history), 3);
    }

    #[test]
    fn rate_is_over_ten_whole_seconds() {
        let mut history = History::default();
        for second in 1_000..1_010 {
            history.add(at(second), &growth(20));
        }
        assert!((history.rate(at(1_010)) - 20.0).abs() < 1e-9);
        assert!((history.rate(at(1_015)) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_match_those_of_the_histogram() {
        let mut counts = Counts::default();
        for latency in 1..=1_000 {
            counts.record_n(latency * 17, 1);
        }
        for quantile in [0.5, 0.99] {
            let exact = counts.quantile_us(quantile).expect("it is not empty") as f64 / 1_000.0;
            let ours = quantile_ms(&counts, quantile).expect("it is not empty");
            assert!((exact - ours).abs() <= 0.01 * exact, "{quantile}: {exact} {ours}");
        }
        assert_eq!(quantile_ms(&Counts::default(), 0.5), None);
    }
}
