//! What a rules file can tell of a service's traffic: for each rule the smallest harm that it finds in time, how long it takes
//! for given harms, and how often it is wrong.
//!
//! Each rule is judged alone, at the part of the false-alarm budget that it has among the others: a release is reverted by
//! the first rule that fires, and then the others would never show what they can do.

use std::sync::atomic::{AtomicU64, Ordering};

use blueback_judge::rules::{Comparison, Condition, PARTS_MIN, Subject};
use blueback_judge::{Rule, Rules, Spec};
use rayon::prelude::*;
use serde::Serialize;

use super::alone::{self, Alone, Manner, Stream};
use super::figures::{interval, quantile_of};
use super::random::Random;
use super::release::{Harm, Health, Run, Scenario, Told, Until};

/// Within which the smallest harm is looked for, in milliseconds: before anybody has seen it, before anybody has opened a
/// page, and the time of the persistent rules.
pub const WITHIN_MS: [u64; 3] = [10_000, 60_000, 300_000];
/// Harm begins at the switch, and so long after it.
pub const STARTS_MS: [u64; 2] = [0, 600_000];
/// A harm is found if this part of the runs find it.
pub const FOUND: f64 = 0.95;
/// Releases are watched so long for false alarms of whole judges.
pub const WATCHED_MS: u64 = 1_800_000;
/// And tests on their own for so long.
pub const DAY_MS: u64 = 86_400_000;
/// Tests on their own are so much quicker than whole judges that so many times as many are run.
pub const ALONE_FACTOR: u64 = 5;
/// Ten minutes of healthy traffic are simulated so often; further runs with late harm go on from one of these.
const BEGINNINGS: u64 = 8;
/// Runs that are begun together, and looked at before more are begun.
const BATCH: u64 = 16;
/// A harm that is not found by then is given up: twice the longest time asked for.
const PATIENCE_MS: u64 = 600_000;

const LEVELS: [f64; 27] = [
    0.001, 0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.012, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06,
    0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0,
];

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The rules.
    pub rules: Rules,
    /// Requests a second.
    pub rps: f64,
    /// How the service answers while nothing is wrong.
    pub health: Health,
    /// Shares of bad requests for which the delay is asked.
    pub harms: Vec<f64>,
    /// Releases for each number.
    pub runs: u64,
    /// What all chance comes from.
    pub seed: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Power {
    /// Rule by rule, in the order of the lists.
    pub rules: Vec<RulePower>,
    /// All of them together on healthy traffic.
    pub healthy: Healthy,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RulePower {
    /// `revert` or `alert`.
    pub list: &'static str,
    /// The rule as it is printed back.
    pub rule: String,
    /// What a harm of this rule is: `errors` or `slow`; nothing for rules that are not about requests.
    pub harm: Option<&'static str>,
    /// The smallest share of bad requests found in time, by time.
    pub smallest: Vec<Smallest>,
    /// How long it takes.
    pub delays: Vec<Delay>,
    /// How often it is wrong about a healthy release.
    pub false_alarms: Option<FalseAlarms>,
    /// What else must be known.
    pub note: Option<String>,
}

/// The smallest harm found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Smallest {
    /// Within this.
    pub within_ms: u64,
    /// Share of bad requests; `None` when not even a total failure is.
    pub share: Option<f64>,
}

/// How long a harm takes to be found. `None`: in fewer runs than that within ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delay {
    /// Share of bad requests.
    pub share: f64,
    /// When it began.
    pub start_ms: u64,
    /// Until traffic is diverted: median.
    pub diverted_ms: Option<u64>,
    /// Until the rule acts for good: median.
    pub acts_ms: Option<u64>,
    /// The same, 95 %.
    pub acts_ms_p95: Option<u64>,
    /// Bad requests of green until then: median.
    pub failed: Option<u64>,
}

/// False alarms among healthy releases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FalseAlarms {
    /// Seen.
    pub seen: u64,
    /// Of so many.
    pub releases: u64,
    /// Each so long.
    pub watched_ms: u64,
    /// The probability is below this, with 95 % confidence.
    pub below: f64,
    /// What the test is built to keep, whatever is simulated.
    pub promised: Option<f64>,
}

/// Healthy releases under all rules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Healthy {
    /// Reverted.
    pub reverts: FalseAlarms,
    /// Diverted at least once, which lasts seconds and is undone.
    pub diverted: FalseAlarms,
    /// Passed within the time that the rules give, as a share.
    pub passed: f64,
    /// Median time to the first pass.
    pub pass_ms: Option<u64>,
    /// The same, 95 %.
    pub pass_ms_p95: Option<u64>,
}

/// Told of each piece of work that is done.
pub type Progress<'a> = dyn Fn(&str) + Sync + 'a;

/// How many pieces of work a question is.
#[must_use]
pub fn pieces(question: &Question) -> u64 {
    let of_rule = WITHIN_MS.len() + question.harms.len() * STARTS_MS.len() + 1;
    (subjects(&question.rules).iter().filter(|(_, rule)| harm_of(rule).is_some()).count() * of_rule + 1) as u64
}

/// Answers the question; the same question has the same answer on any number of cores.
#[must_use]
pub fn answer(question: &Question, progress: &Progress<'_>) -> Power {
    let rules = subjects(&question.rules)
        .into_iter()
        .enumerate()
        .map(|(index, (list, rule))| one(question, index as u64, list, &rule, progress))
        .collect();
    let healthy = healthy(question);
    progress("all rules on healthy traffic");
    Power { rules, healthy }
}

fn subjects(rules: &Rules) -> Vec<(&'static str, Rule)> {
    let all = rules.iter().map(|(list, rule)| (list.as_str(), rule.clone()));
    all.filter(|(list, _)| *list != "pass").collect()
}

/// A harm of a size between 0 and 1.
type HarmOf = fn(f64) -> Harm;

/// What breaks the rule, where that is something requests do; its kind in one word.
fn harm_of(rule: &Rule) -> Option<(&'static str, HarmOf)> {
    match rule.condition {
        Condition::ErrorRate(..) | Condition::WorseThanBlue(Subject::ErrorRate) => Some(("errors", Harm::Errors)),
        Condition::Latency { .. } | Condition::WorseThanBlue(Subject::Latency(_)) => Some(("slow", Harm::Slow)),
        _ => None,
    }
}

/// The rule alone, with the budget that it has among the others.
fn alone_with_its_budget(rules: &Rules, list: &str, rule: &Rule) -> Option<Rules> {
    let counts = |rule: &Rule| rule.is_proven() && !rule.dry_run;
    let proven = rules.iter().filter(|(other, rule)| other.as_str() == list && counts(rule)).count();
    // What a dry run would do is what is asked.
    let rule = Rule { dry_run: false, ..rule.clone() };
    let parts = proven.max(PARTS_MIN) as f64 / PARTS_MIN as f64;
    let spec = rules.to_spec();
    let only = |wanted: &str| Some(if list == wanted { vec![rule.to_string()] } else { Vec::new() });
    Rules::parse(&Spec {
        revert_when: only("revert"),
        alert_when: only("alert"),
        pass_when: Some(Vec::new()),
        checkpoints: Some(Vec::new()),
        false_alarms: Some(format!("1 in {}", (parts / rules.false_alarms()).round())),
        ..spec
    })
    .ok()
}

fn one(question: &Question, index: u64, list: &'static str, rule: &Rule, progress: &Progress<'_>) -> RulePower {
    let words = rule.to_string();
    let mut power = RulePower {
        list,
        rule: words.clone(),
        harm: None,
        smallest: Vec::new(),
        delays: Vec::new(),
        false_alarms: None,
        note: Some("not about requests: it acts when it holds, and traffic says nothing about it".to_owned()),
    };
    let Some((name, harm)) = harm_of(rule) else { return power };
    let Some(rules) = alone_with_its_budget(&question.rules, list, rule) else { return power };
    power.note = rule.route.as_ref().map(|route| format!("with every request on route {route}"));
    if rule.dry_run {
        power.note = Some("a dry run: what it would do".to_owned());
    }
    power.harm = Some(name);
    let asked = Asked { question, index, list, harm, rule, rules };
    power.smallest = WITHIN_MS
        .iter()
        .map(|&within_ms| {
            let share = asked.smallest(within_ms);
            progress(&words);
            Smallest { within_ms, share }
        })
        .collect();
    power.delays = STARTS_MS.iter().flat_map(|&start_ms| asked.delays(start_ms, progress)).collect();
    power.false_alarms = Some(asked.false_alarms());
    progress(&words);
    power
}

/// One rule that is asked about.
struct Asked<'a> {
    question: &'a Question,
    index: u64,
    list: &'static str,
    harm: fn(f64) -> Harm,
    rule: &'a Rule,
    rules: Rules,
}

impl Asked<'_> {
    fn scenario(&self, harm: Option<(f64, u64)>, until_ms: u64) -> Scenario {
        Scenario {
            health: self.question.health.clone(),
            route: self.rule.route.clone().unwrap_or_default(),
            harm: harm.map(|(share, start_ms)| ((self.harm)(share), start_ms)),
            ..Scenario::healthy(self.rules.clone(), self.question.rps, until_ms)
        }
    }

    const fn end(&self) -> Until {
        if matches!(self.list.as_bytes(), b"alert") { Until::Alerted } else { Until::Reverted }
    }

    const fn acted_ms(&self, told: &Told) -> Option<u64> {
        match self.end() {
            Until::Alerted => told.alert_ms,
            Until::Reverted | Until::Decided => told.revert_ms,
        }
    }

    /// Whether the harm is found within the time, begun with the switch.
    fn finds(&self, level: usize, within_ms: u64) -> bool {
        let scenario = self.scenario(Some((LEVELS[level], 0)), within_ms);
        let runs = self.question.runs;
        let missed_most = runs - (FOUND * runs as f64).ceil() as u64;
        let mut missed = 0;
        // In batches of a fixed size, so that the answer does not depend on the number of cores.
        for batch in 0..runs.div_ceil(BATCH) {
            let range = batch * BATCH..((batch + 1) * BATCH).min(runs);
            missed += range
                .into_par_iter()
                .filter(|&run| {
                    let random = Random::of(self.question.seed, &[1, self.index, level as u64, run]);
                    let mut release = Run::new(&scenario, random);
                    release.go(&scenario, within_ms, self.end());
                    self.acted_ms(release.told()).is_none()
                })
                .count() as u64;
            if missed > missed_most {
                return false;
            }
        }
        true
    }

    /// Larger harm is found sooner, so the smallest one is found by halving.
    fn smallest(&self, within_ms: u64) -> Option<f64> {
        if self.rule.for_ms.is_some_and(|for_ms| for_ms > within_ms) {
            return None;
        }
        let (mut low, mut high) = (0, LEVELS.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.finds(middle, within_ms) { high = middle } else { low = middle + 1 }
        }
        LEVELS.get(low).copied()
    }

    fn delays(&self, start_ms: u64, progress: &Progress<'_>) -> Vec<Delay> {
        let healthy = self.scenario(None, start_ms);
        let beginnings: Vec<Run> = (0..BEGINNINGS.min(self.question.runs))
            .into_par_iter()
            .map(|beginning| {
                let random = Random::of(self.question.seed, &[2, self.index, start_ms, beginning]);
                let mut run = Run::new(&healthy, random);
                run.go(&healthy, start_ms, self.end());
                run
            })
            .collect();
        let delay = |&share: &f64| {
            let until_ms = start_ms + PATIENCE_MS;
            let scenario = self.scenario(Some((share, start_ms)), until_ms);
            let told: Vec<Told> = (0..self.question.runs)
                .into_par_iter()
                .map(|number| {
                    let random = Random::of(self.question.seed, &[3, self.index, start_ms, share.to_bits(), number]);
                    let mut run = beginnings[(number % beginnings.len() as u64) as usize].clone().begin_harm(random);
                    run.go(&scenario, until_ms, self.end());
                    run.told().clone()
                })
                .collect();
            progress(&self.rule.to_string());
            let sorted = |of: &dyn Fn(&Told) -> Option<u64>| {
                let mut values: Vec<u64> = told.iter().filter_map(of).collect();
                values.sort_unstable();
                values
            };
            let acts = sorted(&|told| Some(self.acted_ms(told)?.saturating_sub(start_ms)));
            let diverted = sorted(&|told| Some(told.shield_ms?.saturating_sub(start_ms)));
            let failed = sorted(&|told| self.acted_ms(told).map(|_| told.failed));
            Delay {
                share,
                start_ms,
                diverted_ms: quantile_of(&diverted, told.len(), 0.5),
                acts_ms: quantile_of(&acts, told.len(), 0.5),
                acts_ms_p95: quantile_of(&acts, told.len(), 0.95),
                failed: quantile_of(&failed, told.len(), 0.5),
            }
        };
        self.question.harms.iter().map(delay).collect()
    }

    fn false_alarms(&self) -> FalseAlarms {
        match self.as_one_test() {
            Some((p0, alpha, healthy)) => self.false_alarms_alone(p0, alpha, healthy),
            None => {
                let scenario = self.scenario(None, WATCHED_MS);
                let seen = (0..self.question.runs)
                    .into_par_iter()
                    .filter(|&run| {
                        let mut release = Run::new(&scenario, Random::of(self.question.seed, &[4, self.index, run]));
                        release.go(&scenario, WATCHED_MS, self.end());
                        self.acted_ms(release.told()).is_some()
                    })
                    .count();
                false_alarms(seen as u64, self.question.runs, WATCHED_MS, None)
            }
        }
    }

    /// Limit, budget and healthy share of a rule that is decided by the default test.
    fn as_one_test(&self) -> Option<(f64, f64, f64)> {
        if !self.rule.is_proven() {
            return None;
        }
        let list = self.rules.iter().map(|(list, _)| list).find(|list| list.as_str() == self.list)?;
        let alpha = self.rules.alpha(list);
        let health = &self.question.health;
        match self.rule.condition {
            Condition::ErrorRate(Comparison::Over, percent) => Some((percent / 100.0, alpha, health.errors)),
            Condition::Latency { percentile, limit_us, comparison: Comparison::Over, .. } => {
                Some((1.0 - percentile / 100.0, alpha, health.above(limit_us as f64 / 1_000.0)))
            }
            // The limit is what the judge made of blue's history.
            Condition::WorseThanBlue(Subject::ErrorRate) => {
                let run = Run::new(&self.scenario(None, 0), Random::of(self.question.seed, &[5, self.index]));
                Some((run.judge().criteria().first()?.limit, alpha, health.errors))
            }
            _ => None,
        }
    }

    fn false_alarms_alone(&self, p0: f64, alpha: f64, healthy: f64) -> FalseAlarms {
        let releases = self.question.runs * ALONE_FACTOR;
        let is_error = matches!((self.harm)(0.0), Harm::Errors(_));
        let manner = match self.question.health.icc {
            icc if icc > 0.0 && is_error && healthy > 0.0 => Manner::Together(icc),
            _ => Manner::Independent,
        };
        let seen = AtomicU64::new(0);
        (0..releases).into_par_iter().for_each(|run| {
            let random = Random::of(self.question.seed, &[6, self.index, run]);
            let mut stream = Stream::new(self.question.rps, healthy, manner, DAY_MS, random);
            let mut tests = [Alone::new(p0, alpha)];
            alone::run(self.rules.profile(), DAY_MS, &mut stream, &mut tests);
            if tests[0].fired_ms.is_some() {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        let promised = (healthy <= p0).then_some(alpha);
        false_alarms(seen.into_inner(), releases, DAY_MS, promised)
    }
}

fn false_alarms(seen: u64, releases: u64, watched_ms: u64, promised: Option<f64>) -> FalseAlarms {
    FalseAlarms { seen, releases, watched_ms, below: interval(seen, releases, 0.05).1, promised }
}

fn healthy(question: &Question) -> Healthy {
    let until_ms = question.rules.decide_within_ms().clamp(WATCHED_MS, 2 * WATCHED_MS);
    let scenario = Scenario {
        health: question.health.clone(),
        ..Scenario::healthy(question.rules.clone(), question.rps, until_ms)
    };
    let told: Vec<Told> = (0..question.runs)
        .into_par_iter()
        .map(|run| super::release::tell(&scenario, Random::of(question.seed, &[7, run])))
        .collect();
    let count = |is: fn(&Told) -> bool| told.iter().filter(|told| is(told)).count() as u64;
    let alarms = |seen, promised| false_alarms(seen, question.runs, until_ms, promised);
    let mut passes: Vec<u64> = told.iter().filter_map(|told| told.pass_ms).collect();
    passes.sort_unstable();
    Healthy {
        reverts: alarms(count(|told| told.revert_ms.is_some()), Some(question.rules.false_alarms())),
        diverted: alarms(count(|told| told.shields > 0), None),
        passed: passes.len() as f64 / told.len().max(1) as f64,
        pass_ms: quantile_of(&passes, told.len(), 0.5),
        pass_ms_p95: quantile_of(&passes, told.len(), 0.95),
    }
}
