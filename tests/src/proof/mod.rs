//! The judge's promises, put to the test by simulation: how seldom a healthy release is reverted, how soon harm is found.
//!
//! One description of the work, two sizes of it: [`Size::full`] fills `docs/proof.md` (`just prove`), [`Size::small`] runs
//! with the tests, and fails them when a promise is broken. All chance comes from one seed and the numbers of cell and run,
//! so results do not depend on the number of cores.

pub mod boundary;
pub mod delays;
pub mod document;
pub mod healthy;
pub mod plots;
pub mod pollers;
pub mod shared;

use blueback::power::figures::interval;

pub use self::boundary::Boundary;
pub use self::delays::Delay;
pub use self::healthy::{FalseReverts, FirstHalfHour, Shields};
pub use self::shared::Shared;

/// What all chance comes from: the year in which the numbers were first made.
pub const SEED: u64 = 2026;
/// Rates in requests a second at which everything is tried.
pub const RATES: [f64; 3] = [10.0, 100.0, 1_000.0];
/// A promise is broken when it is kept with less than this probability: a hundred promises then break one by chance in a
/// hundred thousand proofs.
const DOUBT: f64 = 1e-7;
/// What is left open by a count, on each side.
const LEFT_OPEN: f64 = 0.025;

/// How much of everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    /// Releases of 24 h for each cell, by their tests alone.
    pub releases: u64,
    /// Streams of 24 h exactly at their limit, for each cell.
    pub at_limit: u64,
    /// Releases of half an hour for each cell, with a whole judge.
    pub half_hours: u64,
    /// Releases of a whole day for each cell, with a whole judge.
    pub days: u64,
    /// Runs for each delay.
    pub delays: u64,
    /// Runs for each shared outage.
    pub shared: u64,
}

impl Size {
    /// What the document is made of.
    #[must_use]
    pub const fn full() -> Self {
        Self { releases: 10_000, at_limit: 3_000, half_hours: 200, days: 4, delays: 200, shared: 300 }
    }

    /// What runs with the tests, within a minute on two cores.
    #[must_use]
    pub const fn small() -> Self {
        Self { releases: 40, at_limit: 60, half_hours: 4, days: 0, delays: 11, shared: 20 }
    }

    /// A part of it, in percent, but no delay and no shared fault from fewer than 40 runs: they cost little.
    #[must_use]
    pub fn scaled(&self, percent: u64) -> Self {
        let part = |count: u64| count * percent / 100;
        Self {
            releases: part(self.releases),
            at_limit: part(self.at_limit),
            half_hours: part(self.half_hours),
            days: part(self.days),
            delays: part(self.delays).max(40),
            shared: part(self.shared).max(40),
        }
    }
}

/// What was seen of something that has a probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// It happened.
    pub seen: u64,
    /// It could have.
    pub of: u64,
}

impl Count {
    /// The share of it.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.seen as f64 / self.of.max(1) as f64
    }

    /// The probabilities that it leaves open (95 %).
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        interval(self.seen, self.of, LEFT_OPEN)
    }

    /// It cannot be by chance that so many were seen, if the probability is at most `bound`.
    #[must_use]
    pub fn breaks(&self, bound: f64) -> bool {
        interval(self.seen, self.of, DOUBT).0 > bound
    }
}

/// A bound that is promised, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// What is promised.
    pub what: String,
    /// At most this probability.
    pub bound: f64,
    /// What was seen.
    pub count: Count,
}

impl Promise {
    /// It is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.count.breaks(self.bound)
    }
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Proof {
    /// How much of it.
    pub size: Size,
    /// Healthy releases of a day, tests alone.
    pub false_reverts: Vec<FalseReverts>,
    /// Streams at their limit.
    pub boundary: Vec<Boundary>,
    /// Healthy releases of half an hour, whole judge.
    pub half_hours: Vec<FirstHalfHour>,
    /// Shields on healthy releases of a day, whole judge.
    pub shields: Vec<Shields>,
    /// Harm, and when it is found.
    pub delays: Vec<Delay>,
    /// Faults of both sides.
    pub shared: Vec<Shared>,
}

/// Told of each piece of work: what, and the pieces that are done with it.
pub type Progress<'a> = dyn Fn(&str, u64) + Sync + 'a;

/// Pieces of work, for a progress bar: about equal in time.
#[must_use]
pub fn pieces() -> u64 {
    (healthy::cells().len() + boundary::cells().len() + 2 * healthy::judged_cells().len()) as u64
        + (delays::cells().len() + shared::cells().len()) as u64
}

impl Proof {
    /// Measures everything.
    #[must_use]
    pub fn run(size: &Size, progress: &Progress<'_>) -> Self {
        fn each<C, T>(cells: &[C], what: &str, progress: &Progress<'_>, work: impl Fn(&C) -> T) -> Vec<T> {
            let one = |cell: &C| {
                let done = work(cell);
                progress(what, 1);
                done
            };
            cells.iter().map(one).collect()
        }
        Self {
            size: size.clone(),
            delays: each(&delays::cells(), "how soon harm is found", progress, |cell| {
                delays::measure(cell, size.delays)
            }),
            shared: each(&shared::cells(), "faults of both sides", progress, |cell| shared::measure(cell, size.shared)),
            boundary: each(&boundary::cells(), "exactly at the limit", progress, |cell| {
                boundary::measure(cell, size.at_limit)
            }),
            half_hours: each(&healthy::judged_cells(), "healthy half hours", progress, |cell| {
                healthy::half_hour(cell, size.half_hours)
            }),
            false_reverts: each(&healthy::cells(), "healthy days", progress, |cell| {
                healthy::false_reverts(cell, size.releases)
            }),
            shields: if size.days == 0 {
                progress("shields in healthy days", healthy::judged_cells().len() as u64);
                Vec::new()
            } else {
                each(&healthy::judged_cells(), "shields in healthy days", progress, |cell| {
                    healthy::shields(cell, size.days)
                })
            },
        }
    }

    /// Every promise that has a bound.
    #[must_use]
    pub fn promises(&self) -> Vec<Promise> {
        let false_reverts = self.false_reverts.iter().flat_map(FalseReverts::promises);
        let boundary = self.boundary.iter().flat_map(Boundary::promises);
        let half_hours = self.half_hours.iter().flat_map(FirstHalfHour::promises);
        let shared = self.shared.iter().map(Shared::promise);
        false_reverts.chain(boundary).chain(half_hours).chain(shared).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_breaks_only_beyond_chance() {
        let promise = |seen, of| Promise { what: String::new(), bound: 0.1, count: Count { seen, of } };
        assert!(!promise(0, 0).is_broken());
        assert!(!promise(13, 100).is_broken(), "13 of 100 happen by chance");
        assert!(promise(40, 100).is_broken());
        assert!(promise(3_000, 21_000).is_broken());
        assert!(!promise(2_100, 21_000).is_broken());
    }
}
