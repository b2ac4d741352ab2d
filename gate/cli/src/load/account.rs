//! What became of a load's requests, request by request: who answered what from when to when, and which failed.
//!
//! Times are Unix milliseconds of when a request was *due*: a hang began to hurt then, not when it was given up, and it is
//! comparable with the gate's timetotals.

use std::collections::BTreeMap;

use blueback_report::Counts;
use serde::{Deserialize, Serialize};

use super::{BACKENDS_MAX, Ended, Lost};

/// Length of a slice, in milliseconds: the cadence of reports, so that both tell the same story.
pub const SLICE_MS: u64 = 100;
/// Slices kept, which is one hour; what is due later is in the totals alone.
pub const SLICES_MAX: usize = 36_000;

/// Requests that someone answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// All.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// When the first was due.
    pub first: u64,
    /// When the last was due.
    pub last: u64,
}

/// What became of a load so far, as it is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// The load has ended and every request is accounted for.
    pub done: bool,
    /// When the load began.
    pub began: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed by the server's fault: 5xx, or no whole answer in time.
    pub failed: u64,
    /// When the first of them was due.
    pub first_failed: Option<u64>,
    /// When the last of them was due.
    pub last_failed: Option<u64>,
    /// By status.
    pub statuses: BTreeMap<u16, u64>,
    /// Without an answer, by why.
    pub lost: BTreeMap<String, u64>,
    /// By who answered.
    pub backends: BTreeMap<String, Answered>,
    /// Latency of what was answered, in microseconds: median, 99th percentile, longest.
    pub latency_us: [u64; 3],
    /// Requests and failures by when they were due, in slices of [`SLICE_MS`] from the start; at the end only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<[u64; 2]>,
}

/// The account of a load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    totals: Totals,
    latency: Counts,
    slices: Vec<[u64; 2]>,
}

impl Account {
    /// An empty account of a load that began then.
    #[must_use]
    pub fn new(began: u64) -> Self {
        Self { totals: Totals { began, ..Totals::default() }, ..Self::default() }
    }

    /// Adds a request that has ended.
    pub fn add(&mut self, ended: &Ended) {
        let totals = &mut self.totals;
        let after = u64::try_from(ended.scheduled.as_millis()).unwrap_or(u64::MAX);
        let (due, failed) = (totals.began.saturating_add(after), u64::from(ended.is_failed()));
        totals.requests += 1;
        totals.failed += failed;
        if failed > 0 {
            totals.first_failed = Some(totals.first_failed.map_or(due, |first| first.min(due)));
            totals.last_failed = totals.last_failed.max(Some(due));
        }
        match ended.answer {
            Ok(status) => {
                *totals.statuses.entry(status).or_default() += 1;
                self.latency.record_n(u64::try_from(ended.latency().as_micros()).unwrap_or(u64::MAX), 1);
            }
            Err(lost) => *totals.lost.entry(word(lost).to_owned()).or_default() += 1,
        }
        if let Some(backend) = ended.backend.as_deref() {
            let known = totals.backends.len() < BACKENDS_MAX || totals.backends.contains_key(backend);
            let fresh = Answered { first: due, ..Answered::default() };
            let answered = totals.backends.entry(if known { backend } else { "other" }.to_owned()).or_insert(fresh);
            answered.requests += 1;
            answered.failed += failed;
            answered.first = answered.first.min(due);
            answered.last = answered.last.max(due);
        }
        let slice = usize::try_from(after / SLICE_MS).unwrap_or(usize::MAX);
        if slice < SLICES_MAX {
            if self.slices.len() <= slice {
                self.slices.resize(slice + 1, [0, 0]);
            }
            self.slices[slice][0] += 1;
            self.slices[slice][1] += failed;
        }
    }

    /// What became of the load so far, or in all.
    #[must_use]
    pub fn totals(&self, done: bool) -> Totals {
        let quantile = |quantile| self.latency.quantile_us(quantile).unwrap_or(0);
        Totals {
            done,
            latency_us: [quantile(0.5), quantile(0.99), quantile(1.0)],
            slices: if done { self.slices.clone() } else { Vec::new() },
            ..self.totals.clone()
        }
    }
}

const fn word(lost: Lost) -> &'static str {
    match lost {
        Lost::Connect => "connect",
        Lost::Broken => "broken",
        Lost::Timeout => "timeout",
        Lost::Overloaded => "overloaded",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ended(due_ms: u64, answer: Result<u16, Lost>, backend: &str) -> Ended {
        let scheduled = Duration::from_millis(due_ms);
        let ended = scheduled + Duration::from_millis(5);
        let backend = (!backend.is_empty()).then(|| backend.into());
        Ended { number: 0, scheduled, started: scheduled, ended, answer, backend }
    }

    #[test]
    fn every_request_is_accounted_for_whatever_the_order() {
        let all = [
            ended(0, Ok(200), "blue"),
            ended(150, Ok(500), "green"),
            ended(199, Err(Lost::Timeout), ""),
            ended(210, Ok(404), "green"),
            ended(240, Err(Lost::Overloaded), ""),
        ];
        let mut account = Account::new(1_000);
        let mut backwards = Account::new(1_000);
        all.iter().for_each(|ended| account.add(ended));
        all.iter().rev().for_each(|ended| backwards.add(ended));
        assert_eq!(account, backwards);
        let totals = account.totals(true);
        assert_eq!(
            (totals.requests, totals.failed),
            (5, 2),
            "what was not sent and what the client did wrong is no failure"
        );
        assert_eq!((totals.first_failed, totals.last_failed), (Some(1_150), Some(1_199)));
        assert_eq!(totals.backends["green"], Answered { requests: 2, failed: 1, first: 1_150, last: 1_210 });
        assert_eq!(totals.slices, [[1, 0], [2, 2], [2, 0]]);
        let told = serde_json::to_string(&totals).expect("totals are plain data");
        assert_eq!(serde_json::from_str::<Totals>(&told).ok(), Some(totals));
        assert!(account.totals(false).slices.is_empty(), "a line each second stays short");
    }

    #[test]
    fn names_without_end_do_not_fill_the_memory() {
        let mut account = Account::new(0);
        for number in 0..BACKENDS_MAX as u64 + 10 {
            account.add(&ended(number, Ok(200), &format!("pod-{number}")));
        }
        assert_eq!(account.totals(true).backends["other"].requests, 10);
        account.add(&ended(SLICE_MS * SLICES_MAX as u64, Ok(200), "late"));
        assert_eq!(account.totals(true).requests, BACKENDS_MAX as u64 + 11);
        assert_eq!(account.totals(true).slices.len(), 1);
    }
}
