//! The way back: diverted → switched → baseline verified → candidate released → announced.
//!
//! Each step is done when it is seen to be done, not when it was asked for. What does not succeed is tried again for as
//! long as it takes, and said in the timeline whenever the reason is a new one.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::effect::{Effect, Job};
use crate::event::Step;
use crate::figures::Counters;
use crate::records::ServiceRecord;
use crate::release::Live;
use crate::timeline::span;
use crate::trace::TraceId;

/// How long the candidate must have been given no request to be called quiet: three reports.
pub(crate) const QUIET_MS: u64 = 300;
/// How long a step may take before the timeline says that it does.
const SLOW_MS: u64 = 2_000;
/// Least time between two moments that say that a step does not succeed.
const TOLD_MS_MIN: u64 = 10_000;

/// A revert under way.
#[derive(Debug)]
pub(crate) struct Revert {
    /// When it was decided.
    pub(crate) began: Timestamp,
    /// The epoch of the route that gives the candidate nothing.
    pub(crate) epoch: u64,
    /// When the step before was done.
    since: Timestamp,
    /// Steps that executors were asked for, and those that they have done.
    asked: [bool; Step::ALL.len()],
    done: [Option<String>; Step::ALL.len()],
    told: Option<(Timestamp, String)>,
    /// The step that failed last, and how often it has.
    failed: Option<(Step, u32)>,
}

/// What agents testify.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// Agents of the vantage that are connected.
    pub(crate) agents: u32,
    /// Those of them that have not taken the route yet.
    pub(crate) behind: Vec<Arc<str>>,
    /// How long the candidate was given no request.
    pub(crate) quiet_ms: u64,
    /// The baseline's pods, and those that are ready.
    pub(crate) pods: u32,
    /// Ready ones.
    pub(crate) ready: u32,
    /// Requests that the baseline has answered lately.
    pub(crate) requests: u64,
    /// Of those, failed.
    pub(crate) failed: u64,
    /// A platform splits the traffic, so agents only help.
    pub(crate) platform: bool,
}

impl Revert {
    pub(crate) fn new(epoch: u64, now: Timestamp) -> Self {
        Self {
            began: now,
            epoch,
            since: now,
            asked: [false; Step::ALL.len()],
            done: [const { None }; Step::ALL.len()],
            told: None,
            failed: None,
        }
    }

    /// Attempts that failed at the step that is tried now.
    pub(crate) const fn failed_attempts(&self) -> Option<(Step, u32)> {
        self.failed
    }

    /// An executor has done a step.
    pub(crate) fn done(&mut self, step: Step, text: String) {
        self.done[step as usize] = Some(text);
        self.failed = self.failed.filter(|(failed, _)| *failed != step);
    }

    /// Says that a step does not succeed, unless that was said.
    fn tell(&mut self, text: &str, now: Timestamp) -> bool {
        let news = self.told.as_ref().is_none_or(|(at, told)| told != text && now.since(*at) >= TOLD_MS_MIN);
        if news {
            self.told = Some((now, text.to_owned()));
        }
        news
    }

    fn obstacle(&self, step: Step, witness: &Witness) -> Option<String> {
        let done = &self.done.get(step as usize).unwrap_or(&None);
        match step {
            // A platform moves the traffic without them.
            Step::Diverted if witness.agents == 0 && witness.platform => None,
            Step::Diverted if witness.agents == 0 => {
                Some("no agent is connected that could divert; the first one that comes back will be told".to_owned())
            }
            Step::Diverted if !witness.behind.is_empty() => {
                Some(format!("{} has not taken the new route yet; it is sent again", witness.behind.join(", ")))
            }
            Step::Switched if done.is_some() && witness.quiet_ms < QUIET_MS => {
                Some("the candidate is still given requests".to_owned())
            }
            Step::Verified if witness.ready == 0 => {
                Some(format!("the baseline has no ready pod of {}; it is looked at again", witness.pods))
            }
            Step::Verified if witness.requests > 0 && witness.failed.saturating_mul(2) >= witness.requests => {
                Some(format!(
                    "the baseline fails as well: {} of its last {} requests; it is looked at again",
                    witness.failed, witness.requests
                ))
            }
            Step::Diverted => None,
            _ if done.is_some() => None,
            _ => Some(String::new()),
        }
    }
}

impl Live {
    /// An executor has failed a step and will try again.
    pub(crate) fn revert_failed(&mut self, step: Step, text: &str, now: Timestamp, counters: &mut Counters) {
        let Some(revert) = &mut self.revert else { return };
        revert.failed = Some(match revert.failed {
            Some((known, attempts)) if known == step => (step, attempts.saturating_add(1)),
            _ => (step, 1),
        });
        let text = format!("{}: {text}", step.as_str());
        if revert.tell(&text, now) {
            self.moment("failed", text, now, counters);
        }
    }

    /// Goes as far on the way back as what is done allows. Returns true when the last step is done.
    pub(crate) fn advance(
        &mut self,
        service: &ServiceRecord,
        witness: &Witness,
        now: Timestamp,
        counters: &mut Counters,
        effects: &mut Vec<Effect>,
    ) -> bool {
        // The durable change does not wait for the agents, nor they for it.
        self.ask(Step::Switched, service, effects);
        while let Some(step) = self.next_step() {
            if !matches!(step, Step::Diverted) {
                self.ask(step, service, effects);
            }
            let Some(revert) = &mut self.revert else { return false };
            if let Some(obstacle) = revert.obstacle(step, witness) {
                if !obstacle.is_empty() && now.since(revert.since) >= SLOW_MS {
                    let text = format!("{}: {obstacle}", step.as_str());
                    if revert.tell(&text, now) {
                        self.moment("failed", text, now, counters);
                    }
                }
                return false;
            }
            revert.since = now;
            let took = span(now.since(revert.began));
            let how = revert.done[step as usize].take().unwrap_or_default();
            let (baseline, candidate) = (self.candidate().other(), self.candidate());
            let (what, text) = match step {
                Step::Diverted if witness.agents == 0 => {
                    ("diverted", "No agent is connected that could divert".to_owned())
                }
                Step::Diverted => {
                    ("diverted", format!("{} agents send all new requests to {baseline}, after {took}", witness.agents))
                }
                Step::Switched => ("reverted", format!("Traffic is back on {baseline} for good, after {took}")),
                Step::Verified if witness.requests == 0 => (
                    "verified",
                    format!("{baseline} is ready ({} of {} pods); nobody asks it", witness.ready, witness.pods),
                ),
                Step::Verified => (
                    "verified",
                    format!(
                        "{baseline} is ready ({} of {} pods) and answers: {} of its last {} requests failed",
                        witness.ready, witness.pods, witness.failed, witness.requests
                    ),
                ),
                Step::Released => ("released", format!("{candidate} is let go")),
                Step::Announced | Step::Shifted => ("announced", "Told".to_owned()),
            };
            let text = if how.is_empty() { text } else { format!("{text}: {how}") };
            self.record.step = Some(step);
            self.moment(what, text, now, counters);
        }
        true
    }

    fn next_step(&self) -> Option<Step> {
        let done = self.record.step.map_or(0, |step| step as usize + 1);
        Step::ALL.get(done).copied()
    }

    fn ask(&mut self, step: Step, service: &ServiceRecord, effects: &mut Vec<Effect>) {
        let text = self.record.revert_text.clone().unwrap_or_default();
        let Some(revert) = &mut self.revert else { return };
        if std::mem::replace(&mut revert.asked[step as usize], true) {
            return;
        }
        let job = Job {
            release: Arc::clone(&self.id),
            trace: TraceId::of(&self.record.release),
            service: service.name.as_str().into(),
            step,
            baseline: self.candidate().other(),
            candidate: self.candidate(),
            record: service.clone(),
            text,
            share: 0.0,
        };
        effects.push(match step {
            Step::Verified => Effect::VerifyBaseline(job),
            Step::Released => Effect::ReleaseCandidate(job),
            Step::Announced => Effect::Announce(job),
            // Diverting needs no executor: agents are told by the loop.
            Step::Diverted | Step::Switched | Step::Shifted => Effect::ChangeTraffic(job),
        });
    }
}
