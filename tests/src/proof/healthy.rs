//! Healthy releases: how many are reverted, and how many are diverted for a while.

use blueback::power::alone::{self, Alone, Bursts, Manner, Stream};
use blueback::power::plan::DAY_MS;
use blueback::power::random::Random;
use blueback::power::release::{Health, Run, Scenario, Told, tell};
use blueback_judge::rules::{Condition, Subject};
use blueback_judge::statistics::schedule::Profile;
use blueback_judge::{Rules, Spec};
use rayon::prelude::*;

use super::{Count, Promise, RATES, SEED};

/// Half an hour.
const HALF_HOUR_MS: u64 = 1_800_000;
/// The share of a healthy service's requests that fails.
pub const ERRORS: f64 = 0.001;

/// A service on an ordinary day: one request in a thousand fails, and two take longer than half a second.
#[must_use]
pub fn health() -> Health {
    Health { errors: ERRORS, icc: 0.0, p50_ms: 20.0, p99_ms: 269.7 }
}

/// How bad requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Requests a second.
    pub rps: f64,
    /// How bad requests come.
    pub manner: Manner,
    /// Length of blocks.
    pub profile: Profile,
}

impl Cell {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let manner = match self.manner {
            Manner::Independent => "independent requests".to_owned(),
            Manner::Together(icc) => format!("correlated within 250 ms (ICC {icc})"),
            Manner::Bursts(bursts) => {
                format!("{} bursts a day, mean {} s, {:.0} %", bursts.a_day, bursts.mean_s, bursts.share * 100.0)
            }
        };
        if self.profile == Profile::Robust { format!("{manner}; profile robust") } else { manner }
    }

    /// In each block the mean share of bad requests is below the limit, as the bound supposes.
    #[must_use]
    pub const fn is_promised(&self) -> bool {
        !matches!(self.manner, Manner::Bursts(_))
    }

    fn rules(&self) -> Rules {
        let profile = if self.profile == Profile::Robust { "robust" } else { "fast" };
        Rules::parse(&Spec { profile: Some(profile.to_owned()), ..Spec::default() }).expect("the defaults are accepted")
    }

    fn number(&self) -> u64 {
        let manner = match self.manner {
            Manner::Independent => 0,
            Manner::Together(icc) => icc.to_bits(),
            Manner::Bursts(bursts) => bursts.a_day.to_bits(),
        };
        manner ^ self.rps.to_bits().rotate_left(17) ^ u64::from(self.profile == Profile::Robust)
    }
}

fn at_each_rate(manners: &[Manner], profile: Profile) -> impl Iterator<Item = Cell> {
    manners.iter().flat_map(move |&manner| RATES.map(|rps| Cell { rps, manner, profile }))
}

/// Cells of the tests alone.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let bursts = Manner::Bursts(Bursts::TWENTY_A_DAY);
    let manners = [Manner::Independent, Manner::Together(0.2), bursts];
    let robust = Cell { rps: 100.0, manner: bursts, profile: Profile::Robust };
    at_each_rate(&manners, Profile::Fast).chain([robust]).collect()
}

/// Cells of whole judges.
#[must_use]
pub fn judged_cells() -> Vec<Cell> {
    let manners = [Manner::Independent, Manner::Together(0.05), Manner::Bursts(Bursts::TWENTY_A_DAY)];
    at_each_rate(&manners, Profile::Fast).collect()
}

/// Releases of 24 h in which nothing is wrong, by the proven default rules, each on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct FalseReverts {
    /// Which.
    pub cell: Cell,
    /// The probability that is promised.
    pub bound: f64,
    /// Releases with at least one rule that fired.
    pub any: Count,
    /// Each rule, with its budget.
    pub rules: Vec<(String, f64, u64)>,
}

impl FalseReverts {
    pub(super) fn promises(&self) -> Vec<Promise> {
        if !self.cell.is_promised() {
            return Vec::new();
        }
        let what = format!("healthy day reverted, {} at {} rps", self.cell.words(), self.cell.rps);
        vec![Promise { what, bound: self.bound, count: self.any }]
    }
}

/// The limits of the proven default rules, with the share of bad requests of a healthy service: errors first.
struct Limits {
    errors: Vec<(String, f64)>,
    slow: Vec<(String, f64)>,
    slow_healthy: f64,
    alpha: f64,
    bound: f64,
}

fn limits(cell: &Cell) -> Limits {
    let rules = cell.rules();
    let health = health();
    let scenario = Scenario { health: health.clone(), ..Scenario::healthy(rules.clone(), cell.rps, 0) };
    // What the judge makes of ten minutes of a healthy blue.
    let judge = Run::new(&scenario, Random::of(SEED, &[1])).judge().criteria();
    let mut limits =
        Limits { errors: Vec::new(), slow: Vec::new(), slow_healthy: 0.0, alpha: 0.0, bound: rules.false_alarms() };
    for ((list, rule), view) in rules.iter().zip(&judge) {
        if list.as_str() != "revert" || !rule.is_proven() {
            continue;
        }
        limits.alpha = rules.alpha(list);
        match rule.condition {
            Condition::Latency { percentile, limit_us, .. } => {
                limits.slow_healthy = health.above(limit_us as f64 / 1_000.0);
                limits.slow.push((rule.to_string(), 1.0 - percentile / 100.0));
            }
            Condition::ErrorRate(..) | Condition::WorseThanBlue(Subject::ErrorRate) => {
                limits.errors.push((rule.to_string(), view.limit));
            }
            // Other tests than the default one are only in the whole judge.
            _ => (),
        }
    }
    limits
}

pub(super) fn false_reverts(cell: &Cell, releases: u64) -> FalseReverts {
    let limits = limits(cell);
    let fired: Vec<Vec<bool>> = (0..releases)
        .into_par_iter()
        .map(|release| {
            let run = |lane: u64, p: f64, rules: &[(String, f64)]| {
                let random = Random::of(SEED, &[2, cell.number(), release, lane]);
                let mut stream = Stream::new(cell.rps, p, cell.manner, DAY_MS, random);
                let mut tests: Vec<_> = rules.iter().map(|(_, p0)| Alone::new(*p0, limits.alpha)).collect();
                alone::run(cell.profile, DAY_MS, &mut stream, &mut tests);
                tests.into_iter().map(|test| test.fired_ms.is_some())
            };
            run(0, ERRORS, &limits.errors).chain(run(1, limits.slow_healthy, &limits.slow)).collect()
        })
        .collect();
    let seen = fired.iter().filter(|rules| rules.contains(&true)).count() as u64;
    let words = limits.errors.iter().chain(&limits.slow).map(|(words, _)| words.clone());
    let each = words
        .enumerate()
        .map(|(rule, words)| (words, limits.alpha, fired.iter().filter(|fired| fired[rule]).count() as u64));
    FalseReverts { cell: *cell, bound: limits.bound, any: Count { seen, of: releases }, rules: each.collect() }
}

/// Releases of half an hour under a whole judge: every rule, blame, pods, shield.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstHalfHour {
    /// Which.
    pub cell: Cell,
    /// The probability that is promised.
    pub bound: f64,
    /// Reverted.
    pub reverts: Count,
    /// Diverted at least once.
    pub diverted: Count,
}

impl FirstHalfHour {
    pub(super) fn promises(&self) -> Vec<Promise> {
        if !self.cell.is_promised() {
            return Vec::new();
        }
        let what =
            format!("healthy half hour reverted by the whole judge, {} at {} rps", self.cell.words(), self.cell.rps);
        vec![Promise { what, bound: self.bound, count: self.reverts }]
    }
}

fn judged(cell: &Cell, releases: u64, until_ms: u64) -> Vec<Told> {
    let mut scenario = Scenario { health: health(), ..Scenario::healthy(cell.rules(), cell.rps, until_ms) };
    match cell.manner {
        Manner::Independent => (),
        Manner::Together(icc) => scenario.health.icc = icc,
        Manner::Bursts(bursts) => scenario.bursts = Some(bursts),
    }
    let one = |release| tell(&scenario, Random::of(SEED, &[3, until_ms, cell.number(), release]));
    (0..releases).into_par_iter().map(one).collect()
}

fn count(told: &[Told], is: impl Fn(&Told) -> bool) -> Count {
    Count { seen: told.iter().filter(|told| is(told)).count() as u64, of: told.len() as u64 }
}

pub(super) fn half_hour(cell: &Cell, releases: u64) -> FirstHalfHour {
    let told = judged(cell, releases, HALF_HOUR_MS);
    FirstHalfHour {
        cell: *cell,
        bound: cell.rules().false_alarms(),
        reverts: count(&told, |told| told.revert_ms.is_some()),
        diverted: count(&told, |told| told.shields > 0),
    }
}

/// Shields of healthy releases over a day, under a whole judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Shields {
    /// Which.
    pub cell: Cell,
    /// Shields a day.
    pub a_day: f64,
    /// Seconds a day under one.
    pub seconds: f64,
    /// Held for a person.
    pub held: Count,
    /// Reverted.
    pub reverts: Count,
}

pub(super) fn shields(cell: &Cell, releases: u64) -> Shields {
    let told = judged(cell, releases, DAY_MS);
    let mean = |of: fn(&Told) -> f64| told.iter().map(of).sum::<f64>() / told.len().max(1) as f64;
    Shields {
        cell: *cell,
        a_day: mean(|told| f64::from(told.shields)),
        seconds: mean(|told| told.shielded_ms as f64 / 1_000.0),
        held: count(&told, |told| told.held_ms.is_some()),
        reverts: count(&told, |told| told.revert_ms.is_some()),
    }
}
