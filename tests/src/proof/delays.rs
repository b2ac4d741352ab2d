//! How soon harm is found: the whole judge with its shield, one test alone, the least that any test needs, and pollers.

use blueback::power::alone::{Alone, Manner, Stream};
use blueback::power::figures::quantile_of;
use blueback::power::random::Random;
use blueback::power::release::{Harm, Run, Scenario, Told, Until};
use blueback_judge::Rules;
use blueback_judge::rules::List;
use blueback_judge::statistics::reference::{REFERENCE_FLOOR, kl};
use blueback_judge::statistics::schedule::{Profile, block_ms};
use rayon::prelude::*;

use super::healthy::{self, ERRORS};
use super::pollers::{Poller, Seconds, reverts_s};
use super::{RATES, SEED};

/// Harm begins with the switch, and ten minutes later.
pub const STARTS_MS: [u64; 2] = [0, 600_000];
/// Not found by then: never.
const PATIENCE_MS: u64 = 900_000;
/// The limit of the absolute rule.
const P0: f64 = 0.05;
/// The probability of a false alarm that the least number of requests is computed for.
const ALPHA: f64 = 1e-3;
/// Ten healthy minutes are simulated so often; runs with late harm go on from one of them.
const BEGINNINGS: u64 = 20;

/// A harm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Requests a second.
    pub rps: f64,
    /// What.
    pub harm: Harm,
    /// When it begins.
    pub start_ms: u64,
}

/// Median and 95 % of a time or a count; `None`: not in so many runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Median.
    pub p50: Option<u64>,
    /// 95 %.
    pub p95: Option<u64>,
}

impl Spread {
    fn of(values: impl Iterator<Item = u64>, runs: u64) -> Self {
        let mut values: Vec<u64> = values.collect();
        values.sort_unstable();
        let at = |quantile| quantile_of(&values, runs as usize, quantile);
        Self { p50: at(0.5), p95: at(0.95) }
    }
}

/// How soon it is found, in milliseconds after it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Delay {
    /// Which.
    pub cell: Cell,
    /// Whole judge: traffic is diverted.
    pub shield: Spread,
    /// Whole judge: reverted for good.
    pub durable: Spread,
    /// Whole judge: green's bad requests until then.
    pub failed: Spread,
    /// The test of the absolute rule alone, on all of the traffic.
    pub alone: Spread,
    /// The test against what blue did, alone, on all of the traffic; of errors only.
    pub reference: Option<Spread>,
    /// Requests that any test needs at least, against the limit and against the rate before; of errors only.
    pub least: Option<(f64, f64)>,
    /// Each poller: its time, and the bad requests until then; of errors only.
    pub pollers: Vec<(Poller, Spread, Spread)>,
}

/// Rate by rate, harm by harm.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let harms = [1.0, 0.5, 0.2, 0.1, 0.06].map(Harm::Errors).into_iter().chain([Harm::Slow(0.2)]);
    let harms: Vec<Harm> = harms.collect();
    let of_rate = |&rps: &f64| {
        let of_harm = move |harm: Harm| STARTS_MS.map(|start_ms| Cell { rps, harm, start_ms });
        harms.clone().into_iter().flat_map(of_harm)
    };
    RATES.iter().flat_map(of_rate).collect()
}

fn numbers(cell: &Cell) -> [u64; 3] {
    let (kind, share) = match cell.harm {
        Harm::Errors(share) => (0, share),
        Harm::Slow(share) => (1, share),
    };
    [cell.rps.to_bits(), share.to_bits() ^ kind, cell.start_ms]
}

pub(super) fn measure(cell: &Cell, runs: u64) -> Delay {
    let told = judged(cell, runs);
    let after = |of: fn(&Told) -> Option<u64>| told.iter().filter_map(of).map(|at| at.saturating_sub(cell.start_ms));
    let errors = match cell.harm {
        Harm::Errors(share) => Some(share),
        Harm::Slow(_) => None,
    };
    let (healthy, bad, p0) = match cell.harm {
        Harm::Errors(share) => (ERRORS, share, P0),
        Harm::Slow(share) => (healthy::health().above(500.0), share, 0.01),
    };
    Delay {
        cell: *cell,
        shield: Spread::of(after(|told| told.shield_ms), runs),
        durable: Spread::of(after(|told| told.revert_ms), runs),
        failed: Spread::of(told.iter().filter(|told| told.revert_ms.is_some()).map(|told| told.failed), runs),
        alone: alone(cell, healthy, bad, p0, runs),
        reference: errors.map(|share| alone(cell, ERRORS, share, REFERENCE_FLOOR, runs)),
        least: errors.map(|share| ((1.0 / ALPHA).ln() / kl(share, P0), (1.0 / ALPHA).ln() / kl(share, ERRORS))),
        pollers: errors.map_or(Vec::new(), |share| polled(cell, share, runs)),
    }
}

/// Releases under a whole judge with the default rules.
fn judged(cell: &Cell, runs: u64) -> Vec<Told> {
    let until_ms = cell.start_ms + PATIENCE_MS;
    let scenario = Scenario {
        health: healthy::health(),
        harm: Some((cell.harm, cell.start_ms)),
        ..Scenario::healthy(Rules::default_rules(), cell.rps, until_ms)
    };
    let [rps, share, start] = numbers(cell);
    let beginnings: Vec<Run> = (0..BEGINNINGS.min(runs))
        .into_par_iter()
        .map(|beginning| {
            let mut run = Run::new(&scenario, Random::of(SEED, &[6, rps, start, beginning]));
            run.go(&scenario, cell.start_ms, Until::Reverted);
            run
        })
        .collect();
    (0..runs)
        .into_par_iter()
        .map(|number| {
            let random = Random::of(SEED, &[7, rps, share, start, number]);
            let mut run = beginnings[(number % beginnings.len() as u64) as usize].clone().begin_harm(random);
            run.go(&scenario, until_ms, Until::Reverted);
            run.told().clone()
        })
        .collect()
}

/// The test alone, on all of the traffic.
fn alone(cell: &Cell, healthy: f64, bad: f64, p0: f64, runs: u64) -> Spread {
    let [rps, share, start] = numbers(cell);
    let alpha = Rules::default_rules().alpha(List::Revert);
    let one = |number: u64| {
        let random = |lane: u64| Random::of(SEED, &[8, rps, share, start, p0.to_bits(), number, lane]);
        let until_ms = cell.start_ms + PATIENCE_MS;
        let mut before = Stream::new(cell.rps, healthy, Manner::Independent, until_ms, random(0));
        let mut after = Stream::new(cell.rps, bad, Manner::Independent, until_ms, random(1));
        let mut test = Alone::new(p0, alpha);
        let mut now_ms = 0;
        while now_ms < until_ms && test.fired_ms.is_none() {
            let end_ms = now_ms + block_ms(Profile::Fast, now_ms);
            // Both go on, so that each knows how many requests are due.
            let (good, ill) = (before.next(now_ms, end_ms), after.next(now_ms, end_ms));
            let (n, x) = if now_ms < cell.start_ms { good } else { ill };
            test.block(now_ms, end_ms, n, x);
            now_ms = end_ms;
        }
        test.fired_ms.filter(|&at| at > cell.start_ms).map(|at| at - cell.start_ms)
    };
    Spread::of((0..runs).into_par_iter().filter_map(one).collect::<Vec<_>>().into_iter(), runs)
}

fn polled(cell: &Cell, share: f64, runs: u64) -> Vec<(Poller, Spread, Spread)> {
    let [rps, share_bits, start] = numbers(cell);
    let until_s = 2_700;
    let times: Vec<Vec<Option<(u64, u64)>>> = (0..runs)
        .into_par_iter()
        .map(|run| {
            let mut random = Random::of(SEED, &[9, rps, share_bits, start, run]);
            // Late harm begins at any moment between two measurements.
            let start_s = match cell.start_ms / 1_000 {
                0 => 0,
                start_s => start_s + (60.0 * random.unit()) as u64,
            };
            let green = Seconds::new(cell.rps, ERRORS, share, start_s, until_s, &mut random);
            let blue = Seconds::new(cell.rps, ERRORS, ERRORS, 0, until_s, &mut random);
            let one = |poller: Poller| {
                let at_s = reverts_s(poller, &green, &blue, &mut random)?;
                let failed = green.failed(start_s as f64, at_s);
                Some((((at_s - start_s as f64).max(0.0) * 1_000.0) as u64, failed))
            };
            Poller::ALL.map(one).to_vec()
        })
        .collect();
    let each = |(index, poller): (usize, Poller)| {
        let of = |which: fn((u64, u64)) -> u64| Spread::of(times.iter().filter_map(|run| run[index].map(which)), runs);
        (poller, of(|(at_ms, _)| at_ms), of(|(_, failed)| failed))
    };
    Poller::ALL.into_iter().enumerate().map(each).collect()
}
