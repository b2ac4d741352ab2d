//! What the application depends on, asked once a second: a connection, a GET, a query, a PING.
//!
//! Each check opens a connection of its own, as an application does that comes up just now; a kept one would go on working while
//! nobody new gets in. What is spoken with PostgreSQL is written by hand: a start, the answer to it, one query and its answer are
//! a page of code, and a client library would double the agent's dependencies.
//!
//! A server that asks for a password has started, is not recovering and has a connection free (otherwise it refuses before it
//! asks), so it is up: the agent holds no password. Give it a user that needs none and it runs a query too.

mod ask;
mod target;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blueback_report::Dependency;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

pub use target::{Check, Target};

use crate::control::Control;

/// Time between checks, and the time an answer may take.
pub const EVERY: Duration = Duration::from_secs(1);

/// A dependency and since when it has been down.
#[derive(Debug)]
pub struct Checked {
    dependency: Dependency,
    down_since_ms: Option<u64>,
}

impl Checked {
    /// Not asked yet.
    #[must_use]
    pub fn new(name: Arc<str>) -> Self {
        Self { dependency: Dependency::new(name), down_since_ms: None }
    }

    /// Counts a check: how long the answer took, or that there was none.
    pub fn note(&mut self, answered_us: Option<u64>, now_ms: u64) {
        self.dependency.checks += 1;
        self.dependency.up = answered_us.is_some();
        match answered_us {
            Some(us) => {
                self.dependency.latency.record_n(us, 1);
                self.down_since_ms = None;
            }
            None => {
                self.dependency.failures += 1;
                self.down_since_ms.get_or_insert(now_ms);
            }
        }
    }

    /// As it is to be reported now.
    #[must_use]
    pub fn at(&self, now_ms: u64) -> Dependency {
        let down_for_ms = self.down_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        Dependency { down_for_ms, ..self.dependency.clone() }
    }
}

/// The same with only what changed since `acknowledged` in the latencies.
#[must_use]
pub fn since(dependencies: &[Dependency], acknowledged: &[Dependency]) -> Vec<Dependency> {
    let known = |name: &Arc<str>| acknowledged.iter().find(|known| known.name == *name);
    let changed = |now: &Dependency| known(&now.name).map_or_else(|| now.clone(), |known| now.since(known));
    dependencies.iter().map(changed).collect()
}

/// Asks for ever.
pub async fn watch(control: Rc<Control>, number: usize, target: Target) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut up = true;
    loop {
        turn.tick().await;
        let begun = Instant::now();
        let answer = timeout(EVERY, ask::answers(&target.check)).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        control.reporter.borrow_mut().checked(number, answer.is_ok().then_some(took_us));
        if answer.is_ok() != up {
            up = !up;
            match answer {
                Ok(()) => info!(dependency = %target.name, "Dependency is up"),
                Err(error) => warn!(dependency = %target.name, error = format!("{error:#}"), "Dependency is down"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_says_for_how_long_and_forgets_it_when_it_is_up() {
        let mut checked = Checked::new("database".into());
        assert!(checked.at(0).up, "nothing has been seen to fail");
        checked.note(Some(500), 1_000);
        checked.note(None, 2_000);
        checked.note(None, 3_000);
        let down = checked.at(3_500);
        assert_eq!((down.up, down.down_for_ms, down.checks, down.failures), (false, 1_500, 3, 2));
        assert_eq!(down.latency.total(), 1, "only answers have a latency");
        checked.note(Some(500), 4_000);
        let up = checked.at(9_000);
        assert_eq!((up.up, up.down_for_ms, up.checks, up.failures), (true, 0, 4, 2));
    }

    #[test]
    fn only_what_changed_is_said_again() {
        let mut checked = Checked::new("database".into());
        checked.note(Some(500), 0);
        let before = vec![checked.at(0)];
        assert_eq!(since(&before, &[]), before);
        assert!(since(&before, &before)[0].latency.is_empty());
        checked.note(Some(90_000), 0);
        let changed = since(&[checked.at(0)], &before);
        assert_eq!((changed[0].latency.total(), changed[0].checks), (1, 2));
    }
}
