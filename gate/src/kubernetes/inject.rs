//! Gives a pod its agent.
//!
//! A pod in, the operations of a JSON patch out; no API server and no clock. The same function serves the admission
//! webhook and `blueback inject`, so what is committed to a repository and what is injected on the fly are one thing.
//!
//! The operations are written one by one instead of comparing two pods: a comparison goes through our types, and those do
//! not know the fields of a newer API server. What is not touched here stays as it was, known or not.
//!
//! The agent takes over the *name* of the port that the Service targets; the application keeps the number, under another
//! name. So nothing in the application changes, and its probes, which follow to the new name, still ask the application
//! and not the agent. A target port that is a number cannot be taken over by name: it is redirected inside the pod's network
//! namespace, which needs NET_ADMIN at its start, and so only happens where the ReleaseGate wants it.

mod ports;
mod sidecar;
#[cfg(test)]
mod tests;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation};
use k8s_openapi::api::core::v1::{Pod, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::types::{AGENT_CONTAINER, AGENT_PORT, AgentResources, GATE_LABEL, INJECTED_ANNOTATION};

/// Annotation by which a pod declines.
pub const INJECT_ANNOTATION: &str = "blueback.dev/inject";
/// Port of the agent's `/live`, `/ready` and `/metrics`.
pub const ADMIN_PORT: u16 = 15081;
/// Its name, which a PodMonitor selects.
pub const ADMIN_PORT_NAME: &str = "blueback-admin";
/// Port that leads past the agent to the application where its own port is redirected: for probes.
pub const DIRECT_PORT: u16 = 15082;
/// Name of the init container that redirects.
pub const REDIRECT_CONTAINER: &str = "blueback-redirect";
/// Volume with the agent's token.
pub const TOKEN_VOLUME: &str = "blueback-token";
/// Folder it is mounted at.
pub const TOKEN_FOLDER: &str = "/var/run/secrets/blueback";
/// Audience of the agent's token: it is good for nothing but the gate.
pub const AUDIENCE: &str = "blueback-gate";

/// What the pods of a ReleaseGate get.
#[derive(Clone, Debug, PartialEq)]
pub struct InjectionSettings {
    /// Name of the ReleaseGate.
    pub gate: String,
    /// Its namespace. Without one (in manifests that do not name it) the pod finds out by itself.
    pub namespace: Option<String>,
    /// Target port of its Service.
    pub target: IntOrString,
    /// Whether a target port that is a number may be redirected.
    pub redirect: bool,
    /// The agent's image. Its entry point is the agent.
    pub image: String,
    /// What the agent's container gets, where it is not the default.
    pub resources: Option<AgentResources>,
    /// What the application depends on, as the agent probes it: `NAME=URL`.
    pub dependencies: Vec<String>,
    /// URL of the gate.
    pub gate_url: Option<String>,
    /// Certificates that the gate's own is checked against.
    pub ca_pem: Option<String>,
    /// Collector that the agent sends spans of its own to.
    pub otlp: Option<String>,
}

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It gets an agent by these operations.
    Patched(Patch),
    /// It has one.
    AlreadyInjected,
    /// Its annotation declines.
    OptedOut,
}

/// Why a pod cannot get an agent. It is left as it is, and runs unguarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// All pods of a node would share the agent's port.
    #[error("the pod uses the network of its node, where the agent's ports are not its own")]
    HostNetwork,
    /// The agent is built for Linux.
    #[error("the pod runs on Windows; the agent runs on Linux only")]
    Windows,
    /// No container has the port.
    #[error("no container of the pod has a TCP port named {name:?}, which its Service targets")]
    NoSuchPort {
        /// The name.
        name: String,
    },
    /// The Service targets a number.
    #[error(
        "its Service targets the port number {port}, which can only be redirected by an init container with NET_ADMIN: name \
         the port in the pod and in the Service, or set spec.agent.redirect in the ReleaseGate"
    )]
    Numeric {
        /// The number.
        port: u16,
    },
    /// A container has one of the agent's ports.
    #[error("container {container:?} uses port {port}, which the agent needs")]
    PortTaken {
        /// The container.
        container: String,
        /// The port.
        port: u16,
    },
    /// A volume or container has a name that the agent needs.
    #[error("the pod has something else that is called {name:?}, as the agent's would be")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The Service has no port for an agent.
    #[error("the Service {service:?} has no TCP port{wanted}")]
    NoServicePort {
        /// The Service.
        service: String,
        /// Which one was wanted.
        wanted: String,
    },
    /// A number that is not a port.
    #[error("{port} is not the number of a port")]
    NotAPort {
        /// What was given.
        port: i32,
    },
}

/// The target port of a Service: of the port that was chosen by name or number, else of its first TCP port.
///
/// # Errors
/// When there is none.
pub fn target_port(service: &str, ports: &[ServicePort], chosen: Option<&IntOrString>) -> Result<IntOrString, Refusal> {
    let is_chosen = |port: &&ServicePort| match chosen {
        None => true,
        Some(IntOrString::Int(number)) => port.port == *number,
        Some(IntOrString::String(name)) => {
            port.name.as_ref() == Some(name) || name.parse().is_ok_and(|number: i32| port.port == number)
        }
    };
    let mut tcp = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let Some(port) = tcp.find(is_chosen) else {
        let wanted = match chosen {
            None => String::new(),
            Some(IntOrString::Int(number)) => format!(" {number}"),
            Some(IntOrString::String(name)) => format!(" {name:?}"),
        };
        return Err(Refusal::NoServicePort { service: service.to_owned(), wanted });
    };
    Ok(port.target_port.clone().unwrap_or(IntOrString::Int(port.port)))
}

/// Whether an agent can take over a target port, whatever the pod.
///
/// # Errors
/// When it is a number that may not be redirected.
pub fn may_be_taken(target: &IntOrString, redirect: bool) -> Result<(), Refusal> {
    match target {
        IntOrString::Int(_) if !redirect => Err(ports::missing(target)),
        _ => Ok(()),
    }
}

/// What has to be done to a pod, or to the template of one, for it to have an agent.
///
/// # Errors
/// When it cannot have one.
pub fn inject(pod: &Pod, settings: &InjectionSettings) -> Result<Outcome, Refusal> {
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.and_then(|all| all.get(INJECT_ANNOTATION)).is_some_and(|value| value == "false") {
        return Ok(Outcome::OptedOut);
    }
    let Some(spec) = &pod.spec else { return Err(ports::missing(&settings.target)) };
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    if inits.iter().any(|container| container.name == AGENT_CONTAINER) {
        return Ok(Outcome::AlreadyInjected);
    }
    if spec.host_network == Some(true) {
        return Err(Refusal::HostNetwork);
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Err(Refusal::Windows);
    }
    let names = spec.containers.iter().chain(inits).map(|container| container.name.as_str());
    let volumes = spec.volumes.iter().flatten().map(|volume| volume.name.as_str());
    let taken = |mut names: Box<dyn Iterator<Item = &str> + '_>, name| names.any(|known| known == name);
    for name in [AGENT_CONTAINER, REDIRECT_CONTAINER] {
        if taken(Box::new(names.clone()), name) {
            return Err(Refusal::NameTaken { name: name.to_owned() });
        }
    }
    if taken(Box::new(volumes), TOKEN_VOLUME) {
        return Err(Refusal::NameTaken { name: TOKEN_VOLUME.to_owned() });
    }
    let plan = ports::plan(spec, settings)?;

    let mut operations = Vec::new();
    let (labels, annotations) = (pod.metadata.labels.as_ref(), annotations);
    enter(&mut operations, "labels", GATE_LABEL, &settings.gate, labels.is_some());
    enter(&mut operations, "annotations", INJECTED_ANNOTATION, &settings.gate, annotations.is_some());
    operations.extend(plan.changes.iter().map(|(path, value)| replace(path, value.clone())));
    append(&mut operations, "volumes", spec.volumes.is_some(), vec![sidecar::token_volume()]);
    let mut added = Vec::new();
    if plan.redirected {
        added.push(sidecar::redirect(&plan, settings));
    }
    added.push(sidecar::agent(&plan, settings));
    append(&mut operations, "initContainers", spec.init_containers.is_some(), added);
    Ok(Outcome::Patched(Patch(operations)))
}

fn pointer(parts: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(parts.iter().copied())
}

fn replace(path: &[String], value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation { path: PointerBuf::from_tokens(path), value })
}

fn add(parts: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(parts), value })
}

/// Adds an entry to a map of the metadata, and the map if there is none.
fn enter(operations: &mut Vec<PatchOperation>, map: &str, key: &str, value: &str, exists: bool) {
    operations.push(if exists {
        add(&["metadata", map, key], json!(value))
    } else {
        add(&["metadata", map], json!({key: value}))
    });
}

/// Appends to a list of the spec, and makes the list if there is none.
fn append(operations: &mut Vec<PatchOperation>, list: &str, exists: bool, values: Vec<Value>) {
    if exists {
        operations.extend(values.into_iter().map(|value| add(&["spec", list, "-"], value)));
    } else {
        operations.push(add(&["spec", list], Value::Array(values)));
    }
}
