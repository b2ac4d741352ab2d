//! The agent's clock: microseconds since it started, monotonic.
//!
//! One base for all threads, so that the age of a request in flight (seen by the reporter) and its latency (measured by
//! the worker) can be compared exactly.

use std::time::Instant;

/// Counts from the moment it was made. Copies count from the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since the start.
    #[inline]
    #[must_use]
    pub fn now_us(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the start.
    #[inline]
    #[must_use]
    pub fn now_ms(self) -> u64 {
        self.now_us() / 1_000
    }
}
