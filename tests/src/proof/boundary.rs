//! Streams that are exactly as bad as the limit allows: there the bound is nearly attained, so there it is tested.

use blueback::power::alone::{self, Alone, Manner, Stream};
use blueback::power::plan::DAY_MS;
use blueback::power::random::Random;
use blueback_judge::statistics::schedule::Profile;
use rayon::prelude::*;

use super::{Count, Promise, SEED};

/// E of at least this has a probability of at most its inverse (Ville 1939).
pub const LEVELS: [f64; 3] = [10.0, 100.0, 1_000.0];
/// The budget of the published tables.
const ALPHA: f64 = 2e-4;

/// A limit, and requests that are exactly as bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Requests a second.
    pub rps: f64,
    /// The limit, and the mean share of bad requests.
    pub p0: f64,
    /// How bad requests come.
    pub manner: Manner,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    /// Which.
    pub cell: Cell,
    /// Streams in which E came to each of [`LEVELS`].
    pub reached: [Count; 3],
    /// Streams that fired at 1 in 5,000.
    pub fired: Count,
}

impl Boundary {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let manner = match self.cell.manner {
            Manner::Together(icc) => format!(", ICC {icc}"),
            Manner::Independent | Manner::Bursts(_) => String::new(),
        };
        format!("{} % at {} rps{manner}", self.cell.p0 * 100.0, self.cell.rps)
    }

    pub(super) fn promises(&self) -> Vec<Promise> {
        let levels = LEVELS.iter().zip(self.reached).map(|(level, count)| Promise {
            what: format!("E ≥ {level} in a day at the limit, {}", self.words()),
            bound: 1.0 / level,
            count,
        });
        let fired = Promise {
            what: format!("fired at {ALPHA} in a day at the limit, {}", self.words()),
            bound: ALPHA,
            count: self.fired,
        };
        levels.chain([fired]).collect()
    }
}

/// All cells.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let at = |rps: f64, p0: f64, manner: Manner| Cell { rps, p0, manner };
    vec![
        at(100.0, 0.005, Manner::Independent),
        at(100.0, 0.02, Manner::Independent),
        at(100.0, 0.05, Manner::Independent),
        at(10.0, 0.05, Manner::Independent),
        at(1_000.0, 0.05, Manner::Independent),
        at(100.0, 0.05, Manner::Together(0.05)),
        at(100.0, 0.05, Manner::Together(0.2)),
    ]
}

pub(super) fn measure(cell: &Cell, streams: u64) -> Boundary {
    let numbers = (cell.rps.to_bits(), cell.p0.to_bits(), cell.manner == Manner::Independent);
    let most: Vec<(f64, bool)> = (0..streams)
        .into_par_iter()
        .map(|run| {
            let icc = if let Manner::Together(icc) = cell.manner { icc.to_bits() } else { 0 };
            let random = Random::of(SEED, &[4, numbers.0, numbers.1, u64::from(numbers.2), icc, run]);
            let mut stream = Stream::new(cell.rps, cell.p0, cell.manner, DAY_MS, random);
            let mut tests = [Alone::new(cell.p0, ALPHA)];
            alone::run(Profile::Fast, DAY_MS, &mut stream, &mut tests);
            (tests[0].most, tests[0].fired_ms.is_some())
        })
        .collect();
    let reached = LEVELS
        .map(|level| Count { seen: most.iter().filter(|(most, _)| *most >= level.ln()).count() as u64, of: streams });
    let fired = Count { seen: most.iter().filter(|(_, fired)| *fired).count() as u64, of: streams };
    Boundary { cell: *cell, reached, fired }
}
