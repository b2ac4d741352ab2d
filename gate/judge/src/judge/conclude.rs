//! From the criteria and the shield to one verdict, in one sentence.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Judge;
use crate::criteria::pass::PassTest;
use crate::criteria::{Criterion, Test};
use crate::metric::All;
use crate::observation::{Allowance, CriterionView, Seen};
use crate::rules::{Condition, List};
use crate::statistics::decision::Decision;
use crate::statistics::mixture::confidence_sequence;
use crate::statistics::pass::pass_threshold;
use crate::statistics::shield::{Hits, State};
use crate::text::{count, number, percent, time};
use crate::verdict::{Evidence, Measured, Progress, Reason, Verdict};

/// Silence is a finding when so many times ln(1/alpha) requests were expected in it and none came.
const SILENCE_FACTOR: f64 = 3.0;
/// What the text calls "of late", in seconds.
const LATE_S: u64 = 10;

/// Harm by one rule that reverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// Green goes back, if there is somewhere to go back to.
    Rollback,
    /// Blue has it too.
    Shared,
    /// Not yet clear whose fault it is.
    Suspect,
    /// It is this pod, since when.
    Pod(usize, u64),
}

impl Judge {
    /// What the rules that revert find, in the order in which they were written.
    pub(super) fn harms(&self, now_ms: u64) -> impl Iterator<Item = (usize, Harm)> {
        let revert = self.criteria.iter().enumerate().filter(|(_, criterion)| criterion.list == List::Revert);
        revert.filter_map(move |(index, criterion)| Some((index, self.harm(now_ms, index, criterion)?)))
    }

    fn harm(&self, now_ms: u64, index: usize, criterion: &Criterion) -> Option<Harm> {
        match &criterion.test {
            Test::Proven(proven) => {
                if let Some((since_ms, pod)) = proven.pod_at_fault() {
                    return Some(Harm::Pod(pod, since_ms));
                }
                match proven.decide(now_ms, self.control(now_ms, index)) {
                    Decision::Continue => None,
                    Decision::Suspect => Some(Harm::Suspect),
                    Decision::HoldSharedFault => Some(Harm::Shared),
                    // Blue's sharp test has shown the fault as well; that it takes long to prove is no reason to blame green.
                    Decision::Rollback if self.shield.state() == State::Shared && !proven.is_blamed() => {
                        Some(Harm::Shared)
                    }
                    Decision::Rollback => Some(Harm::Rollback),
                }
            }
            Test::Persistent(persistent) if persistent.fired_ms.is_some() => {
                Some(if persistent.is_shared { Harm::Shared } else { Harm::Rollback })
            }
            Test::Signal(_) | Test::PodsReady(_) => criterion.test.fired_ms().map(|_| Harm::Rollback),
            Test::Persistent(_) | Test::Pass(_) => None,
        }
    }

    /// Latches the only terminal verdict.
    pub(super) fn revert_if_due(&mut self, now_ms: u64) {
        if self.held.is_some() || self.is_reverted() || self.pods.blue_ready == 0 {
            return;
        }
        let Some((index, _)) = self.harms(now_ms).find(|&(_, harm)| harm == Harm::Rollback) else { return };
        let change = "Traffic goes back to blue; only a new release changes that.";
        self.verdict = Verdict::Revert(self.reason(now_ms, index, "", change));
        self.shield.revert();
        self.allowance = Allowance { all: 0.0, pods: Vec::new() };
        self.is_stale = false;
    }

    /// Everything that is said, for `self.now_ms`.
    pub(super) fn conclude(&mut self) {
        let now_ms = self.now_ms;
        self.is_stale = false;
        let pods = self.tally.pods();
        let shares = self.pod_shields.shares(self.rate_per_pod());
        self.allowance = Allowance {
            all: self.shield.share(),
            pods: shares.map(|(pod, share)| (pods[pod].name.clone(), share)).collect(),
        };
        let holds = |(index, criterion): (usize, &Criterion)| {
            let holds = match &criterion.test {
                Test::Proven(proven) => proven.is_proven_now(),
                test => test.fired_ms().is_some(),
            };
            (criterion.list == List::Alert && holds)
                .then(|| self.reason(now_ms, index, "", "It is told, not acted upon."))
        };
        self.alerts = self.criteria.iter().enumerate().filter_map(holds).collect();
        self.verdict = self.say(now_ms);
    }

    fn say(&self, now_ms: u64) -> Verdict {
        if let Some((since_ms, why)) = &self.held {
            let text = format!(
                "held by a person since {} after the switch: {why}. The share stays as it is until it is resumed or reverted.",
                time(*since_ms)
            );
            return Verdict::Hold(self.bare_reason(text, *since_ms));
        }
        let harms: Vec<(usize, Harm)> = self.harms(now_ms).collect();
        let of = |wanted: Harm| harms.iter().find(|&&(_, harm)| harm == wanted).map(|&(index, _)| index);
        if let Some(index) = of(Harm::Rollback) {
            let change = "It is reverted as soon as a pod of blue is ready, or forgiven when a minute was good.";
            return Verdict::Hold(self.reason(
                now_ms,
                index,
                "blue is not healthy, so reverting would not help: ",
                change,
            ));
        }
        if let Some(index) = of(Harm::Shared) {
            return Verdict::Hold(self.shared_reason(now_ms, index));
        }
        self.say_shield(now_ms)
            .or_else(|| self.say_suspect(now_ms, &harms))
            .unwrap_or_else(|| self.say_progress(now_ms))
    }

    fn shared_reason(&self, now_ms: u64, index: usize) -> Reason {
        let change =
            "Reverting would not help. It is over when green is good again, and green is reverted when only blue is.";
        self.reason(now_ms, index, "blue has the same fault: ", change)
    }

    /// What the shield of all of green says.
    fn say_shield(&self, now_ms: u64) -> Option<Verdict> {
        let index = self.guard_of(self.shield.raised_by())?;
        let to_green = percent(self.shield.share());
        let mut reason = match self.shield.state() {
            State::Open | State::Reverted => return None,
            State::Shared => return Some(Verdict::Hold(self.shared_reason(now_ms, index))),
            State::Held => {
                let lead = "it comes and goes, so a person must decide: ";
                let change = format!(
                    "Green gets {to_green} of its traffic until it is proven, or until somebody resumes or reverts it."
                );
                return Some(Verdict::Hold(self.reason(now_ms, index, lead, &change)));
            }
            State::Shielded => {
                let change =
                    format!("Green gets {to_green} of its traffic, blue the rest, until it is proven or good again.");
                self.reason(now_ms, index, "", &change)
            }
            State::Probing => {
                let change = format!("Green was good again and gets {to_green} of its traffic to show it.");
                self.reason(now_ms, index, "", &change)
            }
        };
        reason.since_ms = reason.since_ms.min(self.shield.since_ms());
        Some(Verdict::Suspect(reason))
    }

    /// Sharp evidence without a shield of all of green.
    fn say_suspect(&self, now_ms: u64, harms: &[(usize, Harm)]) -> Option<Verdict> {
        if let Some((pod, state)) = self.pod_shields.worst() {
            let (since_ms, hits) = self.pod_shields.since(pod)?;
            let index = self.guard_of(hits)?;
            let change = match state {
                State::Held => "It keeps failing, so it gets next to nothing until a person decides; the others go on.",
                _ => "Most of its turns go to blue until it is good again; the others go on.",
            };
            return Some(Verdict::Suspect(self.pod_reason(now_ms, index, pod, since_ms, change)));
        }
        let of_pod = |&(index, harm): &(usize, Harm)| match harm {
            Harm::Pod(pod, since_ms) => Some((index, pod, since_ms)),
            _ => None,
        };
        if let Some((index, pod, since_ms)) = harms.iter().find_map(of_pod) {
            let change = "Without it nothing is proven, so the release is not reverted for it.";
            return Some(Verdict::Suspect(self.pod_reason(now_ms, index, pod, since_ms, change)));
        }
        if let Some(&(index, _)) = harms.first() {
            let change = "It is reverted when green is to blame, or in ten seconds unless blue shows the same.";
            return Some(Verdict::Suspect(self.reason(now_ms, index, "", change)));
        }
        let index = self.guard_of(self.shield.unshielded())?;
        let why = if self.pods.blue_ready == 0 { "no pod of blue is ready" } else { "blue has no room" };
        let change = format!("No shield, because {why}. It is reverted when it is proven and blue is ready.");
        Some(Verdict::Suspect(self.reason(now_ms, index, "", &change)))
    }

    fn say_progress(&self, now_ms: u64) -> Verdict {
        if let Some(passed) = self.passed.last() {
            return Verdict::Pass(passed.clone());
        }
        let slowest = self.slowest_pass();
        let (requests_needed, mut text) = match (self.silent_ms(now_ms), slowest) {
            (Some(ms), _) => (None, self.silence_text(ms)),
            (None, Some((criterion, pass))) => {
                let all = self.tally.green_all()[pass.metric];
                (pass.missing(&all), self.pass_progress(criterion, pass, &all))
            }
            (None, None) if self.tally.green_requests() == 0 => (None, "no request of green seen yet".to_owned()),
            (None, None) => (Some(0), "every pass rule is shown".to_owned()),
        };
        if now_ms >= self.rules.decide_within_ms().max(1) {
            let _ = write!(text, "; not passed within {}, watching goes on", time(self.rules.decide_within_ms()));
            return Verdict::Inconclusive(self.progress_reason(now_ms, slowest, text));
        }
        let bake_ms = self.rules.bake_ms();
        if now_ms < bake_ms {
            let _ = write!(text, "; bake time over in {}", time(bake_ms - now_ms));
        } else if let Some(at_ms) = self.shield_up_ms.filter(|at_ms| now_ms < at_ms + bake_ms) {
            let _ = write!(text, "; {} more without a shield needed", time(at_ms + bake_ms - now_ms));
        }
        Verdict::Watching(Progress { requests: self.tally.green_requests(), requests_needed, text })
    }

    /// The pass rule that is furthest from being shown.
    fn slowest_pass(&self) -> Option<(&Criterion, &PassTest)> {
        let missing = |pass: &PassTest| pass.missing(&self.tally.green_all()[pass.metric]).unwrap_or(u64::MAX);
        self.criteria
            .iter()
            .filter_map(|criterion| match &criterion.test {
                Test::Pass(pass) if pass.crossed_ms.is_none() => Some((criterion, pass)),
                _ => None,
            })
            .max_by_key(|(_, pass)| missing(pass))
    }

    fn pass_progress(&self, criterion: &Criterion, pass: &PassTest, all: &All) -> String {
        let (requests, bad) = (all.requests(), all.bad());
        let bads = if bad == 0 { "none bad".to_owned() } else { format!("{} bad", number(bad)) };
        let Some(missing) = pass.missing(all) else {
            return format!(
                "{}: {} of {} bad is not below {}, so more requests of this kind will not do",
                criterion.words,
                number(bad),
                count(requests, "request"),
                percent(pass.target)
            );
        };
        let mut text = format!(
            "{}: {} of {} requests needed, {bads}",
            criterion.words,
            number(requests),
            number(requests.saturating_add(missing))
        );
        let rate = self.tally.rate() * self.shield.share();
        if rate > 0.0 {
            let seconds = missing as f64 / rate;
            let _ = write!(text, "; about {} more at {:.1} a second", time((seconds * 1_000.0) as u64), rate);
        }
        text
    }

    fn progress_reason(&self, now_ms: u64, slowest: Option<(&Criterion, &PassTest)>, text: String) -> Reason {
        let mut reason = self.bare_reason(text, now_ms);
        reason.since_ms = self.rules.decide_within_ms();
        let Some((criterion, pass)) = slowest else { return reason };
        let all = self.tally.green_all()[pass.metric];
        let (_, most) = confidence_sequence(all.requests() as f64, all.bad() as f64, 0.05);
        let _ = write!(reason.text, "; the share of bad requests is below {} (95 % sure)", percent(most));
        reason.rule.clone_from(&criterion.words);
        reason.measured = all.rate().map(|value| Measured { value, limit: pass.target, unit: "ratio" });
        reason.evidence = Some(Evidence { ln_e: pass.log_e, threshold: pass_threshold() });
        reason.requests = all.requests();
        reason.bad = all.bad();
        reason.requests_needed = pass.missing(&all);
        reason
    }

    /// For how long green was not heard of, where it should have been.
    pub(super) fn silent_ms(&self, now_ms: u64) -> Option<u64> {
        let silent_ms = now_ms.saturating_sub(self.silence.since_ms);
        let expected = self.silence.rate * self.shield.share() * silent_ms as f64 / 1_000.0;
        (expected > SILENCE_FACTOR * -self.rules.false_alarms().ln()).then_some(silent_ms)
    }

    fn silence_text(&self, silent_ms: u64) -> String {
        let expected = (self.silence.rate * self.shield.share() * silent_ms as f64 / 1_000.0) as u64;
        let unanswered = match self.tally.green_in_flight() {
            0 => String::new(),
            1 => ", and 1 request is unanswered".to_owned(),
            waiting => format!(", and {} requests are unanswered", number(waiting)),
        };
        format!(
            "no data: green answered nothing for {}, where about {} were expected{unanswered}; silence is not health",
            time(silent_ms),
            count(expected, "request"),
        )
    }

    pub(super) fn pass_text(&self, now_ms: u64) -> String {
        let shown = self.criteria.iter().filter_map(|criterion| match &criterion.test {
            Test::Pass(pass) => {
                let all = self.tally.green_all()[pass.metric];
                let bad = number(all.bad());
                Some(format!("{} ({bad} of {} bad)", criterion.words, count(all.requests(), "request")))
            }
            _ => None,
        });
        let mut shown = shown.collect::<Vec<_>>().join(", ");
        if shown.is_empty() {
            shown = format!("no harm in {}", count(self.tally.green_requests(), "request"));
        }
        let pods = self.pods_seen();
        let _ = write!(shown, ", in {}", count(pods.into(), "pod"));
        let more = self.rules.checkpoints().iter().find(|moment| moment.at_ms > now_ms);
        match more {
            Some(moment) => shown + &format!("; looked at again after {}", moment.name),
            None => shown,
        }
    }

    fn pods_seen(&self) -> u32 {
        u32::try_from(self.tally.pods_used()).unwrap_or(u32::MAX)
    }

    fn guard_of(&self, hits: Hits) -> Option<usize> {
        self.guards.iter().enumerate().find(|(bit, _)| hits >> bit & 1 == 1).map(|(_, &guard)| guard)
    }

    fn bare_reason(&self, text: String, since_ms: u64) -> Reason {
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
        }
    }

    fn pod_reason(&self, now_ms: u64, index: usize, pod: usize, since_ms: u64, change: &str) -> Reason {
        let name: Arc<str> = self.tally.pods()[pod].name.clone();
        let mut reason = self.reason(now_ms, index, &format!("pod {name} alone is at fault: "), change);
        reason.pod = Some(name.to_string());
        reason.since_ms = since_ms;
        reason
    }

    /// The whole story of one rule.
    fn reason(&self, now_ms: u64, index: usize, lead: &str, change: &str) -> Reason {
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
            (Test::PodsReady(pods), _) => pods.value.map(|value| Measured { value, limit: pods.limit, unit: "ratio" }),
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
            Test::PodsReady(pods) => pods.limit,
            Test::Signal(_) => 0.0,
        }
    }

    fn seen_text(&self, criterion: &Criterion, measured: Option<&Measured>) -> String {
        match &criterion.test {
            Test::Signal(signal) if signal.why().is_empty() => "the signal was raised".to_owned(),
            Test::Signal(signal) => format!("the signal was raised: {}", signal.why()),
            Test::PodsReady(pods) => format!(
                "{} of {} of green ready ({}, limit {})",
                self.pods.green_ready,
                count(self.pods.green.into(), "pod"),
                percent(pods.value.unwrap_or(0.0)),
                percent(pods.limit)
            ),
            test => {
                let metric = test.metric().unwrap_or(0);
                let rate = self.late(criterion, metric).rate().unwrap_or(0.0);
                let back_s = self.look_back_s(criterion, metric);
                let back_ms = self.now_ms.saturating_sub(self.trail.now_s().saturating_sub(back_s) * 1_000);
                let did = match criterion.rule.condition {
                    Condition::Latency { limit_us, .. } => format!("took longer than {}", time_limit(limit_us)),
                    _ => "failed".to_owned(),
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
            Test::Pass(pass) => Some((pass.log_e, pass_threshold())),
            Test::PodsReady(pods) => {
                green = Seen {
                    n: self.pods.green.into(),
                    bad: (self.pods.green - self.pods.green_ready).into(),
                    value: pods.value,
                };
                None
            }
            Test::Signal(_) => {
                unit = "count";
                None
            }
            Test::Persistent(_) => None,
        };
        CriterionView {
            words: criterion.words.clone(),
            list: criterion.list.as_str(),
            kind: criterion.test.kind(),
            green,
            blue,
            limit,
            unit,
            ln_e: evidence.map(|(log_e, _)| log_e),
            threshold: evidence.map(|(_, threshold)| threshold),
            fired_at_ms: criterion.test.fired_ms(),
        }
    }
}

/// A latency limit for people.
fn time_limit(us: u64) -> String {
    if us.is_multiple_of(1_000) { format!("{} ms", number(us / 1_000)) } else { format!("{} us", number(us)) }
}
