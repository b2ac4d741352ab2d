//! What is told of a rule: one sentence with its numbers, for the verdict, the alert, the event and the page alike.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Judge;
use crate::criteria::plain::{Plain, Sight};
use crate::criteria::state::Sense;
use crate::criteria::{Criterion, Test};
use crate::metric::All;
use crate::observation::{CriterionView, Seen};
use crate::rules::Condition;
use crate::statistics::pass::pass_threshold;
use crate::statistics::shield::Hits;
use crate::text::{count, number, percent, time};
use crate::verdict::{Evidence, Measured, Reason};

/// What the text calls "of late", in seconds.
const LATE_S: u64 = 10;

impl Judge {
    pub(super) fn pods_seen(&self) -> u32 {
        u32::try_from(self.tally.pods_used()).unwrap_or(u32::MAX)
    }

    pub(super) fn guard_of(&self, hits: Hits) -> Option<usize> {
        self.guards.iter().enumerate().find(|(bit, _)| hits >> bit & 1 == 1).map(|(_, &guard)| guard)
    }

    /// A reason without a rule; `change` ends its text.
    pub(super) fn bare_reason(&self, mut text: String, change: &str, since_ms: u64) -> Reason {
        if !change.is_empty() {
            let _ = write!(text, " {change}");
        }
        Reason {
            rule: String::new(),
            text,
            measured: None,
            evidence: None,
            requests: self.tally.green_requests(),
            bad: 0,
            requests_needed: None,
            pods: self.pods_seen(),
            pod: None,
            since_ms,
            change: change.to_owned(),
        }
    }

    pub(super) fn pod_reason(&self, now_ms: u64, index: usize, pod: usize, since_ms: u64, change: &str) -> Reason {
        let name: Arc<str> = self.tally.pods()[pod].name.clone();
        let mut reason = self.reason(now_ms, index, &format!("pod {name} alone is at fault: "), change);
        reason.pod = Some(name.to_string());
        reason.since_ms = since_ms;
        reason
    }

    /// The whole story of one rule.
    pub(super) fn reason(&self, now_ms: u64, index: usize, lead: &str, change: &str) -> Reason {
        let criterion = &self.criteria[index];
        let view = self.view(criterion);
        let measured = self.measured(criterion);
        let since_ms = match criterion.test.metric() {
            Some(metric) => self.incidents[metric].since_ms,
            None => criterion.test.fired_ms().unwrap_or(now_ms),
        };
        let mut text = format!("{}: {lead}{}", criterion.words, self.seen_text(criterion, measured.as_ref()));
        if criterion.test.metric().is_some() {
            let pods = self.pods_seen();
            let _ = write!(
                text,
                "; {} of {} in {} bad since the switch",
                number(view.green.bad),
                count(view.green.n, "request"),
                count(pods.into(), "pod")
            );
        }
        let _ = write!(text, "; since {} after the switch. {change}", time(since_ms));
        Reason {
            rule: criterion.words.clone(),
            text,
            measured,
            evidence: view.ln_e.zip(view.threshold).map(|(ln_e, threshold)| Evidence { ln_e, threshold }),
            requests: view.green.n,
            bad: view.green.bad,
            requests_needed: None,
            pods: self.pods_seen(),
            pod: None,
            since_ms,
            change: change.to_owned(),
        }
    }

    /// How long the rule looks back for what it says, in seconds before the last whole one: its own time, or since the harm
    /// began, but no longer than what is "of late".
    fn look_back_s(&self, criterion: &Criterion, metric: usize) -> u64 {
        match &criterion.test {
            Test::Persistent(persistent) => persistent.for_s,
            _ => self.trail.now_s().saturating_sub(self.incidents[metric].since_ms / 1_000).min(LATE_S),
        }
    }

    fn late(&self, criterion: &Criterion, metric: usize) -> All {
        let before = self.trail.green_at(metric, self.look_back_s(criterion, metric));
        let late = self.tally.green_all()[metric].since(&before);
        if late.requests() > 0 { late } else { self.tally.green_all()[metric] }
    }

    fn measured(&self, criterion: &Criterion) -> Option<Measured> {
        match (&criterion.test, &criterion.rule.condition) {
            (Test::Signal(_), _) => None,
            (Test::Plain(plain), _) => {
                let value = value_of(plain)?;
                Some(Measured { value, limit: plain.sense.limit(), unit: plain.sense.unit() })
            }
            (Test::Cascade(cascade), _) => {
                let (n, bad, limit) = cascade.seen().filter(|&(n, ..)| n > 0)?;
                Some(Measured { value: bad as f64 / n as f64, limit, unit: "ratio" })
            }
            (test, &Condition::Latency { percentile, limit_us, .. }) => {
                let limit = limit_us as f64 / 1_000.0;
                let metric = test.metric()?;
                let [.., late] = self.tally.quantile_ms(metric, percentile / 100.0);
                // What hangs is in no histogram yet: then all that is known is that the quantile is beyond the limit.
                let is_over = self.late(criterion, metric).rate().is_some_and(|rate| rate > 1.0 - percentile / 100.0);
                let value = late.unwrap_or(0.0);
                Some(Measured { value: if is_over { value.max(limit) } else { value }, limit, unit: "ms" })
            }
            (test, _) => {
                let metric = test.metric()?;
                let value = self.late(criterion, metric).rate()?;
                Some(Measured { value, limit: Self::ratio_limit(criterion), unit: "ratio" })
            }
        }
    }

    fn ratio_limit(criterion: &Criterion) -> f64 {
        match &criterion.test {
            Test::Proven(proven) => proven.p0,
            Test::Persistent(persistent) => persistent.p0,
            Test::Pass(pass) => pass.target,
            Test::Plain(plain) => plain.sense.limit(),
            Test::Cascade(cascade) => cascade.seen().map_or(0.0, |(.., limit)| limit),
            Test::Signal(_) => 0.0,
        }
    }

    pub(super) fn seen_text(&self, criterion: &Criterion, measured: Option<&Measured>) -> String {
        match &criterion.test {
            Test::Signal(signal) => signal.text(),
            Test::Cascade(cascade) => cascade.text(),
            Test::Plain(plain) => plain.sense.text(&plain.green),
            Test::Proven(proven) if proven.is_without_history() => {
                "no data: blue had too few requests before the switch to compare with".to_owned()
            }
            test => {
                let metric = test.metric().unwrap_or(0);
                let rate = self.late(criterion, metric).rate().unwrap_or(0.0);
                let back_s = self.look_back_s(criterion, metric);
                let back_ms = self.now_ms.saturating_sub(self.trail.now_s().saturating_sub(back_s) * 1_000);
                let did = match self.tally.metrics()[metric].limit() {
                    Some(limit) => format!("took longer than {}", time_limit(limit.us)),
                    None => "failed".to_owned(),
                };
                let mut text = format!(
                    "{} of green's requests {did} in the last {} (limit {})",
                    percent(rate),
                    time(back_ms),
                    percent(Self::ratio_limit(criterion))
                );
                if let (Some(measured), &Condition::Latency { percentile, .. }) = (measured, &criterion.rule.condition)
                {
                    let at_least = if measured.value <= measured.limit { "at least " } else { "" };
                    let value = number(measured.value.round() as u64);
                    let _ = write!(text, ", p{percentile} {at_least}{value} ms");
                }
                text
            }
        }
    }

    pub(super) fn view(&self, criterion: &Criterion) -> CriterionView {
        let (mut green, mut blue) = (Seen::default(), Seen::default());
        let (mut limit, mut unit) = (Self::ratio_limit(criterion), "ratio");
        if let Some(metric) = criterion.test.metric() {
            let seen = |all: &All| Seen { n: all.requests(), bad: all.bad(), value: all.rate() };
            green = seen(&self.tally.green_all()[metric]);
            blue = seen(&self.tally.blue_all()[metric]);
            if let Condition::Latency { percentile, limit_us, .. } = criterion.rule.condition {
                [green.value, blue.value, _] = self.tally.quantile_ms(metric, percentile / 100.0);
                (limit, unit) = (limit_us as f64 / 1_000.0, "ms");
            }
        }
        let evidence = match &criterion.test {
            Test::Proven(proven) => Some((proven.log_e, proven.threshold())),
            Test::Pass(pass) if pass.over_s.is_none() => Some((pass.log_e, pass_threshold())),
            Test::Cascade(cascade) => cascade.evidence(),
            Test::Plain(plain) => {
                let seen = |sight: &Sight, value| Seen { n: sight.n, bad: sight.bad, value };
                (green, blue) = (seen(&plain.green, value_of(plain)), seen(&plain.blue, plain.blue.value));
                (limit, unit) = (plain.sense.limit(), plain.sense.unit());
                None
            }
            Test::Signal(_) => {
                unit = "count";
                None
            }
            Test::Persistent(_) | Test::Pass(_) => None,
        };
        if let Test::Cascade(cascade) = &criterion.test
            && let Some((n, bad, _)) = cascade.seen()
        {
            green = Seen { n, bad, value: (n > 0).then(|| bad as f64 / n as f64) };
        }
        CriterionView {
            words: criterion.words.clone(),
            list: criterion.list.as_str(),
            checkpoint: criterion.checkpoint.map(|index| self.rules.checkpoints()[index].name.clone()),
            kind: criterion.test.kind(),
            standing: criterion.standing().as_str(),
            dry_run: criterion.rule.dry_run,
            green,
            blue,
            limit,
            unit,
            ln_e: evidence.map(|(log_e, _)| log_e),
            threshold: evidence.map(|(_, threshold)| threshold),
            fired_at_ms: criterion.test.fired_ms(),
            text: self.seen_text(criterion, self.measured(criterion).as_ref()),
        }
    }
}

/// A latency limit for people.
fn time_limit(us: u64) -> String {
    if us.is_multiple_of(1_000) { format!("{} ms", number(us / 1_000)) } else { format!("{} us", number(us)) }
}

/// What a rule about a state measures.
fn value_of(plain: &Plain) -> Option<f64> {
    match &plain.sense {
        Sense::Slow(slow) => slow.value_ms(),
        _ => plain.green.value,
    }
}
