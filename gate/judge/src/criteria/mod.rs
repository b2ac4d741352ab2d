//! One file a kind of evidence. A further kind is a further file, a further [`Test`] and a further door for what it observes;
//! nothing that is here changes.

pub(crate) mod pass;
pub(crate) mod persistent;
pub(crate) mod pods_ready;
pub(crate) mod proven;
pub(crate) mod signal;
pub(crate) mod trail;

use self::pass::PassTest;
use self::persistent::Persistent;
use self::pods_ready::PodsReady;
use self::proven::Proven;
use self::signal::Signal;
use crate::metric::Metric;
use crate::rules::{Condition, List, Rule, Rules, Subject};

/// One rule, and what is known about it.
#[derive(Clone, Debug)]
pub(crate) struct Criterion {
    pub(crate) list: List,
    pub(crate) rule: Rule,
    pub(crate) words: String,
    pub(crate) test: Test,
}

/// How a rule is decided.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// By a test with a false-alarm probability.
    Proven(Box<Proven>),
    /// By plain comparison over a time without a break.
    Persistent(Persistent),
    /// By evidence of health.
    Pass(PassTest),
    /// By somebody.
    Signal(Signal),
    /// By the state of green's pods.
    PodsReady(PodsReady),
}

impl Test {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::Persistent(_) => "for",
            Self::Pass(_) => "pass",
            Self::Signal(_) => "signal",
            Self::PodsReady(_) => "pods",
        }
    }

    /// The metric that it counts.
    pub(crate) const fn metric(&self) -> Option<usize> {
        match self {
            Self::Proven(proven) => Some(proven.metric),
            Self::Persistent(persistent) => Some(persistent.metric),
            Self::Pass(pass) => Some(pass.metric),
            Self::Signal(_) | Self::PodsReady(_) => None,
        }
    }

    /// Since when it holds, in milliseconds since the switch.
    pub(crate) fn fired_ms(&self) -> Option<u64> {
        match self {
            Self::Proven(proven) => proven.fired_ms(),
            Self::Persistent(persistent) => persistent.fired_ms,
            Self::Pass(pass) => pass.crossed_ms,
            Self::Signal(signal) => signal.raised_ms(),
            Self::PodsReady(pods) => pods.fired_ms,
        }
    }
}

/// The rules as criteria, and the metrics that they share. `reference` gives the limit of rules that compare with blue.
pub(crate) fn criteria(rules: &Rules, reference: impl Fn(&Metric, f64) -> f64) -> (Vec<Criterion>, Vec<Metric>) {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut share = |metric: Metric| match metrics.iter().position(|known| known.counts_as(&metric)) {
        Some(index) => index,
        None => {
            metrics.push(metric);
            metrics.len() - 1
        }
    };
    let criteria = rules
        .iter()
        .map(|(list, rule)| {
            let test = match (&rule.condition, Metric::of(rule)) {
                (Condition::Signal(name), _) => Test::Signal(Signal::new(name.clone())),
                (Condition::PodsReady(comparison, percent), _) => {
                    Test::PodsReady(PodsReady::new(*comparison, percent / 100.0, rule.for_ms.unwrap_or(0)))
                }
                (_, Some(metric)) if list == List::Pass => {
                    let target = metric.p0();
                    Test::Pass(PassTest::new(share(metric), target, rule.requests_min.unwrap_or(1)))
                }
                (condition, Some(metric)) => {
                    let requests_min = rule.requests_min.unwrap_or(0);
                    if let Some(for_ms) = rule.for_ms {
                        let p0 = metric.p0();
                        Test::Persistent(Persistent::new(share(metric), p0, for_ms / 1_000, requests_min))
                    } else {
                        let alpha = rules.alpha(list);
                        let relative = *condition == Condition::WorseThanBlue(Subject::ErrorRate);
                        let p0 = if relative { reference(&metric, alpha) } else { metric.p0() };
                        let warms_up = metric.limit().is_some();
                        Test::Proven(Box::new(Proven::new(share(metric), p0, alpha, relative, warms_up, requests_min)))
                    }
                }
                (condition, None) => unreachable!("Rules::parse refuses `{condition}`"),
            };
            Criterion { list, rule: rule.clone(), words: rule.to_string(), test }
        })
        .collect();
    (criteria, metrics)
}
