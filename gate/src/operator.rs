//! What operators ask for: validated here, answered with the release as it is then.

use std::sync::Arc;

use blueback_report::Slot;

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::effect::{Effect, Refusal, ToAgent};
use crate::event::{Command, Step};
use crate::gate::Gate;
use crate::recording::{Began, Entry, Known};
use crate::records::ReleaseRecord;
use crate::release::{Allowed, Live};
use crate::timeline::{self, TEXT_BYTES_MAX, percent};
use crate::view;

/// Time that connections to the slot that served before have to go after a switch, in milliseconds: gently, as nothing
/// is wrong with it.
pub(crate) const LET_GO_MS: u32 = 10_000;

type Answer = Result<Arc<api::Release>, Refusal>;

impl Gate {
    pub(crate) fn operator(
        &mut self,
        name: &Arc<str>,
        command: Command,
        by: Option<&str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        if !self.services.contains_key(name) {
            let known: Vec<_> = self.services.keys().map(|name| &**name).collect();
            let known = if known.is_empty() { "none is known yet".to_owned() } else { known.join(", ") };
            return Err(Refusal::Unknown(format!("there is no service {name:?}; known: {known}")));
        }
        bounded("by", by.unwrap_or_default())?;
        match command {
            Command::Switch { to, share } => self.switch(name, to, share, by, now, effects),
            Command::SwitchOnce { to, share, revision } => {
                self.switch_once(name, to, share, revision, by, now, effects)
            }
            Command::Revert { why } => {
                said("why", &why)?;
                self.revert_by_hand(name, format!("Reverted by hand{}: {why}", timeline::by(by)), now, effects)
            }
            Command::Hold { why } => {
                said("why", &why)?;
                let text = format!("Held by hand{}: {why}", timeline::by(by));
                self.tell_judge(name, Entry::Hold { why }, ("held", text), now, effects)
            }
            Command::Resume { why } => {
                said("why", &why)?;
                let text = format!("Resumed{}: {why}", timeline::by(by));
                self.tell_judge(name, Entry::Resume, ("resumed", text), now, effects)
            }
            Command::Signal { name: signal, why } => {
                said("name", &signal)?;
                bounded("why", &why)?;
                let told = if why.is_empty() { String::new() } else { format!(": {why}") };
                let text = format!("Signal {signal}{}{told}", timeline::by(by));
                self.tell_judge(name, Entry::Signal { name: signal, why }, ("signal", text), now, effects)
            }
            Command::SignalOver { name: signal, why } => {
                said("name", &signal)?;
                bounded("why", &why)?;
                self.watched(name)?;
                let told = if why.is_empty() { String::new() } else { format!(": {why}") };
                let text = format!("Signal {signal} is over{}{told}", timeline::by(by));
                let counters = &mut self.counters;
                if let Some(live) = self.services.get_mut(name).and_then(|service| service.live.as_mut()) {
                    live.moment("signal", text, now, counters);
                }
                self.answer(name, now, effects)
            }
        }
    }

    /// A machine that asks twice, as pipelines do when a job is run again, gets the release that it has begun.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is asked, by whom and when; a struct would only be taken apart"
    )]
    fn switch_once(
        &mut self,
        name: &Arc<str>,
        to: Slot,
        share: Option<f64>,
        revision: String,
        by: Option<&str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        said("revision", &revision)?;
        let service = self.services.get(name).ok_or_else(|| no_release(name))?;
        let newest = service.latest.as_ref().and_then(|id| self.releases.get(id)).cloned();
        if let Some(newest) = newest.filter(|newest| Slot::from(newest.candidate) == to) {
            let same = newest.source_revision.as_deref() == Some(revision.as_str());
            match (newest.ended_ms, &newest.source_revision) {
                // Decided already; that is the answer.
                (Some(_), _) if same => return Ok(newest),
                (None, _) if same => return self.switch(name, to, share, by, now, effects),
                (None, Some(other)) => {
                    return Err(Refusal::Conflict(format!(
                        "{} of revision {other} is under way on {to}; it must end before {revision} can begin there",
                        newest.id
                    )));
                }
                _ => {}
            }
        }
        let id = self.switch(name, to, share, by, now, effects)?.id.clone();
        let live = self.services.get_mut(name).and_then(|service| service.live.as_mut());
        if let Some(live) = live.filter(|live| *live.id == *id && live.candidate() == to) {
            live.record.release.source_revision = Some(revision);
            live.touch();
        }
        self.answer(name, now, effects)
    }

    fn switch(
        &mut self,
        name: &Arc<str>,
        to: Slot,
        share: Option<f64>,
        by: Option<&str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let share = share.unwrap_or(1.0);
        if !(share > 0.0 && share <= 1.0) {
            let message = format!("{share} is not a share of the requests; above 0 and up to 1 is accepted");
            return Err(Refusal::Field { field: "share", message });
        }
        let service = self.services.get(name).ok_or_else(|| no_release(name))?;
        if share < 1.0 && service.split.platform().is_some_and(|platform| !platform.seen.weighted) {
            let message = format!("{share} cannot be given: a Service's selector knows all or nothing; 1 is accepted");
            return Err(Refusal::Field { field: "share", message });
        }
        let live = service.live.as_ref().map(|live| (live.candidate(), live.record.release.phase, live.record.step));
        match live {
            Some((_, api::Phase::Reverting, step)) if step < Some(Step::Switched) => Err(Refusal::Conflict(format!(
                "{} is on its way back; switch again when its traffic is back",
                service.latest.as_deref().unwrap_or_default()
            ))),
            // Traffic is back already, and the rest of the way home is no reason to keep people waiting.
            Some((_, api::Phase::Reverting, _)) => {
                self.supersede(name, api::Phase::Reverted, now, effects);
                self.begin_asked(name, to, share, by, now, effects)
            }
            Some((candidate, _, _)) if candidate == to => {
                self.step(name, share, by, now, effects)?;
                self.ask_platform(name, share, now, effects);
                self.answer(name, now, effects)
            }
            // A release that has passed is the new normal, so the other slot has something new.
            Some((_, api::Phase::Passed, _)) => {
                self.supersede(name, api::Phase::Superseded, now, effects);
                self.begin_asked(name, to, share, by, now, effects)
            }
            Some(_) => {
                let text = format!("Reverted by hand{}: switched back to {to}", timeline::by(by));
                self.revert_by_hand(name, text, now, effects)
            }
            None => self.begin_asked(name, to, share, by, now, effects),
        }
    }

    /// Begins a release that an operator asked for: where a platform splits the traffic, it is asked to do so.
    fn begin_asked(
        &mut self,
        name: &Arc<str>,
        to: Slot,
        share: f64,
        by: Option<&str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let service = self.services.get_mut(name).ok_or_else(|| no_release(name))?;
        if let Some(platform) = service.split.platform()
            && service.serving != to
        {
            let group = platform.other(service.serving);
            let group =
                group.ok_or_else(|| Refusal::Conflict(format!("there are no pods of {to} to switch {name} to")))?;
            service.put_up(group);
        }
        self.begin(name, to, share, by, now, effects)?;
        self.ask_platform(name, share, now, effects);
        self.answer(name, now, effects)
    }

    pub(crate) fn begin(
        &mut self,
        name: &Arc<str>,
        to: Slot,
        share: f64,
        by: Option<&str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let before = self.seen_before(name, now);
        let Self { services, ledger, rules, releases, .. } = self;
        let service = services.get_mut(name).ok_or_else(|| no_release(name))?;
        if service.serving == to {
            return Err(Refusal::Conflict(format!("{to} serves {name} already")));
        }
        service.look_at_vantage(ledger);
        let vantage = service.vantage;
        let agents = || ledger.of(name).filter(|(_, agent)| vantage.has(agent.role));
        let platform = service.split.platform();
        let rules = platform.map_or_else(|| rules.clone(), |platform| platform.seen.rules.clone());
        if platform.is_none() && !agents().any(|(_, agent)| agent.connection.is_some()) {
            return Err(Refusal::Conflict(format!(
                "no agent of {name} is connected, so nobody could move its traffic"
            )));
        }
        service.look_at_pods(ledger);
        let id = loop {
            service.releases += 1;
            let id = format!("{name}-{}", service.releases);
            // One of the same name may have been guarded before.
            if !releases.contains_key(id.as_str()) {
                break id;
            }
        };
        let release = api::Release {
            id: id.clone(),
            service: name.to_string(),
            candidate: to.into(),
            baseline: to.other().into(),
            target_share: share,
            share: 0.0,
            phase: api::Phase::Watching,
            verdict: view::nothing_yet(),
            shield: "open".to_owned(),
            started_ms: now.unix_ms(),
            ended_ms: None,
            passed: Vec::new(),
            timeline: Vec::new(),
            by: by.map(ToOwned::to_owned),
            source_revision: None,
            revision: 0,
        };
        let record = ReleaseRecord {
            release,
            rules: rules.clone(),
            vantage,
            stepped_ms: now.unix_ms(),
            step: None,
            revert_text: None,
            revert_ms: None,
            evidence: None,
        };
        let began = Began {
            release: id.clone(),
            service: name.to_string(),
            candidate: to,
            target_share: share,
            started_ms: now.unix_ms(),
            rules,
            vantage,
            pods: service.pods.clone(),
            history: service.history.before(now),
        };
        let mut live = Live::begin(record, began, now, effects);
        for evidence in before {
            live.feed(Entry::Evidence(evidence), now, effects);
        }
        for (instance, agent) in agents().filter(|(_, agent)| agent.is_based()) {
            let known = Known {
                agent: agent.number,
                instance: Arc::clone(instance),
                role: agent.role,
                at_ms: agent.merged_ms,
                totals: agent.totals.clone(),
            };
            live.feed(Entry::Agent(Box::new(known)), now, effects);
        }
        let called = |slot: Slot, name: Option<&String>| match name {
            Some(name) => format!("{slot} ({name})"),
            None => slot.to_string(),
        };
        let record = service.split.platform().map(|platform| &platform.record);
        let new = called(to, record.and_then(|record| record.candidate_name.as_ref()));
        let old = called(to.other(), record.and_then(|record| record.serving_name.as_ref()));
        let text = format!(
            "{new} gets {} of the requests of {name}{}; {old} served before",
            percent(share),
            timeline::by(by),
        );
        live.moment("switched", text, now, &mut self.counters);
        service.latest = Some(Arc::clone(&live.id));
        service.tell(&ToAgent::Watch(live.watch.clone()), ledger, effects);
        service.live = Some(live);
        let allowed = Allowed { share, pods: Vec::new() };
        service.send_route(allowed, to, Some(LET_GO_MS), ledger, now, effects);
        self.answer(name, now, effects)
    }

    fn step(
        &mut self,
        name: &Arc<str>,
        share: f64,
        by: Option<&str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let Self { services, ledger, counters, .. } = self;
        let service = services.get_mut(name).ok_or_else(|| no_release(name))?;
        let live = service.live.as_mut().ok_or_else(|| no_release(name))?;
        let before = live.record.release.target_share;
        if (before - share).abs() > f64::EPSILON {
            live.record.release.target_share = share;
            live.record.stepped_ms = now.unix_ms();
            live.feed(Entry::Target { share }, now, effects);
            let text = format!(
                "{} gets {} of the requests instead of {}{}",
                live.candidate(),
                percent(share),
                percent(before),
                timeline::by(by)
            );
            live.moment("stepped", text, now, counters);
            let (allowed, candidate) = (live.allowed(), live.candidate());
            service.send_route(allowed, candidate, Some(LET_GO_MS), ledger, now, effects);
        }
        self.answer(name, now, effects)
    }

    pub(crate) fn supersede(&mut self, name: &Arc<str>, phase: api::Phase, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(live) = self.services.get_mut(name).and_then(|service| service.live.as_mut()) {
            let text = "A newer switch takes its place".to_owned();
            live.moment("superseded", text, now, &mut self.counters);
        }
        self.end(name, phase, now, effects);
    }

    fn revert_by_hand(&mut self, name: &Arc<str>, text: String, now: Timestamp, effects: &mut Vec<Effect>) -> Answer {
        let live = self.watched(name)?;
        let since_ms = now.since(live.started());
        live.record.release.verdict = view::by_hand("revert", &text, &live.record.release.verdict, since_ms);
        live.record.release.shield = "reverted".to_owned();
        let counters = &mut self.counters;
        if let Some(live) = self.services.get_mut(name).and_then(|service| service.live.as_mut()) {
            // The verdict of a person needs no proof; the moment has the same name, so that timelines read alike.
            live.moment("proven", text.clone(), now, counters);
        }
        self.begin_revert(name, text, now, effects);
        self.answer(name, now, effects)
    }

    fn tell_judge(
        &mut self,
        name: &Arc<str>,
        entry: Entry,
        (what, text): (&str, String),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        self.watched(name)?;
        let counters = &mut self.counters;
        if let Some(live) = self.services.get_mut(name).and_then(|service| service.live.as_mut()) {
            live.moment(what, text, now, counters);
            if what == "held" {
                live.record.release.phase = api::Phase::Held;
            }
            live.feed(entry, now, effects);
            live.feed(Entry::Deliberated, now, effects);
        }
        self.answer(name, now, effects)
    }

    /// The release of a service that still can be decided.
    fn watched(&mut self, name: &Arc<str>) -> Result<&mut Live, Refusal> {
        let service = self.services.get_mut(name).ok_or_else(|| no_release(name))?;
        let live = service.live.as_mut().ok_or_else(|| no_release(name))?;
        if live.record.release.phase == api::Phase::Reverting {
            return Err(Refusal::Conflict(format!("{} is on its way back already", live.id)));
        }
        Ok(live)
    }

    fn answer(&mut self, name: &Arc<str>, now: Timestamp, effects: &mut Vec<Effect>) -> Answer {
        self.settle(name, now, effects);
        let latest = self.services.get(name).and_then(|service| service.latest.as_ref());
        latest.and_then(|id| self.releases.get(id)).cloned().ok_or_else(|| no_release(name))
    }
}

fn no_release(name: &str) -> Refusal {
    Refusal::Conflict(format!("no release of {name} is under way"))
}

fn said(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        let message = "empty; a text is needed, it is told to everybody and kept".to_owned();
        return Err(Refusal::Field { field, message });
    }
    bounded(field, text)
}

fn bounded(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} bytes; up to {TEXT_BYTES_MAX} are accepted", text.len());
        return Err(Refusal::Field { field, message });
    }
    Ok(())
}
