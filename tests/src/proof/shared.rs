//! Faults of both sides: reverting would not help, so it must not happen.

use blueback::power::figures::quantile_of;
use blueback::power::random::Random;
use blueback::power::release::{Harm, Scenario, Told, tell};
use blueback_judge::Rules;
use blueback_judge::statistics::relative::BLAME_ALPHA;
use rayon::prelude::*;

use super::{Count, Promise, RATES, SEED, healthy};

/// The story goes on so long after the fault began.
const WATCHED_MS: u64 = 300_000;

/// A fault that both sides have from the same moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Requests a second.
    pub rps: f64,
    /// Share of the requests that fails.
    pub share: f64,
    /// When it begins.
    pub start_ms: u64,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// Which.
    pub cell: Cell,
    /// Reverted all the same.
    pub reverts: Count,
    /// Median time until it was told to be shared.
    pub told_ms: Option<u64>,
}

impl Shared {
    pub(super) fn promise(&self) -> Promise {
        let Cell { rps, share, start_ms } = self.cell;
        Promise {
            what: format!(
                "fault of both sides reverted, {:.0} % at {rps} rps, {} s in",
                share * 100.0,
                start_ms / 1_000
            ),
            bound: BLAME_ALPHA,
            count: self.reverts,
        }
    }
}

/// All cells.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let starts = |rps: f64, share: f64| [0, 120_000].map(|start_ms| Cell { rps, share, start_ms });
    RATES.iter().flat_map(|&rps| [1.0, 0.2].into_iter().flat_map(move |share| starts(rps, share))).collect()
}

pub(super) fn measure(cell: &Cell, runs: u64) -> Shared {
    let until_ms = cell.start_ms + WATCHED_MS;
    let scenario = Scenario {
        health: healthy::health(),
        harm: Some((Harm::Errors(cell.share), cell.start_ms)),
        is_shared: true,
        ..Scenario::healthy(Rules::default_rules(), cell.rps, until_ms)
    };
    let number = [cell.rps.to_bits(), cell.share.to_bits(), cell.start_ms];
    let told: Vec<Told> = (0..runs)
        .into_par_iter()
        .map(|run| tell(&scenario, Random::of(SEED, &[5, number[0], number[1], number[2], run])))
        .collect();
    let seen = told.iter().filter(|told| told.revert_ms.is_some()).count() as u64;
    let mut shared: Vec<u64> =
        told.iter().filter_map(|told| Some(told.shared_ms?.saturating_sub(cell.start_ms))).collect();
    shared.sort_unstable();
    Shared { cell: *cell, reverts: Count { seen, of: runs }, told_ms: quantile_of(&shared, told.len(), 0.5) }
}
