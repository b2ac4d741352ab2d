//! The judge: told what was seen, it says what it means.
//!
//! Time advances in report intervals of 100 ms, which the shield looks at, and in blocks, which the durable tests look at;
//! both are processed in order however late or seldom [`Judge::deliberate`] is called.

mod conclude;
mod history;
mod pod_shields;
mod ramp;
mod reason;
mod reopening;
mod rhythm;
mod saved;

#[cfg(test)]
mod counting;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod states;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod vantage;

use std::sync::Arc;

use blueback_report::{Limit, Slot};

use self::history::History;
use self::pod_shields::PodShields;
use self::ramp::{Deliveries, Ramp};
use self::reopening::Reopening;
use crate::criteria::trail::Trail;
use crate::criteria::{Criterion, Test, criteria};
use crate::metric::Metric;
use crate::observation::{Allowance, CriterionView, Observation, PodState, ShieldState, Start};
use crate::rules::{Rule, Rules};
use crate::statistics::shield::{Shield, State};
use crate::statistics::shield_test::SHIELD_ALPHA;
use crate::tally::{Samples, Tally};
use crate::verdict::{Checkpoint, Progress, Reason, Verdict};

/// Later times are taken for this one: ten years.
const NOW_MS_MAX: u64 = 315_360_000_000;

/// The shield's budget is cut into at least so many parts: the number for which its false alarms were simulated.
const GUARDS_MIN: usize = 5;

/// One release under judgement.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Rules,
    candidate: Slot,
    criteria: Vec<Criterion>,
    /// The criteria that raise the shield: the proven ones that revert.
    guards: Vec<usize>,
    tally: Tally,
    trail: Trail,
    shield: Shield,
    pod_shields: PodShields,
    now_ms: u64,
    next_tick_ms: u64,
    block_start_ms: u64,
    next_block_ms: u64,
    step_ms: u64,
    pods: Pods,
    proven_per_pod: Option<f64>,
    /// Largest share of green's requests that blue may be given, as it was last changed.
    room: f64,
    /// Largest share of them that green's pods can take back.
    green_room: f64,
    reopening: Reopening,
    /// A blue that had been idle is given more step by step.
    ramp: Ramp,
    /// Whether what is diverted arrives.
    deliveries: Deliveries,
    shield_up_ms: Option<u64>,
    silence: Silence,
    incidents: Vec<Incident>,
    held: Option<(u64, String)>,
    verdict: Verdict,
    /// What is said while nothing is wrong; written once a second.
    progress: Verdict,
    is_stale: bool,
    allowance: Allowance,
    passed: Vec<Checkpoint>,
    alerts: Vec<Reason>,
    dry_runs: Vec<Reason>,
    scratch: Scratch,
}

/// Room that is used again, so that a tick allocates nothing.
#[derive(Clone, Debug, Default)]
struct Scratch {
    tick: Samples,
    block: Samples,
    green: Vec<(f64, f64)>,
    blue: Vec<(f64, f64)>,
    pods: Vec<Vec<(f64, f64)>>,
}

/// Pods by readiness.
#[derive(Clone, Copy, Debug, Default)]
struct Pods {
    green: u32,
    green_ready: u32,
    blue_ready: u32,
}

/// When green was last heard of, and what was expected since.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    requests: u64,
    since_ms: u64,
    rate: f64,
}

/// When a metric's bad requests began.
#[derive(Clone, Copy, Debug, Default)]
struct Incident {
    since_ms: u64,
    last_ms: Option<u64>,
}

impl Judge {
    /// A release that begins now, at time 0.
    #[must_use]
    pub fn new(rules: Rules, start: Start) -> Self {
        let Start { candidate, target_share, pods, history } = start;
        let target = if target_share.is_finite() { target_share.clamp(0.0, 1.0) } else { 1.0 };
        let history = History::new(&history, candidate.other());
        let (criteria, metrics) = criteria(&rules, &history, target < 1.0);
        let proven = |criterion: &Criterion| criterion.guard().map(|proven| (proven.metric, proven.p0));
        let guards: Vec<usize> = (0..criteria.len()).filter(|&index| proven(&criteria[index]).is_some()).collect();
        let tests: Vec<_> = criteria.iter().filter_map(proven).collect();
        let p0s: Vec<f64> = tests.iter().map(|&(_, p0)| p0).collect();
        let alpha = SHIELD_ALPHA / p0s.len().max(GUARDS_MIN) as f64;
        let level = history.level(&tests.iter().map(|&(metric, p0)| (&metrics[metric], p0)).collect::<Vec<_>>(), alpha);
        let longest = |rule: &Rule| rule.for_ms.max(rule.over_ms);
        let longest_s = criteria.iter().filter_map(|criterion| longest(&criterion.rule)).max().unwrap_or(0) / 1_000;
        let width = metrics.len();
        let mut tally = Tally::new(candidate, target, metrics);
        for requests in history.arrivals() {
            tally.second_before(requests);
        }
        let mut judge = Self {
            silence: Silence { rate: tally.rate(), ..Silence::default() },
            trail: Trail::new(width, longest_s),
            shield: Shield::new(&p0s, alpha, level),
            pod_shields: PodShields::new(p0s, alpha, level),
            next_tick_ms: rhythm::TICK_MS,
            block_start_ms: 0,
            next_block_ms: crate::statistics::schedule::block_ms(rules.profile(), 0),
            step_ms: 0,
            pods: Pods::default(),
            proven_per_pod: history.proven_per_pod(),
            room: 1.0,
            green_room: 1.0,
            reopening: Reopening::default(),
            ramp: Ramp::default(),
            deliveries: Deliveries::default(),
            shield_up_ms: None,
            incidents: vec![Incident::default(); width],
            held: None,
            verdict: Verdict::Watching(Progress::default()),
            is_stale: true,
            allowance: Allowance { all: 1.0, pods: Vec::new() },
            passed: Vec::new(),
            alerts: Vec::new(),
            dry_runs: Vec::new(),
            progress: Verdict::Watching(Progress::default()),
            scratch: Scratch::default(),
            now_ms: 0,
            rules,
            candidate,
            criteria,
            guards,
            tally,
        };
        judge.see_pods(&pods);
        judge.tell_criteria(0, &Observation::Pods { pods: &pods });
        judge.progress = judge.say_progress(0);
        judge.conclude();
        judge
    }

    /// Something was seen at `now_ms`, milliseconds since the release began. Time that goes backwards is taken for the latest.
    pub fn observe(&mut self, now_ms: u64, observation: Observation<'_>) {
        let now_ms = now_ms.min(NOW_MS_MAX).max(self.now_ms);
        self.advance_before(now_ms);
        self.now_ms = now_ms;
        if self.is_reverted() {
            return;
        }
        match &observation {
            &Observation::Growth { agent, role, epoch, totals, in_flight } => {
                self.tally.grow(now_ms, agent, role, epoch, totals, in_flight);
                self.replace_pods();
                return;
            }
            &Observation::AgentGone { agent } => self.tally.agent_gone(agent),
            &Observation::Share { epoch, candidate_share } if (0.0..=1.0).contains(&candidate_share) => {
                self.tally.set_share(epoch, candidate_share);
            }
            &Observation::Target { share } if (0.0..=1.0).contains(&share) => {
                self.tally.set_target(share);
                // A step of traffic is a likely start of harm: short blocks again, from the next one on.
                self.step_ms = self.next_block_ms;
                for criterion in &mut self.criteria {
                    if let Test::Proven(proven) = &mut criterion.test {
                        proven.step();
                    }
                }
            }
            // A share that is none says nothing.
            Observation::Share { .. } | Observation::Target { .. } => (),
            Observation::Pods { pods } => self.see_pods(pods),
            &Observation::Diverted { requests, undelivered } => self.deliveries.note(requests, undelivered),
            Observation::Hold { why } => self.held = Some((now_ms, (*why).to_owned())),
            Observation::Resume => {
                self.held = None;
                if self.shield.state() == State::Held {
                    self.shield.reopen();
                }
                self.pod_shields.reopen_held();
            }
            Observation::Fates { .. }
            | Observation::Dependency { .. }
            | Observation::ServiceBefore { .. }
            | Observation::Service { .. }
            | Observation::Query { .. }
            | Observation::Resources { .. }
            | Observation::Logs { .. }
            | Observation::Signal { .. } => (),
        }
        self.tell_criteria(now_ms, &observation);
        self.is_stale = true;
        // Now, so that the verdict does not depend on when somebody looks.
        self.revert_if_due(now_ms);
    }

    /// Says what it all means at `now_ms`. Call it at least every 50 ms of release time and after observations; it is cheap
    /// when nothing is due.
    pub fn deliberate(&mut self, now_ms: u64) -> &Verdict {
        let now_ms = now_ms.min(NOW_MS_MAX).max(self.now_ms);
        self.advance_to(now_ms);
        self.now_ms = now_ms;
        if self.is_stale && !self.is_reverted() {
            self.revert_if_due(now_ms);
            self.conclude();
        }
        &self.verdict
    }

    /// The verdict as of the last deliberation.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The part of the candidate's requests that may go to it.
    #[must_use]
    pub const fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Where the shield is: of green as a whole or, while that is open, of the pod that is shielded.
    #[must_use]
    pub fn shield(&self) -> ShieldState {
        match self.shield.state() {
            State::Open if self.is_all_back() => {
                self.pod_shields.worst().map_or(ShieldState::Open, |(_, state)| state.into())
            }
            // Green is good again, and its pods take back as much as suits them.
            State::Open => ShieldState::Probing,
            state => state.into(),
        }
    }

    /// The pod that [`Judge::shield`] is about, when it is only one.
    #[must_use]
    pub fn shielded_pod(&self) -> Option<Arc<str>> {
        match self.shield.state() {
            State::Open if self.is_all_back() => {
                self.pod_shields.worst().map(|(pod, _)| self.tally.pods()[pod].name.clone())
            }
            _ => None,
        }
    }

    /// The checkpoints passed so far, in order.
    #[must_use]
    pub fn passed(&self) -> &[Checkpoint] {
        &self.passed
    }

    /// The rules of `alertWhen` that hold now.
    #[must_use]
    pub fn alerts(&self) -> &[Reason] {
        &self.alerts
    }

    /// Rules that are only tried (`dry run`) and hold now: what they would have done.
    #[must_use]
    pub fn dry_runs(&self) -> &[Reason] {
        &self.dry_runs
    }

    /// Latency limits that agents must hold requests in flight against: those of the rules, and those that blue's history
    /// gives.
    #[must_use]
    pub fn limits(&self) -> Vec<Limit> {
        let real = |limit: &Limit| limit.us < blueback_report::buckets::LATENCY_US_MAX;
        let own = self.tally.metrics().iter().filter_map(Metric::limit).filter(real);
        let mut limits: Vec<Limit> = self.rules.limits().into_iter().chain(own).collect();
        limits.sort_unstable();
        limits.dedup();
        limits.truncate(blueback_report::LIMITS_MAX);
        limits
    }

    /// The rules it judges by.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Every rule and what is known about it.
    #[must_use]
    pub fn criteria(&self) -> Vec<CriterionView> {
        self.criteria.iter().map(|criterion| self.view(criterion)).collect()
    }

    const fn is_reverted(&self) -> bool {
        matches!(self.verdict, Verdict::Revert(_))
    }

    /// What is not about requests, for the criteria that want to know.
    fn tell_criteria(&mut self, now_ms: u64, observation: &Observation<'_>) {
        for criterion in &mut self.criteria {
            match (&mut criterion.test, observation) {
                (Test::Plain(plain), _) => plain.hear(now_ms, self.candidate, observation),
                (Test::Signal(signal), Observation::Signal { name, why }) => signal.raise(now_ms, name, why),
                (Test::Cascade(cascade), &Observation::ServiceBefore { name, requests, failed }) => {
                    cascade.before(name, requests, failed);
                }
                (Test::Cascade(cascade), &Observation::Service { name, requests, failed, .. }) => {
                    cascade.grew(name, requests, failed);
                }
                _ => (),
            }
        }
    }

    /// Places of pods that are gone belong to others now.
    fn replace_pods(&mut self) {
        for pod in self.tally.take_replaced() {
            self.pod_shields.replace(pod, &self.shield);
            for criterion in &mut self.criteria {
                if let Test::Proven(proven) = &mut criterion.test {
                    proven.replace_pod(pod);
                }
            }
        }
    }

    fn see_pods(&mut self, pods: &[PodState]) {
        self.tally.see_pods(pods);
        let known = self.tally.pods();
        self.pod_shields.drop_gone(|pod| known.get(pod).is_some_and(|pod| !pod.is_used));
        let count = |slot: Slot, ready: bool| {
            let matching = pods.iter().filter(|pod| pod.slot == slot && (pod.ready || !ready)).count();
            u32::try_from(matching).unwrap_or(u32::MAX)
        };
        let baseline = self.candidate.other();
        self.pods = Pods {
            green: count(self.candidate, false),
            green_ready: count(self.candidate, true),
            blue_ready: count(baseline, true),
        };
    }
}
