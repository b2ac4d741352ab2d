//! The event loop, as plain data: events in, effects out. No async, no I/O, no clock.
//!
//! The simulation drives this very code under virtual time, so whatever needs a socket, a file or a task belongs into an
//! executor, which comes back with an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{Hello, Report, Role, Slot, Totals, Watch};

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::effect::{Effect, ToAgent};
use crate::event::{Command, Connection, Event, Step, Ticket};
use crate::evidence::Evidence;
use crate::examples::{Examples, TraceUrl};
use crate::figures::{Counters, Dropped};
use crate::history::HISTORY_SECONDS;
use crate::ledger::{Counted, Ledger, Merged};
use crate::recording::{Entry, Growth, Known};
use crate::records::ReleaseRecord;
use crate::release::{Allowed, CATCH_UP_ENTRIES_MAX, Live};
use crate::revert::Revert;
use crate::rules_file::RulesFile;
use crate::service::Service;
use crate::timeline::percent;
use crate::view;

/// Time between two ticks, in milliseconds: a fifth of the shortest block of the judge.
pub const TICK_MS: u64 = 50;
/// Time between two reports of an agent while a release is watched, in milliseconds.
pub const WATCHED_CADENCE_MS: u32 = 100;
/// The same while nothing is watched.
pub const IDLE_CADENCE_MS: u32 = 1_000;
/// Most services. Each has ten minutes of counts in memory, about a mebibyte when it is busy.
pub const SERVICES_MAX: usize = 256;
/// Releases kept of each service; the oldest go first.
pub const RELEASES_KEPT: usize = 50;
/// Largest epoch that an agent may have: no gate comes to it, and there is room above it.
const EPOCH_MAX: u64 = 1 << 48;
/// Most switches that wait for agents to tell what they know; further ones are made without.
const SWITCHES_WAITING_MAX: usize = 64;
/// Time after which a route is sent again to an agent that has not taken it.
const ROUTE_AGAIN_MS: u64 = 500;
/// Time between two repetitions of the watch list, which has no acknowledgement of its own.
const WATCH_AGAIN_MS: u64 = 5_000;

/// What a gate is told at its start.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Rules for new releases.
    pub rules: RulesFile,
    /// Services known in advance.
    pub services: Vec<ServiceConfig>,
    /// Where a person looks at a trace.
    pub trace_url: Option<TraceUrl>,
}

/// A service known in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name.
    pub name: String,
    /// The slot that serves.
    pub serving: Slot,
}

/// All services, agents and releases of one gate.
pub struct Gate {
    pub(crate) rules: RulesFile,
    pub(crate) idle: Watch,
    pub(crate) services: BTreeMap<Arc<str>, Service>,
    /// Releases that are over, and the newest state of those that are not.
    pub(crate) releases: BTreeMap<Arc<str>, Arc<api::Release>>,
    /// Evidence of those that are over.
    pub(crate) evidence: BTreeMap<Arc<str>, Arc<api::Evidence>>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    since: Timestamp,
    merged: Vec<Merged>,
    placed: Vec<(Arc<str>, Merged)>,
    routed: BTreeMap<Connection, (u64, Timestamp)>,
    watched: Timestamp,
    /// When releases were told of other services.
    pub(crate) others_told: Timestamp,
    /// Switches that wait, shortly, for agents to tell what they know.
    waiting: Vec<Wish>,
    trace_url: Option<TraceUrl>,
}

/// What an operator wants.
struct Wish {
    ticket: Ticket,
    service: Arc<str>,
    command: Command,
    by: Option<String>,
}

impl Gate {
    /// A gate that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        let idle = match settings.rules.rules() {
            Ok(rules) => Watch { cadence_ms: IDLE_CADENCE_MS, limits: rules.limits(), routes: rules.routes() },
            Err(_) => Watch { cadence_ms: IDLE_CADENCE_MS, ..Watch::default() },
        };
        let services = settings.services.iter().map(|service| {
            let name: Arc<str> = service.name.as_str().into();
            (Arc::clone(&name), Service::new(&name, service.serving, now))
        });
        Self {
            idle,
            trace_url: settings.trace_url,
            services: services.collect(),
            releases: BTreeMap::new(),
            evidence: BTreeMap::new(),
            ledger: Ledger::default(),
            counters: Counters::default(),
            since: now,
            merged: Vec::new(),
            placed: Vec::new(),
            routed: BTreeMap::new(),
            watched: now,
            others_told: now,
            waiting: Vec::new(),
            rules: settings.rules,
        }
    }

    /// Something happened; says what is to be done. `now` never falls from one call to the next.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::AgentReport { connection, report } => self.report(connection, report, now, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
            Event::AgentHello { connection, hello } => self.hello(connection, &hello, now, &mut effects),
            Event::AgentInvalid { .. } => self.counters.drop_one(Dropped::Invalid),
            Event::AgentGone { connection } => self.gone(connection, now, &mut effects),
            Event::Operator { ticket, service, command, by } => {
                let waits = matches!(command, Command::Switch { .. } | Command::SwitchOnce { .. })
                    && self.waiting.len() < SWITCHES_WAITING_MAX
                    && self.services.get(&service).is_some_and(|known| known.is_gathering(&self.ledger, now));
                let wish = Wish { ticket, service, command, by };
                if waits {
                    self.waiting.push(wish);
                } else {
                    self.grant(wish, now, &mut effects);
                }
            }
            Event::Evidence { service, evidence } => {
                if let Some(service) = self.services.get_mut(&service) {
                    service.saw(evidence, now, &mut effects);
                }
            }
            Event::Answered { release, evidence } => {
                if let Some(service) = self.services.values_mut().find(|service| is_live(service, &release)) {
                    service.saw(evidence, now, &mut effects);
                }
            }
            Event::EffectDone { release, step: Step::Shifted, text } => self.platform_told(&release, Ok(text), now),
            Event::EffectFailed { release, step: Step::Shifted, error, .. } => {
                self.platform_told(&release, Err(error), now);
            }
            Event::EffectDone { release, step, text } => {
                if let Some(revert) = self.live(&release).and_then(|live| live.revert.as_mut()) {
                    revert.done(step, text);
                }
                self.settle_all(now, &mut effects);
            }
            Event::EffectFailed { release, step, attempt, error } => {
                let service = self.services.values_mut().find(|service| is_live(service, &release));
                if let Some(live) = service.and_then(|service| service.live.as_mut()) {
                    let text = format!("{error} (attempt {attempt}; it is tried again)");
                    live.revert_failed(step, &text, now, &mut self.counters);
                }
            }
            Event::Platform { service, snapshot } => self.platform_seen(&service, *snapshot, now, &mut effects),
            Event::PlatformGone { service } => self.platform_gone(&service, now, &mut effects),
            Event::Restore(stored) => self.restore(*stored, now, &mut effects),
        }
        effects
    }

    /// Says what is to be done when nobody will guard anything any more. Nothing may be applied afterwards.
    #[must_use]
    pub fn stand_down(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for service in self.services.values_mut() {
            service.send_home(&self.ledger, &mut effects);
        }
        effects
    }

    fn grant(&mut self, wish: Wish, now: Timestamp, effects: &mut Vec<Effect>) {
        let Wish { ticket, service, command, by } = wish;
        let answer = self.operator(&service, command, by.as_deref(), now, effects);
        effects.push(Effect::Answer { ticket, answer });
    }

    fn live(&mut self, release: &str) -> Option<&mut Live> {
        self.services.values_mut().find(|service| is_live(service, release))?.live.as_mut()
    }

    fn hello(&mut self, connection: Connection, hello: &Hello, now: Timestamp, effects: &mut Vec<Effect>) {
        let refuse = |why: Dropped, counters: &mut Counters, effects: &mut Vec<Effect>| {
            counters.drop_one(why);
            effects.push(Effect::Close { connection, why: why.as_str().to_owned() });
        };
        if hello.route.epoch > EPOCH_MAX {
            return refuse(Dropped::Invalid, &mut self.counters, effects);
        }
        if !self.services.contains_key(&hello.service) && self.services.len() >= SERVICES_MAX {
            return refuse(Dropped::TooManyServices, &mut self.counters, effects);
        }
        let pod = hello.targets.first().map(|target| &target.pod);
        if self
            .services
            .get(&hello.service)
            .is_some_and(|known| Self::is_misplaced(known, &hello.agent, hello.role, pod))
        {
            let why = "the agent's slot is another one now".to_owned();
            effects.push(Effect::Close { connection, why });
            return;
        }
        match self.ledger.hello(connection, hello, now) {
            Err(why) => return refuse(why, &mut self.counters, effects),
            Ok(Some(former)) => {
                self.routed.remove(&former);
                effects.push(Effect::Close { connection: former, why: "the agent has another stream".to_owned() });
            }
            Ok(None) => {}
        }
        let Self { services, ledger, idle, .. } = self;
        let service = services.entry(Arc::clone(&hello.service)).or_insert_with(|| {
            // What the agent was told by somebody before is the only thing known about a service nobody has named.
            // But a sidecar that nobody has told anything only says which slot it belongs to.
            let told = hello.route.epoch > 0 || hello.role == Role::Front;
            let serving = if told && hello.route.green_share > 0.5 { Slot::Green } else { Slot::Blue };
            let mut service = Service::new(&hello.service, serving, now);
            if told {
                service.route.green_share = hello.route.green_share;
            }
            service
        });
        let merged_ms = ledger.get(&hello.agent).map_or(0, |agent| agent.merged_ms);
        let slot = match hello.role {
            Role::Sidecar(slot) => Some(slot),
            Role::Front => None,
        };
        effects.push(Effect::Send { connection, message: ToAgent::Welcome { merged_ms, slot } });
        effects.push(Effect::Send { connection, message: ToAgent::Watch(service.watch(idle).clone()) });
        service.look_at_vantage(ledger);
        let same = (hello.route.green_share - service.route.green_share).abs() < f64::EPSILON
            && hello.route.pods == service.route.pods;
        // A front agent that nobody has told anything goes by its own flags, and they may say something else.
        let astray = hello.role == Role::Front && !same;
        if hello.route.epoch > service.route.epoch || (hello.route.epoch == service.route.epoch && astray) {
            // Or a former gate has gone further than what is known here.
            service.route.epoch = hello.route.epoch;
            if same {
                effects.push(Effect::SaveService(service.record(now)));
            } else {
                let candidate = service.live.as_ref().map_or(Slot::Green, Live::candidate);
                let share = match candidate {
                    Slot::Green => service.route.green_share,
                    Slot::Blue => 1.0 - service.route.green_share,
                };
                let allowed = Allowed { share, pods: service.route.pods.clone() };
                service.send_route(allowed, candidate, Some(0), ledger, now, effects);
                if let Some(revert) = service.live.as_mut().and_then(|live| live.revert.as_mut()) {
                    revert.epoch = service.route.epoch;
                }
            }
        } else if hello.route.epoch < service.route.epoch {
            if let Some(agent) = ledger.by_connection(connection) {
                service.send_route_to(connection, agent, effects);
            }
            self.routed.insert(connection, (service.route.epoch, now));
        }
        self.pods_changed(&hello.service, now, effects);
    }

    fn gone(&mut self, connection: Connection, now: Timestamp, effects: &mut Vec<Effect>) {
        self.routed.remove(&connection);
        let Some(instance) = self.ledger.gone(connection, now) else { return };
        let Some(agent) = self.ledger.get(&instance) else { return };
        let (number, role, name) = (agent.number, agent.role, Arc::clone(&agent.service));
        if let Some(service) = self.services.get_mut(&name)
            && let Some(live) = &mut service.live
            && live.record.vantage.has(role)
            && live.knows(number)
        {
            live.feed(Entry::Gone { agent: number }, now, effects);
        }
        self.pods_changed(&name, now, effects);
    }

    pub(crate) fn pods_changed(&mut self, name: &Arc<str>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        if service.look_at_pods(&self.ledger)
            && let Some(live) = &mut service.live
        {
            live.feed(Entry::Pods(service.pods.clone()), now, effects);
        }
    }

    fn report(&mut self, connection: Connection, report: Report, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut merged = std::mem::take(&mut self.merged);
        let live = !report.replayed;
        if let Err(why) = self.ledger.merge(connection, report, now, &mut merged) {
            self.counters.drop_one(why);
            self.merged = merged;
            return;
        }
        self.counters.merged += 1;
        let Some(agent) = self.ledger.by_connection(connection) else { return };
        effects.push(Effect::Send { connection, message: ToAgent::Ack { at_ms: agent.merged_ms } });
        let (name, epoch) = (Arc::clone(&agent.service), agent.epoch);
        let targets_changed = merged.iter().any(|report| report.targets_changed);
        for report in merged.drain(..) {
            self.count(&name, connection, report, effects);
        }
        self.merged = merged;
        if targets_changed {
            self.pods_changed(&name, now, effects);
        }
        let Some(service) = self.services.get_mut(&name) else { return };
        if live && epoch < service.route.epoch {
            let sent = self.routed.get(&connection).filter(|(epoch, _)| *epoch == service.route.epoch);
            let due = sent.is_none_or(|(_, at)| now.since(*at) >= ROUTE_AGAIN_MS);
            if sent.is_some()
                && due
                && let Some(agent) = self.ledger.by_connection(connection)
            {
                service.send_route_to(connection, agent, effects);
            }
            if due {
                self.routed.insert(connection, (service.route.epoch, now));
            }
        }
        if let Some(live_release) = &mut service.live {
            if live && let Some(catch_up) = &mut live_release.catch_up {
                if let Some(instance) = self.ledger.instance(connection) {
                    catch_up.waiting.remove(instance);
                }
            } else {
                live_release.feed(Entry::Deliberated, now, effects);
            }
        }
        self.settle(&name, now, effects);
    }

    /// A report has said something about counts: it is kept, and told to the judge if it is evidence.
    fn count(&mut self, name: &Arc<str>, connection: Connection, report: Merged, effects: &mut Vec<Effect>) {
        let (Some(service), Some(agent)) = (self.services.get_mut(name), self.ledger.by_connection(connection)) else {
            return;
        };
        let mut report = report;
        let candidate = service.live.as_ref().map(Live::candidate);
        for evidence in report.evidence.drain(..) {
            // What blue's agents divert is not the candidate's.
            let is_diverted = matches!(evidence, Evidence::Diverted { .. });
            if !is_diverted || matches!(agent.role, Role::Sidecar(slot) if Some(slot) == candidate) {
                service.saw(evidence, report.placed, effects);
            }
        }
        if !service.vantage.has(agent.role) {
            return;
        }
        let Merged { agent: number, placed, agent_ms, counts, examples, .. } = report;
        for example in &examples {
            service.show(example);
        }
        let known = |totals: Totals| {
            let instance = self.ledger.instance(connection).cloned().unwrap_or_default();
            Entry::Agent(Box::new(Known { agent: number, instance, role: agent.role, at_ms: agent_ms, totals }))
        };
        if let Counted::Growth(growth) = &counts {
            service.grew(growth, placed);
        }
        let Some(live) = &mut service.live else { return };
        let entry = match counts {
            Counted::Base(totals) => known(totals),
            // What was before the release is no evidence, but counted: a later gate must know it.
            Counted::Growth(growth) if placed < live.started() => known(growth),
            Counted::Growth(totals) => Entry::Growth(Box::new(Growth {
                agent: number,
                role: agent.role,
                epoch: agent.epoch,
                agent_ms,
                totals,
                in_flight: agent.in_flight.clone(),
            })),
        };
        live.feed(entry, placed, effects);
    }

    fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut placed = std::mem::take(&mut self.placed);
        self.ledger.tick(now, &mut placed);
        for (instance, report) in placed.drain(..) {
            let agent = self.ledger.get(&instance);
            let at = agent.and_then(|agent| Some((Arc::clone(&agent.service), agent.connection?)));
            if let Some((name, connection)) = at {
                self.count(&name, connection, report, effects);
            }
        }
        self.placed = placed;
        self.tell_of_others(now, effects);
        let again = now.since(self.watched) >= WATCH_AGAIN_MS;
        if again {
            self.watched = now;
        }
        for service in self.services.values_mut() {
            service.history.touch(now, service.route.green_share);
            if again {
                service.look_at_vantage(&self.ledger);
                service.tell(&ToAgent::Watch(service.watch(&self.idle).clone()), &self.ledger, effects);
            }
            let Some(live) = &mut service.live else { continue };
            if let Some(catch_up) = &live.catch_up {
                let enough = catch_up.waiting.is_empty()
                    || now >= catch_up.until
                    || catch_up.entries.len() >= CATCH_UP_ENTRIES_MAX;
                if enough {
                    let lost = catch_up.waiting.iter().filter_map(|instance| self.ledger.get(instance));
                    let lost = lost.filter(|agent| agent.connection.is_none()).map(|agent| agent.number).collect();
                    live.caught_up(lost, now, effects);
                    live.feed(Entry::Pods(service.pods.clone()), now, effects);
                    live.feed(Entry::Deliberated, now, effects);
                }
            } else if live.revert.is_none() {
                live.feed(Entry::Deliberated, now, effects);
                live.weigh(now);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for wish in waiting {
            if self.services.get(&wish.service).is_some_and(|known| known.is_gathering(&self.ledger, now)) {
                self.waiting.push(wish);
            } else {
                self.grant(wish, now, effects);
            }
        }
        self.settle_all(now, effects);
    }

    pub(crate) fn settle_all(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let names: Vec<_> = self.services.values().filter(|service| service.live.is_some()).collect();
        let names: Vec<_> = names.iter().map(|service| Arc::clone(&service.name)).collect();
        for name in names {
            self.settle(&name, now, effects);
        }
    }

    /// Does what the judge's verdict and the state of a revert call for, and publishes what has changed.
    pub(crate) fn settle(&mut self, name: &Arc<str>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Self { services, ledger, counters, .. } = self;
        let Some(service) = services.get_mut(name) else { return };
        let Some(live) = &mut service.live else { return };
        let findings = live.look(now, counters);
        let candidate = live.candidate();
        let mut over = None;
        if let Some(text) = findings.revert {
            self.begin_revert(name, text, now, effects);
        } else if let Some(allowed) = findings.route {
            let falls = allowed.share < live.record.release.share || !allowed.pods.is_empty();
            // Connections made to the candidate must not outlive a share that falls; a share that rises can wait.
            let let_go_ms = falls.then_some(0);
            service.send_route(allowed, candidate, let_go_ms, ledger, now, effects);
        } else if findings.done {
            over = Some(api::Phase::Done);
        }
        let Some(service) = self.services.get_mut(name) else { return };
        if let Some((epoch, began)) =
            service.live.as_ref().and_then(|live| live.revert.as_ref()).map(|revert| (revert.epoch, revert.began))
        {
            let record = service.record(now);
            let Some(live) = &service.live else { return };
            let witness = service.witness(live, epoch, began, &self.ledger, now);
            let Some(live) = &mut service.live else { return };
            if live.advance(&record, &witness, now, &mut self.counters, effects) {
                over = Some(api::Phase::Reverted);
            }
        }
        let agents = &self.ledger;
        if let Some(live) = service.live.as_mut().filter(|live| over.is_none() && live.keep_is_due()) {
            live.keep(agents.of(name).filter_map(|(instance, agent)| agent.kept(instance)).collect(), effects);
        }
        if let Some(phase) = over {
            self.end(name, phase, now, effects);
        } else if let Some(live) = &mut service.live
            && let Some(release) = live.publish(now, effects)
        {
            self.releases.insert(Arc::clone(&live.id), release);
        }
    }

    /// Begins the way back: agents are told at once, everything else follows in steps.
    pub(crate) fn begin_revert(&mut self, name: &Arc<str>, text: String, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(live) = &mut service.live else { return };
        let candidate = live.candidate();
        live.catch_up = None;
        live.record.release.phase = api::Phase::Reverting;
        live.record.revert_text = Some(text);
        live.record.revert_ms = Some(now.unix_ms());
        live.touch();
        let none = Allowed { share: 0.0, pods: Vec::new() };
        service.send_route(none, candidate, Some(0), &self.ledger, now, effects);
        let epoch = service.route.epoch;
        if let Some(live) = &mut service.live {
            live.revert = Some(Revert::new(epoch, now));
        }
    }

    /// A release is over: nobody watches it any more.
    pub(crate) fn end(&mut self, name: &Arc<str>, phase: api::Phase, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(mut live) = service.live.take() else { return };
        let before = std::mem::replace(&mut live.record.release.phase, phase);
        live.record.release.ended_ms = Some(now.unix_ms());
        match phase {
            api::Phase::Reverted => service.endings.reverted += 1,
            api::Phase::Done => service.endings.passed += 1,
            api::Phase::Superseded => service.endings.superseded += 1,
            api::Phase::Watching
            | api::Phase::Passed
            | api::Phase::Reverting
            | api::Phase::Held
            | api::Phase::Inconclusive => {}
        }
        let passed = phase == api::Phase::Done || before == api::Phase::Passed;
        if passed && matches!(phase, api::Phase::Done | api::Phase::Superseded) {
            service.serving = live.candidate();
        }
        service.put_down(phase, passed);
        if phase == api::Phase::Done {
            let text = format!(
                "Every checkpoint is passed: {} serves {}",
                live.candidate(),
                percent(live.record.release.share)
            );
            live.moment("done", text, now, &mut self.counters);
        }
        let evidence = evidence(&live, service, self.trace_url.as_ref(), now);
        live.record.evidence = Some(evidence.clone());
        live.touch();
        if let Some(release) = live.publish(now, effects) {
            self.releases.insert(Arc::clone(&live.id), release);
        }
        self.evidence.insert(Arc::clone(&live.id), Arc::new(evidence));
        effects.push(Effect::SaveService(service.record(now)));
        service.look_at_vantage(&self.ledger);
        service.tell(&ToAgent::Watch(self.idle.clone()), &self.ledger, effects);
        self.forget_old_releases(name);
    }

    fn forget_old_releases(&mut self, name: &str) {
        let mut of_service: Vec<_> = self
            .releases
            .values()
            .filter(|release| release.service == name)
            .map(|release| (release.started_ms, release.id.clone()))
            .collect();
        of_service.sort();
        let surplus = of_service.len().saturating_sub(RELEASES_KEPT);
        for (_, id) in of_service.drain(..surplus) {
            self.releases.remove(id.as_str());
            self.evidence.remove(id.as_str());
        }
    }

    /// Knows a release of a former gate that is over.
    pub(crate) fn remember(&mut self, record: ReleaseRecord) {
        let id: Arc<str> = record.release.id.as_str().into();
        if let Some(evidence) = record.evidence {
            self.evidence.insert(Arc::clone(&id), Arc::new(evidence));
        }
        self.releases.insert(id, Arc::new(record.release));
    }

    /// All services, by name.
    #[must_use]
    pub fn services(&self, now: Timestamp) -> Vec<api::Service> {
        self.services.keys().filter_map(|name| self.service(name, now)).collect()
    }

    /// A service.
    #[must_use]
    pub fn service(&self, name: &str, now: Timestamp) -> Option<api::Service> {
        let service = self.services.get(name)?;
        let phase = service.latest.as_ref().and_then(|id| self.releases.get(id)).map(|release| release.phase);
        Some(service.view(phase, &self.ledger, now))
    }

    /// All releases that are known, newest first.
    pub fn releases(&self) -> impl Iterator<Item = &Arc<api::Release>> {
        let mut releases: Vec<_> = self.releases.values().collect();
        releases.sort_by(|a, b| (b.started_ms, &b.id).cmp(&(a.started_ms, &a.id)));
        releases.into_iter()
    }

    /// A release.
    #[must_use]
    pub fn release(&self, id: &str) -> Option<&Arc<api::Release>> {
        self.releases.get(id)
    }

    /// Evidence of a release, rule by rule: as it is now, or as it was when the release ended.
    #[must_use]
    pub fn evidence(&self, id: &str, now: Timestamp) -> Option<api::Evidence> {
        let service = self.services.values().find(|service| is_live(service, id));
        match service.and_then(|service| Some((service, service.live.as_ref()?))) {
            Some((service, live)) => Some(evidence(live, service, self.trace_url.as_ref(), now)),
            None => self.evidence.get(id).map(|evidence| api::Evidence::clone(evidence)),
        }
    }

    /// Everything that an instance of an agent has counted, as far as it is known here.
    #[must_use]
    pub fn counted(&self, instance: &str) -> Option<&Totals> {
        self.ledger.get(instance).map(|agent| &agent.totals)
    }

    /// When it began to count.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What was counted about the loop's own work.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn is_live(service: &Service, release: &str) -> bool {
    service.live.as_ref().is_some_and(|live| &*live.id == release)
}

fn evidence(live: &Live, service: &Service, url: Option<&TraceUrl>, now: Timestamp) -> api::Evidence {
    let examples = live.examples.iter().rev().flat_map(Examples::iter);
    api::Evidence {
        release: live.id.to_string(),
        now_ms: now.since(live.started()),
        criteria: view::criteria(live.judge()),
        series: service.history.points(live.started(), live.candidate()),
        weighings: live.course.weighings(),
        candidate: live.course.sum(live.candidate()),
        baseline: live.course.sum(live.candidate().other()),
        example_traces: examples.map(|example| example.view(url)).collect(),
    }
}

const _: () = assert!(HISTORY_SECONDS * 1_000 == crate::ledger::GONE_KEPT_MS, "both reach as far as an agent's ring");
