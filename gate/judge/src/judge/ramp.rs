//! Whether blue can take what is diverted: a cold blue warms up, and what does not arrive is not sent.

use crate::metric::All;

/// A blue that served nothing for longer is cold: caches and pools forget, most of them after ten minutes of idleness and none
/// at once. A cold blue's ramp costs about a third of a second of green's failures.
const COLD_MS: u64 = 900_000;
/// How long a step takes at least.
const STEP_MS: u64 = 250;
/// The part of its room that a cold blue is given, step by step.
const STEPS: [f64; 3] = [0.25, 0.5, 1.0];
/// Fewer diverted requests in a second do not say that blue cannot be reached.
const DIVERTED_MIN: u64 = 5;
/// How long nothing is diverted after more than half of it did not arrive; then it is tried again.
const UNREACHABLE_MS: u64 = 30_000;

/// Warms a cold blue up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ramp {
    heard: u64,
    heard_ms: u64,
    /// The step it is at, since when, and what blue had counted then; `None` when blue is warm.
    at: Option<(usize, u64, Vec<All>)>,
}

crate::save::saved!(Ramp { heard, heard_ms, at });

impl Ramp {
    /// Notes how many requests blue has answered.
    pub(super) const fn hear(&mut self, now_ms: u64, requests: u64) {
        if requests > self.heard {
            (self.heard, self.heard_ms) = (requests, now_ms);
        }
    }

    pub(super) const fn is_cold(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms) > COLD_MS
    }

    /// Traffic is about to be diverted to a cold blue.
    pub(super) fn begin(&mut self, now_ms: u64, blue: &[All]) {
        self.at = Some((0, now_ms, blue.to_vec()));
    }

    /// Goes on when blue was well in the last step. `is_well` says so of a metric's counts.
    pub(super) fn advance(&mut self, now_ms: u64, blue: &[All], is_well: impl Fn(usize, &All) -> bool) {
        let Some((step, since_ms, before)) = &mut self.at else { return };
        if now_ms - *since_ms < STEP_MS {
            return;
        }
        let mut grown = blue.iter().zip(before.iter()).map(|(now, before)| now.since(before)).enumerate();
        let answered = blue.iter().zip(before.iter()).any(|(now, before)| now.since(before).requests() > 0);
        if !answered {
            return;
        }
        if grown.all(|(metric, all)| is_well(metric, &all)) {
            *step += 1;
        }
        if *step + 1 >= STEPS.len() {
            self.at = None;
        } else {
            *since_ms = now_ms;
            before.copy_from_slice(blue);
        }
    }

    /// The part of its room that blue may be given now.
    pub(super) fn part(&self) -> f64 {
        self.at.as_ref().map_or(1.0, |(step, ..)| STEPS[*step])
    }
}

/// Whether what is diverted arrives.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Deliveries {
    open: (u64, u64),
    until_ms: Option<u64>,
}

crate::save::saved!(Deliveries { open, until_ms });

impl Deliveries {
    pub(super) const fn note(&mut self, requests: u64, undelivered: u64) {
        self.open.0 = self.open.0.saturating_add(requests);
        self.open.1 = self.open.1.saturating_add(undelivered);
    }

    /// At the end of each second.
    pub(super) fn second(&mut self, now_ms: u64) {
        let (requests, undelivered) = std::mem::take(&mut self.open);
        if requests >= DIVERTED_MIN && undelivered.saturating_mul(2) > requests {
            self.until_ms = Some(now_ms + UNREACHABLE_MS);
        }
        if self.until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            self.until_ms = None;
        }
    }

    /// Blue cannot be reached from green's pods.
    pub(super) const fn fail(&self) -> bool {
        self.until_ms.is_some()
    }
}
