//! What admission and the agents' door ask about ReleaseGates. The controller's watches answer.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Shared;
use super::inject::Refusal;
use super::types::AgentResources;
pub use crate::door::PodIdentity;

/// A ReleaseGate, as far as its pods are concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct GateFacts {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Target port of its Service, or why there is none: see [`super::inject::target_port`].
    pub target: Result<IntOrString, Refusal>,
    /// A target port that is a number may be redirected.
    pub redirect: bool,
    /// The agent's image, when it is not the gate's choice.
    pub image: Option<String>,
    /// Resources of the agent's container, where they are not the default.
    pub resources: Option<AgentResources>,
    /// What the application depends on, as the agent probes it: `NAME=URL`.
    pub dependencies: Vec<String>,
}

/// Whether a ReleaseGate guards a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guards {
    /// Its Services select it.
    Yes,
    /// They do not.
    No,
    /// The watch has not seen the pod or the ReleaseGate yet.
    NotYetKnown,
}

/// Knows ReleaseGates, Services and pods. Answers from memory: it is asked while a pod waits to be created.
pub trait Gates: Send + Sync {
    /// The ReleaseGate whose Service selects pods with these labels. Of several the first by name, so that replicas agree.
    fn of_pod(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<GateFacts>;

    /// A ReleaseGate of this namespace names a Service that is not there, or not known yet.
    fn lacks_service(&self, namespace: &str) -> bool;

    /// Whether the ReleaseGate `name` in the pod's namespace guards the pod.
    fn guards(&self, name: &str, pod: &PodIdentity) -> Guards;
}

impl Gates for Shared {
    fn of_pod(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<GateFacts> {
        self.index().facts_of_pod(namespace, labels)
    }

    fn lacks_service(&self, namespace: &str) -> bool {
        self.index().lacks_service(namespace)
    }

    fn guards(&self, name: &str, pod: &PodIdentity) -> Guards {
        self.index().guards(name, pod)
    }
}
