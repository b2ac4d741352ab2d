//! What the load saw, by the clock of the gate's timeline.

use std::time::Duration;

use crate::load::Ended;

/// Requests kept: a minute at the fastest rate the demo takes. Later ones are not in the report.
const REQUESTS_MAX: usize = 120_000;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// When it was due, in Unix milliseconds.
    pub(super) due_ms: u64,
    /// When it ended.
    pub(super) ended_ms: u64,
    /// A user would say that it failed.
    pub(super) bad: bool,
    /// Answered by blue.
    pub(super) by_blue: bool,
}

/// All requests so far.
#[derive(Debug)]
pub(super) struct Measured {
    began_ms: u64,
    slow: Option<Duration>,
    requests: Vec<Request>,
}

impl Measured {
    /// Of a load that began then; requests slower than `slow` count as bad.
    pub(super) const fn new(began_ms: u64, slow: Option<Duration>) -> Self {
        Self { began_ms, slow, requests: Vec::new() }
    }

    /// Takes in one.
    pub(super) fn add(&mut self, ended: &Ended) {
        if self.requests.len() >= REQUESTS_MAX {
            return;
        }
        let unix = |since: Duration| self.began_ms + u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2);
        self.requests.push(Request {
            due_ms: unix(ended.scheduled),
            ended_ms: unix(ended.ended),
            bad: ended.is_failed() || self.slow.is_some_and(|slow| ended.latency() > slow),
            by_blue: ended.backend.as_deref() == Some("blue"),
        });
    }

    /// Those that were due from then on and before then.
    pub(super) fn due(&self, from_ms: u64, to_ms: u64) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| (from_ms..to_ms).contains(&request.due_ms))
    }
}
