//! An open-loop load generator: requests start when the schedule says, not when the last one was answered.
//!
//! A closed loop slows down with the server it measures and so hides the very waiting it should see ("coordinated
//! omission"). Here the k-th request is due at k/rate, its latency counts from that moment, and a request that finds
//! all connections busy gets one of its own. Nothing is retried that may have reached the server: each failure a client
//! would have seen is counted.

pub mod account;
mod connections;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blueback_report::Counts;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use connections::{Answer, Connections};

/// Results waiting for a reader; further ones are only in the summary, and counted there as unread.
pub const RESULTS_QUEUED_MAX: usize = 65_536;
/// Backends told apart in a summary; further ones count as `other`.
pub const BACKENDS_MAX: usize = 64;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1 over this many kept-alive connections, in turn; when all are busy, a further one for one request.
    KeepAlive(usize),
    /// HTTP/1.1 with a new connection for each request.
    Fresh,
    /// HTTP/2 without TLS over this many connections, in turn.
    H2c(usize),
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// Whom the requests name (`Host`, `:authority`); the target unless told.
    pub authority: Option<http::uri::Authority>,
    /// How.
    pub wire: Wire,
    /// Requests a second; the k-th is due k/rate after the start.
    pub rate: f64,
    /// Path of the GET requests.
    pub path: String,
    /// Longest wait for a whole answer, from when the request was due.
    pub patience: Duration,
    /// Requests in flight; what is due above it is not sent and ends as [`Lost::Overloaded`].
    pub in_flight_max: usize,
    /// End after this many requests; without it, when stopped.
    pub requests: Option<u64>,
}

impl Plan {
    /// A plan with the defaults: `/`, 8 kept-alive connections, 2 s patience (users give up, and the pile of a hang stays
    /// small), 4,096 in flight.
    #[must_use]
    pub fn new(target: SocketAddr, rate: f64) -> Self {
        Self {
            target,
            authority: None,
            wire: Wire::KeepAlive(8),
            rate,
            path: "/".to_owned(),
            patience: Duration::from_secs(2),
            in_flight_max: 4_096,
            requests: None,
        }
    }
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// No connection.
    Connect,
    /// The connection broke before the end of the answer.
    Broken,
    /// Not the whole answer in time.
    Timeout,
    /// Not sent: too many were in flight.
    Overloaded,
}

/// A request that has ended. Times are since the start of the load.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its place in the schedule, from 0.
    pub number: u64,
    /// When it was due.
    pub scheduled: Duration,
    /// When it was begun.
    pub started: Duration,
    /// When its last byte was there, or it was given up.
    pub ended: Duration,
    /// Its status, or why there is none.
    pub answer: Result<u16, Lost>,
    /// Who answered, by the header `x-backend`.
    pub backend: Option<Arc<str>>,
}

impl Ended {
    /// The server's fault: a 5xx status or no whole answer.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.answer.map_or_else(|lost| lost != Lost::Overloaded, |status| status >= 500)
    }

    /// From when it was due to its end.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.ended.saturating_sub(self.scheduled)
    }
}

/// What came of a load so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Requests that ended.
    pub requests: u64,
    /// By status.
    pub statuses: BTreeMap<u16, u64>,
    /// Without an answer, by why.
    pub lost: BTreeMap<Lost, u64>,
    /// By who answered: requests, and those of them that failed.
    pub backends: BTreeMap<Arc<str>, (u64, u64)>,
    /// Latency of those that were answered.
    pub latency: Counts,
    /// Sent again on a new connection, because the old one closed before they went out.
    pub resent: u64,
    /// Ended, but not put into the stream of results: nobody read it fast enough.
    pub unread: u64,
}

impl Summary {
    /// Requests that failed by the server's fault.
    #[must_use]
    pub fn failed(&self) -> u64 {
        let lost: u64 = self.lost.iter().filter(|&(&why, _)| why != Lost::Overloaded).map(|(_, count)| count).sum();
        self.statuses.range(500..).map(|(_, count)| count).sum::<u64>() + lost
    }

    fn add(&mut self, ended: &Ended) {
        self.requests += 1;
        match ended.answer {
            Ok(status) => {
                *self.statuses.entry(status).or_default() += 1;
                self.latency.record_n(u64::try_from(ended.latency().as_micros()).unwrap_or(u64::MAX), 1);
            }
            Err(lost) => *self.lost.entry(lost).or_default() += 1,
        }
        if let Some(backend) = &ended.backend {
            let known = self.backends.len() < BACKENDS_MAX || self.backends.contains_key(backend);
            let name = if known { backend.clone() } else { "other".into() };
            let (requests, failed) = self.backends.entry(name).or_default();
            *requests += 1;
            *failed += u64::from(ended.is_failed());
        }
    }
}

/// A load that runs until it is stopped or its plan is done.
#[derive(Debug)]
pub struct Load {
    began: Instant,
    began_ms: u64,
    stop: watch::Sender<bool>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the requests share.
#[derive(Debug)]
struct Shared {
    began: Instant,
    patience: Duration,
    connections: Connections,
    in_flight: AtomicUsize,
    summary: Mutex<Summary>,
    results: mpsc::Sender<Ended>,
}

impl Load {
    /// Opens the connections and begins; the receiver gets every request as it ends and may be dropped.
    #[must_use]
    pub fn start(plan: Plan) -> (Self, mpsc::Receiver<Ended>) {
        let (results, receiver) = mpsc::channel(RESULTS_QUEUED_MAX);
        let (stop, stopped) = watch::channel(false);
        let began = Instant::now();
        let shared = Arc::new(Shared {
            began,
            patience: plan.patience,
            connections: Connections::new(&plan),
            in_flight: AtomicUsize::new(0),
            summary: Mutex::default(),
            results,
        });
        let task = tokio::spawn(run(shared.clone(), plan, stopped));
        (Self { began, began_ms: unix_ms(), stop, shared, task }, receiver)
    }

    /// When it began, by the monotonic clock.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// When it began, in Unix milliseconds: add a time of [`Ended`] to compare with the gate's.
    #[must_use]
    pub const fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// What came of it so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = self.shared.summary().clone();
        summary.resent = self.shared.connections.resent();
        summary
    }

    /// Waits until the plan's requests are sent and have ended; never, for a plan without a number.
    pub async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }

    /// The same, and what came of them.
    pub async fn finish(mut self) -> Summary {
        self.ended().await;
        self.summary()
    }

    /// Sends no further request, and waits for those in flight, which is bounded by the plan's patience.
    pub async fn stop(self) -> Summary {
        self.stop.send_replace(true);
        self.finish().await
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn summary(&self) -> MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, ended: Ended) {
        let mut summary = self.summary();
        summary.add(&ended);
        if matches!(self.results.try_send(ended), Err(mpsc::error::TrySendError::Full(_))) {
            summary.unread += 1;
        }
    }

    async fn request(self: Arc<Self>, number: u64, due: Instant) {
        let started = self.began.elapsed();
        let mut answer = Answer::default();
        let status = timeout_at(due + self.patience, self.connections.request(number, &mut answer))
            .await
            .unwrap_or(Err(Lost::Timeout));
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.end(Ended {
            number,
            scheduled: due - self.began,
            started,
            ended: self.began.elapsed(),
            answer: status,
            backend: answer.backend,
        });
    }
}

async fn run(shared: Arc<Shared>, plan: Plan, mut stopped: watch::Receiver<bool>) {
    let mut requests = JoinSet::new();
    for number in 0..plan.requests.unwrap_or(u64::MAX) {
        let after = Duration::from_secs_f64(number as f64 / plan.rate);
        let due = shared.began + after;
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            () = sleep_until(due) => (),
        }
        while requests.try_join_next().is_some() {}
        if shared.in_flight.load(Ordering::Relaxed) >= plan.in_flight_max {
            let now = shared.began.elapsed();
            let answer = Err(Lost::Overloaded);
            shared.end(Ended { number, scheduled: after, started: now, ended: now, answer, backend: None });
            continue;
        }
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        requests.spawn(shared.clone().request(number, due));
    }
    while requests.join_next().await.is_some() {}
}

/// Now, in Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
