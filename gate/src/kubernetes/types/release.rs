//! One watched switch, as it is kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules_file::RulesFile;

/// One watched switch. Written by the gate; people read it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "blueback.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "rel",
    category = "blueback",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "One watched switch of a service's traffic: what was judged by which rules, what happened, and the verdict.",
    selectable = ".spec.gate",
    printcolumn(name = "Gate", type_ = "string", json_path = ".spec.gate", description = "The ReleaseGate"),
    printcolumn(name = "Green", type_ = "string", json_path = ".spec.green.name", description = "What was new"),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where it is in its life"
    ),
    printcolumn(
        name = "Verdict",
        type_ = "string",
        json_path = ".status.verdict",
        description = "What the judge says"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".spec.startedAt", description = "Since the switch"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        description = "Why, in one sentence",
        priority = 1
    )
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Release says what was: its spec is not changed"))]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// The ReleaseGate that watches it.
    #[schemars(length(min = 1, max = 63))]
    pub gate: String,
    /// What served before.
    pub blue: Group,
    /// What is new.
    pub green: Group,
    /// When the traffic was switched.
    pub started_at: Option<Time>,
    /// The rules as they were.
    #[serde(default)]
    pub rules: RulesFile,
}

/// A group of pods that serves as one: those of a ReplicaSet, or those that a selector's values tell from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name for people: the ReplicaSet's, or the Service's.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What tells it from others, for machines.
    #[schemars(length(max = 500))]
    pub key: String,
    /// The slot that it has in this release: `blue` or `green`.
    #[schemars(length(max = 16))]
    pub slot: String,
}

/// How a release stands.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// Where it is in its life: `Watching`, `Passed`, `Done`, `Reverting`, `Reverted`, `Held`, `Inconclusive`, `Superseded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What the judge says: `Watching`, `Suspect`, `Revert`, `Pass`, `Hold` or `Inconclusive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// State of the shield: `open`, `shielded`, `probing`, `shared`, `held` or `reverted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shield: Option<String>,
    /// Green's share of the requests in percent, as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<i32>,
    /// Who or what asked for the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When the phase became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What happened, in order; of a long story the beginning and the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<MomentStatus>,
    /// Steps of a revert that are done, each with its time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
    /// Each rule with what was counted, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What another gate needs to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeState>,
    /// `TrafficReverted`: the durable change is made and was read back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MomentStatus {
    /// When.
    pub at: Time,
    /// What, in one word.
    pub what: String,
    /// The story.
    pub text: String,
}

/// A step of a revert that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// `diverted`, `switched`, `verified`, `released` or `announced`.
    pub step: String,
    /// Milliseconds from the verdict to its end.
    pub after_ms: i64,
}

/// What another gate needs to go on. For machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResumeState {
    /// The release's record, as JSON.
    pub record: String,
    /// The judge and its agents in mid-course, as base64; absent at first, at the end, and when it is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
}
