//! An agent's clock: monotonic, counting from some moment of its own, but neither exactly as fast as the gate's nor steady.
//!
//! What the host believes the time of day to be is no part of it. A real one loses time while its machine sleeps or is moved
//! to another host, and gains what it lost at once; the kernel slews it by at most 500 parts in a million. Latencies are not
//! bent with it here: they are measured between two readings that are close.

use crate::random::Random;

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Clock {
    /// What it shows when its agent starts, in milliseconds.
    pub(crate) shows_ms: u64,
    /// How much more than a second it counts in a second.
    pub(crate) drift: f64,
    /// When it is set, in microseconds of virtual time, and how far.
    pub(crate) steps: Vec<(u64, i64)>,
}

impl Clock {
    /// What it shows at `now_us`, of an agent that was started at `started_us`.
    pub(crate) fn at_ms(&self, started_us: u64, now_us: u64) -> u64 {
        let steps = self.steps.iter().filter(|(at_us, _)| (started_us..=now_us).contains(at_us));
        let set_ms: i64 = steps.map(|(_, by_ms)| by_ms).sum();
        let counted_us = (now_us - started_us) as f64 * (1.0 + self.drift);
        (self.shows_ms + counted_us as u64 / 1_000 + 1).saturating_add_signed(set_ms)
    }

    /// Up to half a minute before or behind the others, not quite as fast, and set twice between the two times.
    pub(crate) fn draw(random: &mut Random, from_us: u64, until_us: u64, steps: Steps) -> Self {
        let any = |random: &mut Random| random.between(0, 60_001) as i64 - 30_000;
        let mut set: Vec<(u64, i64)> = (0..2).map(|_| (random.between(from_us, until_us), any(random))).collect();
        match steps {
            Steps::None => set.clear(),
            Steps::Back => set.iter_mut().for_each(|(_, by_ms)| *by_ms = -by_ms.abs()),
            Steps::Any => (),
        }
        Self {
            shows_ms: random.between(0, 60_001),
            drift: (random.between(0, 2_001) as f64 - 1_000.0) / 1e6,
            steps: set,
        }
    }
}

/// How a clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// Not at all.
    None,
    /// Only back.
    Back,
    /// Back or forward.
    Any,
}
