//! A release as a trace: one span from the switch to its end, below it one for each phase, and below the way back one for each step.
//!
//! Everything is derived from the release as everybody sees it, so it is a pure function, and any gate comes to the same spans: ids
//! are hashes of what they stand for, not random. A gate that takes over goes on in the same trace, and what is sent twice has
//! the same id both times. OpenTelemetry's SDK has no place for that: its spans are begun and ended by the process that lives
//! through them, and a release may outlive its gate.
//!
//! Only what is over is a span. A phase ends when the next one begins, so that its span can be sent hours before the release's own.

#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::api::types as api;
use crate::event::Step;

/// Most links of a span; further ones are left out.
pub const LINKS_MAX: usize = 32;

/// The id of a release's trace. Shown as 32 hexadecimal digits, as in `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// Of a release by its id and its beginning: a store that was lost counts its releases from one again.
    #[must_use]
    pub fn new(release: &str, started_ms: u64) -> Self {
        Self(hash(&[b"blueback trace", release.as_bytes(), &started_ms.to_be_bytes()]))
    }

    /// Of a release.
    #[must_use]
    pub fn of(release: &api::Release) -> Self {
        Self::new(&release.id, release.started_ms)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The id of a span. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl SpanId {
    /// The span of the release as a whole.
    #[must_use]
    pub fn root(trace: TraceId) -> Self {
        Self::new(trace, "release", 0, 0)
    }

    fn new(trace: TraceId, name: &str, place: usize, at_ms: u64) -> Self {
        Self(hash(&[&trace.0, name.as_bytes(), &(place as u64).to_be_bytes(), &at_ms.to_be_bytes()]))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first bytes of SHA-256. Each part is preceded by its length, so that no two lists of parts are the same bytes.
fn hash<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    let digest = digest(&SHA256, &bytes);
    let mut id = [0; N];
    id.copy_from_slice(&digest.as_ref()[..N]);
    id
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Real(f64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Attributes by name.
pub type Attributes = Vec<(&'static str, Value)>;

/// How what a span stands for went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// There is nothing to be said about it.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Not well, for this reason.
    Error(String),
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// When.
    pub at_ms: u64,
    /// What, as in the timeline.
    pub name: String,
    /// The story, the rule, what was measured, and what is allowed.
    pub attributes: Attributes,
}

/// Another trace that shows what is meant: a request that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its trace.
    pub trace: TraceId,
    /// Its span.
    pub span: SpanId,
    /// What it shows.
    pub attributes: Attributes,
}

/// A part of a release that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The release's trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of; none for the release as a whole.
    pub parent: Option<SpanId>,
    /// What it stands for.
    pub name: String,
    /// When it began.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
    /// What is known about it.
    pub attributes: Attributes,
    /// What happened meanwhile.
    pub events: Vec<Happening>,
    /// Traces that show what is meant.
    pub links: Vec<Link>,
    /// How it went.
    pub status: Status,
}

/// What each step of a revert is called in a trace, and the word of the timeline that says that it is done.
const ACTIONS: [(Step, &str, &str); 5] = [
    (Step::Diverted, "divert", "diverted"),
    (Step::Switched, "change traffic", "reverted"),
    (Step::Verified, "verify baseline", "verified"),
    (Step::Released, "release candidate", "released"),
    (Step::Announced, "announce", "announced"),
];

/// The spans of all that is over in a release.
#[must_use]
pub fn spans(release: &api::Release) -> Vec<Span> {
    let trace = TraceId::of(release);
    let root = SpanId::root(trace);
    let mut spans = Vec::new();
    let turns = turns(release);
    for (number, turn) in turns.iter().enumerate() {
        let next = turns.get(number + 1);
        let id = SpanId::new(trace, turn.name, turn.place, turn.at_ms);
        let going_back = turn.name == REVERTING;
        if going_back {
            spans.extend(actions(release, trace, id, turn));
        }
        let Some(end_ms) = next.map(|next| next.at_ms).or(release.ended_ms) else { continue };
        let last = next.map_or(release.timeline.len(), |next| next.place);
        let moments = release.timeline.iter().take(last).skip(turn.place);
        let events = moments.filter(|moment| !(going_back && action_of(moment).is_some()));
        spans.push(Span {
            trace,
            id,
            parent: Some(root),
            name: turn.name.to_owned(),
            start_ms: turn.at_ms,
            end_ms: end_ms.max(turn.at_ms),
            attributes: of_release(release),
            events: events.map(happening).collect(),
            links: Vec::new(),
            status: if going_back { way_back(release) } else { Status::Unset },
        });
    }
    if let Some(end_ms) = release.ended_ms {
        spans.push(whole(release, trace, end_ms));
    }
    spans
}

/// Whether a span is to lead to requests that show what the release did: that of the whole, and that of its way back.
#[must_use]
pub fn takes_links(span: &Span) -> bool {
    span.parent.is_none() || span.name == REVERTING
}

/// Links to example traces. Those of requests that failed by the application's fault come first: they are what was reverted for.
#[must_use]
pub fn links(examples: &[api::ExampleTrace]) -> Vec<Link> {
    let is_fault = |example: &&api::ExampleTrace| matches!(&*example.outcome, "server_error" | "unreachable");
    let faults = examples.iter().filter(is_fault);
    let others = examples.iter().filter(|example| !is_fault(example));
    faults.chain(others).filter_map(link).take(LINKS_MAX).collect()
}

fn link(example: &api::ExampleTrace) -> Option<Link> {
    let mut attributes = vec![
        ("blueback.slot", Value::from(slot(example.slot))),
        ("blueback.outcome", Value::from(&*example.outcome)),
        ("blueback.latency_ms", Value::from(example.latency_ms)),
    ];
    attributes.extend(example.status.map(|status| ("http.response.status_code", Value::from(u64::from(status)))));
    Some(Link { trace: TraceId(bytes(&example.trace_id)?), span: SpanId(bytes(&example.span_id)?), attributes })
}

/// The bytes that hexadecimal digits stand for.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

fn whole(release: &api::Release, trace: TraceId, end_ms: u64) -> Span {
    let (status, word) = match release.phase {
        api::Phase::Reverted => (Status::Error(release.verdict.text.clone()), Some("failed")),
        api::Phase::Done => (Status::Ok, Some("succeeded")),
        // Another one took its place: whether it was good, nobody knows.
        _ => (Status::Unset, None),
    };
    let mut attributes = of_release(release);
    attributes.extend([
        ("deployment.id", Value::from(&*release.id)),
        ("deployment.name", Value::from(&*release.service)),
        ("blueback.release.phase", Value::from(phase(release.phase))),
        ("blueback.release.target_share", Value::from(release.target_share)),
        ("blueback.verdict", Value::from(&*release.verdict.verdict)),
        ("blueback.verdict.text", Value::from(&*release.verdict.text)),
    ]);
    attributes.extend(word.map(|word| ("deployment.status", Value::from(word))));
    attributes.extend(release.by.as_deref().map(|by| ("blueback.release.by", Value::from(by))));
    attributes.extend(release.verdict.rule.as_deref().map(|rule| ("blueback.rule", Value::from(rule))));
    Span {
        trace,
        id: SpanId::root(trace),
        parent: None,
        name: format!("release {}", release.service),
        start_ms: release.started_ms,
        end_ms: end_ms.max(release.started_ms),
        attributes,
        events: Vec::new(),
        links: Vec::new(),
        status,
    }
}

fn of_release(release: &api::Release) -> Attributes {
    let mut attributes = vec![
        ("blueback.release.id", Value::from(&*release.id)),
        ("blueback.service", Value::from(&*release.service)),
        ("blueback.candidate", Value::from(slot(release.candidate))),
        ("blueback.baseline", Value::from(slot(release.baseline))),
    ];
    let revision = release.source_revision.as_deref();
    attributes.extend(revision.map(|revision| ("blueback.release.revision", Value::from(revision))));
    attributes
}

const WATCHING: &str = "watching";
const REVERTING: &str = "reverting";

/// Where a phase begins.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    /// The place in the timeline of the moment that begins it.
    place: usize,
    at_ms: u64,
    name: &'static str,
}

/// The phases of a release, by its timeline. A shield lies over the phase below it, which comes back when it is lifted.
fn turns(release: &api::Release) -> Vec<Turn> {
    let mut turns = vec![Turn { place: 0, at_ms: release.started_ms, name: WATCHING }];
    let (mut phase, mut shield) = (WATCHING, None);
    for (place, moment) in release.timeline.iter().enumerate() {
        match &*moment.what {
            "shielded" => shield = Some("shielded"),
            "probing" => shield = Some("probing"),
            "shared" => shield = Some("shared"),
            "opened" => shield = None,
            "passed" => phase = "passed",
            "inconclusive" => phase = "inconclusive",
            "held" => (phase, shield) = ("held", None),
            "resumed" => (phase, shield) = (WATCHING, None),
            "proven" => (phase, shield) = (REVERTING, None),
            _ => continue,
        }
        let name = shield.unwrap_or(phase);
        if turns.last().is_some_and(|turn| turn.name != name) {
            turns.push(Turn { place, at_ms: moment.at_ms.max(release.started_ms), name });
        }
        if phase == REVERTING {
            break;
        }
    }
    turns
}

/// The steps of the way back that are over. The durable change is made while agents are told to divert; the others follow each other.
fn actions(release: &api::Release, trace: TraceId, parent: SpanId, turn: &Turn) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut start_ms = turn.at_ms;
    let after = || release.timeline.iter().enumerate().skip(turn.place);
    for (step, name, what) in ACTIONS {
        let failures = after().filter(|(_, moment)| moment.what == "failed" && action_of(moment) == Some(step));
        let events = failures.map(|(_, moment)| happening(moment)).collect();
        let done = after().find(|(_, moment)| moment.what == what);
        let (end_ms, status, text) = match (done, release.ended_ms) {
            (Some((_, moment)), _) => (moment.at_ms, Status::Ok, Some(&*moment.text)),
            (None, Some(ended_ms)) => {
                (ended_ms, Status::Error("the release ended before it was done".to_owned()), None)
            }
            (None, None) => break,
        };
        let mut attributes = of_release(release);
        attributes.extend(text.map(|text| ("blueback.text", Value::from(text))));
        spans.push(Span {
            trace,
            id: SpanId::new(trace, name, turn.place, turn.at_ms),
            parent: Some(parent),
            name: name.to_owned(),
            start_ms,
            end_ms: end_ms.max(start_ms),
            attributes,
            events,
            links: Vec::new(),
            status,
        });
        if step != Step::Diverted {
            start_ms = end_ms.max(start_ms);
        }
    }
    spans
}

/// The step that a moment tells of.
fn action_of(moment: &api::Moment) -> Option<Step> {
    let said = |step: Step| moment.what == "failed" && moment.text.split(':').next() == Some(step.as_str());
    ACTIONS.into_iter().find(|(step, _, what)| moment.what == *what || said(*step)).map(|(step, ..)| step)
}

fn way_back(release: &api::Release) -> Status {
    match release.phase {
        api::Phase::Reverted => Status::Ok,
        _ => Status::Error("the release ended before it was taken back".to_owned()),
    }
}

fn happening(moment: &api::Moment) -> Happening {
    let mut attributes = vec![("blueback.text", Value::from(&*moment.text))];
    if let Some(measured) = &moment.measured {
        attributes.push(("blueback.rule", Value::from(&*measured.rule)));
        attributes.push(("blueback.requests", Value::from(measured.requests)));
        for (name, number) in [
            ("blueback.value", measured.value),
            ("blueback.limit", measured.limit),
            ("blueback.evidence", measured.evidence),
            ("blueback.evidence.threshold", measured.threshold),
        ] {
            attributes.extend(number.map(|number| (name, Value::from(number))));
        }
        for (name, text) in [("blueback.unit", &measured.unit), ("blueback.pod", &measured.pod)] {
            attributes.extend(text.as_deref().map(|text| (name, Value::from(text))));
        }
    }
    Happening { at_ms: moment.at_ms, name: moment.what.clone(), attributes }
}

const fn slot(slot: api::Slot) -> &'static str {
    match slot {
        api::Slot::Blue => "blue",
        api::Slot::Green => "green",
    }
}

const fn phase(phase: api::Phase) -> &'static str {
    match phase {
        api::Phase::Watching => WATCHING,
        api::Phase::Passed => "passed",
        api::Phase::Done => "done",
        api::Phase::Reverting => REVERTING,
        api::Phase::Reverted => "reverted",
        api::Phase::Held => "held",
        api::Phase::Inconclusive => "inconclusive",
        api::Phase::Superseded => "superseded",
    }
}
