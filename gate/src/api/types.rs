//! The JSON of the HTTP API, for the gate that writes it and the clients that read it.
//!
//! Times are Unix milliseconds unless a field's name says otherwise. Fields are only ever added, never renamed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A label of a set of backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Labelled blue.
    Blue,
    /// Labelled green.
    Green,
}

/// A guarded service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The slot that serves, or served before the release that is under way.
    pub serving: Slot,
    /// Share of the requests that the green slot gets now, 0 to 1.
    pub green_share: f64,
    /// The newest release, by id.
    pub release: Option<String>,
    /// Its phase.
    pub phase: Option<Phase>,
    /// Connected agents.
    pub agents: u32,
    /// The backends.
    pub backends: Vec<Backend>,
    /// Requests a second over the last ten seconds.
    pub requests_per_second: f64,
}

/// A backend as its agents see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// The set it belongs to.
    pub slot: Slot,
    /// Pod name or address.
    pub pod: String,
    /// Answers its probe.
    pub ready: bool,
}

/// Where a release is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Green gets traffic and is judged.
    Watching,
    /// The bake time is over and the pass rules hold; later checkpoints are still to come.
    Passed,
    /// Every checkpoint is passed.
    Done,
    /// Traffic is going back to blue.
    Reverting,
    /// Traffic is back on blue.
    Reverted,
    /// Harm is seen, but reverting would not help or a person asked to wait: a person decides.
    Held,
    /// The time to decide is over without enough evidence; watching goes on.
    Inconclusive,
    /// A newer switch took its place.
    Superseded,
}

/// One watched switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Its id: the service's name and a number that rises.
    pub id: String,
    /// The service.
    pub service: String,
    /// The slot that is new.
    pub candidate: Slot,
    /// The slot that served before.
    pub baseline: Slot,
    /// Share of the requests that the operator wants the candidate to get, 0 to 1.
    pub target_share: f64,
    /// Share that it gets now.
    pub share: f64,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the judge says.
    pub verdict: Verdict,
    /// State of the shield: `open`, `shielded`, `probing`, `shared`, `held` or `reverted`.
    pub shield: String,
    /// When the traffic was switched.
    pub started_ms: u64,
    /// When the phase became final, if it has.
    pub ended_ms: Option<u64>,
    /// Names of the checkpoints passed, in order.
    pub passed: Vec<String>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// Who asked for the switch.
    pub by: Option<String>,
    /// What is released, as whoever asked for the switch named it: a commit, an image, a version.
    #[serde(default)]
    pub source_revision: Option<String>,
    /// Rises with every change of this release; for long polls and as the id of server-sent events.
    pub revision: u64,
}

/// Something that happened to a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// When.
    pub at_ms: u64,
    /// Milliseconds since the switch.
    pub after_ms: u64,
    /// What: `switched`, `shielded`, `probing`, `opened`, `shared`, `held`, `proven`, `diverted`, `reverted`, `verified`,
    /// `released`, `announced`, `passed`, `inconclusive`, `resumed`, `signal`, `failed`, `stepped`, `superseded`,
    /// `suspect` (harm is seen, but there is no shield), `alert`, `tried` (a rule that is only tried
    /// holds), `done`, `restarted` (the gate was).
    pub what: String,
    /// The story for people.
    pub text: String,
    /// The rule behind it and what was measured, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// What was measured against a rule when something happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Measured {
    /// The rule as the operator wrote it.
    pub rule: String,
    /// What was measured.
    pub value: Option<f64>,
    /// What the rule allows.
    pub limit: Option<f64>,
    /// Unit of both: `ratio`, `ms`, `count` or `value`.
    pub unit: Option<String>,
    /// ln E.
    pub evidence: Option<f64>,
    /// ln(1/alpha), which the evidence must reach.
    pub threshold: Option<f64>,
    /// Requests of the candidate that were counted.
    pub requests: u64,
    /// The one pod at fault, where it is only one.
    pub pod: Option<String>,
}

/// The state of the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// `watching`, `suspect`, `revert`, `pass`, `hold` or `inconclusive`.
    pub verdict: String,
    /// The release may go on: its bake time is passed and nothing is held against it.
    pub pass: bool,
    /// The release is or will be reverted.
    pub fail: bool,
    /// The whole story in one sentence.
    pub text: String,
    /// The rule as the operator wrote it.
    pub rule: Option<String>,
    /// What was measured.
    pub value: Option<f64>,
    /// What the rule allows.
    pub limit: Option<f64>,
    /// Unit of both: `ratio`, `ms`, `count` or `value`.
    pub unit: Option<String>,
    /// ln E.
    pub evidence: Option<f64>,
    /// ln(1/alpha), which the evidence must reach.
    pub threshold: Option<f64>,
    /// Requests of the candidate that were counted.
    pub requests: u64,
    /// Requests that are still needed at the present rate, where that is what is missing.
    pub requests_needed: Option<u64>,
    /// The one pod at fault, where it is only one.
    pub pod: Option<String>,
    /// Since when, in milliseconds since the switch.
    pub since_ms: Option<u64>,
    /// Pods of the candidate that were seen.
    #[serde(default)]
    pub pods: Option<u32>,
    /// What will change the verdict.
    #[serde(default)]
    pub change: Option<String>,
}

/// The verdict on a release, and where the release is in its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseVerdict {
    /// The release.
    pub release: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its revision; give it back as `after` to wait for the next change.
    pub revision: u64,
    /// What the judge says.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Evidence of a release, rule by rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// The release.
    pub release: String,
    /// Milliseconds since the switch.
    pub now_ms: u64,
    /// Each rule.
    pub criteria: Vec<Criterion>,
    /// One point a second, oldest first, at most the last ten minutes.
    pub series: Vec<Point>,
    /// What the evidence came to, once a second, oldest first, at most the last ten minutes that this gate watched.
    #[serde(default)]
    pub weighings: Vec<Weighing>,
    /// The candidate's requests since the switch.
    #[serde(default)]
    pub candidate: Sum,
    /// The baseline's.
    #[serde(default)]
    pub baseline: Sum,
    /// Requests since the switch that brought a recorded trace: of each side, the candidate first, the newest failed ones and
    /// the newest of each range of latency.
    #[serde(default)]
    pub example_traces: Vec<ExampleTrace>,
}

/// A request that brought a recorded trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExampleTrace {
    /// Id of the trace, in hexadecimal.
    pub trace_id: String,
    /// Id of the span that the request came with, in hexadecimal.
    pub span_id: String,
    /// Where a person looks at the trace, when the gate was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The set that the backend belongs to.
    pub slot: Slot,
    /// The backend.
    pub pod: String,
    /// Its route, as rules name it; empty for all that no rule names.
    pub route: String,
    /// `ok`, `client_error`, `server_error`, `unreachable` or `client_gone`.
    pub outcome: String,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// Time to the last byte.
    pub latency_ms: f64,
    /// When it ended.
    pub at_ms: u64,
}

/// How the evidence of each rule stood at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Weighing {
    /// Milliseconds since the switch.
    pub after_ms: u64,
    /// ln E of each rule, in the order of `criteria`; null for rules that are not proven.
    pub evidence: Vec<Option<f64>>,
}

/// Requests since the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sum {
    /// Requests that ended.
    pub requests: u64,
    /// Of those, failed by the application's fault.
    pub failed: u64,
}

/// One rule and what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Criterion {
    /// The rule as the operator wrote it.
    pub rule: String,
    /// `revert`, `pass` or `alert`.
    pub list: String,
    /// The checkpoint that it belongs to, where it is one's own.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// `proven`, `persistent`, `pass`, `signal`, `cascade` or `state`.
    pub kind: String,
    /// `holds`, `quiet`, `no data` or `not applicable`.
    #[serde(default)]
    pub standing: String,
    /// It is shown and never acts.
    #[serde(default)]
    pub dry_run: bool,
    /// What is seen, for people.
    #[serde(default)]
    pub text: String,
    /// Counted requests of the candidate and the bad ones among them.
    pub candidate: Tally,
    /// The same of the baseline.
    pub baseline: Tally,
    /// The rule's limit.
    pub limit: f64,
    /// Unit of value and limit: `ratio`, `ms`, `count` or `value`.
    pub unit: String,
    /// ln E, for rules that are proven.
    pub evidence: Option<f64>,
    /// The threshold it must reach.
    pub threshold: Option<f64>,
    /// When it fired, in milliseconds since the switch.
    pub fired_ms: Option<u64>,
}

/// Requests, the bad ones among them, and the value that the rule measures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tally {
    /// Requests counted.
    pub requests: u64,
    /// Of those, bad by the rule.
    pub bad: u64,
    /// What the rule measures, in its unit.
    pub value: Option<f64>,
}

/// What happened in one second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// Milliseconds since the switch, at the end of the second; negative before it.
    pub after_ms: i64,
    /// Share of the candidate.
    pub share: f64,
    /// The candidate's requests.
    pub candidate: PointSide,
    /// The baseline's.
    pub baseline: PointSide,
}

/// One side's requests in one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointSide {
    /// Requests that ended.
    pub requests: u64,
    /// Of those, failed by the application's fault.
    pub failed: u64,
    /// Median latency to the last byte, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of it.
    pub p99_ms: Option<f64>,
}

/// Asks for a switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// The slot that shall serve.
    pub to: Slot,
    /// Its share of the requests, above 0 and up to 1; all of them when absent.
    pub share: Option<f64>,
    /// Who asks.
    pub by: Option<String>,
    /// What is released: a commit, an image, a version. When it is that of the newest release already, no other one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Asks for a revert, hold or resume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorRequest {
    /// Why. Must not be empty: it is told to everybody and kept.
    pub why: String,
    /// Who asks.
    pub by: Option<String>,
}

/// Raises a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The signal's name, as rules refer to it.
    pub name: String,
    /// What happened.
    pub why: Option<String>,
    /// Who says so.
    pub by: Option<String>,
}

/// What became of the alerts that an Alertmanager sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertsHeard {
    /// Alerts that raised a signal.
    pub raised: usize,
    /// Alerts whose end was written down.
    pub ended: usize,
    /// Alerts that were heard before.
    pub repeated: usize,
    /// Alerts that mean nothing here.
    pub ignored: usize,
    /// What became of each, by fingerprint.
    pub alerts: Vec<AlertHeard>,
}

/// What became of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertHeard {
    /// The alert.
    pub fingerprint: String,
    /// Its service, where it is known.
    pub service: Option<String>,
    /// The signal, where it is one.
    pub signal: Option<String>,
    /// `raised`, `ended`, `repeated`, or why it was passed over.
    pub outcome: String,
}

/// The verdict on the newest release of a service, for an analysis of Argo Rollouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArgoVerdict {
    /// The service.
    pub service: String,
    /// The release.
    pub release: String,
    /// What is released, where it was said.
    pub revision: Option<String>,
    /// `pass`, `fail`, `pending` or `inconclusive`.
    pub verdict: String,
    /// The verdict is `pass`.
    pub pass: bool,
    /// The verdict is `fail`.
    pub fail: bool,
    /// The verdict is `pending`.
    pub pending: bool,
    /// The verdict is `inconclusive`.
    pub inconclusive: bool,
    /// Where the release is in its life.
    pub phase: Phase,
    /// The whole story in one sentence.
    pub text: String,
}

/// What Flagger sends to a webhook. Other fields are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlaggerRequest {
    /// The canary.
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Where Flagger is.
    #[serde(default)]
    pub phase: String,
    /// Of what is released.
    #[serde(default)]
    pub checksum: String,
    /// `service` names the service here, where it is called otherwise than the canary.
    #[serde(default)]
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// Something was wrong with a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What, and what would be accepted.
    pub error: String,
    /// Which field, where it is one.
    pub field: Option<String>,
}
