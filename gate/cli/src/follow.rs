//! Following one release through restarts of the gate.

use std::time::Duration;

use blueback_gate::api::types::Release;
use tokio::time::{Instant, sleep};

use crate::client::{Events, Gate, GateError};

/// How long a gate may be unreachable before its first word; afterwards only the caller's timeout counts.
///
/// Long enough for a gate that is just being started beside us, short enough to tell a wrong address from a slow one.
pub const FIRST_WORD_MAX: Duration = Duration::from_secs(10);
/// How long a restarted gate may not know the release: it may still be reading its store.
pub const FORGOTTEN_MAX: Duration = Duration::from_secs(10);

/// How long a gate is lost before that is worth a word: a restart may be quicker.
pub const LOST_TOLD_AFTER: Duration = Duration::from_secs(1);

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Asks until the gate is reachable, for at most [`FIRST_WORD_MAX`].
///
/// # Errors
/// The gate's last error.
pub async fn patiently<T>(ask: impl AsyncFn() -> Result<T, GateError>) -> Result<T, GateError> {
    let give_up = Instant::now() + FIRST_WORD_MAX;
    let mut backoff = BACKOFF_MIN;
    loop {
        match ask().await {
            Err(error) if error.is_unreachable() && Instant::now() + backoff < give_up => sleep(backoff).await,
            other => return other,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// The states of a release, as they come.
#[derive(Debug)]
pub struct Follow {
    gate: Gate,
    id: String,
    stream: Option<Events>,
    /// The newest revision that was returned.
    revision: Option<u64>,
    backoff: Duration,
    /// Since when nothing was heard.
    lost: Option<Instant>,
    /// That is known to whoever follows.
    lost_told: bool,
    forgotten: Option<Instant>,
}

impl Follow {
    /// Follows the release `id`, which the gate has just told us about.
    #[must_use]
    pub const fn new(gate: Gate, id: String) -> Self {
        Self {
            gate,
            id,
            stream: None,
            revision: None,
            backoff: BACKOFF_MIN,
            lost: None,
            lost_told: false,
            forgotten: None,
        }
    }

    /// The next state that is newer than the last; `None`, once, when the gate is lost for longer than
    /// [`LOST_TOLD_AFTER`]. Cancel safe: nothing that was read is lost.
    ///
    /// # Errors
    /// When the gate refuses, or has forgotten the release.
    pub async fn next(&mut self) -> Result<Option<Release>, GateError> {
        loop {
            match self.step().await {
                Ok(Some(release)) => return Ok(Some(release)),
                Ok(None) => (),
                Err(error) => self.endure(error).await?,
            }
            let is_lost = self.lost.is_some_and(|since| since.elapsed() >= LOST_TOLD_AFTER);
            if is_lost && !std::mem::replace(&mut self.lost_told, true) {
                return Ok(None);
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Release>, GateError> {
        let Some(stream) = &mut self.stream else {
            // A gate that was killed may have forgotten the newest revisions, so its own word says where to go on:
            // with our last one it would be silent until it has caught up.
            let state = match self.revision {
                Some(_) => Some(self.gate.release(&self.id).await?),
                None => None,
            };
            let last_event = state.as_ref().map(|state| state.revision.to_string());
            self.stream = Some(self.gate.events(&self.id, last_event.as_deref()).await?);
            self.lost = None;
            self.lost_told = false;
            self.forgotten = None;
            return Ok(state.and_then(|state| self.news(state)));
        };
        let event = stream.next().await?;
        // Only now: a gate that takes streams and drops them is not asked ever faster.
        self.backoff = BACKOFF_MIN;
        if event.name != "release" {
            return Ok(None);
        }
        let release = serde_json::from_str(&event.data).map_err(|error| GateError::Garbled(error.to_string()))?;
        Ok(self.news(release))
    }

    fn news(&mut self, release: Release) -> Option<Release> {
        let seen = self.revision.replace(release.revision);
        (seen != Some(release.revision)).then_some(release)
    }

    /// Waits before the next try, or gives up.
    async fn endure(&mut self, error: GateError) -> Result<(), GateError> {
        self.stream = None;
        self.lost.get_or_insert_with(Instant::now);
        let endurable = error.is_unreachable()
            || error.is_unknown() && self.forgotten.get_or_insert_with(Instant::now).elapsed() < FORGOTTEN_MAX;
        if !endurable {
            return Err(error);
        }
        let wait = self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        sleep(wait).await;
        Ok(())
    }
}
