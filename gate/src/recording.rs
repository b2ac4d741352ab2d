//! What the judge of a release saw, in order: enough to bring another judge to the same verdict, bit for bit.
//!
//! A recording is a sequence of length-delimited protobuf frames. The first one says how the release began; each other
//! one is an observation, or a run of times at which the judge deliberated. What an agent's counts grew by is kept, not
//! the reports: it is what was judged, and the numbers are small. Bases of agents are kept as well, so that a restarted
//! gate knows every count it had merged and an agent's next report is growth again.
//!
//! The live gate and a replay drive the judge through the same function, so they cannot drift apart.

mod evidence;
mod kept;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use blueback_judge::{Judge, Observation, PodState, Rules, Start};
use blueback_report::wire::proto;
use blueback_report::{AdmissionKey, Report, Role, SERIES_MAX, Slot, Totals};
use prost::Message as _;

use self::evidence::WireEvidence;
use self::kept::WireKept;
pub use self::kept::{Kept, KeptAgent};
use crate::evidence::Evidence;
use crate::records::Vantage;
use crate::rules_file::RulesFile;

/// Version of the form.
const VERSION: u32 = 1;

/// Something at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Milliseconds since the release began; never falls within a recording.
    pub at_ms: u64,
    /// What.
    pub entry: Entry,
}

/// What the judge was told, or what is needed to go on telling it.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The release began. Always the first entry, and only that.
    Began(Box<Began>),
    /// An agent of the vantage is heard of: what it had counted before is known, and no evidence.
    Agent(Box<Known>),
    /// An agent of the vantage reported.
    Growth(Box<Growth>),
    /// An agent is gone.
    Gone {
        /// Its number.
        agent: u32,
    },
    /// A route was sent.
    Share {
        /// Its epoch.
        epoch: u64,
        /// The candidate's share in it.
        candidate_share: f64,
    },
    /// The operator wants another share.
    Target {
        /// Which.
        share: f64,
    },
    /// The pods changed.
    Pods(Vec<PodState>),
    /// A signal was raised.
    Signal {
        /// Its name.
        name: String,
        /// What happened.
        why: String,
    },
    /// A person holds the release.
    Hold {
        /// Why.
        why: String,
    },
    /// A person lets it go on.
    Resume,
    /// The judge deliberated.
    Deliberated,
    /// Something was seen that is no count of requests.
    Evidence(Evidence),
    /// Everything up to here in one piece: a gate that comes back goes on from the last one.
    Kept(Box<Kept>),
}

/// How a release began.
#[derive(Clone, Debug, PartialEq)]
pub struct Began {
    /// Its id.
    pub release: String,
    /// Its service.
    pub service: String,
    /// The slot that is new.
    pub candidate: Slot,
    /// Its share, as the operator wants it.
    pub target_share: f64,
    /// When, in Unix milliseconds.
    pub started_ms: u64,
    /// The rules, in words.
    pub rules: RulesFile,
    /// Whose counts are evidence.
    pub vantage: Vantage,
    /// The pods.
    pub pods: Vec<PodState>,
    /// Growth of each second before, oldest first.
    pub history: Vec<Totals>,
}

impl Began {
    /// What a judge starts from.
    #[must_use]
    pub fn start(&self) -> Start {
        Start {
            candidate: self.candidate,
            target_share: self.target_share,
            pods: self.pods.clone(),
            history: self.history.clone(),
        }
    }
}

/// An agent and what it had counted when it was first heard of.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its number in this recording.
    pub agent: u32,
    /// Its instance.
    pub instance: Arc<str>,
    /// Where it stands.
    pub role: Role,
    /// The time of that, by its own clock.
    pub at_ms: u64,
    /// What it had counted.
    pub totals: Totals,
}

/// What an agent's counts grew by.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Its number.
    pub agent: u32,
    /// Where it stands.
    pub role: Role,
    /// The epoch in force there.
    pub epoch: u64,
    /// The report's time, by the agent's clock.
    pub agent_ms: u64,
    /// The growth.
    pub totals: Totals,
    /// Requests still unanswered.
    pub in_flight: BTreeMap<AdmissionKey, u64>,
}

impl Entry {
    /// Tells the judge.
    pub fn drive(&self, at_ms: u64, judge: &mut Judge) {
        let observation = match self {
            Self::Began(_) | Self::Agent(_) | Self::Kept(_) => return,
            Self::Evidence(evidence) => return evidence.drive(at_ms, judge),
            Self::Deliberated => {
                judge.deliberate(at_ms);
                return;
            }
            Self::Growth(growth) => Observation::Growth {
                agent: growth.agent,
                role: growth.role,
                epoch: growth.epoch,
                totals: &growth.totals,
                in_flight: &growth.in_flight,
            },
            Self::Gone { agent } => Observation::AgentGone { agent: *agent },
            Self::Share { epoch, candidate_share } => {
                Observation::Share { epoch: *epoch, candidate_share: *candidate_share }
            }
            Self::Target { share } => Observation::Target { share: *share },
            Self::Pods(pods) => Observation::Pods { pods },
            Self::Signal { name, why } => Observation::Signal { name, why },
            Self::Hold { why } => Observation::Hold { why },
            Self::Resume => Observation::Resume,
        };
        judge.observe(at_ms, observation);
    }
}

/// A whole recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// How the release began.
    pub began: Began,
    /// What followed.
    pub frames: Vec<Frame>,
}

impl Recording {
    /// From frames of which the first says how the release began. `None` when it does not.
    #[must_use]
    pub fn from_frames(mut frames: Vec<Frame>) -> Option<Self> {
        if !matches!(frames.first(), Some(Frame { entry: Entry::Began(_), .. })) {
            return None;
        }
        match frames.remove(0).entry {
            Entry::Began(began) => Some(Self { began: *began, frames }),
            _ => None,
        }
    }

    /// Reads what [`encode`] wrote. A last frame that is cut off is left out: it is what a killed gate leaves.
    ///
    /// # Errors
    /// When it does not begin with a beginning of a known version, or a frame in the middle is not one.
    pub fn decode(mut bytes: &[u8]) -> anyhow::Result<Self> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let mut rest = bytes;
            let Ok(length) = prost::decode_length_delimiter(&mut rest) else { break };
            if rest.len() < length {
                break;
            }
            let wire = WireFrame::decode(&rest[..length]).with_context(|| format!("frame {}", frames.len()))?;
            from_wire(wire, &mut frames).with_context(|| format!("frame {}", frames.len()))?;
            bytes = &rest[length..];
        }
        Self::from_frames(frames).context("the recording has no beginning")
    }

    /// The frames that follow what was kept last, and that.
    #[must_use]
    pub fn last_kept(&self) -> (Option<&Kept>, &[Frame]) {
        let kept = self.frames.iter().enumerate().rev().find_map(|(place, frame)| match &frame.entry {
            Entry::Kept(kept) => Some((&**kept, place + 1)),
            _ => None,
        });
        kept.map_or((None, &self.frames[..]), |(kept, next)| (Some(kept), &self.frames[next..]))
    }

    /// The judge as it was when the recording ended: what was kept last, and what came after it. Where nothing was kept, or by
    /// another version of the judge, all of it is played to one of these rules.
    #[must_use]
    pub fn resume(&self, rules: Rules) -> Judge {
        let (kept, rest) = self.last_kept();
        let Some(Ok(mut judge)) = kept.map(Kept::judge) else { return self.replay(rules) };
        for frame in rest {
            frame.entry.drive(frame.at_ms, &mut judge);
        }
        judge
    }

    /// A judge of these rules that has seen all of it.
    #[must_use]
    pub fn replay(&self, rules: Rules) -> Judge {
        let mut judge = Judge::new(rules, self.began.start());
        for frame in &self.frames {
            frame.entry.drive(frame.at_ms, &mut judge);
        }
        judge
    }
}

/// Writes frames; what several calls wrote may be put behind each other.
#[must_use]
pub fn encode(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |frame: &WireFrame| {
        frame.encode_length_delimited(&mut bytes).expect("a vector has room for every message");
    };
    let mut run: Option<(WireFrame, u64)> = None;
    for Frame { at_ms, entry } in frames {
        if entry == Entry::Deliberated {
            if let Some((WireFrame { what: Some(What::Deliberated(times)), .. }, last)) = &mut run {
                times.gaps.push(at_ms.saturating_sub(*last));
                *last = at_ms;
            } else {
                let first = WireFrame { at_ms, what: Some(What::Deliberated(WireDeliberated::default())) };
                run = Some((first, at_ms));
            }
            continue;
        }
        if let Some((frame, _)) = run.take() {
            write(&frame);
        }
        write(&WireFrame { at_ms, what: Some(entry_to_wire(entry)) });
    }
    if let Some((frame, _)) = run {
        write(&frame);
    }
    bytes
}

/// Cuts a piece that begins with what was kept into that frame and the rest.
#[must_use]
pub fn split_kept(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    /// Field 13 as a message, and field 1 as a number.
    const KEPT_KEY: u8 = 13 << 3 | 2;
    const TIME_KEY: u8 = 1 << 3;
    let mut rest = piece;
    let length = prost::decode_length_delimiter(&mut rest).ok()?;
    let mut content = rest.get(..length)?;
    if content.first() == Some(&TIME_KEY) {
        content = &content[1..];
        prost::encoding::decode_varint(&mut content).ok()?;
    }
    (content.first() == Some(&KEPT_KEY)).then(|| piece.split_at(piece.len() - rest.len() + length))
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireFrame {
    #[prost(uint64, tag = "1")]
    at_ms: u64,
    #[prost(oneof = "What", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "2")]
    Began(WireBegan),
    #[prost(message, tag = "3")]
    Agent(WireAgent),
    #[prost(message, tag = "4")]
    Growth(WireGrowth),
    #[prost(uint32, tag = "5")]
    Gone(u32),
    #[prost(message, tag = "6")]
    Share(WireShare),
    #[prost(double, tag = "7")]
    Target(f64),
    #[prost(message, tag = "8")]
    Pods(WirePods),
    #[prost(message, tag = "9")]
    Signal(WireSignal),
    #[prost(string, tag = "10")]
    Hold(String),
    #[prost(bool, tag = "11")]
    Resume(bool),
    #[prost(message, tag = "12")]
    Deliberated(WireDeliberated),
    #[prost(message, tag = "13")]
    Kept(WireKept),
    #[prost(message, tag = "14")]
    Evidence(WireEvidence),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireBegan {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    release: String,
    #[prost(string, tag = "3")]
    service: String,
    #[prost(enumeration = "proto::Slot", tag = "4")]
    candidate: i32,
    #[prost(double, tag = "5")]
    target_share: f64,
    #[prost(uint64, tag = "6")]
    started_ms: u64,
    /// JSON: the words are for people, and a recording is also read by later versions.
    #[prost(string, tag = "7")]
    rules: String,
    #[prost(bool, tag = "8")]
    front: bool,
    #[prost(message, repeated, tag = "9")]
    pods: Vec<proto::Target>,
    #[prost(message, repeated, tag = "10")]
    history: Vec<WireTotals>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAgent {
    #[prost(uint32, tag = "1")]
    agent: u32,
    #[prost(string, tag = "2")]
    instance: String,
    #[prost(enumeration = "proto::Slot", tag = "3")]
    sidecar_of: i32,
    #[prost(uint64, tag = "4")]
    at_ms: u64,
    #[prost(message, optional, tag = "5")]
    totals: Option<WireTotals>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireGrowth {
    #[prost(uint32, tag = "1")]
    agent: u32,
    #[prost(enumeration = "proto::Slot", tag = "2")]
    sidecar_of: i32,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    agent_ms: u64,
    #[prost(message, optional, tag = "5")]
    totals: Option<WireTotals>,
    /// As admissions.
    #[prost(message, optional, tag = "6")]
    in_flight: Option<WireTotals>,
}

/// Counts, as the reports that carry them; several when there are more series than one report may have.
#[derive(Clone, PartialEq, prost::Message)]
struct WireTotals {
    #[prost(message, repeated, tag = "1")]
    parts: Vec<proto::Report>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireShare {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(double, tag = "2")]
    candidate_share: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePods {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<proto::Target>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSignal {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    why: String,
}

/// Times after the frame's own, each as the distance from the one before.
#[derive(Clone, PartialEq, prost::Message)]
struct WireDeliberated {
    #[prost(uint64, repeated, tag = "1")]
    gaps: Vec<u64>,
}

fn slot_to_wire(slot: Slot) -> i32 {
    match slot {
        Slot::Blue => proto::Slot::Blue as i32,
        Slot::Green => proto::Slot::Green as i32,
    }
}

fn slot_from_wire(slot: i32) -> anyhow::Result<Slot> {
    match proto::Slot::try_from(slot) {
        Ok(proto::Slot::Blue) => Ok(Slot::Blue),
        Ok(proto::Slot::Green) => Ok(Slot::Green),
        _ => bail!("slot {slot} is neither blue nor green"),
    }
}

fn role_to_wire(role: Role) -> i32 {
    match role {
        Role::Front => proto::Slot::Unspecified as i32,
        Role::Sidecar(slot) => slot_to_wire(slot),
    }
}

fn role_from_wire(role: i32) -> anyhow::Result<Role> {
    if role == proto::Slot::Unspecified as i32 { Ok(Role::Front) } else { slot_from_wire(role).map(Role::Sidecar) }
}

fn pods_to_wire(pods: &[PodState]) -> Vec<proto::Target> {
    pods.iter()
        .map(|pod| proto::Target { slot: slot_to_wire(pod.slot), pod: pod.pod.to_string(), ready: pod.ready })
        .collect()
}

fn pods_from_wire(pods: Vec<proto::Target>) -> anyhow::Result<Vec<PodState>> {
    pods.into_iter()
        .map(|pod| Ok(PodState { slot: slot_from_wire(pod.slot)?, pod: pod.pod.into(), ready: pod.ready }))
        .collect()
}

fn totals_to_wire(totals: Totals) -> WireTotals {
    let mut whole = proto::Report::from(&Report { totals, ..Report::default() });
    whole.health = None;
    // A report's requests settle only after they crossed, but a growth may hold the settling alone. Their sum is never
    // less than the part, so that is what is written.
    for overdue in &mut whole.overdue {
        overdue.crossed = overdue.crossed.saturating_add(overdue.settled);
    }
    let mut parts = vec![];
    loop {
        let part = proto::Report {
            series: whole.series.split_off(whole.series.len().saturating_sub(SERIES_MAX)),
            overdue: whole.overdue.split_off(whole.overdue.len().saturating_sub(SERIES_MAX)),
            admissions: whole.admissions.split_off(whole.admissions.len().saturating_sub(SERIES_MAX)),
            ..proto::Report::default()
        };
        parts.push(part);
        if whole.series.is_empty() && whole.overdue.is_empty() && whole.admissions.is_empty() {
            return WireTotals { parts };
        }
    }
}

fn totals_from_wire(wire: Option<WireTotals>) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    for part in wire.unwrap_or_default().parts {
        let mut part = Report::try_from(part)?.totals;
        for overdue in part.overdue.values_mut() {
            // The wire does not take more settled than crossed.
            overdue.crossed = overdue.crossed.saturating_sub(overdue.settled);
        }
        totals.series.append(&mut part.series);
        totals.overdue.append(&mut part.overdue);
        totals.admitted.append(&mut part.admitted);
    }
    Ok(totals)
}

fn entry_to_wire(entry: Entry) -> What {
    match entry {
        Entry::Began(began) => What::Began(WireBegan {
            version: VERSION,
            release: began.release,
            service: began.service,
            candidate: slot_to_wire(began.candidate),
            target_share: began.target_share,
            started_ms: began.started_ms,
            rules: serde_json::to_string(&began.rules).expect("lists of strings are JSON"),
            front: began.vantage == Vantage::Front,
            pods: pods_to_wire(&began.pods),
            history: began.history.into_iter().map(totals_to_wire).collect(),
        }),
        Entry::Agent(known) => What::Agent(WireAgent {
            agent: known.agent,
            instance: known.instance.to_string(),
            sidecar_of: role_to_wire(known.role),
            at_ms: known.at_ms,
            totals: Some(totals_to_wire(known.totals)),
        }),
        Entry::Growth(growth) => {
            let Growth { agent, role, epoch, agent_ms, totals, in_flight } = *growth;
            let in_flight = Totals { admitted: in_flight, ..Totals::default() };
            What::Growth(WireGrowth {
                agent,
                sidecar_of: role_to_wire(role),
                epoch,
                agent_ms,
                totals: (!totals.is_empty()).then(|| totals_to_wire(totals)),
                in_flight: (!in_flight.is_empty()).then(|| totals_to_wire(in_flight)),
            })
        }
        Entry::Gone { agent } => What::Gone(agent),
        Entry::Share { epoch, candidate_share } => What::Share(WireShare { epoch, candidate_share }),
        Entry::Target { share } => What::Target(share),
        Entry::Pods(pods) => What::Pods(WirePods { pods: pods_to_wire(&pods) }),
        Entry::Signal { name, why } => What::Signal(WireSignal { name, why }),
        Entry::Hold { why } => What::Hold(why),
        Entry::Resume => What::Resume(true),
        Entry::Deliberated => What::Deliberated(WireDeliberated::default()),
        Entry::Evidence(evidence) => What::Evidence(evidence.into()),
        Entry::Kept(kept) => What::Kept((*kept).into()),
    }
}

fn from_wire(frame: WireFrame, frames: &mut Vec<Frame>) -> anyhow::Result<()> {
    let at_ms = frame.at_ms;
    let entry = match frame.what.context("a frame without content")? {
        What::Began(began) => {
            ensure!(began.version == VERSION, "version {} of recordings, {VERSION} is known", began.version);
            Entry::Began(Box::new(Began {
                release: began.release,
                service: began.service,
                candidate: slot_from_wire(began.candidate)?,
                target_share: began.target_share,
                started_ms: began.started_ms,
                rules: serde_json::from_str(&began.rules).context("rules")?,
                vantage: if began.front { Vantage::Front } else { Vantage::Sidecars },
                pods: pods_from_wire(began.pods)?,
                history: began
                    .history
                    .into_iter()
                    .map(|second| totals_from_wire(Some(second)))
                    .collect::<Result<_, _>>()?,
            }))
        }
        What::Agent(known) => Entry::Agent(Box::new(Known {
            agent: known.agent,
            instance: known.instance.into(),
            role: role_from_wire(known.sidecar_of)?,
            at_ms: known.at_ms,
            totals: totals_from_wire(known.totals)?,
        })),
        What::Growth(growth) => Entry::Growth(Box::new(Growth {
            agent: growth.agent,
            role: role_from_wire(growth.sidecar_of)?,
            epoch: growth.epoch,
            agent_ms: growth.agent_ms,
            totals: totals_from_wire(growth.totals)?,
            in_flight: totals_from_wire(growth.in_flight)?.admitted,
        })),
        What::Gone(agent) => Entry::Gone { agent },
        What::Share(share) => Entry::Share { epoch: share.epoch, candidate_share: share.candidate_share },
        What::Target(share) => Entry::Target { share },
        What::Pods(pods) => Entry::Pods(pods_from_wire(pods.pods)?),
        What::Signal(signal) => Entry::Signal { name: signal.name, why: signal.why },
        What::Hold(why) => Entry::Hold { why },
        What::Resume(_) => Entry::Resume,
        What::Evidence(evidence) => Entry::Evidence(evidence.try_into()?),
        What::Kept(kept) => Entry::Kept(Box::new(kept.try_into()?)),
        What::Deliberated(times) => {
            let mut at_ms = at_ms;
            frames.push(Frame { at_ms, entry: Entry::Deliberated });
            for gap in times.gaps {
                at_ms = at_ms.saturating_add(gap);
                frames.push(Frame { at_ms, entry: Entry::Deliberated });
            }
            return Ok(());
        }
    };
    frames.push(Frame { at_ms, entry });
    Ok(())
}
