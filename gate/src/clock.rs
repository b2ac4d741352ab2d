//! Time, as the gate tells it.
//!
//! Unix milliseconds, because people, stores and other processes read them; but within one process they follow the
//! monotonic clock, so that a correction of the wall clock neither ends a block early nor makes a report come from the
//! future. Only the event loop reads the clock, once a turn.

use std::time::{Duration, Instant, SystemTime};

/// A moment, in Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From Unix milliseconds.
    #[must_use]
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// As Unix milliseconds.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Milliseconds since `earlier`; zero when that is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This many milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Reads the time: the wall clock at its start, carried on by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at: Timestamp,
}

impl Clock {
    /// Starts at the wall clock's time, but not before `floor`: the newest time that a former gate has stored.
    #[must_use]
    pub fn start(floor: Timestamp) -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { began: Instant::now(), began_at: Timestamp(wall.as_millis() as u64).max(floor) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.began_at.plus_ms(self.began.elapsed().as_millis() as u64)
    }
}
