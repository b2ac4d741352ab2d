//! A guarded service: who serves it, where its requests go, and what its agents say.

use std::sync::Arc;

use blueback_judge::PodState;
use blueback_report::{Role, Route, Slot, Watch};

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::effect::{Effect, ToAgent};
use crate::evidence::{Evidence, Remembered};
use crate::examples::{Example, Examples};
use crate::figures::{Endings, SideCounts};
use crate::history::History;
use crate::ledger::Ledger;
use crate::platform::{Platform, Split};
use crate::recording::Entry;
use crate::records::{PodShareRecord, ServiceRecord, Vantage};
use crate::release::{Allowed, Live};
use crate::restore::CATCH_UP_MS_MAX;
use crate::revert::Witness;

/// Seconds of the baseline's answers that say whether it serves.
const ANSWERS_SECONDS: u64 = 2;

/// A guarded service.
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    /// The slot that serves, or served before the release that is under way.
    pub(crate) serving: Slot,
    /// Where requests go.
    pub(crate) route: Route,
    /// Number of the newest release.
    pub(crate) releases: u64,
    /// The release that is watched.
    pub(crate) live: Option<Live>,
    /// Id of the newest release.
    pub(crate) latest: Option<Arc<str>>,
    pub(crate) history: History,
    /// How its pods fare.
    pub(crate) remembered: Remembered,
    pub(crate) pods: Vec<PodState>,
    /// Whose counts are evidence: fixed while a release is watched, else whoever stands best.
    pub(crate) vantage: Vantage,
    /// Until then a front agent that a former gate knew is expected back.
    pub(crate) front_expected: Timestamp,
    /// When requests were last seen to be given to blue and to green.
    admitted: [Timestamp; 2],
    /// What ended since this gate started: on the side that served before, and on the new one.
    pub(crate) sides: [SideCounts; 2],
    /// Examples of it that have a trace.
    pub(crate) examples: [Examples; 2],
    /// How releases ended since this gate started.
    pub(crate) endings: Endings,
    /// Who splits the requests.
    pub(crate) split: Split,
}

impl Service {
    pub(crate) fn new(name: &Arc<str>, serving: Slot, now: Timestamp) -> Self {
        Self {
            name: Arc::clone(name),
            serving,
            route: Route::all_to(serving, 0),
            releases: 0,
            live: None,
            latest: None,
            history: History::default(),
            remembered: Remembered::default(),
            pods: Vec::new(),
            vantage: Vantage::Sidecars,
            front_expected: now,
            admitted: [now; 2],
            sides: <[SideCounts; 2]>::default(),
            examples: <[Examples; 2]>::default(),
            endings: Endings::default(),
            split: Split::Agents,
        }
    }

    pub(crate) fn restored(record: &ServiceRecord, now: Timestamp) -> Self {
        let mut service = Self::new(&record.name.as_str().into(), record.serving.into(), now);
        service.route = record.route();
        service.releases = record.releases;
        if let Some(record) = &record.platform {
            let platform = Platform { record: record.clone(), ..Platform::default() };
            service.split = Split::Platform(Box::new(platform));
        }
        if record.vantage == Some(Vantage::Front) {
            service.front_expected = now.plus_ms(CATCH_UP_MS_MAX);
        }
        service
    }

    pub(crate) fn record(&self, now: Timestamp) -> ServiceRecord {
        let pods = self.route.pods.iter().map(|pod| PodShareRecord {
            slot: pod.slot.into(),
            pod: pod.pod.to_string(),
            share: pod.share,
        });
        ServiceRecord {
            name: self.name.to_string(),
            serving: self.serving.into(),
            epoch: self.route.epoch,
            green_share: self.route.green_share,
            pods: pods.collect(),
            releases: self.releases,
            vantage: Some(self.vantage),
            at_ms: now.unix_ms(),
            platform: self.split.platform().map(|platform| platform.record.clone()),
        }
    }

    /// Looks again at whose counts are evidence.
    pub(crate) fn look_at_vantage(&mut self, ledger: &Ledger) {
        self.vantage = match &self.live {
            Some(live) => live.record.vantage,
            None if ledger.of(&self.name).any(|(_, agent)| agent.role == Role::Front) => Vantage::Front,
            None => Vantage::Sidecars,
        };
    }

    /// Agents have just come that have not told yet what they know, or are still expected back: whoever would judge
    /// now would judge without it.
    pub(crate) fn is_gathering(&self, ledger: &Ledger, now: Timestamp) -> bool {
        let connected = || ledger.of(&self.name).filter(|(_, agent)| agent.connection.is_some());
        let telling = connected().any(|(_, agent)| !agent.live && now.since(agent.came) < CATCH_UP_MS_MAX);
        let front = || connected().any(|(_, agent)| agent.role == Role::Front);
        telling || (now < self.front_expected && !front())
    }

    /// Something was seen that is no count of requests.
    pub(crate) fn saw(&mut self, evidence: Evidence, at: Timestamp, effects: &mut Vec<Effect>) {
        self.remembered.note(&evidence, &self.pods);
        if let Some(live) = &mut self.live {
            live.feed(Entry::Evidence(evidence), at.max(live.started()), effects);
        }
    }

    /// The slot that plays blue: what served before the release under way, or serves.
    pub(crate) fn blue_side(&self) -> Slot {
        self.live.as_ref().map_or(self.serving, |live| live.candidate().other())
    }

    /// Growth of an agent of the vantage came in.
    pub(crate) fn grew(&mut self, growth: &blueback_report::Totals, placed: Timestamp) {
        self.history.add(placed, growth);
        let blue = self.blue_side();
        for (key, latency) in &growth.series {
            self.sides[usize::from(key.slot != blue)].add(key.outcome, &latency.last_byte);
        }
        for key in growth.admitted.keys() {
            let seen = &mut self.admitted[key.slot as usize];
            *seen = placed.max(*seen);
        }
    }

    /// An agent of the vantage told of a request that has a trace.
    pub(crate) fn show(&mut self, example: &Example) {
        let side = usize::from(example.exemplar.slot != self.blue_side());
        self.examples[side].add(example);
        if let Some(live) = self.live.as_mut().filter(|live| example.at >= live.started()) {
            live.examples[side].add(example);
        }
    }

    /// Sends another route to all agents, keeps it, and tells the judge what the candidate gets by it.
    pub(crate) fn send_route(
        &mut self,
        allowed: Allowed,
        candidate: Slot,
        let_go_ms: Option<u32>,
        ledger: &Ledger,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let green_share = match candidate {
            Slot::Green => allowed.share,
            Slot::Blue => 1.0 - allowed.share,
        };
        let epoch = self.route.epoch.saturating_add(1);
        self.route = Route { epoch, green_share, pods: allowed.pods.clone(), let_go_ms, peers: Vec::new() };
        if let Some(live) = &mut self.live {
            live.record.release.share = allowed.share;
        }
        self.tell_route(ledger, effects);
        self.history.touch(now, green_share);
        if let Some(live) = &mut self.live {
            live.feed(Entry::Share { epoch, candidate_share: allowed.share }, now, effects);
            live.routed(allowed);
        }
        effects.push(Effect::SaveService(self.record(now)));
    }

    /// Tells all agents.
    pub(crate) fn tell(&self, message: &ToAgent, ledger: &Ledger, effects: &mut Vec<Effect>) {
        let connections = ledger.of(&self.name).filter_map(|(_, agent)| agent.connection);
        effects.extend(connections.map(|connection| Effect::Send { connection, message: message.clone() }));
    }

    /// What agents are to watch now.
    pub(crate) fn watch<'a>(&'a self, idle: &'a Watch) -> &'a Watch {
        self.live.as_ref().map_or(idle, |live| &live.watch)
    }

    /// Looks at the backends again. Returns true when something about them has changed.
    ///
    /// A front agent knows all of them; a sidecar knows its own. A backend that several front agents see is ready when
    /// one of them reaches it.
    pub(crate) fn look_at_pods(&mut self, ledger: &Ledger) -> bool {
        if let Some(platform) = self.split.platform() {
            let pods = platform.pod_states(self.serving);
            let changed = pods != self.pods;
            self.pods = pods;
            return changed;
        }
        let vantage = self.vantage;
        let mut pods: Vec<PodState> = Vec::new();
        for (_, agent) in ledger.of(&self.name).filter(|(_, agent)| vantage.has(agent.role)) {
            let connected = agent.connection.is_some();
            for target in &agent.targets {
                if matches!(agent.role, Role::Sidecar(slot) if slot != target.slot) {
                    continue;
                }
                let ready = target.ready && connected;
                match pods.iter_mut().find(|pod| pod.slot == target.slot && pod.pod == target.pod) {
                    Some(pod) => pod.ready |= ready,
                    None => pods.push(PodState { slot: target.slot, pod: Arc::clone(&target.pod), ready }),
                }
            }
        }
        pods.sort_by(|a, b| (a.slot, &a.pod).cmp(&(b.slot, &b.pod)));
        let changed = pods != self.pods;
        self.pods = pods;
        changed
    }

    /// What agents testify about a revert.
    pub(crate) fn witness(
        &self,
        live: &Live,
        epoch: u64,
        began: Timestamp,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Witness {
        let mut witness = Witness { platform: self.split.platform().is_some(), ..Witness::default() };
        let mut heard = now;
        for (instance, agent) in ledger.of(&self.name) {
            if live.record.vantage.has(agent.role) && agent.connection.is_some() {
                witness.agents += 1;
                heard = heard.min(agent.heard.unwrap_or_default());
                // Where a platform splits, an agent of the baseline has nothing to do with it.
                let matters = !witness.platform || agent.role == Role::Sidecar(live.candidate());
                if matters && (agent.epoch < epoch || !agent.live) {
                    witness.behind.push(Arc::clone(instance));
                }
            }
        }
        let (candidate, baseline) = (live.candidate(), live.candidate().other());
        // Only as far as every agent has spoken.
        witness.quiet_ms = heard.since(self.admitted[candidate as usize]);
        for pod in self.pods.iter().filter(|pod| pod.slot == baseline) {
            witness.pods += 1;
            witness.ready += u32::from(pod.ready);
        }
        (witness.requests, witness.failed) = self.history.recent(baseline, ANSWERS_SECONDS, began, now);
        witness
    }

    /// As everybody sees it.
    pub(crate) fn view(&self, phase: Option<api::Phase>, ledger: &Ledger, now: Timestamp) -> api::Service {
        let connected = ledger.of(&self.name).filter(|(_, agent)| agent.connection.is_some()).count();
        api::Service {
            name: self.name.to_string(),
            serving: self.serving.into(),
            green_share: self.route.green_share,
            release: self.latest.as_ref().map(ToString::to_string),
            phase,
            agents: u32::try_from(connected).unwrap_or(u32::MAX),
            backends: self
                .pods
                .iter()
                .map(|pod| api::Backend { slot: pod.slot.into(), pod: pod.pod.to_string(), ready: pod.ready })
                .collect(),
            requests_per_second: self.history.rate(now),
        }
    }
}
