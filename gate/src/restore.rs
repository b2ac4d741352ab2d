//! A gate that was killed goes on where it was.
//!
//! Services and releases come from the store; the judge of a release that is still watched is built again from its
//! recording, with the same evidence and the same part of the false-alarm budget spent. What happened while no gate was
//! there comes from the agents' rings: they are waited for, shortly, and their slices are judged in order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use blueback_report::{Role, Slot, Totals};

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::effect::Effect;
use crate::event::Stored;
use crate::gate::Gate;
use crate::ledger::{Agent, add};
use crate::recording::{Began, Entry, Recording};
use crate::records::ReleaseRecord;
use crate::release::{CatchUp, Live};
use crate::revert::Revert;
use crate::service::Service;

/// How long a restarted gate waits for agents to come back and replay.
pub(crate) const CATCH_UP_MS_MAX: u64 = 3_000;

/// What a recording says about an agent.
struct Heard {
    number: u32,
    role: Role,
    totals: Totals,
    merged_ms: u64,
    zero_ms: i64,
    gone: bool,
}

impl Gate {
    pub(crate) fn restore(&mut self, stored: Stored, now: Timestamp, effects: &mut Vec<Effect>) {
        for record in &stored.services {
            let service = Service::restored(record, now);
            self.services.insert(Arc::clone(&service.name), service);
        }
        let mut recordings: BTreeMap<Arc<str>, Recording> = stored.recordings.into_iter().collect();
        for record in stored.releases {
            let name: Arc<str> = record.release.service.as_str().into();
            let id: Arc<str> = record.release.id.as_str().into();
            let service = self
                .services
                .entry(Arc::clone(&name))
                .or_insert_with(|| Service::new(&name, record.release.baseline.into(), now));
            service.latest = Some(Arc::clone(&id));
            if record.release.ended_ms.is_some() {
                self.remember(record);
            } else {
                self.go_on(&name, record, recordings.remove(&id), now, effects);
            }
        }
        // Whoever shows a platform's services begins with what they are.
        let platforms = self.services.values().filter(|service| service.split.platform().is_some());
        effects.extend(platforms.map(|service| Effect::SaveService(service.record(now))));
        self.settle_all(now, effects);
    }

    fn go_on(
        &mut self,
        name: &Arc<str>,
        record: ReleaseRecord,
        recording: Option<Recording>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(service) = self.services.get_mut(name) else { return };
        let started = Timestamp::from_unix_ms(record.release.started_ms);
        service.vantage = record.vantage;
        let reverting = record.release.phase == api::Phase::Reverting;
        let began_back = record.revert_ms.map_or(now, Timestamp::from_unix_ms);
        let Some(recording) = recording else {
            // Without its recording the evidence is gone, and saying so is all that can be done about it.
            let began = Began {
                release: record.release.id.clone(),
                service: name.to_string(),
                candidate: record.release.candidate.into(),
                target_share: record.release.target_share,
                started_ms: record.release.started_ms,
                rules: record.rules.clone(),
                vantage: record.vantage,
                pods: Vec::new(),
                history: Vec::new(),
            };
            let mut live = Live::begin(record, began, now, effects);
            let text = "The gate was restarted and finds no recording: evidence starts anew".to_owned();
            live.moment("failed", text, now, &mut self.counters);
            service.live = Some(live);
            if reverting {
                self.go_back(name, began_back, now, effects);
            }
            return;
        };
        let mut waiting = BTreeSet::new();
        for (instance, heard) in heard(&recording, started) {
            if !heard.gone {
                waiting.insert(Arc::clone(&instance));
            }
            let agent =
                Agent::recorded(heard.number, name, heard.role, heard.totals, heard.merged_ms, heard.zero_ms, now);
            self.ledger.restore(&instance, agent);
        }
        let before = recording.began.history.iter().rev().zip(0..);
        for (growth, seconds) in before.collect::<Vec<_>>().into_iter().rev() {
            let at = started.unix_ms().saturating_sub(seconds * 1_000);
            service.history.add(Timestamp::from_unix_ms(at), growth);
        }
        for frame in &recording.frames {
            if let Entry::Growth(growth) = &frame.entry {
                service.history.add(started.plus_ms(frame.at_ms), &growth.totals);
            }
        }
        let mut live = Live::resume(record, &recording);
        live.adopt(service.route.pods.clone());
        let (kept, after) = recording.last_kept();
        let text = format!(
            "The gate was restarted; it goes on from {}, with {} frames that came after, and {} agents are waited for",
            if kept.is_some() { "where it was kept last" } else { "the beginning" },
            after.len(),
            waiting.len()
        );
        live.moment("restarted", text, now, &mut self.counters);
        if !reverting {
            live.catch_up = Some(CatchUp { until: now.plus_ms(CATCH_UP_MS_MAX), waiting, entries: Vec::new() });
        }
        service.live = Some(live);
        if reverting {
            self.go_back(name, began_back, now, effects);
        }
    }

    /// Goes on with a revert. What was asked of executors is asked again: doing it twice does no more than once.
    fn go_back(&mut self, name: &Arc<str>, began: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(live) = &mut service.live else { return };
        let share = match live.candidate() {
            Slot::Green => service.route.green_share,
            Slot::Blue => 1.0 - service.route.green_share,
        };
        if share > 0.0 {
            let text = live.record.revert_text.clone().unwrap_or_default();
            self.begin_revert(name, text, now, effects);
        } else {
            live.revert = Some(Revert::new(service.route.epoch, began));
        }
    }
}

/// The agents of a recording, with everything they have counted.
fn heard(recording: &Recording, started: Timestamp) -> BTreeMap<Arc<str>, Heard> {
    let mut agents: BTreeMap<u32, (Arc<str>, Heard)> = BTreeMap::new();
    for frame in &recording.frames {
        match &frame.entry {
            Entry::Kept(kept) => {
                let known = kept.agents.iter().map(|known| {
                    let heard = Heard {
                        number: known.agent,
                        role: known.role,
                        totals: known.totals.clone(),
                        merged_ms: known.merged_ms,
                        zero_ms: known.zero_ms,
                        gone: known.gone,
                    };
                    (known.agent, (Arc::clone(&known.instance), heard))
                });
                agents = known.collect();
            }
            Entry::Agent(known) => {
                let (_, heard) = agents.entry(known.agent).or_insert_with(|| {
                    let zero_ms = i64::MAX;
                    let heard = Heard {
                        number: known.agent,
                        role: known.role,
                        totals: Totals::default(),
                        merged_ms: 0,
                        zero_ms,
                        gone: false,
                    };
                    (Arc::clone(&known.instance), heard)
                });
                add(&mut heard.totals, &known.totals);
                heard.merged_ms = heard.merged_ms.max(known.at_ms);
                heard.gone = false;
            }
            Entry::Growth(growth) => {
                if let Some((_, heard)) = agents.get_mut(&growth.agent) {
                    add(&mut heard.totals, &growth.totals);
                    heard.merged_ms = heard.merged_ms.max(growth.agent_ms);
                    // The report that came the shortest way is nearest to the truth.
                    let arrived = started.plus_ms(frame.at_ms).unix_ms() as i64;
                    heard.zero_ms = heard.zero_ms.min(arrived.saturating_sub_unsigned(growth.agent_ms));
                    heard.gone = false;
                }
            }
            Entry::Gone { agent } => {
                if let Some((_, heard)) = agents.get_mut(agent) {
                    heard.gone = true;
                }
            }
            _ => {}
        }
    }
    // An agent that never reported in the release has no clock here; it will be new.
    agents.into_values().filter(|(_, heard)| heard.zero_ms != i64::MAX).collect()
}
