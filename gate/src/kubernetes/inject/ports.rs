//! Which port the agent takes over, and what follows the application to where it is found afterwards.

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::{ADMIN_PORT, AGENT_PORT, DIRECT_PORT, InjectionSettings, Refusal};

/// Longest name of a port.
const NAME_BYTES_MAX: usize = 15;

/// What is to be done about ports.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The application's port.
    pub(super) app: u16,
    /// Name of the agent's port.
    pub(super) name: String,
    /// The port is redirected, not renamed.
    pub(super) redirected: bool,
    /// Path of a GET that tells whether the application is ready.
    pub(super) probe: Option<String>,
    /// New values in the pod.
    pub(super) changes: Vec<(Vec<String>, Value)>,
}

/// A container that runs as long as the pod, and where it stands.
struct Place<'a> {
    list: &'static str,
    index: usize,
    container: &'a Container,
}

impl Place<'_> {
    fn path(&self, rest: &[&str]) -> Vec<String> {
        let index = self.index.to_string();
        ["spec", self.list, index.as_str()].iter().chain(rest).map(|part| (*part).to_owned()).collect()
    }
}

/// In the order in which Kubernetes looks for a named port: containers, then sidecars.
fn places(spec: &PodSpec) -> Vec<Place<'_>> {
    let containers = spec.containers.iter().enumerate();
    let containers = containers.map(|(index, container)| Place { list: "containers", index, container });
    let inits = spec.init_containers.iter().flatten().enumerate();
    let sidecars = inits.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"));
    containers.chain(sidecars.map(|(index, container)| Place { list: "initContainers", index, container })).collect()
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.unwrap_or("TCP") == "TCP"
}

/// The refusal of a port that no container has.
pub(super) fn missing(target: &IntOrString) -> Refusal {
    match target {
        IntOrString::String(name) => Refusal::NoSuchPort { name: name.clone() },
        IntOrString::Int(port) => match u16::try_from(*port) {
            Ok(port) => Refusal::Numeric { port },
            Err(_) => Refusal::NotAPort { port: *port },
        },
    }
}

fn port_number(port: i32) -> Result<u16, Refusal> {
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or(Refusal::NotAPort { port })
}

pub(super) fn plan(spec: &PodSpec, settings: &InjectionSettings) -> Result<Plan, Refusal> {
    let places = places(spec);
    let plan = match &settings.target {
        IntOrString::String(name) => named(&places, name)?,
        IntOrString::Int(port) => numeric(&places, port_number(*port)?, settings.redirect)?,
    };
    let mut needed = vec![AGENT_PORT, ADMIN_PORT];
    needed.extend(plan.redirected.then_some(DIRECT_PORT));
    for Place { container, .. } in &places {
        for port in container.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref())) {
            if let Some(port) = needed.iter().find(|needed| i32::from(**needed) == port.container_port) {
                return Err(Refusal::PortTaken { container: container.name.clone(), port: *port });
            }
        }
    }
    if let Some(port) = needed.iter().find(|port| **port == plan.app) {
        return Err(Refusal::PortTaken { container: "of the application".to_owned(), port: *port });
    }
    Ok(plan)
}

/// The agent takes the name. Kubernetes takes the first port of that name, so every container that has one must give it up.
fn named(places: &[Place<'_>], name: &str) -> Result<Plan, Refusal> {
    let mut plan = Plan { app: 0, name: name.to_owned(), redirected: false, probe: None, changes: Vec::new() };
    let mut found = false;
    for place in places {
        let ports = place.container.ports.as_deref().unwrap_or_default();
        let wanted = |port: &k8s_openapi::api::core::v1::ContainerPort| {
            port.name.as_deref() == Some(name) && is_tcp(port.protocol.as_deref())
        };
        let Some(at) = ports.iter().position(wanted) else { continue };
        let others: Vec<_> = ports.iter().filter_map(|port| port.name.as_deref()).collect();
        let renamed = renamed(name, &others);
        plan.changes.push((place.path(&["ports", &at.to_string(), "name"]), json!(renamed)));
        let asks = |port: &IntOrString| *port == IntOrString::String(name.to_owned());
        for (path, _) in handlers(place.container).into_iter().filter(|(_, port)| asks(port)) {
            plan.changes.push((place.path(&path), json!(renamed)));
        }
        if !found {
            plan.app = port_number(ports[at].container_port)?;
            plan.probe = readiness_path(place.container, plan.app);
        }
        found = true;
    }
    if found { Ok(plan) } else { Err(Refusal::NoSuchPort { name: name.to_owned() }) }
}

/// The port is redirected to the agent, and another one past it: whoever probed the port asks there.
fn numeric(places: &[Place<'_>], app: u16, allowed: bool) -> Result<Plan, Refusal> {
    if !allowed {
        return Err(Refusal::Numeric { port: app });
    }
    let mut plan = Plan { app, name: "blueback".to_owned(), redirected: true, probe: None, changes: Vec::new() };
    for place in places {
        for (path, port) in handlers(place.container) {
            if resolve(place.container, &port) == Some(app) {
                plan.changes.push((place.path(&path), json!(DIRECT_PORT)));
            }
        }
        plan.probe = plan.probe.or_else(|| readiness_path(place.container, app));
    }
    Ok(plan)
}

/// The name that the application's port gets: within what a port may be called, and new in its container.
fn renamed(name: &str, others: &[&str]) -> String {
    let fit = |name: &str, bytes: usize| name.get(..bytes).unwrap_or(name).trim_end_matches('-').to_owned();
    let first = fit(&format!("bb-{name}"), NAME_BYTES_MAX);
    let further = (2..100).map(|number| format!("{}-{number}", fit(&format!("bb-{name}"), NAME_BYTES_MAX - 3)));
    std::iter::once(first.clone()).chain(further).find(|name| !others.contains(&name.as_str())).unwrap_or(first)
}

/// Number of a port that a handler of this container means.
fn resolve(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?.container_port
        }
    };
    u16::try_from(number).ok()
}

/// Every handler of a container that asks a port: its path within the container, and the port.
fn handlers(container: &Container) -> Vec<(Vec<&'static str>, IntOrString)> {
    let mut found = Vec::new();
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (name, probe) in probes {
        let Some(probe) = probe else { continue };
        if let Some(get) = &probe.http_get {
            found.push((vec![name, "httpGet", "port"], get.port.clone()));
        }
        if let Some(socket) = &probe.tcp_socket {
            found.push((vec![name, "tcpSocket", "port"], socket.port.clone()));
        }
        if let Some(grpc) = &probe.grpc {
            found.push((vec![name, "grpc", "port"], IntOrString::Int(grpc.port)));
        }
    }
    let lifecycle = container.lifecycle.as_ref();
    let hooks = [
        ("postStart", lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref())),
        ("preStop", lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref())),
    ];
    for (name, hook) in hooks {
        if let Some(get) = hook.and_then(|hook| hook.http_get.as_ref()) {
            found.push((vec!["lifecycle", name, "httpGet", "port"], get.port.clone()));
        }
        if let Some(socket) = hook.and_then(|hook| hook.tcp_socket.as_ref()) {
            found.push((vec!["lifecycle", name, "tcpSocket", "port"], socket.port.clone()));
        }
    }
    found
}

/// The path of the readiness probe, when it is one that the agent can ask as well: plain HTTP on the port that is guarded,
/// and without headers, which the agent would not send.
fn readiness_path(container: &Container, app: u16) -> Option<String> {
    let get = container.readiness_probe.as_ref().and_then(|probe: &Probe| probe.http_get.as_ref())?;
    let plain = get.scheme.as_deref().unwrap_or("HTTP") == "HTTP" && get.http_headers.iter().flatten().count() == 0;
    let asks = plain && get.host.is_none() && resolve(container, &get.port) == Some(app);
    asks.then(|| get.path.clone().unwrap_or_else(|| "/".to_owned())).filter(|path| path.starts_with('/'))
}
