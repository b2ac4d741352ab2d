//! The custom resources: what a team writes (`ReleaseGate`) and what came of a switch (`Release`).
//!
//! The Rust types are the source; the schemas in `helm/files/crds` are generated from them, and a test proves them fresh.
//! What the API server can check it checks (CEL, lengths, enumerations), so that `kubectl apply` says what is wrong before a
//! gate sees it. Rules are words: the admission webhook parses them and answers with the parser's own message.

mod release;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use release::{Group, MomentStatus, Release, ReleaseSpec, ReleaseStatus, ResumeState, StepStatus};

use crate::ask::query::Query;
use crate::rules_file::RulesFile;

/// API group of both resources.
pub const API_GROUP: &str = "blueback.dev";
/// Version of both.
pub const VERSION: &str = "v1alpha1";
/// Annotation with the number of the leadership that made a change of traffic: an older leader may not make a further one.
pub const FENCE_ANNOTATION: &str = "blueback.dev/fence";
/// Annotation with the replicas that a workload had before it was scaled down after a revert.
pub const REPLICAS_ANNOTATION: &str = "blueback.dev/replicas-before-revert";
/// Label of pods and of Releases: the ReleaseGate that they belong to.
pub const GATE_LABEL: &str = "blueback.dev/gate";
/// Annotation of pods that have an agent, with the ReleaseGate that it was injected for.
pub const INJECTED_ANNOTATION: &str = "blueback.dev/injected";
/// Name of the agent's container in a pod.
pub const AGENT_CONTAINER: &str = "blueback-agent";
/// Port that an agent beside an application listens on.
pub const AGENT_PORT: u16 = 15080;
/// Releases kept of each ReleaseGate unless it says otherwise: a few weeks of a team that releases every other day.
pub const HISTORY_LIMIT: u32 = 10;

/// Guards the releases of one service.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "blueback.dev",
    version = "v1alpha1",
    kind = "ReleaseGate",
    plural = "releasegates",
    shortname = "rg",
    category = "blueback",
    namespaced,
    status = "ReleaseGateStatus",
    derive = "PartialEq",
    doc = "Guards the releases of one service: watches each switch of its traffic, and takes it back when it does harm.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("a name of at most 63 characters is accepted, as pods carry it in a label"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where the newest release is in its life"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict", description = "What the judge says of it"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since", description = "Since when"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", description = "Why, in one sentence")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseGateSpec {
    /// What moves the traffic from one version to the other. Exactly one form.
    #[x_kube(validation = Rule::new("[has(self.service), has(self.httpRoute), has(self.grpcRoute), has(self.patch), has(self.webhook)].filter(given, given).size() == 1").message("exactly one of service, httpRoute, grpcRoute, patch and webhook is accepted"))]
    pub traffic: TrafficSpec,
    /// Name or number of the Service's port whose requests are judged. The Service's only port, or its first one, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
    /// Rules in words; any one of them reverts the release. The defaults of the judge when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub revert_when: Option<Vec<String>>,
    /// Rules in words; all of them must hold for the release to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub pass_when: Option<Vec<String>>,
    /// Rules in words; each that holds is told, and nothing else is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub alert_when: Option<Vec<String>>,
    /// Time before a release may pass, as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub bake: Option<String>,
    /// Time after which a release that has not passed is inconclusive, as `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub decide_within: Option<String>,
    /// Times after the switch at which the release is looked at again, as `[30m, 2h, 24h]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 32)))]
    pub checkpoints: Option<Vec<String>>,
    /// How many healthy releases may be reverted, as `1 in 1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub false_alarms: Option<String>,
    /// How the judge weighs speed against certainty: `fast` or `robust`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub profile: Option<String>,
    /// Alerts that raise a signal, by its name: each a list of matchers in Alertmanager's words, such as `alertname="PaymentsCorrupt"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub signals: Option<BTreeMap<String, Vec<String>>>,
    /// What `query` rules ask of the monitoring, by the names that they use. The gate must know the Prometheus or the Loki.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32))]
    pub queries: Option<BTreeMap<String, Query>>,
    /// LogQL that finds critical lines in the logs of the pods that `$pods` stands for, as `{pod=~"$pods"} |= "CRITICAL"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub critical_logs: Option<String>,
    /// What becomes of green's pods after a revert. Scaled down by default: nothing is lost by it, and nothing runs on.
    #[serde(default)]
    pub after_revert: AfterRevert,
    /// How many Releases are kept; the oldest go first.
    #[serde(default = "history_limit")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: u32,
    /// Looks away: switches start no release, and nothing is changed. A release under way ends as superseded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The agents beside the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentSpec>,
    /// What the application depends on, as agents probe it; rules refer to the names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub dependencies: Vec<Dependency>,
}

const fn history_limit() -> u32 {
    HISTORY_LIMIT
}

impl ReleaseGateSpec {
    /// The rules, as the judge's words.
    #[must_use]
    pub fn rules(&self) -> RulesFile {
        RulesFile {
            revert_when: self.revert_when.clone(),
            pass_when: self.pass_when.clone(),
            alert_when: self.alert_when.clone(),
            bake: self.bake.clone(),
            decide_within: self.decide_within.clone(),
            checkpoints: self.checkpoints.clone(),
            false_alarms: self.false_alarms.clone(),
            profile: self.profile.clone(),
            signals: self.signals.clone(),
            queries: self.queries.clone(),
            critical_logs: self.critical_logs.clone(),
        }
    }

    /// The guarded application may be given agents by redirecting its port.
    #[must_use]
    pub fn redirects(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.redirect)
    }
}

/// What moves the traffic. The API server sees to it that there is exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficSpec {
    /// Name of the Service whose selector is switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
    /// The HTTPRoute whose weights are shifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<RouteTraffic>,
    /// The GRPCRoute whose weights are shifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_route: Option<RouteTraffic>,
    /// Any other object, changed by JSON patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<PatchTraffic>,
    /// A web server that moves the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookTraffic>,
}

impl TrafficSpec {
    /// The Services that are named here. Those of a route stand in the route.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        if let Some(service) = &self.service {
            return vec![service];
        }
        let of_patch = self.patch.as_ref().map(|patch| &patch.services);
        let of_webhook = self.webhook.as_ref().map(|webhook| &webhook.services);
        of_patch.or(of_webhook).into_iter().flatten().map(String::as_str).collect()
    }
}

/// A route of the Gateway API with two Services as backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTraffic {
    /// Its name, in the namespace of the ReleaseGate.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Only rules that have this Service among their backends are looked at. All rules with two Services when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
}

/// An object that carries a weight, and the JSON patch that sets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchTraffic {
    /// API version of the object, as `networking.istio.io/v1`.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Its kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its resource name in the API; the lower-case plural of the kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub plural: Option<String>,
    /// Its name, in the namespace of the ReleaseGate.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The two Services, first and second: their selectors say which pods are meant.
    #[schemars(length(min = 2, max = 2), inner(length(min = 1, max = 63)))]
    pub services: Vec<String>,
    /// Where the second Service's weight, 0 to 100, is read, as a JSON pointer. A number or a text with a number; absent is 0.
    #[schemars(length(min = 1, max = 500))]
    pub weight: String,
    /// The JSON patch (RFC 6902) that sets the weights. `$(first)` and `$(second)` stand for them: alone they are numbers,
    /// within a longer text, or after `text:`, they are text.
    #[schemars(length(min = 1, max = 32))]
    pub patch: Vec<PatchOperation>,
}

/// One operation of a JSON patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchOperation {
    /// What is done.
    pub op: Operation,
    /// Where, as a JSON pointer.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
    /// The value that is put, or tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_value")]
    pub value: Option<Value>,
}

/// What an operation of a patch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value where there is none yet, or replaces it.
    Add,
    /// Replaces a value.
    Replace,
    /// Takes a value away.
    Remove,
    /// The patch is only made when the value is this.
    Test,
}

fn any_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A web server that moves the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookTraffic {
    /// Where the weights are posted, and asked for.
    #[schemars(length(min = 1, max = 2000), regex(pattern = r"^http://"))]
    pub url: String,
    /// The two Services, first and second: their selectors say which pods are meant.
    #[schemars(length(min = 2, max = 2), inner(length(min = 1, max = 63)))]
    pub services: Vec<String>,
}

/// What becomes of green's pods after a revert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AfterRevert {
    /// They run on.
    Keep,
    /// Their workload is scaled to nothing; an annotation keeps the former number.
    #[default]
    ScaleDown,
    /// Their workload is deleted.
    Delete,
}

/// The agents beside the application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// Where the Service's target port is a number, an init container may redirect it to the agent. It needs NET_ADMIN, so it
    /// must be wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect: bool,
    /// The agent's image; the gate's own choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub image: Option<String>,
    /// What its container requests, and may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<AgentResources>,
}

/// Resources of the agent's container, as in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentResources {
    /// What is set aside for it, as `cpu: 10m`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

/// Something that the application depends on. Exactly one way to probe it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("[has(self.tcp), has(self.http), has(self.postgres), has(self.redis)].filter(given, given).size() == 1").message("exactly one of tcp, http, postgres and redis is accepted"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// The name that rules use, as `database`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// `HOST:PORT` that accepts connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub tcp: Option<String>,
    /// URL that answers with 2xx or 3xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    pub http: Option<String>,
    /// `HOST:PORT` of a PostgreSQL server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub postgres: Option<String>,
    /// `HOST:PORT` of a Redis server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub redis: Option<String>,
}

impl Dependency {
    /// As the agent is told it, `NAME=URL`. The agent takes several of them separated by commas, so a URL has none.
    #[must_use]
    pub fn probe(&self) -> Option<String> {
        let of =
            |scheme: &str, address: &Option<String>| address.as_ref().map(|address| format!("{scheme}://{address}"));
        let url = of("tcp", &self.tcp)
            .or_else(|| self.http.clone())
            .or_else(|| of("postgres", &self.postgres))
            .or_else(|| of("redis", &self.redis))?;
        Some(format!("{}={}", self.name, url.replace(',', "%2C")))
    }
}

/// How the guarded service stands.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseGateStatus {
    /// Generation of the spec that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the newest release is in its life; `Idle` while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What the judge says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when the phase is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Name of the newest Release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The group of pods that serves, or served before the release that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<String>,
    /// State of the service for a gate that takes over, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// `Ready`: the traffic is understood and watched. `TrafficOwned`: a revert holds (false with reason `Conflict` when
    /// somebody has set the traffic back to green since, or `Forbidden` when it may not be changed). `AgentsConnected`: agents
    /// of the serving pods report. `Degraded`: something keeps the gate from doing all of its work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
}

/// The definitions of both resources, by the name of their file.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [("releasegates.yaml", ReleaseGate::crd()), ("releases.yaml", Release::crd())]
}
