//! One release with a whole judge in it: requests arrive, a front agent splits them as it was last told and reports what it
//! counted ten times a second, the judge says what is to be done, and the agent does it 50 ms later.
//!
//! Only the judge is real. Latency has no more values than the rules can tell apart: below every limit, and just above each
//! of them; what takes longer than a report interval ends in a later one, is in flight until then, and may end under
//! another share than it began under.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_judge::{Judge, Observation, PodState, Rules, ShieldState, Start, Verdict};
use blueback_report::{AdmissionKey, Age, Latency, Outcome, Protocol, Role, SeriesKey, Slot, Totals};

use super::alone::Bursts;
use super::random::{Random, Together};

/// An agent reports so often while a release is watched.
pub const REPORT_MS: u64 = 100;
/// From a decision of the judge to the agents that follow it.
pub const COMMAND_MS: u64 = 50;
/// Blue's seconds before the switch that the judge is told of.
pub const HISTORY_S: u64 = 600;
/// A request that is within every limit takes so long.
const FAST_MS: u64 = 5;
/// So far above a limit is a request that breaks it: past the bucket of a histogram that holds the limit itself.
const ABOVE: f64 = 1.02;
/// Without a bad request for so long, and with an open shield, nothing that the judge says can have changed: what is material
/// to a shield is what was bad in the last ten seconds.
const QUIET_MS: u64 = 15_000;
/// But it is asked at least so often, because a pass comes without bad requests.
const ASKED_MS: u64 = 1_000;

/// How a side answers while nothing is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Share of the requests that fails.
    pub errors: f64,
    /// Failures within 250 ms are correlated by this; 0 when each fails for itself.
    pub icc: f64,
    /// Median of the latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of it; between them and beyond, it is log-normal.
    pub p99_ms: f64,
}

impl Default for Health {
    /// One in a thousand fails, half take 20 ms and one in a hundred 120 ms: a web service on an ordinary day, and the error
    /// rate of the published tables.
    fn default() -> Self {
        Self { errors: 0.001, icc: 0.0, p50_ms: 20.0, p99_ms: 120.0 }
    }
}

/// The 99 % point of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

impl Health {
    /// Share of the requests above a limit.
    #[must_use]
    pub fn above(&self, limit_ms: f64) -> f64 {
        let sigma = (self.p99_ms / self.p50_ms).ln().max(1e-9) / NORMAL_P99;
        upper_tail((limit_ms / self.p50_ms).ln() / sigma)
    }
}

/// P(Z > z) by the continued fraction, or by the series near the middle; to ten digits, which no simulation can tell from exact.
fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z > 3.0 {
        let fraction = (1..=60).rev().fold(z, |rest, k| z + f64::from(k) / rest);
        return density / fraction;
    }
    let mut term = z;
    let mut sum = z;
    for k in 1..80 {
        term *= z * z / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 - density * sum
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    /// This share of the requests fails.
    Errors(f64),
    /// This share of the requests takes longer than every limit.
    Slow(f64),
}

/// What happens in a release.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The rules.
    pub rules: Rules,
    /// Requests a second, of all clients.
    pub rps: f64,
    /// The route class of every request; empty for the default one.
    pub route: Arc<str>,
    /// Green's share, as the operator wants it.
    pub target_share: f64,
    /// Both sides while nothing is wrong.
    pub health: Health,
    /// What goes wrong with green, and when.
    pub harm: Option<(Harm, u64)>,
    /// When it is over.
    pub harm_until_ms: u64,
    /// Blue has it too.
    pub is_shared: bool,
    /// Bursts of errors on green.
    pub bursts: Option<Bursts>,
    /// When the story ends.
    pub until_ms: u64,
}

impl Scenario {
    /// A healthy one with everything for green.
    #[must_use]
    pub fn healthy(rules: Rules, rps: f64, until_ms: u64) -> Self {
        Self {
            rules,
            rps,
            route: Arc::from(""),
            target_share: 1.0,
            health: Health::default(),
            harm: None,
            harm_until_ms: u64::MAX,
            is_shared: false,
            bursts: None,
            until_ms,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// When traffic was first diverted after the harm began (or at all, without one).
    pub shield_ms: Option<u64>,
    /// When the release was reverted.
    pub revert_ms: Option<u64>,
    /// When it first passed.
    pub pass_ms: Option<u64>,
    /// When a rule of `alertWhen` first held.
    pub alert_ms: Option<u64>,
    /// When the shield was first held for a person.
    pub held_ms: Option<u64>,
    /// When the fault was first told to be shared.
    pub shared_ms: Option<u64>,
    /// How often the shield rose.
    pub shields: u32,
    /// How long it was up, in milliseconds.
    pub shielded_ms: u64,
    /// Green's bad requests since the harm began, until the end.
    pub failed: u64,
}

/// When a run is over before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Reverted, as nothing can follow.
    Reverted,
    /// The first pass, too.
    Decided,
    /// The first alert, too.
    Alerted,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    due_ms: u64,
    slot: Slot,
    epoch: u64,
    ms: u64,
    n: u64,
}

/// A release under way. A clone goes on from here with other chance.
#[derive(Clone, Debug)]
pub struct Run {
    judge: Judge,
    /// Latency above each limit, longest first, and the share of requests of a healthy side that is above the limit.
    bands: Vec<(u64, f64)>,
    names: [Arc<str>; 2],
    route: Arc<str>,
    epoch: u64,
    share: f64,
    commanded: Option<f64>,
    told_share: f64,
    pending: Vec<Pending>,
    in_flight: BTreeMap<AdmissionKey, u64>,
    sent: u64,
    last_bad_ms: Option<u64>,
    asked_ms: u64,
    together: Option<Together>,
    group_ms: u64,
    group_bad: u64,
    group_left: u64,
    bursts: Vec<(f64, f64)>,
    now_ms: u64,
    random: Random,
    totals: Totals,
    was: ShieldState,
    told: Told,
}

fn bands(rules: &Rules, health: &Health) -> Vec<(u64, f64)> {
    let mut limits: Vec<u64> = rules.limits().iter().map(|limit| limit.us).collect();
    limits.sort_unstable();
    limits.dedup();
    let band = |us: u64| (((us as f64 * ABOVE) / 1_000.0).ceil() as u64, health.above(us as f64 / 1_000.0));
    limits.into_iter().rev().map(band).collect()
}

impl Run {
    /// The moment of the switch, after ten minutes in which blue served everything.
    #[must_use]
    pub fn new(scenario: &Scenario, mut random: Random) -> Self {
        let bands = bands(&scenario.rules, &scenario.health);
        let names = [Arc::from("blue-0"), Arc::from("green-0")];
        let pod = |slot: Slot| PodState { slot, pod: Arc::clone(&names[slot as usize]), ready: true };
        let pods = vec![pod(Slot::Blue), pod(Slot::Green)];
        let bursts = scenario.bursts.map_or(Vec::new(), |bursts| {
            let mut times = bursts.times(scenario.until_ms, &mut random);
            times.reverse();
            times
        });
        let together = (scenario.health.icc > 0.0).then(|| Together::new(scenario.health.errors, scenario.health.icc));
        let mut run = Self {
            judge: Judge::new(
                scenario.rules.clone(),
                Start { candidate: Slot::Green, target_share: 1.0, pods: Vec::new(), history: Vec::new() },
            ),
            bands,
            names,
            route: Arc::clone(&scenario.route),
            epoch: 0,
            share: 0.0,
            commanded: None,
            told_share: 0.0,
            pending: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            last_bad_ms: None,
            asked_ms: 0,
            together,
            group_ms: 0,
            group_bad: 0,
            group_left: 0,
            bursts,
            now_ms: 0,
            random,
            totals: Totals::default(),
            was: ShieldState::Open,
            told: Told::default(),
        };
        let history = (0..HISTORY_S).map(|second| run.second_of_blue(scenario, second)).collect();
        let start = Start { candidate: Slot::Green, target_share: scenario.target_share, pods, history };
        run.judge = Judge::new(scenario.rules.clone(), start);
        run.sent = 0;
        run.command(scenario.target_share);
        run.share = run.commanded.take().unwrap_or(0.0);
        run
    }

    /// The same moment, with other chance from here on; what was told before does not count.
    #[must_use]
    pub fn begin_harm(mut self, random: Random) -> Self {
        self.random = random;
        self.told = Told::default();
        self
    }

    fn second_of_blue(&mut self, scenario: &Scenario, second: u64) -> Totals {
        let sent = (scenario.rps * (second + 1) as f64) as u64;
        let n = sent - std::mem::replace(&mut self.sent, sent);
        let failed = match self.together.take() {
            Some(mut together) => {
                let failed = (0..4).map(|part| together.group((n + part) / 4, &mut self.random)).sum();
                self.together = Some(together);
                failed
            }
            None => self.random.binomial(n, scenario.health.errors),
        };
        self.count(Slot::Blue, Age::Current, Outcome::ServerError, FAST_MS, failed);
        self.count(Slot::Blue, Age::Current, Outcome::Ok, FAST_MS, n - failed);
        let admission = self.admission(Slot::Blue, 0);
        self.totals.admitted.insert(admission, n);
        std::mem::take(&mut self.totals)
    }

    fn admission(&self, slot: Slot, epoch: u64) -> AdmissionKey {
        let pod = Arc::clone(&self.names[slot as usize]);
        AdmissionKey { epoch, slot, pod, route: Arc::clone(&self.route) }
    }

    fn count(&mut self, slot: Slot, age: Age, outcome: Outcome, ms: u64, n: u64) {
        if n == 0 {
            return;
        }
        let (pod, route) = (Arc::clone(&self.names[slot as usize]), Arc::clone(&self.route));
        let key = SeriesKey { slot, pod, route, protocol: Protocol::Http1, age, outcome };
        let latency: &mut Latency = self.totals.series.entry(key).or_default();
        latency.last_byte.record_n(ms * 1_000, n);
        latency.first_byte.record_n(ms * 1_000, n);
    }

    /// A route is sent.
    fn command(&mut self, share: f64) {
        self.epoch += 1;
        self.told_share = share;
        self.commanded = Some(share);
        self.judge.observe(self.now_ms, Observation::Share { epoch: self.epoch, candidate_share: share });
    }

    /// Requests of the next 50 ms.
    fn serve(&mut self, scenario: &Scenario) {
        let (start_ms, end_ms) = (self.now_ms, self.now_ms + COMMAND_MS);
        let sent = (scenario.rps * end_ms as f64 / 1_000.0) as u64;
        let n = sent - std::mem::replace(&mut self.sent, sent);
        // In force is what was commanded one step ago; its epoch is known to the agent that follows it.
        let epoch = if self.commanded.is_some() { self.epoch - 1 } else { self.epoch };
        let green = if self.share >= 1.0 { n } else { self.random.binomial(n, self.share) };
        for (slot, n) in [(Slot::Green, green), (Slot::Blue, n - green)] {
            if n > 0 {
                self.answer(scenario, slot, n, epoch, start_ms);
            }
        }
        self.now_ms = end_ms;
        if let Some(share) = self.commanded.take() {
            self.share = share;
        }
    }

    fn answer(&mut self, scenario: &Scenario, slot: Slot, n: u64, epoch: u64, start_ms: u64) {
        let admission = self.admission(slot, epoch);
        *self.totals.admitted.entry(admission).or_default() += n;
        let harm = scenario.harm.filter(|&(_, from_ms)| {
            (from_ms..scenario.harm_until_ms).contains(&start_ms) && (slot == Slot::Green || scenario.is_shared)
        });
        let in_burst = slot == Slot::Green && self.is_in_burst(start_ms);
        let errors = match (harm, in_burst) {
            (Some((Harm::Errors(share), _)), _) => share,
            (_, true) => scenario.bursts.map_or(0.0, |bursts| bursts.share),
            _ => scenario.health.errors,
        };
        let failed = match &mut self.together {
            // What fails together is drawn for all requests of a quarter of a second, and handed out as they come.
            Some(together) if slot == Slot::Green && harm.is_none() && !in_burst => {
                if start_ms >= self.group_ms {
                    self.group_ms = start_ms + super::alone::GROUP_MS;
                    self.group_left = (scenario.rps * self.share.max(0.01) / 4.0).ceil().max(n as f64) as u64;
                    self.group_bad = together.group(self.group_left, &mut self.random);
                }
                let mut bad = 0;
                for _ in 0..n.min(self.group_left) {
                    let is_bad = self.random.unit() * self.group_left as f64 <= self.group_bad as f64;
                    self.group_left -= 1;
                    self.group_bad -= u64::from(is_bad);
                    bad += u64::from(is_bad);
                }
                bad
            }
            _ => self.random.binomial(n, errors),
        };
        let mut left = n - failed;
        let (mut bad, mut above_before) = (failed, 0.0);
        let longest = self.bands.first().map_or(FAST_MS, |band| band.0);
        if let Some((Harm::Slow(share), _)) = harm {
            let slow = self.random.binomial(left, share);
            left -= slow;
            bad += slow;
            self.wait(slot, epoch, longest, slow, start_ms);
        }
        for band in 0..self.bands.len() {
            let (ms, above) = self.bands[band];
            let part = ((above - above_before) / (1.0 - above_before)).clamp(0.0, 1.0);
            above_before = above;
            let slow = self.random.binomial(left, part);
            left -= slow;
            self.wait(slot, epoch, ms, slow, start_ms);
        }
        if slot == Slot::Green {
            let since = scenario.harm.map_or(0, |(_, from_ms)| from_ms);
            self.told.failed += if start_ms >= since { bad } else { 0 };
            if bad > 0 {
                self.last_bad_ms = Some(start_ms);
            }
        }
        // They end under the share that admitted them.
        self.count(slot, Age::Current, Outcome::ServerError, FAST_MS, failed);
        self.count(slot, Age::Current, Outcome::Ok, FAST_MS, left);
    }

    fn wait(&mut self, slot: Slot, epoch: u64, ms: u64, n: u64, start_ms: u64) {
        if n > 0 {
            self.last_bad_ms = Some(start_ms + ms);
            // On average a request begins in the middle of its 50 ms.
            self.pending.push(Pending { due_ms: start_ms + COMMAND_MS / 2 + ms, slot, epoch, ms, n });
        }
    }

    fn is_in_burst(&mut self, now_ms: u64) -> bool {
        while self.bursts.last().is_some_and(|&(_, to)| to <= now_ms as f64) {
            self.bursts.pop();
        }
        self.bursts.last().is_some_and(|&(from, _)| from < (now_ms + COMMAND_MS) as f64)
    }

    /// The agent says what it counted.
    fn report(&mut self) {
        let now_ms = self.now_ms;
        if !self.pending.is_empty() {
            let mut pending = std::mem::take(&mut self.pending);
            pending.retain(|one| {
                if one.due_ms > now_ms {
                    return true;
                }
                self.count(one.slot, Age::of(one.epoch, self.epoch), Outcome::Ok, one.ms, one.n);
                false
            });
            self.pending = pending;
        }
        self.in_flight.clear();
        for at in 0..self.pending.len() {
            let Pending { slot, epoch, n, .. } = self.pending[at];
            let key = self.admission(slot, epoch);
            *self.in_flight.entry(key).or_default() += n;
        }
        let epoch = self.epoch;
        let growth = Observation::Growth {
            agent: 1,
            role: Role::Front,
            epoch,
            totals: &self.totals,
            in_flight: &self.in_flight,
        };
        self.judge.observe(now_ms, growth);
        self.totals.series.clear();
        self.totals.admitted.clear();
    }

    /// The judge says what it means, when that can be anything new.
    fn ask(&mut self, scenario: &Scenario) {
        let now_ms = self.now_ms;
        let is_quiet = self.was == ShieldState::Open
            && self.last_bad_ms.is_none_or(|at| now_ms.saturating_sub(at) > QUIET_MS)
            && now_ms - self.asked_ms < ASKED_MS;
        if is_quiet {
            return;
        }
        self.asked_ms = now_ms;
        if matches!(self.judge.deliberate(now_ms), Verdict::Revert(_)) {
            self.told.revert_ms.get_or_insert(now_ms);
        }
        let since = scenario.harm.map_or(0, |(_, from_ms)| from_ms);
        let shield = self.judge.shield();
        if shield != self.was {
            match shield {
                ShieldState::Shielded if self.was == ShieldState::Open => self.told.shields += 1,
                ShieldState::Held => _ = self.told.held_ms.get_or_insert(now_ms),
                ShieldState::Shared => _ = self.told.shared_ms.get_or_insert(now_ms),
                _ => (),
            }
            if shield != ShieldState::Open && now_ms >= since {
                self.told.shield_ms.get_or_insert(now_ms);
            }
            self.was = shield;
        }
        if shield != ShieldState::Open {
            self.told.shielded_ms += REPORT_MS;
        }
        if self.told.pass_ms.is_none() && !self.judge.passed().is_empty() {
            self.told.pass_ms = Some(now_ms);
        }
        if self.told.alert_ms.is_none() && !self.judge.alerts().is_empty() {
            self.told.alert_ms = Some(now_ms);
        }
        let allowance = self.judge.allowance();
        let share = scenario.target_share * allowance.all;
        if (share - self.told_share).abs() > 1e-6 && self.told.revert_ms.is_none() {
            self.command(share);
        }
    }

    /// Goes on until a time.
    pub fn go(&mut self, scenario: &Scenario, until_ms: u64, end: Until) {
        while self.now_ms < until_ms && !self.is_over(end) {
            self.serve(scenario);
            if self.now_ms.is_multiple_of(REPORT_MS) {
                self.report();
                self.ask(scenario);
            }
        }
    }

    fn is_over(&self, end: Until) -> bool {
        self.told.revert_ms.is_some()
            || match end {
                Until::Reverted => false,
                Until::Decided => self.told.pass_ms.is_some(),
                Until::Alerted => self.told.alert_ms.is_some(),
            }
    }

    /// What came of it so far.
    #[must_use]
    pub const fn told(&self) -> &Told {
        &self.told
    }

    /// The judge, to look at.
    #[must_use]
    pub const fn judge(&self) -> &Judge {
        &self.judge
    }
}

/// A whole release.
#[must_use]
pub fn tell(scenario: &Scenario, random: Random) -> Told {
    let mut run = Run::new(scenario, random);
    run.go(scenario, scenario.until_ms, Until::Reverted);
    run.told
}
