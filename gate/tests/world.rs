//! A gate with one front agent, in values: no socket, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_gate::api::types::{Moment, Phase, Release};
use blueback_gate::effect::{Effect, Refusal, ToAgent};
use blueback_gate::event::{Command, Connection, Event, Step, Stored};
use blueback_gate::recording::{Frame, Recording};
use blueback_gate::records::{ReleaseRecord, ServiceRecord};
use blueback_gate::{Gate, RulesFile, ServiceConfig, Settings, Timestamp};
use blueback_report::{
    AdmissionKey, Age, Hello, Latency, Outcome, Protocol, Report, Role, Route, SeriesKey, Slot, TargetState, Totals,
    Watch,
};

/// When every world begins, in Unix milliseconds.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;
pub(crate) const SERVICE: &str = "shop";

/// A front agent: what it counts, and what it was told.
pub(crate) struct Front {
    pub(crate) instance: String,
    pub(crate) connection: Connection,
    pub(crate) started: Timestamp,
    pub(crate) totals: Totals,
    pub(crate) route: Route,
    pub(crate) watch: Option<Watch>,
    pub(crate) welcome: Option<u64>,
    pub(crate) acked_ms: u64,
    pub(crate) sent: u64,
    /// Takes routes that it is sent.
    pub(crate) obeys: bool,
}

impl Front {
    pub(crate) fn new(instance: &str, connection: Connection, serving: Slot, started: Timestamp) -> Self {
        Self {
            instance: instance.to_owned(),
            connection,
            started,
            totals: Totals::default(),
            route: Route::all_to(serving, 0),
            watch: None,
            welcome: None,
            acked_ms: 0,
            sent: 0,
            obeys: true,
        }
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            agent: self.instance.as_str().into(),
            service: SERVICE.into(),
            role: Role::Front,
            targets: targets(true),
            route: self.route.clone(),
            version: "1".to_owned(),
        }
    }

    /// Requests that were asked of a slot and answered at once.
    pub(crate) fn count(&mut self, slot: Slot, outcome: Outcome, count: u64) {
        if count == 0 {
            return;
        }
        let pod: Arc<str> = format!("{slot}-{}", self.sent % 2).into();
        self.sent = self.sent.wrapping_add(count);
        let key = SeriesKey {
            slot,
            pod: Arc::clone(&pod),
            route: "".into(),
            protocol: Protocol::Http1,
            age: Age::Current,
            outcome,
        };
        let latency: &mut Latency = self.totals.series.entry(key).or_default();
        latency.last_byte.record_n(3_000, count);
        latency.first_byte.record_n(2_000, count);
        let admission = AdmissionKey { epoch: self.route.epoch, slot, pod, route: "".into() };
        let admitted = self.totals.admitted.entry(admission).or_default();
        *admitted = admitted.saturating_add(count);
    }

    pub(crate) fn report(&self, now: Timestamp) -> Report {
        Report {
            at_ms: now.since(self.started),
            epoch: self.route.epoch,
            totals: self.totals.clone(),
            targets: targets(true),
            ..Report::default()
        }
    }
}

pub(crate) fn targets(blue_ready: bool) -> Vec<TargetState> {
    let pods = [(Slot::Blue, "blue-0"), (Slot::Blue, "blue-1"), (Slot::Green, "green-0"), (Slot::Green, "green-1")];
    pods.map(|(slot, pod)| TargetState { slot, pod: pod.into(), ready: slot == Slot::Green || blue_ready }).into()
}

/// How requests end, by slot and number.
pub(crate) type Fate = fn(Slot, u64) -> Outcome;

pub(crate) fn healthy(_: Slot, _: u64) -> Outcome {
    Outcome::Ok
}

pub(crate) fn green_fails(slot: Slot, _: u64) -> Outcome {
    if slot == Slot::Green { Outcome::ServerError } else { Outcome::Ok }
}

pub(crate) fn both_fail(_: Slot, _: u64) -> Outcome {
    Outcome::ServerError
}

pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) now: Timestamp,
    pub(crate) front: Front,
    pub(crate) fate: Fate,
    /// Requests a second.
    pub(crate) rate: u64,
    /// Steps that executors do not do.
    pub(crate) stuck: Vec<Step>,
    pub(crate) blue_ready: bool,
    pub(crate) frames: BTreeMap<Arc<str>, Vec<Frame>>,
    pub(crate) services: BTreeMap<String, ServiceRecord>,
    pub(crate) releases: BTreeMap<String, ReleaseRecord>,
    pub(crate) published: Option<Arc<Release>>,
    pub(crate) closed: Vec<Connection>,
    carry: f64,
    ticket: u64,
}

impl World {
    /// Blue serves; the front agent has been there for half a minute.
    pub(crate) fn new() -> Self {
        Self::with(RulesFile::default())
    }

    pub(crate) fn with(rules: RulesFile) -> Self {
        let now = Timestamp::from_unix_ms(BEGIN_MS);
        let services = vec![ServiceConfig { name: SERVICE.to_owned(), serving: Slot::Blue }];
        let mut world = Self {
            gate: Gate::new(Settings { rules, services, ..Settings::default() }, now),
            now,
            front: Front::new("front/1", 1, Slot::Blue, now),
            fate: healthy,
            rate: 100,
            stuck: Vec::new(),
            blue_ready: true,
            frames: BTreeMap::new(),
            services: BTreeMap::new(),
            releases: BTreeMap::new(),
            published: None,
            closed: Vec::new(),
            carry: 0.0,
            ticket: 0,
        };
        world.connect();
        world.run(30_000);
        world
    }

    pub(crate) fn connect(&mut self) {
        let hello = self.front.hello();
        self.apply(Event::AgentHello { connection: self.front.connection, hello });
        if self.front.welcome == Some(0) {
            let base = Report { replayed: true, ..self.front.report(self.now) };
            self.apply(Event::AgentReport { connection: self.front.connection, report: base });
        }
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.gate.apply(event, self.now) {
                self.carry_out(effect, &mut events);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, events: &mut Vec<Event>) {
        match effect {
            Effect::Send { connection, message } if connection == self.front.connection => match message {
                ToAgent::Welcome { merged_ms, .. } => self.front.welcome = Some(merged_ms),
                ToAgent::Ack { at_ms } => self.front.acked_ms = at_ms,
                ToAgent::Watch(watch) => self.front.watch = Some(watch),
                ToAgent::Route(route) if self.front.obeys && route.epoch > self.front.route.epoch => {
                    self.front.route = route;
                }
                ToAgent::Route(_) => {}
            },
            // No platform splits the traffic here.
            Effect::ShiftTraffic(_) | Effect::Assign { .. } | Effect::Forget { .. } => {}
            Effect::Send { .. } | Effect::Answer { .. } => {}
            Effect::Close { connection, .. } => self.closed.push(connection),
            Effect::ChangeTraffic(job)
            | Effect::VerifyBaseline(job)
            | Effect::ReleaseCandidate(job)
            | Effect::Announce(job) => {
                events.push(if self.stuck.contains(&job.step) {
                    let error = "the platform does not answer".to_owned();
                    Event::EffectFailed { release: job.release, step: job.step, attempt: 1, error }
                } else {
                    Event::EffectDone { release: job.release, step: job.step, text: String::new() }
                });
            }
            Effect::Record { release, frame } => self.frames.entry(release).or_default().push(frame),
            Effect::SaveService(record) => drop(self.services.insert(record.name.clone(), record)),
            Effect::SaveRelease(record) => drop(self.releases.insert(record.release.id.clone(), *record)),
            Effect::Publish(release) => self.published = Some(release),
        }
    }

    /// Time passes: a tick each 50 ms, traffic and a report each 100 ms.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            self.now = self.now.plus_ms(50);
            if self.now.unix_ms().is_multiple_of(100) {
                self.traffic();
                let mut report = self.front.report(self.now);
                report.targets = targets(self.blue_ready);
                self.apply(Event::AgentReport { connection: self.front.connection, report });
            }
            self.apply(Event::Tick);
        }
    }

    /// Time passes until something holds, or this many milliseconds are over.
    pub(crate) fn run_until(&mut self, ms: u64, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            if holds(self) {
                return true;
            }
            self.run(50);
        }
        holds(self)
    }

    /// What is asked in a tenth of a second, split by the route in force.
    fn traffic(&mut self) {
        for _ in 0..self.rate / 10 {
            self.carry += self.front.route.green_share;
            let slot = if self.carry >= 1.0 - 1e-9 {
                self.carry -= 1.0;
                Slot::Green
            } else {
                Slot::Blue
            };
            let outcome = (self.fate)(slot, self.front.sent);
            self.front.count(slot, outcome, 1);
        }
    }

    pub(crate) fn operate(&mut self, command: Command) -> Result<Arc<Release>, Refusal> {
        self.ticket += 1;
        let ticket = self.ticket;
        let by = Some("ann".to_owned());
        let event = Event::Operator { ticket, service: SERVICE.into(), command, by };
        let mut answer = None;
        let mut events = Vec::new();
        for effect in self.gate.apply(event, self.now) {
            match effect {
                Effect::Answer { ticket: answered, answer: given } if answered == ticket => answer = Some(given),
                effect => self.carry_out(effect, &mut events),
            }
        }
        for event in events {
            self.apply(event);
        }
        answer.expect("each question has an answer")
    }

    pub(crate) fn switch(&mut self, to: Slot) -> Arc<Release> {
        self.operate(Command::Switch { to, share: None }).expect("the switch is possible")
    }

    pub(crate) fn release(&self) -> &Release {
        self.published.as_ref().expect("a release was published")
    }

    pub(crate) fn phase(&self) -> Phase {
        self.release().phase
    }

    /// What has happened, in one word each.
    pub(crate) fn story(&self) -> Vec<&str> {
        self.release().timeline.iter().map(|moment| moment.what.as_str()).collect()
    }

    pub(crate) fn moment(&self, what: &str) -> &Moment {
        let found = self.release().timeline.iter().find(|moment| moment.what == what);
        found.unwrap_or_else(|| panic!("{what} is not in {:#?}", self.release().timeline))
    }

    /// What a store would hold.
    pub(crate) fn stored(&self) -> Stored {
        let recordings = self
            .frames
            .iter()
            .filter_map(|(id, frames)| Some((Arc::clone(id), Recording::from_frames(frames.clone())?)));
        Stored {
            services: self.services.values().cloned().collect(),
            releases: self.releases.values().cloned().collect(),
            recordings: recordings.collect(),
        }
    }
}
