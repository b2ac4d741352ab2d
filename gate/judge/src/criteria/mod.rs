//! One file a kind of evidence. A further kind is a further file, a further [`Test`] and a further door for what it observes;
//! nothing that is here changes.

pub(crate) mod cascade;
pub(crate) mod pass;
pub(crate) mod persistent;
pub(crate) mod plain;
pub(crate) mod proven;
pub(crate) mod signal;
pub(crate) mod state;
pub(crate) mod trail;

use blueback_report::{Limit, Measure};

use self::cascade::Cascade;
use self::pass::PassTest;
use self::persistent::Persistent;
use self::plain::Plain;
use self::proven::Proven;
use self::signal::Signal;
use self::state::Sense;
use crate::metric::Metric;
use crate::rules::{Condition, List, Rule, Rules, Subject};

/// One rule, and what is known about it.
#[derive(Clone, Debug)]
pub(crate) struct Criterion {
    pub(crate) list: List,
    /// The checkpoint whose own it is.
    pub(crate) checkpoint: Option<usize>,
    pub(crate) rule: Rule,
    pub(crate) words: String,
    pub(crate) test: Test,
}

/// How a rule is decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// By a test with a false-alarm probability.
    Proven(Box<Proven>),
    /// By plain comparison of requests over a time without a break.
    Persistent(Persistent),
    /// By evidence of health.
    Pass(PassTest),
    /// By somebody.
    Signal(Signal),
    /// By other services.
    Cascade(Cascade),
    /// By a state.
    Plain(Box<Plain>),
}

crate::save::saved_variants!(Test {
    Proven(Box<Proven>) = 0,
    Persistent(Persistent) = 1,
    Pass(PassTest) = 2,
    Signal(Signal) = 3,
    Cascade(Cascade) = 4,
    Plain(Box<Plain>) = 5,
});

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Holds,
    Quiet,
    /// There should be evidence.
    NoData,
    /// There is no evidence of this kind here, and the rule can do without.
    NotApplicable,
}

impl Standing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Quiet => "quiet",
            Self::NoData => "no data",
            Self::NotApplicable => "not applicable",
        }
    }
}

impl Test {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::Persistent(_) => "for",
            Self::Pass(_) => "pass",
            Self::Signal(_) => "signal",
            Self::Cascade(_) => "cascade",
            Self::Plain(_) => "state",
        }
    }

    /// The metric that it counts.
    pub(crate) const fn metric(&self) -> Option<usize> {
        match self {
            Self::Proven(proven) => Some(proven.metric),
            Self::Persistent(persistent) => Some(persistent.metric),
            Self::Pass(pass) => Some(pass.metric),
            Self::Signal(_) | Self::Cascade(_) | Self::Plain(_) => None,
        }
    }

    /// Since when it holds, in milliseconds since the switch.
    pub(crate) fn fired_ms(&self) -> Option<u64> {
        match self {
            Self::Proven(proven) => proven.fired_ms(),
            Self::Persistent(persistent) => persistent.fired_ms,
            Self::Pass(pass) => pass.crossed_ms,
            Self::Signal(signal) => signal.raised_ms(),
            Self::Cascade(cascade) => cascade.fired_ms(),
            Self::Plain(plain) => plain.fired_ms,
        }
    }
}

impl Criterion {
    /// It is one of the proven rules that revert: sharp evidence of it raises the shield.
    pub(crate) fn guard(&self) -> Option<&Proven> {
        match &self.test {
            Test::Proven(proven) if self.list == List::Revert && !self.rule.dry_run => Some(proven),
            _ => None,
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        if self.test.fired_ms().is_some() {
            return Standing::Holds;
        }
        let without = |is_known: bool| match (is_known, self.list, self.rule.if_known) {
            (false, List::Revert | List::Alert, _) | (false, List::Pass, true) => Standing::NotApplicable,
            _ => Standing::NoData,
        };
        match &self.test {
            Test::Proven(proven) if proven.is_without_history() => Standing::NoData,
            Test::Proven(_) | Test::Persistent(_) | Test::Pass(_) => Standing::Quiet,
            Test::Signal(_) if self.list == List::Pass => without(false),
            Test::Signal(_) => Standing::Quiet,
            Test::Cascade(cascade) if cascade.is_known() => Standing::Quiet,
            Test::Cascade(_) => without(false),
            Test::Plain(plain) if plain.green.holds.is_some() => Standing::Quiet,
            Test::Plain(plain) => without(plain.is_known),
        }
    }
}

/// What blue's minutes before the switch say.
pub(crate) trait Blue {
    /// The share of bad requests above which green is worse.
    fn reference(&self, metric: &Metric, alpha: f64) -> f64;
    /// The latency above which a request is slower than blue's slow ones; `None` without enough history.
    fn slow(&self, measure: Measure, route: Option<&str>) -> Option<Limit>;
    /// Blue was bad by this measure when the switch came.
    fn had_it(&self, metric: &Metric, p0: f64) -> bool;
}

/// The rules as criteria, and the metrics that they share. `steps`: green begins with a part of its traffic, and more will follow.
pub(crate) fn criteria(rules: &Rules, blue: &dyn Blue, steps: bool) -> (Vec<Criterion>, Vec<Metric>) {
    let mut metrics: Vec<Metric> = Vec::new();
    let criteria = rules.placed().map(|(list, checkpoint, rule)| Criterion {
        list,
        checkpoint,
        rule: rule.clone(),
        words: rule.to_string(),
        test: test(rules, list, rule, blue, steps, &mut metrics),
    });
    (criteria.collect(), metrics)
}

fn test(rules: &Rules, list: List, rule: &Rule, blue: &dyn Blue, steps: bool, metrics: &mut Vec<Metric>) -> Test {
    if let Condition::Signal(name) = &rule.condition {
        return Test::Signal(Signal::new(name.clone()));
    }
    if let Some(sense) = Sense::of(rule) {
        return Test::Plain(Box::new(Plain::new(sense, rule.for_ms.unwrap_or(0))));
    }
    let Some(mut metric) = Metric::of(rule) else { return Test::Cascade(Cascade::new(rules.alpha(list))) };
    let mut share = |metric: Metric| {
        metrics.iter().position(|known| known.counts_as(&metric)).unwrap_or_else(|| {
            metrics.push(metric);
            metrics.len() - 1
        })
    };
    if list == List::Pass {
        let target = metric.p0();
        return Test::Pass(PassTest::new(share(metric), target, rule.requests_min, rule.over_ms.map(|ms| ms / 1_000)));
    }
    let mut p0 = metric.p0();
    let alpha = rules.alpha(list);
    if let Condition::WorseThanBlue(subject) = &rule.condition {
        if let Subject::Latency(measure) = subject
            && let Some(limit) = blue.slow(*measure, rule.route.as_deref())
        {
            metric = metric.slower_than(limit);
        }
        p0 = blue.reference(&metric, alpha);
    }
    let had_it = blue.had_it(&metric, p0);
    if rule.is_proven() {
        let is_relative = matches!(rule.condition, Condition::WorseThanBlue(_));
        let warms_up = metric.limit().is_some();
        let proven = Proven::new(share(metric), p0, alpha, steps).relative(is_relative);
        let proven = proven.warming_up(warms_up).waiting_for(rule.requests_min.unwrap_or(0)).after(had_it);
        Test::Proven(Box::new(proven))
    } else {
        Test::Persistent(Persistent::new(share(metric), p0, rule, had_it))
    }
}
