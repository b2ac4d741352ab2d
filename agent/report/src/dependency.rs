//! What the application depends on, and what it uses up.
//!
//! A dependency's counts are cumulative like those of requests and merge the same way. Whether it is up is a gauge; of two
//! views of it the one with more checks is the newer, so the gauge needs no clock to merge.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::Counts;

/// Something that the application needs, as one agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// What the operator calls it.
    pub name: Arc<str>,
    /// The last check was answered.
    pub up: bool,
    /// How long it has been down; zero when it is up.
    pub down_for_ms: u64,
    /// Checks made.
    pub checks: u64,
    /// Of them those that were not answered, or not as they should be.
    pub failures: u64,
    /// Latencies of the others.
    pub latency: Counts,
}

/// Parts of what may be used. `None` where no limit is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Of the processor time allowed.
    pub cpu_ratio: Option<f64>,
    /// Of the memory allowed, without what the kernel can take back.
    pub memory_ratio: Option<f64>,
}

impl Dependency {
    /// One that was never asked. It counts as up: nothing has been seen to fail.
    #[must_use]
    pub fn new(name: Arc<str>) -> Self {
        Self { name, up: true, down_for_ms: 0, checks: 0, failures: 0, latency: Counts::default() }
    }

    /// Raises every count to the other's where that is larger, takes the gauges of the newer of both, and returns by how much
    /// the counts grew.
    pub fn merge(&mut self, newer: &Self) -> Self {
        let age = |view: &Self| (view.checks, Reverse(view.up), view.down_for_ms);
        if age(newer) > age(self) {
            (self.up, self.down_for_ms) = (newer.up, newer.down_for_ms);
        }
        let growth = Self {
            name: self.name.clone(),
            up: self.up,
            down_for_ms: self.down_for_ms,
            checks: newer.checks.saturating_sub(self.checks),
            failures: newer.failures.saturating_sub(self.failures),
            latency: self.latency.merge(&newer.latency),
        };
        self.checks = self.checks.max(newer.checks);
        self.failures = self.failures.max(newer.failures);
        growth
    }

    /// The same with only those buckets of the latency that differ from `acknowledged`.
    #[must_use]
    pub fn since(&self, acknowledged: &Self) -> Self {
        Self { latency: self.latency.since(&acknowledged.latency), ..self.clone() }
    }
}
