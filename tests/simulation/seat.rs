//! The gate's place: the real event loop with executors and a store in virtual time, and what a kill leaves of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use blueback_gate::api::types as api;
use blueback_gate::clock::Timestamp;
use blueback_gate::effect::{Effect, Job, ToAgent};
use blueback_gate::event::{Command, Event, Step, Stored};
use blueback_gate::gate::{Gate, ServiceConfig, Settings};
use blueback_gate::platform::Snapshot;
use blueback_gate::recording::{Frame, Recording};
use blueback_gate::records::{ReleaseRecord, ServiceRecord};
use blueback_gate::rules_file::RulesFile;
use blueback_report::wire::proto::{self, from_agent};
use blueback_report::{Hello, Report, Slot, Totals};
use prost::Message as _;

use crate::agent::Agent;
use crate::random::Random;
use crate::world::SERVICE;

/// Unix milliseconds at which virtual time begins.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// Frames that nothing was decided on wait this long for company before they are stored, in microseconds.
const STORED_AFTER_US: u64 = 500_000;

/// Something for an agent.
pub(crate) struct Said {
    pub(crate) stream: u64,
    pub(crate) message: proto::ToAgent,
    pub(crate) is_ack: bool,
}

/// What outlives a gate.
#[derive(Default)]
struct Store {
    services: BTreeMap<String, ServiceRecord>,
    releases: BTreeMap<String, ReleaseRecord>,
    frames: BTreeMap<Arc<str>, Vec<Frame>>,
}

pub(crate) struct Seat {
    gate: Gate,
    random: Random,
    store: Store,
    /// Frames not stored yet, and since when.
    waiting: Vec<(Arc<str>, Frame)>,
    waiting_since_us: u64,
    /// Steps that executors are at: when they are done, and whether they will have failed.
    jobs: VecDeque<(u64, Job, bool)>,
    release: Option<Arc<api::Release>>,
    serving: Slot,
    rules: RulesFile,
    /// A switch waits for its answer.
    is_asked: bool,
    /// When the switch was accepted.
    pub(crate) switched_us: Option<u64>,
    /// The platform was asked to set the traffic back, and has.
    pub(crate) is_set_back: bool,
}

fn at(now_us: u64) -> Timestamp {
    Timestamp::from_unix_ms(EPOCH_MS + now_us / 1_000)
}

/// Rules that let a healthy release pass within a minute of virtual time.
fn rules(latency_ms: u64) -> RulesFile {
    let slow = format!("latency p99 > {latency_ms}ms");
    let revert_when = ["error rate > 5%", "error rate > 5% for 1m", "error rate worse than blue", &slow];
    RulesFile {
        revert_when: Some(revert_when.map(str::to_owned).to_vec()),
        pass_when: Some(vec!["error rate < 2%".to_owned()]),
        bake: Some("20s".to_owned()),
        decide_within: Some("40s".to_owned()),
        ..RulesFile::default()
    }
}

impl Seat {
    pub(crate) fn new(serving: Slot, latency_ms: u64, seed: u64) -> Self {
        let rules = rules(latency_ms);
        Self {
            gate: gate(serving, &rules, 0),
            rules,
            random: Random::new(seed),
            store: Store::default(),
            waiting: Vec::new(),
            waiting_since_us: 0,
            jobs: VecDeque::new(),
            release: None,
            serving,
            is_asked: false,
            switched_us: None,
            is_set_back: false,
        }
    }

    fn apply(&mut self, event: Event, now_us: u64) -> Vec<Said> {
        let effects = self.gate.apply(event, at(now_us));
        let mut said = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { connection, message } => {
                    let is_ack = matches!(message, ToAgent::Ack { .. });
                    said.push(Said { stream: connection, message: (&message).into(), is_ack });
                }
                Effect::Record { release, frame } => {
                    if self.waiting.is_empty() {
                        self.waiting_since_us = now_us;
                    }
                    self.waiting.push((release, frame));
                }
                Effect::SaveService(record) => {
                    self.write();
                    self.store.services.insert(record.name.clone(), record);
                }
                Effect::SaveRelease(record) => {
                    self.write();
                    self.store.releases.insert(record.release.id.clone(), *record);
                }
                Effect::ChangeTraffic(job)
                | Effect::VerifyBaseline(job)
                | Effect::ReleaseCandidate(job)
                | Effect::Announce(job) => {
                    if job.step == Step::Switched {
                        self.store.services.insert(job.record.name.clone(), job.record.clone());
                    }
                    let fails = self.random.chance(0.2);
                    self.jobs.push_back((now_us + self.random.between(10_000, 300_000), job, fails));
                }
                Effect::Publish(release) => self.release = Some(release),
                Effect::Answer { answer, .. } => {
                    self.is_asked = false;
                    self.switched_us = answer.is_ok().then_some(now_us);
                }
                // No platform splits the traffic here.
                Effect::ShiftTraffic(_) | Effect::Assign { .. } | Effect::Forget { .. } => (),
                Effect::Close { .. } => (),
            }
        }
        said
    }

    fn write(&mut self) {
        for (release, frame) in self.waiting.drain(..) {
            self.store.frames.entry(release).or_default().push(frame);
        }
    }

    /// Bytes came from an agent.
    pub(crate) fn heard(&mut self, stream: u64, bytes: &[u8], now_us: u64) -> Vec<Said> {
        let Ok(proto::FromAgent { message: Some(message) }) = proto::FromAgent::decode(bytes) else {
            // Dropped by the intake: it never reaches the loop.
            return Vec::new();
        };
        let event = match message {
            from_agent::Message::Hello(hello) => match Hello::try_from(hello) {
                Ok(hello) => Event::AgentHello { connection: stream, hello },
                Err(invalid) => Event::AgentInvalid { connection: stream, invalid },
            },
            from_agent::Message::Report(report) => match Report::try_from(report) {
                Ok(report) => Event::AgentReport { connection: stream, report },
                Err(invalid) => Event::AgentInvalid { connection: stream, invalid },
            },
        };
        self.apply(event, now_us)
    }

    pub(crate) fn ended(&mut self, stream: u64, now_us: u64) -> Vec<Said> {
        self.apply(Event::AgentGone { connection: stream }, now_us)
    }

    pub(crate) fn tick(&mut self, now_us: u64) -> Vec<Said> {
        if !self.waiting.is_empty() && now_us >= self.waiting_since_us + STORED_AFTER_US {
            self.write();
        }
        let mut said = Vec::new();
        while let Some((_, job, fails)) = self.jobs.pop_front_if(|(due_us, _, _)| *due_us <= now_us) {
            let (release, step) = (job.release.clone(), job.step);
            let event = if fails {
                self.jobs.push_back((now_us + 200_000, job, false));
                Event::EffectFailed { release, step, attempt: 1, error: "the simulated executor failed".to_owned() }
            } else {
                self.is_set_back |= step == Step::Switched;
                Event::EffectDone { release, step, text: String::new() }
            };
            said.extend(self.apply(event, now_us));
        }
        said.extend(self.apply(Event::Tick, now_us));
        said
    }

    /// Asks for the switch, unless it was accepted or waits for its answer.
    pub(crate) fn switch(&mut self, to: Slot, share: f64, now_us: u64) -> Vec<Said> {
        if self.is_asked || self.switched_us.is_some() {
            return Vec::new();
        }
        self.is_asked = true;
        let command = Command::Switch { to, share: Some(share) };
        let by = Some("simulation".to_owned());
        self.apply(Event::Operator { ticket: 1, service: SERVICE.into(), command, by }, now_us)
    }

    /// The platform was seen like this.
    pub(crate) fn saw(&mut self, snapshot: Snapshot, now_us: u64) -> Vec<Said> {
        let snapshot = Box::new(Snapshot { rules: self.rules.clone(), ..snapshot });
        self.apply(Event::Platform { service: SERVICE.into(), snapshot }, now_us)
    }

    /// The gate is gone, with all that was not stored.
    pub(crate) fn kill(&mut self) {
        self.waiting.clear();
        self.jobs.clear();
        self.is_asked = false;
    }

    /// A new gate starts from the store.
    pub(crate) fn restore(&mut self, now_us: u64) -> Vec<Said> {
        self.gate = gate(self.serving, &self.rules, now_us);
        let stored = self.stored();
        self.apply(Event::Restore(Box::new(stored)), now_us)
    }

    fn stored(&self) -> Stored {
        let recording = |(release, frames): (&Arc<str>, &Vec<Frame>)| {
            // Through its bytes, as a store keeps it.
            let bytes = blueback_gate::recording::encode(frames.iter().cloned());
            let recording = Recording::decode(&bytes).expect("the recording was written by the gate");
            (release.clone(), recording)
        };
        Stored {
            services: self.store.services.values().cloned().collect(),
            releases: self.store.releases.values().cloned().collect(),
            recordings: self.store.frames.iter().map(recording).collect(),
        }
    }

    /// The release as everybody sees it.
    pub(crate) fn view(&self) -> Option<&Arc<api::Release>> {
        self.release.as_ref()
    }

    /// Evidence of the release, rule by rule, to the last bit.
    pub(crate) fn evidence(&self, now_us: u64) -> Vec<String> {
        evidence(&self.gate, self.release.as_deref(), now_us)
    }

    /// The same of a gate that would start from the store now.
    pub(crate) fn evidence_restored(&mut self, now_us: u64) -> Vec<String> {
        self.write();
        let mut other = gate(self.serving, &self.rules, now_us);
        other.apply(Event::Restore(Box::new(self.stored())), at(now_us));
        evidence(&other, self.release.as_deref(), now_us)
    }

    /// Holds what the gate has merged against what the agents have counted.
    pub(crate) fn compare<'a>(
        &self,
        agents: impl Iterator<Item = &'a Agent>,
        dead: &[(Arc<str>, Totals)],
    ) -> Vec<String> {
        let mut broken = Vec::new();
        for agent in agents {
            let Some(known) = self.gate.counted(&agent.instance) else {
                broken.push(format!("{} is not known", agent.instance));
                continue;
            };
            if known.series != agent.totals.series || known.overdue != agent.totals.overdue {
                broken.push(format!(
                    "{} has counted {} requests, the gate {}",
                    agent.instance,
                    agent.totals.ended(),
                    known.ended()
                ));
            }
        }
        for (instance, counted) in dead {
            let more = self.gate.counted(instance).is_some_and(|known| !counted.clone().merge(known).series.is_empty());
            if more {
                broken.push(format!("the gate knows of requests that {instance} never counted"));
            }
        }
        broken
    }
}

fn gate(serving: Slot, rules: &RulesFile, now_us: u64) -> Gate {
    let services = vec![ServiceConfig { name: SERVICE.to_owned(), serving }];
    Gate::new(Settings { rules: rules.clone(), services, ..Settings::default() }, at(now_us))
}

fn evidence(gate: &Gate, release: Option<&api::Release>, now_us: u64) -> Vec<String> {
    let evidence = release.and_then(|release| gate.evidence(&release.id, at(now_us)));
    let criteria = evidence.into_iter().flat_map(|evidence| evidence.criteria);
    criteria
        .map(|one| {
            let bits = one.evidence.map(f64::to_bits);
            format!("{} {}: {:?} {:?} {bits:x?} {:?}", one.list, one.rule, one.candidate, one.baseline, one.fired_ms)
        })
        .collect()
}
