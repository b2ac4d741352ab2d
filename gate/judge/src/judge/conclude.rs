//! From the criteria and the shield to one verdict, in one sentence.

use std::fmt::Write as _;

use super::Judge;
use crate::criteria::pass::PassTest;
use crate::criteria::{Criterion, Standing, Test};
use crate::observation::Allowance;
use crate::rules::List;
use crate::statistics::decision::Decision;
use crate::statistics::mixture::confidence_sequence;
use crate::statistics::pass::pass_threshold;
use crate::statistics::shield::State;
use crate::text::{count, number, percent, time};
use crate::verdict::{Evidence, Measured, Progress, Reason, Verdict};

/// Silence is a finding when so many times ln(1/alpha) requests were expected in it and none came.
const SILENCE_FACTOR: f64 = 3.0;
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
        let reverts = |criterion: &Criterion| criterion.list == List::Revert && !criterion.rule.dry_run;
        let revert = self.criteria.iter().enumerate().filter(move |(_, criterion)| reverts(criterion));
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
            Test::Plain(plain) if plain.fired_ms.is_some() => {
                Some(if plain.is_shared { Harm::Shared } else { Harm::Rollback })
            }
            Test::Signal(_) | Test::Cascade(_) => criterion.test.fired_ms().map(|_| Harm::Rollback),
            Test::Persistent(_) | Test::Plain(_) | Test::Pass(_) => None,
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
        self.allowance.all = self.shield.share();
        self.allowance.pods.clear();
        self.allowance.pods.extend(shares.map(|(pod, share)| (pods[pod].name.clone(), share)));
        self.alerts = self.holding(now_ms, |criterion| criterion.list == List::Alert && !criterion.rule.dry_run);
        self.dry_runs = self.holding(now_ms, |criterion| criterion.list != List::Pass && criterion.rule.dry_run);
        match self.say(now_ms) {
            Some(verdict) => self.verdict = verdict,
            None if self.verdict != self.progress => self.verdict.clone_from(&self.progress),
            None => (),
        }
    }

    /// Rules of a kind that hold now, and act upon nothing.
    fn holding(&self, now_ms: u64, is_wanted: impl Fn(&Criterion) -> bool) -> Vec<Reason> {
        let holds = |criterion: &Criterion| match &criterion.test {
            Test::Proven(proven) => proven.is_proven_now(),
            test => test.fired_ms().is_some(),
        };
        let wanted = self.criteria.iter().enumerate().filter(|(_, criterion)| is_wanted(criterion) && holds(criterion));
        let told = wanted.map(|(index, criterion)| {
            let change = match (criterion.rule.dry_run, criterion.list) {
                (true, List::Revert) => "It is a dry run: it would revert, and nothing is done.",
                _ => "It is told, not acted upon.",
            };
            self.reason(now_ms, index, "", change)
        });
        told.collect()
    }

    /// What is wrong, or what a person wants; `None` while nothing is.
    fn say(&self, now_ms: u64) -> Option<Verdict> {
        if let Some((since_ms, why)) = &self.held {
            let text = format!("held by a person since {} after the switch: {why}.", time(*since_ms));
            let change = "The share stays as it is until it is resumed or reverted.";
            return Some(Verdict::Hold(self.bare_reason(text, change, *since_ms)));
        }
        // Nothing is collected, and nothing allocated, while there is nothing.
        let harms: Vec<(usize, Harm)> = self.harms(now_ms).collect();
        let of = |wanted: Harm| harms.iter().find(|&&(_, harm)| harm == wanted).map(|&(index, _)| index);
        if let Some(index) = of(Harm::Rollback) {
            let change = "It is reverted as soon as a pod of blue is ready, or forgiven when a minute was good.";
            let lead = "blue is not healthy, so reverting would not help: ";
            return Some(Verdict::Hold(self.reason(now_ms, index, lead, change)));
        }
        if let Some(index) = of(Harm::Shared) {
            return Some(Verdict::Hold(self.shared_reason(now_ms, index)));
        }
        self.say_shield(now_ms).or_else(|| self.say_suspect(now_ms, &harms))
    }

    fn shared_reason(&self, now_ms: u64, index: usize) -> Reason {
        let change =
            "Reverting would not help. It is over when green is good again, and green is reverted when only blue is.";
        let had_it = matches!(&self.criteria[index].test, Test::Proven(proven) if proven.had_blue_it());
        let lead = if had_it && self.shield.state() == State::Open && !self.control(now_ms, index) {
            "blue had the same fault before the switch: "
        } else {
            "blue has the same fault: "
        };
        self.reason(now_ms, index, lead, change)
    }

    /// What the shield of all of green says.
    fn say_shield(&self, now_ms: u64) -> Option<Verdict> {
        let index = self.guard_of(self.shield.raised_by())?;
        let to_green = percent(self.shield.share());
        let mut reason = match self.shield.state() {
            State::Reverted => return None,
            State::Open if self.is_all_back() => return None,
            State::Open => {
                let pods = count(u64::from(self.pods.green_ready), "ready pod");
                let change =
                    format!("Green is good again and gets {to_green} of its traffic, as much as suits its {pods}.");
                self.reason(now_ms, index, "", &change)
            }
            State::Shared => return Some(Verdict::Hold(self.shared_reason(now_ms, index))),
            State::Held => {
                let lead = "it comes and goes, so a person must decide: ";
                let change = format!(
                    "Green gets {to_green} of its traffic until it is proven, or until somebody resumes or reverts it."
                );
                return Some(Verdict::Hold(self.reason(now_ms, index, lead, &change)));
            }
            State::Shielded if self.deliveries.fail() => {
                let change = "More than half of what was diverted did not reach blue, so nothing is for half a minute.";
                self.reason(now_ms, index, "", change)
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
        let why = match (self.pods.blue_ready, self.deliveries.fail()) {
            (0, _) => "no pod of blue is ready",
            (_, true) => "what is diverted does not reach blue",
            _ => "blue has no room",
        };
        let change = format!("No shield, because {why}. It is reverted when it is proven and blue is ready.");
        Some(Verdict::Suspect(self.reason(now_ms, index, "", &change)))
    }

    /// How far it is, while nothing is wrong.
    pub(super) fn say_progress(&self, now_ms: u64) -> Verdict {
        if let Some(passed) = self.passed.last() {
            return Verdict::Pass(passed.clone());
        }
        let slowest = self.slowest_pass();
        let (requests_needed, mut text) = match (self.silent_ms(now_ms), slowest) {
            (Some(ms), _) => (None, self.silence_text(ms)),
            (None, Some((criterion, pass))) => {
                let all = self.tally.green_all()[pass.metric];
                (pass.missing(&all, &self.trail), self.pass_progress(criterion, pass))
            }
            (None, None) if self.tally.green_requests() == 0 => (None, "no request of green seen yet".to_owned()),
            (None, None) => (Some(0), self.states_missing().unwrap_or_else(|| "every pass rule is shown".to_owned())),
        };
        if now_ms >= self.rules.decide_within_ms().max(1) {
            let _ = write!(text, "; not passed within {}", time(self.rules.decide_within_ms()));
            return Verdict::Inconclusive(self.progress_reason(slowest, text));
        }
        let bake_ms = self.rules.bake_ms();
        if now_ms < bake_ms {
            let _ = write!(text, "; bake time over in {}", time(bake_ms - now_ms));
        } else if let Some(at_ms) = self.shield_up_ms.filter(|at_ms| now_ms < at_ms + bake_ms) {
            let _ = write!(text, "; {} more without a shield needed", time(at_ms + bake_ms - now_ms));
        }
        Verdict::Watching(Progress { requests: self.tally.green_requests(), requests_needed, text })
    }

    /// The pass rule about requests that is furthest from being shown.
    fn slowest_pass(&self) -> Option<(&Criterion, &PassTest)> {
        let missing =
            |pass: &PassTest| pass.missing(&self.tally.green_all()[pass.metric], &self.trail).unwrap_or(u64::MAX);
        self.criteria
            .iter()
            .filter(|criterion| criterion.checkpoint.is_none() && !criterion.rule.dry_run)
            .filter_map(|criterion| match &criterion.test {
                Test::Pass(pass) if pass.crossed_ms.is_none() => Some((criterion, pass)),
                _ => None,
            })
            .max_by_key(|(_, pass)| missing(pass))
    }

    /// What else is not shown yet.
    fn states_missing(&self) -> Option<String> {
        let must = |criterion: &&Criterion| {
            criterion.list == List::Pass && criterion.checkpoint.is_none() && !criterion.rule.dry_run
        };
        let is_open = |criterion: &&Criterion| matches!(criterion.standing(), Standing::Quiet | Standing::NoData);
        let open = self.criteria.iter().filter(must).filter(is_open);
        let texts: Vec<_> =
            open.map(|criterion| format!("{}: {}", criterion.words, self.seen_text(criterion, None))).collect();
        (!texts.is_empty()).then(|| format!("waits for {}", texts.join("; ")))
    }

    fn pass_progress(&self, criterion: &Criterion, pass: &PassTest) -> String {
        let all = self.tally.green_all()[pass.metric];
        let seen = pass.seen(&all, &self.trail);
        let (requests, bad) = (seen.requests(), seen.bad());
        let bads = if bad == 0 { "none bad".to_owned() } else { format!("{} bad", number(bad)) };
        let Some(missing) = pass.missing(&all, &self.trail) else {
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

    fn progress_reason(&self, slowest: Option<(&Criterion, &PassTest)>, text: String) -> Reason {
        let mut reason = self.bare_reason(text, "", self.rules.decide_within_ms());
        let change = "It passes as soon as every pass rule is shown, and watching goes on";
        if let Some((criterion, pass)) = slowest {
            let all = pass.seen(&self.tally.green_all()[pass.metric], &self.trail);
            let (_, most) = confidence_sequence(all.requests() as f64, all.bad() as f64, 0.05);
            let _ = write!(reason.text, "; the share of bad requests is below {} (95 % sure)", percent(most));
            reason.rule.clone_from(&criterion.words);
            reason.measured = all.rate().map(|value| Measured { value, limit: pass.target, unit: "ratio" });
            reason.evidence = Some(Evidence { ln_e: pass.log_e, threshold: pass_threshold() });
            reason.requests = all.requests();
            reason.bad = all.bad();
            reason.requests_needed = pass.missing(&self.tally.green_all()[pass.metric], &self.trail);
        }
        let _ = write!(reason.text, ". {change}");
        change.clone_into(&mut reason.change);
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
        let own = self.criteria.iter().filter(|criterion| criterion.checkpoint.is_none());
        let shown = own.filter_map(|criterion| match &criterion.test {
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
        let skipped = self
            .criteria
            .iter()
            .filter(|criterion| criterion.list == List::Pass && criterion.standing() == Standing::NotApplicable);
        let skipped: Vec<&str> = skipped.map(|criterion| criterion.words.as_str()).collect();
        if !skipped.is_empty() {
            let _ = write!(shown, "; not applicable here: {}", skipped.join(", "));
        }
        let more = self.rules.checkpoints().iter().find(|moment| moment.at_ms > now_ms);
        match more {
            Some(moment) => shown + &format!("; looked at again after {}", moment.name),
            None => shown,
        }
    }
}
