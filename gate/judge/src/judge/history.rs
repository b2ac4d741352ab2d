//! What blue's minutes before the switch teach: how bad is normal, how much a pod can serve, how it bursts.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::buckets::LATENCY_US_MAX;
use blueback_report::{Counts, Limit, Measure, Outcome, Slot, Totals};

use crate::criteria::Blue;
use crate::criteria::proven::REFERENCE_MAX;
use crate::metric::{All, Metric};
use crate::statistics::block_bet::BlockBet;
use crate::statistics::decision::BLUE_LEVEL;
use crate::statistics::reference::reference_threshold;
use crate::statistics::shield_test::shield_level;

/// Seconds of history that are looked at: ten minutes.
pub(super) const HISTORY_S_MAX: usize = 600;
/// Blue's limit is known to this part of the rule's own budget.
const DELTA_OF_ALPHA: f64 = 0.1;
/// "Slower than blue" is slower than blue's 95th percentile: where tails and whole shifts both show. Of the 99th a minute of
/// history knows too little, and at the median a limit of twice as many could never be reached.
const SLOW_QUANTILE: f64 = 0.95;
/// And by a fifth: mixes of traffic and warmth make as much.
const SLOW_RATIO: f64 = 1.2;
/// And by five milliseconds: less is the network's, and nobody feels it.
const SLOW_US_MIN: u64 = 5_000;
/// With fewer requests nothing is known of blue's tail: ten are beyond the 95th percentile.
const SLOW_REQUESTS_MIN: u64 = 200;
/// How far back "when the switch came" reaches, in seconds.
const LATELY_S: usize = 30;
/// And the last of them must be bad: a fault that was over is no fault.
const LAST_S: usize = 3;
/// Two wholly bad seconds are enough: nothing is reverted by it, it only keeps from reverting onto it.
const LATELY_BLOCKS_MIN: u32 = 2;
/// Seconds that the calibration leaves out when blue was ill at their end: its illness is no habit.
const ILL_S: usize = 60;
/// A pod has proven what it served over this many seconds.
const CAPACITY_S: usize = 10;
/// A second of history is taken for this many reports.
const REPORTS_A_SECOND: usize = 10;

/// The seconds before the switch.
pub(super) struct History<'a> {
    seconds: &'a [Totals],
    baseline: Slot,
}

impl<'a> History<'a> {
    pub(super) fn new(seconds: &'a [Totals], baseline: Slot) -> Self {
        Self { seconds: &seconds[seconds.len().saturating_sub(HISTORY_S_MAX)..], baseline }
    }

    /// `(n, x)` of blue by one metric, in one second.
    fn counts(&self, metric: &Metric, second: &Totals) -> (f64, f64) {
        let mut all = All::default();
        for (key, latency) in
            second.series.iter().filter(|(key, _)| key.slot == self.baseline && metric.takes(&key.route))
        {
            let (good, over) = metric.ended(key, latency);
            all.ended(good, over);
        }
        (all.requests() as f64, all.bad() as f64)
    }

    /// The level at which the sharp tests stay quiet on what blue did. A second's counts are spread evenly over ten reports.
    pub(super) fn level(&self, tests: &[(&Metric, f64)], alpha: f64) -> u32 {
        let is_ill = tests.iter().any(|&(metric, p0)| self.had_it(metric, p0));
        let well = self.seconds.len().saturating_sub(if is_ill { ILL_S } else { 0 });
        let p0s: Vec<f64> = tests.iter().map(|&(_, p0)| p0).collect();
        let tenth = |(n, x): (f64, f64)| (n / REPORTS_A_SECOND as f64, x / REPORTS_A_SECOND as f64);
        let reports: Vec<Vec<(f64, f64)>> = self.seconds[..well]
            .iter()
            .flat_map(|second| {
                let report: Vec<_> = tests.iter().map(|&(metric, _)| tenth(self.counts(metric, second))).collect();
                std::iter::repeat_n(report, REPORTS_A_SECOND)
            })
            .collect();
        shield_level(&p0s, &reports, 1.0 / REPORTS_A_SECOND as f64, alpha)
    }

    /// Requests a second that the busiest pod of blue served over ten seconds; `None` when that was never seen.
    pub(super) fn proven_per_pod(&self) -> Option<f64> {
        let mut served: BTreeMap<&Arc<str>, Vec<u64>> = BTreeMap::new();
        for (index, second) in self.seconds.iter().enumerate() {
            for (key, latency) in second.series.iter().filter(|(key, _)| key.slot == self.baseline) {
                let seconds = served.entry(&key.pod).or_insert_with(|| vec![0; self.seconds.len()]);
                seconds[index] = seconds[index].saturating_add(latency.last_byte.total());
            }
        }
        let windows = served.values().flat_map(|seconds| seconds.windows(CAPACITY_S));
        let most = windows.map(|window| window.iter().fold(0_u64, |sum, &next| sum.saturating_add(next))).max()?;
        (most > 0).then_some(most as f64 / CAPACITY_S as f64)
    }

    /// Requests that arrived in each of the last ten seconds; where admissions are not told, those that ended.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = f64> {
        self.seconds[self.seconds.len().saturating_sub(CAPACITY_S)..].iter().map(|second| {
            let admitted = second.admitted.values().fold(0_u64, |sum, &next| sum.saturating_add(next));
            (if admitted > 0 { admitted } else { second.ended() }) as f64
        })
    }
}

impl Blue for History<'_> {
    fn reference(&self, metric: &Metric, alpha: f64) -> f64 {
        let minutes: Vec<_> = self
            .seconds
            .chunks(60)
            .map(|minute| {
                minute
                    .iter()
                    .map(|second| self.counts(metric, second))
                    .fold((0.0, 0.0), |(n, x), next| (n + next.0, x + next.1))
            })
            .collect();
        reference_threshold(&minutes, alpha * DELTA_OF_ALPHA).min(REFERENCE_MAX)
    }

    fn slow(&self, measure: Measure, route: Option<&str>) -> Option<Limit> {
        let mut counts = Counts::default();
        for (key, latency) in self.seconds.iter().flat_map(|second| &second.series) {
            let is_asked = route.is_none_or(|route| *route == *key.route);
            if key.slot == self.baseline && key.outcome != Outcome::ClientGone && is_asked {
                counts.add(match measure {
                    Measure::LastByte => &latency.last_byte,
                    Measure::FirstByte => &latency.first_byte,
                });
            }
        }
        if counts.total() < SLOW_REQUESTS_MIN {
            return None;
        }
        let slow_us = counts.quantile_us(SLOW_QUANTILE)?;
        let us = ((slow_us as f64 * SLOW_RATIO) as u64).max(slow_us + SLOW_US_MIN);
        Some(Limit { measure, us: us.min(LATENCY_US_MAX - 1) })
    }

    fn had_it(&self, metric: &Metric, p0: f64) -> bool {
        if p0 <= 0.0 || p0 >= REFERENCE_MAX {
            return false;
        }
        let lately = &self.seconds[self.seconds.len().saturating_sub(LATELY_S)..];
        let mut bet = BlockBet::with_min_blocks(p0, (-BLUE_LEVEL).exp(), LATELY_BLOCKS_MIN);
        let mut last = All::default();
        for (index, second) in lately.iter().enumerate() {
            let (n, x) = self.counts(metric, second);
            bet.block(1.0, n, x, 0.0);
            if index + LAST_S >= lately.len() {
                last.ended((n - x) as u64, x as u64);
            }
        }
        bet.fires() && last.rate().is_some_and(|rate| rate > p0)
    }
}
