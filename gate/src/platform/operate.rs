//! What the loop does with what a platform is seen to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use blueback_judge::PodFate;
use blueback_report::{PEERS_MAX, Peer, PodShare, Role, Route, Slot};

use super::{Change, Group, GroupKey, Platform, Snapshot, Split, Under};
use crate::api::types as api;
use crate::clock::Timestamp;
use crate::effect::{Effect, Job, ToAgent};
use crate::event::{Connection, Step};
use crate::evidence::Evidence;
use crate::gate::{Gate, SERVICES_MAX};
use crate::ledger::{Agent, Ledger};
use crate::operator::LET_GO_MS;
use crate::recording::Entry;
use crate::release::Live;
use crate::service::Service;
use crate::timeline::percent;
use crate::trace::TraceId;
use crate::view;

impl Gate {
    /// A platform was seen to do this with a service's requests.
    pub(crate) fn platform_seen(
        &mut self,
        name: &Arc<str>,
        snapshot: Snapshot,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if !self.services.contains_key(name) && self.services.len() >= SERVICES_MAX {
            self.counters.drop_one(crate::figures::Dropped::TooManyServices);
            return;
        }
        let service = self.services.entry(Arc::clone(name)).or_insert_with(|| Service::new(name, Slot::Blue, now));
        if matches!(service.split, Split::Agents) {
            service.split = Split::Platform(Box::default());
            // An agent takes only what is newer than what it has, and a new one has epoch 0.
            service.route.epoch = service.route.epoch.max(1);
        }
        let under = match &service.live {
            None => Under::Nothing,
            Some(live) if live.record.release.phase == api::Phase::Reverting => Under::Revert,
            Some(live) => Under::Watch { passed: live.record.release.phase == api::Phase::Passed },
        };
        let before = service.assigned();
        let Some(platform) = service.split.platform_mut() else { return };
        let change = platform.read(&snapshot, under, now);
        let before_fates = platform.fates(service.serving);
        let former = std::mem::replace(&mut platform.seen, snapshot);
        match change {
            Change::Nothing => {}
            Change::Adopted(serving) => {
                platform.record.serving_name = Some(names(&platform.seen, &serving));
                platform.record.serving = serving;
                effects.push(Effect::SaveService(service.record(now)));
            }
            Change::Began { candidate, share } => self.platform_began(name, &former, candidate, share, now, effects),
            Change::Shifted { share } => self.platform_shifted(name, share, now, effects),
            Change::Returned => self.platform_returned(name, now, effects),
            Change::Reapplied(group) => self.reapplied(name, &group, now, effects),
            Change::Settled => {
                platform.record.conflict = false;
                effects.push(Effect::SaveService(service.record(now)));
            }
        }
        self.look_home(name, now, effects);
        self.reassign(name, &before, effects);
        self.pods_changed(name, now, effects);
        self.tell_fates(name, &before_fates, &former, now, effects);
        self.settle(name, now, effects);
    }

    /// Containers that end, and images that cannot be had, are told as often as they change.
    fn tell_fates(
        &mut self,
        name: &Arc<str>,
        before: &[PodFate],
        former: &Snapshot,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(platform) = service.split.platform() else { return };
        let fates = platform.fates(service.serving);
        let image = |snapshot: &Snapshot, pod: &str| {
            snapshot.pods.iter().any(|seen| &*seen.name == pod && seen.trouble == Some(super::Trouble::ImagePull))
        };
        let without: Vec<String> =
            platform.without_image().into_iter().filter(|pod| !image(former, pod)).map(ToOwned::to_owned).collect();
        if fates != before {
            service.saw(Evidence::Fates(fates), now, effects);
        }
        let Some(live) = &mut service.live else { return };
        if !without.is_empty() {
            let text = format!("An image cannot be pulled, so these pods do not start: {}", without.join(", "));
            live.moment("alert", text, now, &mut self.counters);
        }
    }

    /// A service is not guarded any more.
    pub(crate) fn platform_gone(&mut self, name: &Arc<str>, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.services.get(name).is_some_and(|service| service.live.is_some()) {
            self.supersede(name, api::Phase::Superseded, now, effects);
        }
        let Some(mut service) = self.services.remove(name) else { return };
        // Whoever diverts must not go on with it when nobody watches.
        service.route = Route { epoch: service.route.epoch.saturating_add(1), ..Route::all_to(service.serving, 0) };
        if let Some(platform) = service.split.platform_mut() {
            platform.record.reverted = None;
        }
        service.tell_route(&self.ledger, effects);
        for (_, agent) in self.ledger.of(name) {
            if let Some(connection) = agent.connection {
                effects.push(Effect::Close { connection, why: "the service is not guarded any more".to_owned() });
            }
        }
        effects.push(Effect::Assign { service: Arc::clone(name), slots: Arc::default() });
        effects.push(Effect::Forget { service: Arc::clone(name) });
    }

    fn platform_began(
        &mut self,
        name: &Arc<str>,
        former: &Snapshot,
        candidate: GroupKey,
        share: f64,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(service) = self.services.get_mut(name) else { return };
        if let Some(live) = &service.live {
            let passed = live.record.release.phase == api::Phase::Passed;
            self.supersede(name, api::Phase::Superseded, now, effects);
            let Some(service) = self.services.get_mut(name) else { return };
            let Some(platform) = service.split.platform_mut() else { return };
            if passed {
                platform.record.home.clone_from(&former.backends);
            }
        }
        let Some(service) = self.services.get_mut(name) else { return };
        let to = service.serving.other();
        service.put_up(candidate);
        // The only refusals are about what was just seen to be otherwise.
        if let Err(refusal) = self.begin(name, to, share, None, now, effects) {
            tracing::error!(service = %name, %refusal, "A switch was seen, and cannot be watched");
        }
    }

    fn platform_shifted(&mut self, name: &Arc<str>, share: f64, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(live) = &mut service.live else { return };
        let before = live.record.release.target_share;
        if (before - share).abs() < 0.005 {
            return;
        }
        live.record.release.target_share = share;
        live.record.stepped_ms = now.unix_ms();
        live.feed(Entry::Target { share }, now, effects);
        let text = format!(
            "{} gets {} of the requests instead of {}, as the platform splits them",
            live.candidate(),
            percent(share),
            percent(before)
        );
        live.moment("stepped", text, now, &mut self.counters);
        let (allowed, candidate) = (live.allowed(), live.candidate());
        service.send_route(allowed, candidate, None, &self.ledger, now, effects);
    }

    fn platform_returned(&mut self, name: &Arc<str>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(live) = &mut service.live else { return };
        let baseline = live.candidate().other();
        let text = format!("Traffic was set back to {baseline} from outside");
        let since_ms = now.since(live.started());
        live.record.release.verdict = view::by_hand("revert", &text, &live.record.release.verdict, since_ms);
        live.record.release.shield = "reverted".to_owned();
        live.moment("proven", text.clone(), now, &mut self.counters);
        if let Some(platform) = service.split.platform_mut() {
            platform.record.returned = true;
        }
        self.begin_revert(name, text, now, effects);
    }

    fn reapplied(&mut self, name: &Arc<str>, group: &str, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(platform) = service.split.platform_mut() else { return };
        platform.record.conflict = true;
        tracing::warn!(service = %name, group, "What was reverted was set back from outside; its agents divert");
        effects.push(Effect::SaveService(service.record(now)));
    }

    /// As long as only the serving groups get requests, remembers how that is done.
    fn look_home(&mut self, name: &Arc<str>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name).filter(|service| service.live.is_none()) else { return };
        let Some(platform) = service.split.platform_mut() else { return };
        if platform.is_home() && platform.record.home != platform.seen.backends {
            platform.record.home.clone_from(&platform.seen.backends);
            effects.push(Effect::SaveService(service.record(now)));
        }
    }

    /// Agents whose slot is another one now come again, and everybody learns where to divert to.
    fn reassign(&mut self, name: &Arc<str>, before: &Assigned, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get(name) else { return };
        let after = service.assigned();
        if after.slots != before.slots {
            for (instance, agent) in self.ledger.of(name) {
                let Some(connection) = agent.connection else { continue };
                if let Role::Sidecar(slot) = agent.role
                    && service.slot_of(instance, agent).is_some_and(|assigned| assigned != Some(slot))
                {
                    effects.push(Effect::Close { connection, why: "the agent's slot is another one now".to_owned() });
                }
            }
            effects.push(Effect::Assign { service: Arc::clone(name), slots: Arc::clone(&after.slots) });
        }
        if after.peers != before.peers {
            // It is the route in force, so agents take nothing of it but the peers.
            service.tell_route(&self.ledger, effects);
        }
    }

    /// An agent's Hello says another slot than its pod has.
    pub(crate) fn is_misplaced(service: &Service, instance: &str, role: Role, pod: Option<&Arc<str>>) -> bool {
        let (Role::Sidecar(slot), Some(platform)) = (role, service.split.platform()) else { return false };
        let slots = platform.pod_slots(service.serving);
        slot_of(&slots, instance, pod).is_some_and(|assigned| assigned != slot)
    }

    /// Asks the platform to give the candidate this share.
    pub(crate) fn ask_platform(&mut self, name: &Arc<str>, share: f64, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(live) = service.live.as_ref() else { return };
        let (id, trace, candidate) = (Arc::clone(&live.id), TraceId::of(&live.record.release), live.candidate());
        let Some(platform) = service.split.platform_mut() else { return };
        if let Some(group) = platform.record.candidate.clone() {
            platform.expect(group, true, now);
        }
        let record = service.record(now);
        effects.push(Effect::ShiftTraffic(Job {
            release: id,
            trace,
            service: Arc::clone(name),
            step: Step::Shifted,
            baseline: candidate.other(),
            candidate,
            record,
            text: format!("{candidate} shall get {} of the requests", percent(share)),
            share,
        }));
    }

    /// An executor has done what [`Self::ask_platform`] asked for, or not yet.
    pub(crate) fn platform_told(&mut self, release: &str, result: Result<String, String>, now: Timestamp) {
        let counters = &mut self.counters;
        let service = self.services.values_mut().find(|service| service.is_watching(release));
        let Some(live) = service.and_then(|service| service.live.as_mut()) else { return };
        let (what, text) = match result {
            Ok(text) => ("stepped", text),
            Err(error) => ("failed", format!("the platform's split is not changed yet: {error}")),
        };
        let told = live.record.release.timeline.iter().any(|moment| moment.what == what && moment.text == text);
        if !told && !text.is_empty() {
            live.moment(what, text, now, counters);
        }
    }
}

/// Slots and ways to divert at one time.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Assigned {
    slots: Arc<std::collections::BTreeMap<Arc<str>, Slot>>,
    peers: BTreeSet<(u8, Arc<str>, std::net::SocketAddr)>,
}

fn names(seen: &Snapshot, keys: &[GroupKey]) -> String {
    let named = |key: &GroupKey| seen.groups.iter().find(|group: &&Group| group.key == *key);
    keys.iter().map(|key| named(key).map_or(key.as_str(), |group| &group.name)).collect::<Vec<_>>().join(", ")
}

fn slot_of(slots: &std::collections::BTreeMap<Arc<str>, Slot>, instance: &str, pod: Option<&Arc<str>>) -> Option<Slot> {
    let uid = instance.split_once('/').map(|(uid, _)| uid);
    uid.and_then(|uid| slots.get(uid)).or_else(|| slots.get(pod?)).copied()
}

impl Service {
    fn assigned(&self) -> Assigned {
        let Some(platform) = self.split.platform() else { return Assigned::default() };
        let slots = platform.slots(self.serving);
        let peers = platform
            .seen
            .pods
            .iter()
            .filter(|pod| pod.ready)
            .filter_map(|pod| Some((*slots.get(&pod.group)? as u8, Arc::clone(&pod.name), pod.agent?)));
        Assigned { slots: Arc::new(platform.pod_slots(self.serving)), peers: peers.collect() }
    }

    /// The slot of an agent's pod: `None` when the pod is not known, `Some(None)` when it has no slot.
    fn slot_of(&self, instance: &str, agent: &Agent) -> Option<Option<Slot>> {
        let platform = self.split.platform()?;
        let name = agent.targets.first().map(|target| &target.pod);
        let uid = instance.split_once('/').map(|(uid, _)| uid);
        let pod = platform.seen.pods.iter().find(|pod| uid == Some(&*pod.uid) || name == Some(&pod.name))?;
        Some(platform.slots(self.serving).get(&pod.group).copied())
    }

    /// It is this release that is under way.
    pub(crate) fn is_watching(&self, release: &str) -> bool {
        self.live.as_ref().is_some_and(|live| &*live.id == release)
    }

    /// A group is new.
    pub(crate) fn put_up(&mut self, candidate: GroupKey) {
        let Some(platform) = self.split.platform_mut() else { return };
        platform.record.conflict = false;
        platform.record.returned = false;
        platform.record.reverted = None;
        platform.record.candidate_name = Some(platform.name_of(&candidate).to_owned());
        platform.record.serving_name = Some(names(&platform.seen, &platform.record.serving));
        platform.record.candidate = Some(candidate);
    }

    /// A release is over.
    pub(crate) fn put_down(&mut self, phase: api::Phase, passed: bool) {
        let Some(platform) = self.split.platform_mut() else { return };
        let Some(candidate) = platform.record.candidate.take() else { return };
        match phase {
            api::Phase::Reverted => platform.record.reverted = Some(candidate),
            api::Phase::Done | api::Phase::Superseded if passed => {
                platform.record.serving = vec![candidate];
                platform.record.serving_name.clone_from(&platform.record.candidate_name);
            }
            // What was never found good does not become the baseline of the next one.
            _ => {}
        }
    }

    /// Tells each agent its route.
    pub(crate) fn tell_route(&self, ledger: &Ledger, effects: &mut Vec<Effect>) {
        for (_, agent) in ledger.of(&self.name) {
            if let Some(connection) = agent.connection {
                self.send_route_to(connection, agent, effects);
            }
        }
    }

    /// Tells one agent its route.
    pub(crate) fn send_route_to(&self, connection: Connection, agent: &Agent, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send { connection, message: ToAgent::Route(self.route_for(agent)) });
    }

    /// The route of the service as one agent must have it.
    ///
    /// Where a platform splits the requests, a sidecar only keeps at home what the judge allows, or all, and diverts the rest.
    fn route_for(&self, agent: &Agent) -> Route {
        let (Some(platform), Role::Sidecar(slot)) = (self.split.platform(), agent.role) else {
            return self.route.clone();
        };
        let pod = agent.targets.iter().find(|target| target.slot == slot).map(|target| &target.pod);
        let home =
            if slot == self.serving { 1.0 } else { self.kept(platform) * pod_share(&self.route.pods, slot, pod) };
        // After a switch it is blue's agents that let go, gently; after a revert green's, at once.
        let let_go_ms = self.route.let_go_ms.filter(|&ms| (ms > 0) == (slot == self.serving));
        let slots = platform.slots(self.serving);
        let peers = platform.seen.pods.iter().filter(|pod| pod.ready).filter_map(|pod| {
            let other = *slots.get(&pod.group).filter(|&&other| other != slot)?;
            Some(Peer { slot: other, pod: Arc::clone(&pod.name), address: pod.agent? })
        });
        let peers = peers.take(PEERS_MAX).collect();
        Route { let_go_ms, peers, ..at_home(slot, home, self.route.epoch) }
    }

    /// Takes leave of the agents of a platform: nobody guards the service any more, so each sends all that comes to the application
    /// beside it.
    pub(crate) fn send_home(&mut self, ledger: &Ledger, effects: &mut Vec<Effect>) {
        if self.split.platform().is_none() {
            return;
        }
        self.route.epoch = self.route.epoch.saturating_add(1);
        for (_, agent) in ledger.of(&self.name) {
            if let (Some(connection), Role::Sidecar(slot)) = (agent.connection, agent.role) {
                let message = ToAgent::Route(at_home(slot, 1.0, self.route.epoch));
                effects.push(Effect::Send { connection, message });
            }
        }
    }

    /// The part of its requests that the candidate may answer itself.
    fn kept(&self, platform: &Platform) -> f64 {
        match &self.live {
            Some(live) => live.kept(),
            // What was reverted gets nothing, even when somebody sends it requests again.
            None if platform.record.reverted.is_some() => 0.0,
            None => 1.0,
        }
    }
}

/// The route of a sidecar that answers this part of its requests at home.
fn at_home(slot: Slot, home: f64, epoch: u64) -> Route {
    let green_share = match slot {
        Slot::Green => home,
        Slot::Blue => 1.0 - home,
    };
    Route { epoch, green_share, pods: Vec::new(), let_go_ms: None, peers: Vec::new() }
}

fn pod_share(shares: &[PodShare], slot: Slot, pod: Option<&Arc<str>>) -> f64 {
    let share = shares.iter().find(|share| share.slot == slot && Some(&share.pod) == pod);
    share.map_or(1.0, |share| share.share)
}

impl Live {
    /// The part of the target share that is let through.
    fn kept(&self) -> f64 {
        let release = &self.record.release;
        if release.target_share > 0.0 { (release.share / release.target_share).clamp(0.0, 1.0) } else { 0.0 }
    }
}

const _: () = assert!(LET_GO_MS > 0, "a gentle letting go is told from one at once by this");
