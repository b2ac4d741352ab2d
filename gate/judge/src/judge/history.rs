//! What blue's minutes before the switch teach: how bad is normal, how much a pod can serve, how it bursts.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{Slot, Totals};

use crate::metric::{All, Metric};
use crate::statistics::reference::reference_threshold;
use crate::statistics::shield_test::shield_level;

/// Seconds of history that are looked at: ten minutes.
pub(super) const HISTORY_S_MAX: usize = 600;
/// Blue's limit is known to this part of the rule's own budget.
const DELTA_OF_ALPHA: f64 = 0.1;
/// Without history nothing is known about blue; then only a green that answers nothing right is worse.
const REFERENCE_MAX: f64 = 0.99;
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

    /// The limit above which green is worse than blue.
    pub(super) fn reference(&self, metric: &Metric, alpha: f64) -> f64 {
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

    /// The level at which the sharp tests stay quiet on what blue did. A second's counts are spread evenly over ten reports.
    pub(super) fn level(&self, tests: &[(&Metric, f64)], alpha: f64) -> u32 {
        let p0s: Vec<f64> = tests.iter().map(|&(_, p0)| p0).collect();
        let tenth = |(n, x): (f64, f64)| (n / REPORTS_A_SECOND as f64, x / REPORTS_A_SECOND as f64);
        let reports: Vec<Vec<(f64, f64)>> = self
            .seconds
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
