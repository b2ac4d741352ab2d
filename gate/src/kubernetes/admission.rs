//! Admission webhooks: pods get their agent, and a ReleaseGate with rules that nobody can read is turned away.
//!
//! Injection fails open. Whatever goes wrong, the pod is created as it was asked for, and who creates it is warned: an
//! unguarded pod serves, a refused one does not. Validation does not fail open here, as a rule that does not parse is the
//! answer and not an accident; if the gate is away, the API server's own `failurePolicy` decides.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, body::Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use serde_json::Value;
use tokio::time::Instant;

use super::gates::{GateFacts, Gates};
use super::inject::{self, InjectionSettings, Outcome, Refusal};
use super::types::{API_GROUP, ReleaseGateSpec};
use crate::metrics::Metrics;

/// Longest review: the API server takes objects of up to 3 MiB, and an update brings two.
const REVIEW_BYTES_MAX: usize = 8 << 20;

/// What all agents have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentDefaults {
    /// The agent's image; without one nothing is injected.
    pub image: Option<String>,
    /// URL of the gate.
    pub gate_url: Option<String>,
    /// Collector that agents send spans of their own to.
    pub otlp: Option<String>,
}

/// What the webhooks need.
#[derive(Clone)]
pub struct Admission {
    /// ReleaseGates.
    pub gates: Arc<dyn Gates>,
    /// What all agents have in common.
    pub agents: AgentDefaults,
    /// The certificates that agents check the gate's against, as they are now.
    pub authorities: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Counts what comes of pods.
    pub metrics: Arc<Metrics>,
}

/// What comes of a pod, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Result {
    Injected,
    Unchanged,
    Refused,
    Failed,
}

impl Result {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "skipped",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Longest wait of a pod for a Service. What is applied together comes in any order and is seen a little later; the API server
/// waits three seconds for us, by the chart's default.
const SERVICES_MAX: Duration = Duration::from_millis(1_500);
/// How often it is looked.
const SERVICES_EVERY: Duration = Duration::from_millis(25);

/// The webhooks' paths.
pub fn router(admission: Admission) -> Router {
    Router::new()
        .route("/inject", post(inject_pod))
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::max(REVIEW_BYTES_MAX))
        .with_state(admission)
}

type Answer = std::result::Result<Json<Value>, (StatusCode, String)>;

/// The review as the API server documents it: the patch as base64. The type would write it as a list of numbers, which
/// the API server happens to read as well.
fn review(mut response: AdmissionResponse) -> Answer {
    let patch = response.patch.take().map(|patch| BASE64.encode(patch));
    let mut review = serde_json::to_value(response.into_review())
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("the answer: {error}\n")))?;
    if let Some(patch) = patch {
        review["response"]["patch"] = Value::String(patch);
    }
    Ok(Json(review))
}

/// The request of a review. What is no review cannot be answered by one.
fn request(body: &[u8]) -> std::result::Result<AdmissionRequest<DynamicObject>, (StatusCode, String)> {
    let wrong = |error: String| (StatusCode::BAD_REQUEST, format!("not an AdmissionReview: {error}\n"));
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    review.try_into().map_err(|_| wrong("it has no request".to_owned()))
}

async fn inject_pod(Shared(admission): Shared<Admission>, body: Bytes) -> Answer {
    let request = request(&body)?;
    admission.services_are_there(&request).await;
    let mut response = AdmissionResponse::from(&request);
    let (result, patch, warning) = admission.decide(&request);
    admission.metrics.injections.with_label_values(&[result.as_str()]).inc();
    if let Some(patch) = patch {
        match response.clone().with_patch(patch) {
            Ok(patched) => response = patched,
            Err(error) => response.warnings = Some(vec![format!("blueback: no agent: {error}")]),
        }
    }
    if let Some(warning) = warning {
        let name = request.object.as_ref().and_then(|pod| pod.metadata.generate_name.clone()).unwrap_or(request.name);
        tracing::warn!(namespace = request.namespace, pod = name, %warning, "Pod without agent");
        response.warnings = Some(vec![format!("blueback: no agent: {warning}")]);
    }
    review(response)
}

impl Admission {
    /// Waits for the Services of the namespace's ReleaseGates, where the pod belongs to none that is known.
    async fn services_are_there(&self, request: &AdmissionRequest<DynamicObject>) {
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let labels = request.object.as_ref().and_then(|pod| pod.metadata.labels.clone()).unwrap_or_default();
        let deadline = Instant::now() + SERVICES_MAX;
        while self.gates.of_pod(namespace, &labels).is_none()
            && self.gates.lacks_service(namespace)
            && Instant::now() < deadline
        {
            tokio::time::sleep(SERVICES_EVERY).await;
        }
    }

    fn decide(&self, request: &AdmissionRequest<DynamicObject>) -> (Result, Option<Patch>, Option<String>) {
        let unchanged = (Result::Unchanged, None, None);
        let failed = |error: String| (Result::Failed, None, Some(error));
        let Some(object) = request.object.as_ref().filter(|_| request.operation == Operation::Create) else {
            return unchanged;
        };
        // An older gate must not stumble over a pod of a newer API server.
        let pod: Pod = match serde_json::to_value(object).and_then(serde_json::from_value) {
            Ok(pod) => pod,
            Err(error) => return failed(format!("the pod is not understood: {error}")),
        };
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let Some(facts) = self.gates.of_pod(namespace, &labels) else { return unchanged };
        let gate = format!("ReleaseGate {}/{}", facts.namespace, facts.name);
        let refused = |refusal: &Refusal| (Result::Refused, None, Some(format!("{gate}: {refusal}")));
        let settings = match self.settings(facts) {
            Ok(settings) => settings,
            Err(Trouble::Refusal(refusal)) => return refused(&refusal),
            Err(Trouble::Lacking(what)) => return failed(format!("{gate}: {what}")),
        };
        match inject::inject(&pod, &settings) {
            Ok(Outcome::Patched(patch)) => (Result::Injected, Some(patch), None),
            Ok(Outcome::AlreadyInjected | Outcome::OptedOut) => unchanged,
            Err(refusal) => refused(&refusal),
        }
    }

    /// What the pods of a ReleaseGate get from this gate.
    fn settings(&self, facts: GateFacts) -> std::result::Result<InjectionSettings, Trouble> {
        let target = facts.target.map_err(Trouble::Refusal)?;
        let image = facts.image.or_else(|| self.agents.image.clone());
        let image = image.ok_or(Trouble::Lacking("neither it nor the gate (--agent-image) names the agent's image"))?;
        let secure = self.agents.gate_url.as_deref().is_some_and(|url| url.starts_with("https://"));
        let ca_pem = (self.authorities)();
        if secure && ca_pem.is_none() {
            return Err(Trouble::Lacking("the gate has no certificates yet, by which its agents would know it"));
        }
        Ok(InjectionSettings {
            gate: facts.name,
            namespace: Some(facts.namespace),
            target,
            redirect: facts.redirect,
            image,
            resources: facts.resources,
            dependencies: facts.dependencies,
            gate_url: self.agents.gate_url.clone(),
            ca_pem,
            otlp: self.agents.otlp.clone(),
        })
    }
}

/// Why there are no settings.
enum Trouble {
    Refusal(Refusal),
    Lacking(&'static str),
}

async fn validate(body: Bytes) -> Answer {
    let request = request(&body)?;
    let response = AdmissionResponse::from(&request);
    let spec = |object: &Option<DynamicObject>| object.as_ref().and_then(|object| object.data.get("spec").cloned());
    let is_gate = request.kind.group == API_GROUP && request.kind.kind == "ReleaseGate";
    let new = spec(&request.object).unwrap_or_default();
    // Whoever only changes labels, status or finalizers is not held responsible for what was accepted before.
    let changed = request.operation == Operation::Create || spec(&request.old_object).unwrap_or_default() != new;
    let asked = matches!(request.operation, Operation::Create | Operation::Update);
    if !(is_gate && asked && changed) {
        return review(response);
    }
    let response = match check(&new) {
        Ok(()) => response,
        Err(complaint) => response.deny(complaint),
    };
    review(response)
}

/// Holds the spec of a ReleaseGate against what a gate can do with it.
///
/// # Errors
/// All that is wrong, in the words of the rules' parser, with a caret under the word.
pub fn check(spec: &Value) -> std::result::Result<(), String> {
    let spec: ReleaseGateSpec = serde_json::from_value(spec.clone()).map_err(|error| format!("spec: {error}"))?;
    let mut wrong = Vec::new();
    let traffic = &spec.traffic;
    let forms = [
        ("service", traffic.service.is_some()),
        ("httpRoute", traffic.http_route.is_some()),
        ("grpcRoute", traffic.grpc_route.is_some()),
        ("patch", traffic.patch.is_some()),
        ("webhook", traffic.webhook.is_some()),
    ];
    let given: Vec<_> = forms.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() != 1 {
        let seen =
            if given.is_empty() { "there is none".to_owned() } else { format!("there are {}", given.join(", ")) };
        wrong.push(format!(
            "spec.traffic: exactly one of service, httpRoute, grpcRoute, patch and webhook is accepted; {seen}"
        ));
    }
    if let Err(errors) = spec.rules().rules() {
        wrong.extend(errors.iter().map(|error| format!("spec.{error}")));
    }
    wrong.extend(spec.rules().wrong_sources().iter().map(|error| format!("spec.{error}")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests;
