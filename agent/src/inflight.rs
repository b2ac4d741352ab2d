//! Requests in flight, so that a hang is seen while it hangs.
//!
//! A fixed table of atomics a worker. The worker fills and clears entries; the reporter looks for entries older than a
//! watched limit and marks them by compare-exchange, so each request crosses each limit at most once, and the worker finds
//! in the word that it takes back what was marked. Neither waits for the other.

use std::sync::atomic::{
    AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use blueback_report::{LIMITS_MAX, Limit, Measure, buckets};

/// Requests that a worker's table holds. Further ones are recorded when they end but cannot be seen to hang.
pub const ENTRIES: usize = 4_096;

const MARKS: u32 = LIMITS_MAX as u32;
const MARKS_MASK: u64 = (1 << MARKS) - 1;
/// Set when the first byte of the response has come.
const ANSWERED: u64 = 1 << MARKS;
/// Set while the entry is in use.
const TAKEN: u64 = 1 << (MARKS + 1);
const START_SHIFT: u32 = MARKS + 2;

/// Where a request came from and went to, in one word: admission epoch and series class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the backend.
    pub backend: u16,
    /// Route class.
    pub class: u16,
    /// The epoch that admitted it. Only the low 32 bits are kept.
    pub epoch: u32,
}

impl Origin {
    fn pack(self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.backend) << 16 | u64::from(self.class)
    }

    fn unpack(word: u64) -> Self {
        Self { backend: (word >> 16) as u16, class: word as u16, epoch: (word >> 32) as u32 }
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// `start_us << START_SHIFT | TAKEN | ANSWERED | marks`; zero when free.
    word: AtomicU64,
    origin: AtomicU64,
}

/// A worker's table.
#[derive(Debug)]
pub struct InFlight {
    entries: Box<[Entry]>,
    /// Entries from here on were never used.
    used: AtomicUsize,
}

/// Limits marked on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// Numbers of the marked limits.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..LIMITS_MAX).filter(move |bit| self.0 >> bit & 1 == 1)
    }

    /// Those that are also set in `mask`.
    #[must_use]
    pub const fn only(self, mask: u16) -> Self {
        Self(self.0 & mask)
    }
}

/// A limit with its stable number.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Number of the limit: the bit that marks it.
    pub bit: usize,
    /// The limit.
    pub limit: Limit,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { entries: (0..ENTRIES).map(|_| Entry::default()).collect(), used: AtomicUsize::new(0) }
    }
}

impl InFlight {
    /// Fills the entry. Called by the worker, for an entry that it holds free.
    pub fn begin(&self, index: usize, origin: Origin, start_us: u64) {
        let entry = &self.entries[index];
        entry.origin.store(origin.pack(), Relaxed);
        entry.word.store(start_us << START_SHIFT | TAKEN, Release);
        if index >= self.used.load(Relaxed) {
            self.used.store(index + 1, Release);
        }
    }

    /// Notes that the first byte has come, and returns what was marked until then.
    pub fn answered(&self, index: usize) -> Marks {
        Marks((self.entries[index].word.fetch_or(ANSWERED, AcqRel) & MARKS_MASK) as u16)
    }

    /// Frees the entry, and returns what was marked.
    pub fn end(&self, index: usize) -> Marks {
        Marks((self.entries[index].word.swap(0, AcqRel) & MARKS_MASK) as u16)
    }

    /// Marks each request that is older than a limit and was not marked for it yet, and names it. Called by the reporter.
    pub fn mark(&self, now_us: u64, watched: &[Watched], mut crossed: impl FnMut(Origin, Limit)) {
        for entry in &self.entries[..self.used.load(Acquire)] {
            let mut word = entry.word.load(Acquire);
            while word & TAKEN != 0 {
                let age_us = now_us.saturating_sub(word >> START_SHIFT);
                let due = watched.iter().filter(|watched| {
                    word >> watched.bit & 1 == 0
                        && age_us > buckets::crossing_us(watched.limit.us)
                        && (watched.limit.measure == Measure::LastByte || word & ANSWERED == 0)
                });
                let marks = due.clone().fold(0, |marks, watched| marks | 1 << watched.bit);
                if marks == 0 {
                    break;
                }
                // The origin is read before the exchange: if the entry was freed and taken again meanwhile, its start
                // differs, for a request that starts now is not older than a limit, and the exchange fails.
                let origin = Origin::unpack(entry.origin.load(Acquire));
                match entry.word.compare_exchange(word, word | marks, AcqRel, Acquire) {
                    Ok(_) => {
                        due.for_each(|watched| crossed(origin, watched.limit));
                        break;
                    }
                    Err(changed) => word = changed,
                }
            }
        }
    }

    /// Takes a limit's mark from all entries, so that its number can be given to another limit.
    pub fn clear(&self, bit: usize) {
        for entry in &self.entries[..self.used.load(Acquire)] {
            entry.word.fetch_and(!(1 << bit), AcqRel);
        }
    }
}
