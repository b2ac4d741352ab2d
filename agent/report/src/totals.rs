//! Everything an agent has counted since it started, and how two views of it merge.

use std::collections::BTreeMap;

use crate::{AdmissionKey, Counts, EPOCHS_KEPT, OverdueKey, SeriesKey};

/// Latencies of the requests of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Until the last byte of the response, or until the request failed.
    pub last_byte: Counts,
    /// Until the first byte of the response; requests that never had one are not in here.
    pub first_byte: Counts,
}

impl Latency {
    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_byte.is_empty() && self.first_byte.is_empty()
    }
}

/// Requests that were seen over a limit while in flight. Both counts only grow.
///
/// A request counts against the limit once: when it crosses. Over all ages `crossed - settled` is what the histograms do not
/// hold yet, and growth of (over the limit) + `crossed` - `settled` counts every request exactly once. Of a single age it
/// may be negative: a request crosses under the age it has then and settles under the age it ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Crossed the limit in flight.
    pub crossed: u64,
    /// Crossed before, ended since; they are in the histogram now.
    pub settled: u64,
}

/// Cumulative counts. As a state it merges by pointwise maximum; as what [`Totals::merge`] returns it is a growth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that ended.
    pub series: BTreeMap<SeriesKey, Latency>,
    /// Requests over a limit in flight.
    pub overdue: BTreeMap<OverdueKey, Overdue>,
    /// Requests admitted, in the newest [`EPOCHS_KEPT`] epochs.
    pub admitted: BTreeMap<AdmissionKey, u64>,
}

impl Totals {
    /// Raises every count to the other's where that is larger, and returns by how much.
    ///
    /// Associative, commutative and idempotent in the state it leaves. Admissions of epochs that are [`EPOCHS_KEPT`] or
    /// more behind the newest are dropped on both sides.
    pub fn merge(&mut self, newer: &Self) -> Self {
        let mut growth = Self::default();
        for (key, latency) in newer.series.iter().filter(|(_, latency)| !latency.is_empty()) {
            let seen = match self.series.get_mut(key) {
                Some(seen) => seen,
                None => self.series.entry(key.clone()).or_default(),
            };
            let last_byte = seen.last_byte.merge(&latency.last_byte);
            let first_byte = seen.first_byte.merge(&latency.first_byte);
            let grown = Latency { last_byte, first_byte };
            if !grown.is_empty() {
                growth.series.insert(key.clone(), grown);
            }
        }
        for (key, overdue) in &newer.overdue {
            let seen = self.overdue.entry(key.clone()).or_default();
            let grown = Overdue {
                crossed: overdue.crossed.saturating_sub(seen.crossed),
                settled: overdue.settled.saturating_sub(seen.settled),
            };
            if grown != Overdue::default() {
                growth.overdue.insert(key.clone(), grown);
            }
            seen.crossed = seen.crossed.max(overdue.crossed);
            seen.settled = seen.settled.max(overdue.settled);
        }
        let oldest = self.newest_epoch().max(newer.newest_epoch()).saturating_sub(EPOCHS_KEPT - 1);
        self.admitted.retain(|key, _| key.epoch >= oldest);
        for (key, &admitted) in newer.admitted.iter().filter(|(key, _)| key.epoch >= oldest) {
            let seen = self.admitted.entry(key.clone()).or_default();
            if admitted > *seen {
                growth.admitted.insert(key.clone(), admitted - *seen);
                *seen = admitted;
            }
        }
        growth
    }

    /// What differs from `acknowledged`, an earlier state of the same agent, as cumulative counts.
    #[must_use]
    pub fn since(&self, acknowledged: &Self) -> Self {
        let mut changed = Self::default();
        let nothing = Latency::default();
        for (key, latency) in &self.series {
            let known = acknowledged.series.get(key).unwrap_or(&nothing);
            let last_byte = latency.last_byte.since(&known.last_byte);
            let first_byte = latency.first_byte.since(&known.first_byte);
            let grown = Latency { last_byte, first_byte };
            if !grown.is_empty() {
                changed.series.insert(key.clone(), grown);
            }
        }
        changed.overdue.extend(
            self.overdue
                .iter()
                .filter(|(key, overdue)| acknowledged.overdue.get(key) != Some(overdue))
                .map(|(key, overdue)| (key.clone(), *overdue)),
        );
        changed.admitted.extend(
            self.admitted
                .iter()
                .filter(|(key, admitted)| acknowledged.admitted.get(key) != Some(admitted))
                .map(|(key, admitted)| (key.clone(), *admitted)),
        );
        changed
    }

    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.overdue.is_empty() && self.admitted.is_empty()
    }

    /// Requests that ended, over all series.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.series.values().fold(0, |sum, latency| sum.saturating_add(latency.last_byte.total()))
    }

    fn newest_epoch(&self) -> u64 {
        // The epoch is the first field of the key, so the last key has the newest one.
        self.admitted.last_key_value().map_or(0, |(key, _)| key.epoch)
    }
}
