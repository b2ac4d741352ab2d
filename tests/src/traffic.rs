//! Open-loop load, with every request's result kept.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blueback::load::{Ended, Load, Plan};

use crate::until;

/// Longest wait for requests to be answered, where that is certain to happen.
const ANSWERED_MAX: Duration = Duration::from_secs(60);

/// A load and what came of each of its requests.
#[derive(Debug)]
pub struct Traffic {
    plan: Plan,
    load: Option<Load>,
    ended: Arc<Mutex<Vec<Ended>>>,
}

impl Traffic {
    /// A load that has not begun.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, load: None, ended: Arc::default() }
    }

    /// A load that begins now.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let mut traffic = Self::new(plan);
        traffic.begin();
        traffic
    }

    /// Begins, unless the plan is for no requests at all.
    pub fn begin(&mut self) {
        if self.plan.rate == 0.0 {
            return;
        }
        let (load, mut results) = Load::start(self.plan.clone());
        self.load = Some(load);
        let ended = Arc::clone(&self.ended);
        tokio::spawn(async move {
            while let Some(result) = results.recv().await {
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }
        });
    }

    fn list(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that have ended so far and meet a condition.
    #[must_use]
    pub fn count(&self, condition: impl Fn(&Ended) -> bool) -> usize {
        self.list().iter().filter(|ended| condition(ended)).count()
    }

    /// Requests that failed so far by the server's fault: 5xx, or no whole answer.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(Ended::is_failed)
    }

    /// The ended requests that were due in `range` of Unix milliseconds.
    #[must_use]
    pub fn due(&self, range: Range<u64>) -> Vec<Ended> {
        let began = self.load.as_ref().map_or(0, Load::began_ms);
        let due = |ended: &&Ended| {
            let at = began + u64::try_from(ended.scheduled.as_millis()).expect("a load does not run for ever");
            range.contains(&at)
        };
        self.list().iter().filter(due).cloned().collect()
    }

    /// Waits until `number` requests that meet a condition have ended from now on; returns all that ended meanwhile.
    pub async fn further(&self, number: usize, what: &str, condition: impl Fn(&Ended) -> bool) -> Vec<Ended> {
        let known = self.list().len();
        until(ANSWERED_MAX, &format!("{number} requests {what}"), async || {
            let list = self.list();
            let further = &list[known..];
            let seen = further.iter().filter(|ended| condition(ended)).count();
            if seen >= number {
                Ok(further.to_vec())
            } else {
                Err(format!("{seen} of {}; the last: {:?}", further.len(), further.last()))
            }
        })
        .await
    }

    /// Waits until `number` further requests were answered 200 by a backend whose name starts with `name`.
    pub async fn answered_by(&self, name: &str, number: usize) {
        self.further(number, &format!("answered by {name}"), |ended| ended.is_answered_by(name)).await;
    }

    /// Lets `number` further requests end, whatever becomes of them: time, counted in traffic.
    pub async fn pass(&self, number: usize) -> Vec<Ended> {
        self.further(number, "ended", |_| true).await
    }

    /// Sends no further request, waits for those in flight, and returns all.
    pub async fn stop(&mut self) -> Vec<Ended> {
        let Some(load) = self.load.take() else { return Vec::new() };
        let sent = load.stop().await.requests;
        until(ANSWERED_MAX, "all results", async || {
            let read = self.list().len();
            if read as u64 == sent { Ok(()) } else { Err(format!("{read} of {sent}")) }
        })
        .await;
        self.list().clone()
    }
}

/// What stories ask of a request that has ended.
pub trait Asked {
    /// It was answered 200 by a backend whose name starts with `name`.
    fn is_answered_by(&self, name: &str) -> bool;
    /// A backend whose name starts with `name` answered it, well or not.
    fn is_from(&self, name: &str) -> bool;
}

impl Asked for Ended {
    fn is_answered_by(&self, name: &str) -> bool {
        self.answer == Ok(200) && self.is_from(name)
    }

    fn is_from(&self, name: &str) -> bool {
        self.backend.as_ref().is_some_and(|backend| backend.starts_with(name))
    }
}
