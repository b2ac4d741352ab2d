//! What the agents have counted, one ledger for all services.
//!
//! Each agent's counts are cumulative and merge by pointwise maximum, so the ledger turns any mix of reports (repeated,
//! late, out of order) into growth that adds up to the same. An agent that was not known before brings a history that
//! nobody has judged: its first report says what is known, and only what comes after it is growth. Reports from an
//! agent's ring are placed at the time they were measured; live ones at the time they arrive, because a block of the
//! judge must not depend on when an agent chose to speak.
//!
//! An agent's clock counts from its own start, so what its host believes the time to be never matters. What it is worth in
//! the gate's time is learnt from the quickest of its newest reports: a clock that runs fast or slow is followed, one that was
//! set forward is believed at its second report, and one that was set back after [`CLOCK_MS`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use blueback_report::{
    AdmissionKey, Counts, DEPENDENCIES_MAX, Dependency, Exemplar, Health, Hello, NAME_BYTES_MAX, Report, Resources,
    Role, Route, SERIES_MAX, Slot, TARGETS_MAX, TargetState, Totals,
};

use crate::clock::Timestamp;
use crate::event::Connection;
use crate::evidence::Evidence;
use crate::examples::Example;
use crate::figures::Dropped;
use crate::recording::KeptAgent;

/// Most agents known at once, connected or not. Further ones are refused and counted.
pub const AGENTS_MAX: usize = 4_096;
/// How long an agent that is gone is remembered: as long as its ring reaches back, so that nothing is judged twice.
pub const GONE_KEPT_MS: u64 = 600_000;
/// How far ahead of an agent's established clock a report may be. One that is further is dropped; a second one that goes with
/// it is the agent's clock, set forward.
pub const AHEAD_MS_MAX: u64 = 5_000;
/// The quickest way to the gate is looked for in so much time and as much again before it: enough that a report of it was quick,
/// and so little that an agent whose clock lost time does not replay into the past for long.
pub const CLOCK_MS: u64 = 30_000;
/// Longest time that an agent can have been running, in milliseconds: a century and some.
pub const AGENT_MS_MAX: u64 = 1 << 42;
/// Most reports kept of an agent whose clock is not established yet: a ring of ten minutes, its base, and some room.
pub const PLACELESS_MAX: usize = 700;
/// How long to wait for the live report that establishes an agent's clock; then the newest one counts as live.
pub const PLACELESS_MS_MAX: u64 = 1_000;
/// A smaller change of what a pod uses is not told at once.
const RESOURCE_STEP: f64 = 0.02;
/// But at least so often: what is not repeated is not known.
const RESOURCES_AGAIN_MS: u64 = 10_000;
/// Most backends an agent may have named since it started: all that fit into a report, replaced a few times over.
pub const PODS_NAMED_MAX: usize = 4 * TARGETS_MAX;

/// All agents.
#[derive(Debug, Default)]
pub struct Ledger {
    agents: BTreeMap<Arc<str>, Agent>,
    /// Instances by service.
    services: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    connections: BTreeMap<Connection, Arc<str>>,
    next_number: u32,
}

/// One instance of an agent.
#[derive(Debug)]
pub struct Agent {
    /// Its number; the judge knows it by that.
    pub number: u32,
    /// The service it belongs to.
    pub service: Arc<str>,
    /// Where it stands.
    pub role: Role,
    /// Everything it has counted, as far as it is known here.
    pub totals: Totals,
    /// Newest time merged, by its clock.
    pub merged_ms: u64,
    /// Its stream, while there is one.
    pub connection: Option<Connection>,
    /// When its stream began.
    pub came: Timestamp,
    /// When its stream ended.
    pub gone: Option<Timestamp>,
    /// When the newest live report arrived.
    pub heard: Option<Timestamp>,
    /// It has reported live on this stream: what it had to replay is here.
    pub live: bool,
    /// Epoch of the route in force there.
    pub epoch: u64,
    /// Requests still unanswered there.
    pub in_flight: BTreeMap<AdmissionKey, u64>,
    /// The backends as it sees them.
    pub targets: Vec<TargetState>,
    /// About itself.
    pub health: Health,
    /// What its application depends on, with everything that was counted of it.
    pub dependencies: Vec<Dependency>,
    /// What its pod uses, as it was told last, and when.
    resources: (Resources, Timestamp),
    /// How much longer the newest live report took than the quickest of the last minute, in milliseconds.
    pub lag_ms: u64,
    /// Its first report is here, so that further ones are growth.
    based: bool,
    /// Gate time of its clock's zero, in Unix milliseconds.
    zero_ms: Option<i64>,
    /// What the quickest reports say of it.
    quickest: Quickest,
    /// The newest live report was from the future: its time, and what it says of the clock's zero.
    ahead: Option<(u64, i64)>,
    /// Reports that wait for the clock to be established, and since when.
    placeless: Vec<Report>,
    placeless_since: Timestamp,
    pods: BTreeSet<(Slot, Arc<str>)>,
    gauged_ms: u64,
}

/// A clock's zero in gate time by the report that took the shortest way, of the newest [`CLOCK_MS`] and of as much before.
#[derive(Clone, Copy, Debug, Default)]
struct Quickest {
    since: Timestamp,
    now_ms: i64,
    before_ms: i64,
}

impl Quickest {
    /// From the first report of a clock.
    const fn of(zero_ms: i64, now: Timestamp) -> Self {
        Self { since: now, now_ms: zero_ms, before_ms: zero_ms }
    }

    /// From one more.
    fn and(self, zero_ms: i64, now: Timestamp) -> Self {
        if now.since(self.since) >= CLOCK_MS {
            return Self { since: now, now_ms: zero_ms, before_ms: self.now_ms };
        }
        Self { now_ms: self.now_ms.min(zero_ms), ..self }
    }

    fn zero_ms(self) -> i64 {
        self.now_ms.min(self.before_ms)
    }
}

/// A report that is merged.
#[derive(Debug)]
pub struct Merged {
    /// The agent's number.
    pub agent: u32,
    /// When it was measured (from the ring) or arrived (live).
    pub placed: Timestamp,
    /// Time of the report, by the agent's clock.
    pub agent_ms: u64,
    /// What it said.
    pub counts: Counted,
    /// The state of the backends may have changed.
    pub targets_changed: bool,
    /// What it said beside that.
    pub evidence: Vec<Evidence>,
    /// Requests whose trace is known.
    pub examples: Vec<Example>,
}

/// What a report said about counts.
#[derive(Debug, PartialEq)]
pub enum Counted {
    /// The first one of an agent: what was counted before anybody listened. It is known, and no evidence.
    Base(Totals),
    /// What has been counted since.
    Growth(Totals),
}

impl Ledger {
    /// An agent says who it is on a new stream. Returns its instance and the stream that it gives up, if it had one.
    ///
    /// # Errors
    /// When there are too many agents.
    pub fn hello(
        &mut self,
        connection: Connection,
        hello: &Hello,
        now: Timestamp,
    ) -> Result<Option<Connection>, Dropped> {
        if !self.agents.contains_key(&hello.agent) && self.agents.len() >= AGENTS_MAX && !self.forget_one() {
            return Err(Dropped::TooManyAgents);
        }
        if self.agents.get(&hello.agent).is_some_and(|agent| agent.service != hello.service) {
            self.agents.remove(&hello.agent);
        }
        self.services.entry(Arc::clone(&hello.service)).or_default().insert(Arc::clone(&hello.agent));
        let number = self.next_number;
        let agent = self.agents.entry(Arc::clone(&hello.agent)).or_insert_with(|| {
            self.next_number += 1;
            Agent::new(number, hello)
        });
        let former = agent.connection.replace(connection).filter(|&former| former != connection);
        agent.came = now;
        agent.gone = None;
        agent.live = false;
        agent.epoch = hello.route.epoch;
        agent.placeless_since = now;
        agent.targets.clone_from(&hello.targets);
        agent.name_pods(&hello.targets);
        if let Some(former) = former {
            self.connections.remove(&former);
        }
        self.connections.insert(connection, Arc::clone(&hello.agent));
        Ok(former)
    }

    /// Knows an agent from a recording: what it had counted, and its clock.
    pub fn restore(&mut self, instance: &Arc<str>, agent: Agent) {
        self.next_number = self.next_number.max(agent.number + 1);
        self.services.entry(Arc::clone(&agent.service)).or_default().insert(Arc::clone(instance));
        self.agents.insert(Arc::clone(instance), agent);
    }

    /// A stream has ended. Returns the instance that is gone by it: none when it has another stream already.
    pub fn gone(&mut self, connection: Connection, now: Timestamp) -> Option<Arc<str>> {
        let instance = self.connections.remove(&connection)?;
        let agent = self.agents.get_mut(&instance)?;
        if agent.connection != Some(connection) {
            return None;
        }
        agent.connection = None;
        agent.gone = Some(now);
        agent.in_flight.clear();
        agent.live = false;
        Some(instance)
    }

    /// Merges a report, and puts what it added behind `merged`: nothing while its time is not known yet, several reports
    /// when that becomes known.
    ///
    /// # Errors
    /// Why the report was dropped. Nothing else is lost by that.
    pub fn merge(
        &mut self,
        connection: Connection,
        report: Report,
        now: Timestamp,
        merged: &mut Vec<Merged>,
    ) -> Result<(), Dropped> {
        let instance = self.connections.get(&connection).ok_or(Dropped::NoHello)?;
        let agent = self.agents.get_mut(instance).ok_or(Dropped::NoHello)?;
        agent.accept(&report, now)?;
        if !report.replayed {
            agent.live_at(report.at_ms, now);
            agent.place_all(now, merged);
            merged.push(agent.apply(report, now));
            return Ok(());
        }
        if agent.zero_ms.is_some() {
            let placed = agent.place(report.at_ms, now);
            merged.push(agent.apply(report, placed));
        } else if agent.placeless.len() < PLACELESS_MAX {
            agent.placeless.push(report);
        } else {
            return Err(Dropped::TooManyReplayed);
        }
        Ok(())
    }

    /// Places reports that have waited too long for a live one, and forgets agents that are gone for long.
    pub fn tick(&mut self, now: Timestamp, merged: &mut Vec<(Arc<str>, Merged)>) {
        let mut placed = Vec::new();
        self.agents.retain(|instance, agent| {
            if !agent.placeless.is_empty() && now.since(agent.placeless_since) >= PLACELESS_MS_MAX {
                let newest = agent.placeless.iter().map(|report| report.at_ms).max().unwrap_or(0);
                agent.zero_ms = Some(now.unix_ms() as i64 - newest as i64);
                agent.place_all(now, &mut placed);
                merged.extend(placed.drain(..).map(|report| (Arc::clone(instance), report)));
            }
            let kept = agent.gone.is_none_or(|gone| now.since(gone) < GONE_KEPT_MS);
            if !kept && let Some(instances) = self.services.get_mut(&agent.service) {
                instances.remove(instance);
            }
            kept
        });
    }

    /// The agent of a stream.
    #[must_use]
    pub fn by_connection(&self, connection: Connection) -> Option<&Agent> {
        self.agents.get(self.connections.get(&connection)?)
    }

    /// The instance of a stream.
    #[must_use]
    pub fn instance(&self, connection: Connection) -> Option<&Arc<str>> {
        self.connections.get(&connection)
    }

    /// An instance.
    #[must_use]
    pub fn get(&self, instance: &str) -> Option<&Agent> {
        self.agents.get(instance)
    }

    /// All agents of a service, connected or not.
    pub fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a Agent)> + 'a {
        let instances = self.services.get(service).into_iter().flatten();
        instances
            .filter_map(|instance| self.agents.get_key_value(instance))
            .filter(move |(_, agent)| &*agent.service == service)
    }

    /// How many agents have a stream.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.connections.len()
    }

    /// Makes room by forgetting the agent that is gone for longest.
    fn forget_one(&mut self) -> bool {
        let oldest = self
            .agents
            .iter()
            .filter_map(|(instance, agent)| Some((agent.gone?, Arc::clone(instance))))
            .min_by_key(|(gone, _)| *gone);
        let Some((_, instance)) = oldest else { return false };
        if let Some(agent) = self.agents.remove(&instance)
            && let Some(instances) = self.services.get_mut(&agent.service)
        {
            instances.remove(&instance);
        }
        true
    }
}

impl Agent {
    fn new(number: u32, hello: &Hello) -> Self {
        Self {
            number,
            service: Arc::clone(&hello.service),
            role: hello.role,
            totals: Totals::default(),
            merged_ms: 0,
            connection: None,
            came: Timestamp::default(),
            gone: None,
            heard: None,
            live: false,
            epoch: 0,
            in_flight: BTreeMap::new(),
            targets: Vec::new(),
            health: Health::default(),
            dependencies: Vec::new(),
            resources: (Resources::default(), Timestamp::default()),
            lag_ms: 0,
            based: false,
            zero_ms: None,
            quickest: Quickest::default(),
            ahead: None,
            placeless: Vec::new(),
            placeless_since: Timestamp::default(),
            pods: BTreeSet::new(),
            gauged_ms: 0,
        }
    }

    /// As a recording left it: `zero_ms` is the gate's time (Unix milliseconds) at which its clock was zero.
    #[must_use]
    pub fn recorded(
        number: u32,
        service: &Arc<str>,
        role: Role,
        totals: Totals,
        merged_ms: u64,
        zero_ms: i64,
        gone: Timestamp,
    ) -> Self {
        let hello = Hello {
            agent: Arc::clone(service),
            service: Arc::clone(service),
            role,
            targets: Vec::new(),
            route: Route::all_to(Slot::Blue, 0),
            version: String::new(),
        };
        Self { totals, merged_ms, based: true, zero_ms: Some(zero_ms), gone: Some(gone), ..Self::new(number, &hello) }
    }

    /// Its first report is here: what comes is growth.
    #[must_use]
    pub fn is_based(&self) -> bool {
        self.based
    }

    fn name_pods(&mut self, targets: &[TargetState]) {
        for target in targets {
            if self.pods.len() >= PODS_NAMED_MAX {
                break;
            }
            if !self.pods.contains(&(target.slot, Arc::clone(&target.pod))) {
                self.pods.insert((target.slot, Arc::clone(&target.pod)));
            }
        }
    }

    /// Says whether a report can be true.
    fn accept(&mut self, report: &Report, now: Timestamp) -> Result<(), Dropped> {
        if report.at_ms > AGENT_MS_MAX {
            return Err(Dropped::Future);
        }
        if let Some(zero_ms) = self.zero_ms.filter(|_| self.live || report.replayed) {
            let measured = zero_ms.saturating_add_unsigned(report.at_ms);
            let is_ahead = measured > now.plus_ms(AHEAD_MS_MAX).unix_ms() as i64;
            if is_ahead && !self.live {
                // Known from a former stream, and disproved: the first live report of this one tells it.
                self.zero_ms = None;
            } else if is_ahead && (report.replayed || !self.is_set_forward(report.at_ms, now)) {
                return Err(Dropped::Future);
            } else if !is_ahead && !report.replayed {
                self.ahead = None;
            }
        }
        if self.targets != report.targets {
            self.name_pods(&report.targets);
        }
        let pods = &self.pods;
        let mut last: Option<(Slot, &Arc<str>)> = None;
        let known = |slot: Slot, pod: &Arc<str>| pods.contains(&(slot, Arc::clone(pod)));
        // Keys of one pod come in a row, so most of them need no search.
        for key in report.totals.series.keys() {
            if last != Some((key.slot, &key.pod)) {
                if !known(key.slot, &key.pod) {
                    return Err(Dropped::UnknownPod);
                }
                last = Some((key.slot, &key.pod));
            }
        }
        let rest = report.totals.overdue.keys().map(|key| (key.slot, &key.pod));
        let rest = rest.chain(report.totals.admitted.keys().map(|key| (key.slot, &key.pod)));
        let rest = rest.chain(report.exemplars.iter().map(|known| (known.slot, &known.pod)));
        for (slot, pod) in rest {
            if last != Some((slot, pod)) {
                if !known(slot, pod) {
                    return Err(Dropped::UnknownPod);
                }
                last = Some((slot, pod));
            }
        }
        let room = |held: usize, come: usize, grown: &dyn Fn() -> usize| {
            held + come <= SERIES_MAX || held + grown() <= SERIES_MAX
        };
        let (held, come) = (&self.totals, &report.totals);
        let fits = room(held.series.len(), come.series.len(), &|| {
            come.series.keys().filter(|key| !held.series.contains_key(key)).count()
        }) && room(held.overdue.len(), come.overdue.len(), &|| {
            come.overdue.keys().filter(|key| !held.overdue.contains_key(key)).count()
        });
        if fits { Ok(()) } else { Err(Dropped::TooManySeries) }
    }

    /// A live report from the future: the second in a row that goes with the first is no mistake, but a clock that was set.
    fn is_set_forward(&mut self, at_ms: u64, now: Timestamp) -> bool {
        let zero_ms = now.unix_ms() as i64 - at_ms as i64;
        let former = self.ahead.replace((at_ms, zero_ms));
        let goes_with = |(former_ms, former_zero_ms): (u64, i64)| {
            at_ms > former_ms && zero_ms.abs_diff(former_zero_ms) <= AHEAD_MS_MAX
        };
        let is_set = former.is_some_and(goes_with);
        if is_set {
            (self.zero_ms, self.ahead) = (None, None);
        }
        is_set
    }

    /// A live report of time `at_ms` has arrived: establishes the clock on a new stream, sharpens it on an old one.
    fn live_at(&mut self, at_ms: u64, now: Timestamp) {
        let zero_ms = now.unix_ms() as i64 - at_ms as i64;
        self.quickest = match self.zero_ms {
            Some(_) if self.live => self.quickest.and(zero_ms, now),
            Some(_) | None => Quickest::of(zero_ms, now),
        };
        self.zero_ms = Some(self.quickest.zero_ms());
        self.lag_ms = zero_ms.abs_diff(self.quickest.zero_ms());
        self.live = true;
        self.heard = Some(now);
    }

    fn place(&self, at_ms: u64, now: Timestamp) -> Timestamp {
        let placed = self.zero_ms.map_or(now.unix_ms() as i64, |zero_ms| zero_ms.saturating_add_unsigned(at_ms));
        Timestamp::from_unix_ms(u64::try_from(placed).unwrap_or(0)).min(now)
    }

    fn place_all(&mut self, now: Timestamp, merged: &mut Vec<Merged>) {
        if self.placeless.is_empty() {
            return;
        }
        let mut reports = std::mem::take(&mut self.placeless);
        reports.sort_by_key(|report| report.at_ms);
        for report in reports {
            let placed = self.place(report.at_ms, now);
            merged.push(self.apply(report, placed));
        }
    }

    fn apply(&mut self, report: Report, placed: Timestamp) -> Merged {
        let growth = self.totals.merge(&report.totals);
        // What is replayed has none, and its time would be a guess.
        let exemplars = report.exemplars.into_iter().filter(|_| !report.replayed);
        let place = |exemplar: Exemplar| Example { at: self.place(exemplar.at_ms, placed), exemplar };
        let examples = exemplars.map(place).collect();
        let mut evidence = Vec::new();
        self.see_dependencies(&report.dependencies, &mut evidence);
        self.see_diverted(&growth, &report.health, &mut evidence);
        if !report.replayed {
            self.see_resources(report.resources, placed, &mut evidence);
        }
        let newest = report.at_ms >= self.gauged_ms;
        let mut targets_changed = false;
        if newest {
            self.gauged_ms = report.at_ms;
            self.epoch = self.epoch.max(report.epoch);
            self.in_flight = report.in_flight;
            self.health = report.health;
            if !report.replayed && self.targets != report.targets {
                self.targets = report.targets;
                targets_changed = true;
            }
        }
        self.merged_ms = self.merged_ms.max(report.at_ms);
        let counts = if std::mem::replace(&mut self.based, true) {
            Counted::Growth(growth)
        } else {
            Counted::Base(self.totals.clone())
        };
        Merged { agent: self.number, placed, agent_ms: report.at_ms, counts, targets_changed, evidence, examples }
    }

    /// The slot of the pod it stands beside.
    fn home(&self) -> Option<Slot> {
        match self.role {
            Role::Sidecar(slot) => Some(slot),
            Role::Front => None,
        }
    }

    /// Dependencies that were asked again. What was counted before anybody listened is no evidence, and how it is, is.
    fn see_dependencies(&mut self, dependencies: &[Dependency], evidence: &mut Vec<Evidence>) {
        let (agent, slot, based) = (self.number, self.home(), self.based);
        for newer in dependencies {
            let growth = if let Some(known) = self.dependencies.iter_mut().find(|known| known.name == newer.name) {
                known.merge(newer)
            } else if self.dependencies.len() < DEPENDENCIES_MAX {
                self.dependencies.push(newer.clone());
                newer.clone()
            } else {
                continue;
            };
            if growth.checks > 0 {
                let latency = if based { growth.latency } else { Counts::default() };
                evidence.push(Evidence::Dependency { agent, slot, name: growth.name, up: growth.up, latency });
            }
        }
    }

    /// What a sidecar was to divert, and how much of it did not arrive.
    fn see_diverted(&self, growth: &Totals, health: &Health, evidence: &mut Vec<Evidence>) {
        let Some(home) = self.home().filter(|_| self.based) else { return };
        let away = growth.admitted.iter().filter(|(key, _)| key.slot != home);
        let arrived = away.fold(0_u64, |sum, (_, &admitted)| sum.saturating_add(admitted));
        let undelivered = health.divert_failed.saturating_sub(self.health.divert_failed);
        if arrived > 0 || undelivered > 0 {
            evidence.push(Evidence::Diverted { requests: arrived.saturating_add(undelivered), undelivered });
        }
    }

    fn see_resources(&mut self, resources: Resources, now: Timestamp, evidence: &mut Vec<Evidence>) {
        let Some(slot) = self.home() else { return };
        let (told, at) = &self.resources;
        let differs = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() >= RESOURCE_STEP,
            (a, b) => a.is_some() != b.is_some(),
        };
        let changed =
            differs(told.cpu_ratio, resources.cpu_ratio) || differs(told.memory_ratio, resources.memory_ratio);
        let is_known = resources != Resources::default();
        if !is_known || !(changed || now.since(*at) >= RESOURCES_AGAIN_MS) {
            return;
        }
        self.resources = (resources, now);
        if let Some(target) = self.targets.iter().find(|target| target.slot == slot) {
            let (cpu, memory) = (resources.cpu_ratio, resources.memory_ratio);
            evidence.push(Evidence::Resources { slot, pod: Arc::clone(&target.pod), cpu, memory });
        }
    }

    /// As a gate that comes back needs to know it; `None` while its clock is not established.
    #[must_use]
    pub fn kept(&self, instance: &Arc<str>) -> Option<KeptAgent> {
        Some(KeptAgent {
            agent: self.number,
            instance: Arc::clone(instance),
            role: self.role,
            totals: self.totals.clone(),
            merged_ms: self.merged_ms,
            zero_ms: self.zero_ms.filter(|_| self.based)?,
            gone: self.connection.is_none(),
        })
    }
}

/// Adds a growth to counts: unlike a merge, of different agents or of different times.
pub fn add(counts: &mut Totals, growth: &Totals) {
    for (key, latency) in &growth.series {
        match counts.series.get_mut(key) {
            Some(seen) => {
                seen.last_byte.add(&latency.last_byte);
                seen.first_byte.add(&latency.first_byte);
            }
            None => drop(counts.series.insert(key.clone(), latency.clone())),
        }
    }
    for (key, overdue) in &growth.overdue {
        let seen = counts.overdue.entry(key.clone()).or_default();
        seen.crossed = seen.crossed.saturating_add(overdue.crossed);
        seen.settled = seen.settled.saturating_add(overdue.settled);
    }
    for (key, admitted) in &growth.admitted {
        let seen = counts.admitted.entry(key.clone()).or_default();
        *seen = seen.saturating_add(*admitted);
    }
}

const _: () = assert!(PODS_NAMED_MAX * NAME_BYTES_MAX < 1 << 20, "what an agent may name stays below a mebibyte");
