//! The cluster as far as it matters here, as plain data: objects in, one [`Snapshot`] a ReleaseGate out.
//!
//! No client and no clock, so that every question of who serves with which weight is a test of values. Objects are trimmed
//! when they come in: of a pod a few hundred bytes are kept. ReplicaSets are not watched: a group is as old as its oldest
//! pod, which is what matters, and it is one permission less.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::gates::{GateFacts, Guards};
use super::inject::{Refusal, may_be_taken, target_port};
use super::types::{AGENT_CONTAINER, AGENT_PORT, Dependency, GATE_LABEL, ReleaseGate};
use crate::door::PodIdentity;
use crate::kubernetes::weights;
use crate::platform::{Backend, Group, Pod, Snapshot, Trouble};

/// A namespace and a name.
pub type Name = (String, String);

/// What the cluster is seen to be.
#[derive(Clone, Debug, Default)]
pub struct Index {
    gates: BTreeMap<Name, Arc<ReleaseGate>>,
    services: BTreeMap<Name, ServiceEntry>,
    pods: BTreeMap<Name, PodEntry>,
    /// Routes and other objects with weights, by namespace, kind and name.
    weights: BTreeMap<(String, String, String), Value>,
    /// Namespaces whose ReleaseGates are all known; the empty name stands for every namespace.
    listed: BTreeSet<String>,
}

/// Something has changed.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A ReleaseGate.
    Gate(Name, Option<Arc<ReleaseGate>>),
    /// A Service.
    Service(Name, Option<ServiceEntry>),
    /// A pod.
    Pod(Name, Option<Box<PodEntry>>),
    /// An object with weights, of this kind.
    Weights(String, Name, Option<Value>),
}

/// What is kept of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceEntry {
    selector: BTreeMap<String, String>,
    ports: Vec<core::ServicePort>,
}

impl ServiceEntry {
    /// What matters of a Service.
    #[must_use]
    pub fn trimmed(service: core::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        Self { selector: spec.selector.unwrap_or_default(), ports: spec.ports.unwrap_or_default() }
    }
}

/// What is kept of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEntry {
    labels: BTreeMap<String, String>,
    uid: Arc<str>,
    /// Kind and name of its controller.
    owner: Option<(String, String)>,
    born_ms: u64,
    ready: bool,
    agent: Option<SocketAddr>,
    restarts: u32,
    out_of_memory: u32,
    trouble: Option<Trouble>,
}

impl PodEntry {
    /// What matters of a pod. `None` for one that is on its way out, or has done its work: it serves nobody.
    #[must_use]
    pub fn trimmed(pod: &core::Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let ready = status.and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
        let address: Option<IpAddr> = status.and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        let has_agent = pod.spec.as_ref().is_some_and(|spec| {
            let sidecars = spec.init_containers.iter().flatten().chain(&spec.containers);
            sidecars.into_iter().any(|container| container.name == AGENT_CONTAINER)
        });
        let containers = || {
            let all = status.map(|status| (&status.container_statuses, &status.init_container_statuses));
            all.into_iter().flat_map(|(all, init)| all.iter().flatten().chain(init.iter().flatten()))
        };
        let count = |container: &core::ContainerStatus| u32::try_from(container.restart_count).unwrap_or(0);
        let restarts = containers().map(count).sum();
        // The API keeps the last end only, so ends of a container that ended for want of memory count as such.
        let killed = containers().filter(|container| was_out_of_memory(container));
        let out_of_memory = killed.map(|container| count(container).max(1)).sum();
        Some(Self {
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            owner: controller(&pod.metadata),
            born_ms: born_ms(&pod.metadata),
            ready,
            agent: address.filter(|_| has_agent).map(|ip| SocketAddr::new(ip, AGENT_PORT)),
            restarts,
            out_of_memory,
            trouble: containers().find_map(trouble),
        })
    }
}

fn controller(metadata: &ObjectMeta) -> Option<(String, String)> {
    let owners = metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some((owner.kind.clone(), owner.name.clone()))
}

fn born_ms(metadata: &ObjectMeta) -> u64 {
    let at = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
    u64::try_from(at).unwrap_or(0)
}

fn reason(state: Option<&core::ContainerState>) -> Option<&str> {
    let state = state?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    waiting.or_else(|| state.terminated.as_ref()?.reason.as_deref())
}

fn was_out_of_memory(container: &core::ContainerStatus) -> bool {
    [&container.state, &container.last_state].into_iter().any(|state| reason(state.as_ref()) == Some("OOMKilled"))
}

fn trouble(container: &core::ContainerStatus) -> Option<Trouble> {
    match reason(container.state.as_ref())? {
        "CrashLoopBackOff" => Some(Trouble::CrashLooping),
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => Some(Trouble::ImagePull),
        _ => None,
    }
}

impl Index {
    /// Takes in a change. Returns the ReleaseGates that it may matter to.
    pub fn apply(&mut self, seen: Seen) -> BTreeSet<Name> {
        let namespace = match seen {
            Seen::Gate(name, gate) => {
                match gate {
                    Some(gate) => drop(self.gates.insert(name.clone(), gate)),
                    None => drop(self.gates.remove(&name)),
                }
                return BTreeSet::from([name]);
            }
            Seen::Service(name, service) => put(&mut self.services, name, service),
            Seen::Pod(name, pod) => put(&mut self.pods, name, pod.map(|pod| *pod)),
            Seen::Weights(kind, (namespace, name), object) => {
                put_at(&mut self.weights, (namespace.clone(), kind, name), object).then_some(namespace)
            }
        };
        let Some(namespace) = namespace else { return BTreeSet::new() };
        self.gates.keys().filter(|(of, _)| *of == namespace).cloned().collect()
    }

    /// Forgets everything of a namespace but its ReleaseGates.
    pub fn forget(&mut self, namespace: &str) {
        self.services.retain(|(of, _), _| of != namespace);
        self.pods.retain(|(of, _), _| of != namespace);
        self.weights.retain(|(of, ..), _| of != namespace);
    }

    /// A ReleaseGate.
    #[must_use]
    pub fn gate(&self, name: &Name) -> Option<&Arc<ReleaseGate>> {
        self.gates.get(name)
    }

    /// All ReleaseGates.
    pub fn gates(&self) -> impl Iterator<Item = (&Name, &Arc<ReleaseGate>)> {
        self.gates.iter()
    }

    /// The labels that the pods of a group have in common with one of them: any will do, as a selector cannot tell them apart.
    #[must_use]
    pub fn labels_of(&self, name: &Name, group: &str) -> Option<BTreeMap<String, String>> {
        let gate = self.gates.get(name)?;
        let backends = self.backends(&name.0, gate).ok()?;
        let mut pods = self.pods.iter().filter(|((namespace, _), _)| *namespace == name.0).map(|(_, pod)| pod);
        pods.find(|pod| belongs(&name.1, &backends, &pod.labels) && group_of(pod, &backends).0 == group)
            .map(|pod| pod.labels.clone())
    }

    /// The ReleaseGate that pods with these labels belong to, or will when traffic is switched to them.
    #[must_use]
    pub fn gate_of_pod(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<&Arc<ReleaseGate>> {
        let mut here = self.gates.iter().filter(|((of, _), _)| of == namespace);
        here.find(|((_, name), gate)| {
            let backends = self.backends(namespace, gate).unwrap_or_default();
            belongs(name, &backends, labels)
        })
        .map(|(_, gate)| gate)
    }

    /// The same, with what an agent of such a pod has to know.
    #[must_use]
    pub fn facts_of_pod(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Option<GateFacts> {
        let gate = self.gate_of_pod(namespace, labels)?;
        let backends = self.backends(namespace, gate).ok()?;
        // Of a route's two Services, the one that sends its requests here, or else the one that may be switched to it.
        let service = backends.iter().find(|backend| selects(&backend.selector, labels));
        let service = service.or_else(|| backends.iter().find(|backend| may_select(&backend.selector, labels)));
        let service = &service.or(backends.first())?.name;
        let target = self.target(namespace, service, gate)?;
        let agent = gate.spec.agent.as_ref();
        Some(GateFacts {
            name: gate.metadata.name.clone().unwrap_or_default(),
            namespace: namespace.to_owned(),
            target,
            redirect: gate.spec.redirects(),
            image: agent.and_then(|agent| agent.image.clone()),
            resources: agent.and_then(|agent| agent.resources.clone()),
            dependencies: gate.spec.dependencies.iter().filter_map(Dependency::probe).collect(),
        })
    }

    /// A ReleaseGate of this namespace names a Service that is not there.
    #[must_use]
    pub fn lacks_service(&self, namespace: &str) -> bool {
        let mut gates = self.gates.iter().filter(|(name, _)| name.0 == namespace);
        gates.any(|(_, gate)| self.backends(namespace, gate).is_err())
    }

    /// Why no pod of a ReleaseGate can be given an agent, whatever the pod.
    #[must_use]
    pub fn not_injected(&self, name: &Name) -> Option<Refusal> {
        let gate = self.gates.get(name)?;
        let backends = self.backends(&name.0, gate).ok()?;
        let targets = backends.iter().filter_map(|backend| self.target(&name.0, &backend.name, gate));
        targets
            .map(|target| target.and_then(|target| may_be_taken(&target, gate.spec.redirects())))
            .find_map(Result::err)
    }

    /// The port of a pod that a Service of a ReleaseGate sends its requests to.
    fn target(&self, namespace: &str, service: &str, gate: &ReleaseGate) -> Option<Result<IntOrString, Refusal>> {
        let entry = self.services.get(&(namespace.to_owned(), service.to_owned()))?;
        Some(target_port(service, &entry.ports, gate.spec.port.as_ref()))
    }

    /// All ReleaseGates of this namespace are known; of every namespace when it is empty.
    pub fn listed(&mut self, namespace: &str) {
        self.listed.insert(namespace.to_owned());
    }

    /// All ReleaseGates of this namespace are known.
    #[must_use]
    pub fn is_listed(&self, namespace: &str) -> bool {
        self.listed.contains(namespace) || self.listed.contains("")
    }

    /// Whether a ReleaseGate guards a pod.
    #[must_use]
    pub fn guards(&self, name: &str, pod: &PodIdentity) -> Guards {
        let namespace = &pod.namespace;
        let Some(gate) = self.gates.get(&(namespace.clone(), name.to_owned())) else {
            return if self.is_listed(namespace) { Guards::No } else { Guards::NotYetKnown };
        };
        let entry = self.pods.get(&(namespace.clone(), pod.name.clone()));
        // Another pod of that name, as a StatefulSet makes them, is about to be seen gone.
        let entry = entry.filter(|entry| *entry.uid == *pod.uid);
        match (entry, self.backends(namespace, gate)) {
            (Some(entry), Ok(backends)) if belongs(name, &backends, &entry.labels) => Guards::Yes,
            (Some(_), Ok(_)) => Guards::No,
            _ => Guards::NotYetKnown,
        }
    }

    /// What a ReleaseGate's traffic comes to.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn snapshot(&self, name: &Name) -> Result<Snapshot, String> {
        let gate = self.gates.get(name).ok_or_else(|| format!("there is no ReleaseGate {}/{}", name.0, name.1))?;
        let backends = self.backends(&name.0, gate)?;
        let mine: Vec<_> = self
            .pods
            .range((name.0.clone(), String::new())..)
            .take_while(|((namespace, _), _)| *namespace == name.0)
            .filter(|(_, pod)| belongs(&name.1, &backends, &pod.labels))
            .map(|((_, pod_name), pod)| (pod_name, pod, group_of(pod, &backends)))
            .collect();
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for (_, pod, (key, group_name)) in &mine {
            let group = groups.entry(key).or_insert_with(|| Group {
                key: key.clone(),
                name: group_name.as_str().into(),
                born_ms: pod.born_ms,
                selected: false,
                share: 0.0,
            });
            group.born_ms = group.born_ms.min(pod.born_ms);
        }
        let weighed: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
        for backend in backends.iter().filter(|backend| backend.weight > 0) {
            let behind = || mine.iter().filter(|(_, pod, _)| selects(&backend.selector, &pod.labels));
            let ready = behind().filter(|(_, pod, _)| pod.ready).count();
            // A backend without a ready pod sends its requests to nobody; whose fault that is, its pods say.
            let counted = if ready > 0 { ready } else { behind().count() };
            for (_, pod, (key, _)) in behind() {
                let Some(group) = groups.get_mut(key.as_str()) else { continue };
                group.selected = true;
                if pod.ready || ready == 0 {
                    group.share += f64::from(backend.weight) / weighed as f64 / counted as f64;
                }
            }
        }
        let pods = mine.iter().map(|(pod_name, pod, (key, _))| Pod {
            name: pod_name.as_str().into(),
            uid: Arc::clone(&pod.uid),
            group: key.clone(),
            ready: pod.ready,
            agent: pod.agent,
            restarts: pod.restarts,
            out_of_memory: pod.out_of_memory,
            trouble: pod.trouble,
        });
        let pods = pods.collect();
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|a, b| (a.born_ms, &a.key).cmp(&(b.born_ms, &b.key)));
        let weighted = gate.spec.traffic.service.is_none();
        Ok(Snapshot { backends, groups, pods, weighted, rules: gate.spec.rules(), paused: gate.spec.paused })
    }

    /// Where requests are sent by the objects that a ReleaseGate names.
    ///
    /// # Errors
    /// Which of them is missing.
    pub fn backends(&self, namespace: &str, gate: &ReleaseGate) -> Result<Vec<Backend>, String> {
        let selector = |service: &str| {
            let entry = self.services.get(&(namespace.to_owned(), service.to_owned()));
            let entry = entry.ok_or_else(|| format!("there is no Service {service}"))?;
            if entry.selector.is_empty() {
                return Err(format!("the Service {service} has no selector, so nobody knows its pods"));
            }
            Ok(entry.selector.clone())
        };
        let traffic = &gate.spec.traffic;
        let weights = match &traffic.service {
            Some(service) => vec![(service.clone(), 1)],
            None => {
                let (kind, name) = weights::object_of(traffic).ok_or("the traffic has no form")?;
                let object = self.weights.get(&(namespace.to_owned(), kind.to_owned(), name.to_owned()));
                let object = object.ok_or_else(|| format!("there is no {kind} {name}"))?;
                weights::read(traffic, object)?
            }
        };
        let backends = weights.into_iter().map(|(name, weight)| {
            let selector = selector(&name)?;
            Ok(Backend { name, selector, weight })
        });
        backends.collect()
    }
}

fn put<V: PartialEq>(map: &mut BTreeMap<Name, V>, name: Name, value: Option<V>) -> Option<String> {
    let namespace = name.0.clone();
    put_at(map, name, value).then_some(namespace)
}

/// Returns true when something has changed.
fn put_at<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
        None => map.remove(&key).is_some(),
    }
}

/// A Service with this selector sends requests to pods with these labels.
#[must_use]
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A selector may be switched to pods with these labels: they have all its keys, and more than one of them, so that what
/// is the same names the application, and what is not names the version.
#[must_use]
pub fn may_select(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    let same = selector.iter().filter(|(key, value)| labels.get(*key) == Some(value)).count();
    same > 0 && selector.keys().all(|key| labels.contains_key(key))
}

fn belongs(gate: &str, backends: &[Backend], labels: &BTreeMap<String, String>) -> bool {
    match labels.get(GATE_LABEL) {
        Some(named) => named == gate,
        None => backends.iter().any(|backend| may_select(&backend.selector, labels)),
    }
}

/// Key and name of the group of a pod.
fn group_of(pod: &PodEntry, backends: &[Backend]) -> (String, String) {
    match &pod.owner {
        // The name has the hash of the template in it, so it stays the same when the ReplicaSet is made again.
        Some((kind, name)) if kind == "ReplicaSet" => (format!("ReplicaSet/{name}"), name.clone()),
        Some((kind, name)) if pod.labels.contains_key("controller-revision-hash") => {
            let revision = &pod.labels["controller-revision-hash"];
            (format!("{kind}/{name}/{revision}"), format!("{name} {revision}"))
        }
        _ => {
            let keys: BTreeSet<_> = backends.iter().flat_map(|backend| backend.selector.keys()).collect();
            let values = keys.into_iter().filter_map(|key| Some((key, pod.labels.get(key)?)));
            let values: Vec<_> = values.map(|(key, value)| format!("{key}={value}")).collect();
            (format!("Pods/{}", values.join(",")), values.join(","))
        }
    }
}

#[cfg(test)]
mod tests;
