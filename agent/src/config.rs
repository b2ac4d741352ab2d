//! What the agent is told at its start, and the only place that reads the environment.
//!
//! Flags are taken as text and checked together, so that one run shows everything that is wrong, each with the flag, the
//! value and what would be accepted.

mod reading;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use blueback_report::{Role, Slot, TARGETS_MAX};
use clap::Parser;
use http::Uri;

use self::reading::{ADDRESS, Reading};
use crate::dependency;
use crate::limits::{Limits, WORKERS_MAX};
use crate::link::Authority;

/// A backend that requests can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The set it belongs to.
    pub slot: Slot,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name in reports.
    pub pod: String,
}

/// What is spoken with backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppProtocol {
    /// What the client speaks; HTTP/1.1 for backends that turn out not to speak HTTP/2.
    #[default]
    Auto,
    /// Always HTTP/1.1.
    Http1,
    /// Always HTTP/2, by prior knowledge.
    Http2,
}

/// Everything the agent needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The guarded service.
    pub service: String,
    /// Where the agent stands.
    pub role: Role,
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The slot in the role is only what this sidecar calls its own side; the gate is to say what it is.
    pub unassigned: bool,
    /// The backends. Of a sidecar: its application (the one of its own slot) and those to divert to; without any of the other slot
    /// it diverts to the agents that the gate names.
    pub targets: Vec<Target>,
    /// The gate; without one the agent routes and counts, and reports to nobody.
    pub gate: Option<Uri>,
    /// Who vouches for a gate that is reached by https.
    pub gate_authority: Option<Authority>,
    /// File of the token that the gate is shown.
    pub token_file: Option<PathBuf>,
    /// Collector that takes the agent's own spans by OTLP over HTTP; without one it makes none and passes traces on as they came.
    pub otlp: Option<Uri>,
    /// Where `/metrics`, `/live` and `/ready` are served. Port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// Threads that serve clients.
    pub workers: usize,
    /// The slot that a front agent sends everything to before the gate says anything. A sidecar serves its own.
    pub serving: Slot,
    /// Name of the pod the agent runs in; together with a random number it names this instance.
    pub pod: String,
    /// What tells that pod from an earlier one of the same name; stands for the name in that of the instance.
    pub pod_uid: Option<String>,
    /// What the application depends on.
    pub dependencies: Vec<dependency::Target>,
    /// Folder of the control group whose processor and memory are reported; none are when absent.
    pub cgroup: Option<PathBuf>,
    /// Seed of the coins; random when absent.
    pub seed: Option<u64>,
    /// Path of the backends' health probe; a TCP connection when absent.
    pub probe: Option<String>,
    /// What is spoken with backends.
    pub app_protocol: AppProtocol,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// With the defaults for all else.
    #[must_use]
    pub fn new(service: &str, role: Role, listen: SocketAddr, targets: Vec<Target>) -> Self {
        let serving = match role {
            Role::Sidecar(slot) => slot,
            Role::Front => Slot::Blue,
        };
        Self {
            service: service.to_owned(),
            role,
            listen,
            unassigned: false,
            targets,
            gate: None,
            gate_authority: None,
            token_file: None,
            otlp: None,
            admin: None,
            workers: 1,
            serving,
            pod: format!("{service}-agent"),
            pod_uid: None,
            dependencies: Vec::new(),
            cgroup: None,
            seed: None,
            probe: None,
            app_protocol: AppProtocol::Auto,
            limits: Limits::default(),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} {problem}; accepted: {accepted}")]
pub struct ConfigError {
    /// The flag.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub accepted: &'static str,
}

/// All that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The sidecar that times every request, reports to the gate, and diverts when told.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "blueback-agent", version)]
pub struct Flags {
    /// Name of the guarded service
    #[arg(long, env = "BLUEBACK_AGENT_SERVICE", value_name = "NAME")]
    pub service: Option<String>,
    /// Where clients connect
    #[arg(long, env = "BLUEBACK_AGENT_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// Beside one backend (sidecar) or in front of both slots (front)
    #[arg(long, env = "BLUEBACK_AGENT_ROLE", value_name = "sidecar|front")]
    pub role: Option<String>,
    /// Sidecar: the slot of its application [default: the gate says it]
    #[arg(long, env = "BLUEBACK_AGENT_SLOT", value_name = "blue|green")]
    pub slot: Option<String>,
    /// Sidecar: its application
    #[arg(long, env = "BLUEBACK_AGENT_APP", value_name = "ADDR")]
    pub app: Option<String>,
    /// Sidecar: backends of the other slot, separated by commas [default: the agents that the gate names]
    #[arg(long, env = "BLUEBACK_AGENT_DIVERT", value_name = "ADDRS")]
    pub divert: Option<String>,
    /// Front: backends of the blue slot, separated by commas
    #[arg(long, env = "BLUEBACK_AGENT_BLUE", value_name = "ADDRS")]
    pub blue: Option<String>,
    /// Front: backends of the green slot, separated by commas
    #[arg(long, env = "BLUEBACK_AGENT_GREEN", value_name = "ADDRS")]
    pub green: Option<String>,
    /// Front: the slot that serves until the gate says otherwise
    #[arg(long, env = "BLUEBACK_AGENT_SERVING", value_name = "blue|green")]
    pub serving: Option<String>,
    /// URL of the gate, such as `https://blueback-gate.blueback.svc:7070`
    #[arg(long, env = "BLUEBACK_AGENT_GATE", value_name = "URL")]
    pub gate: Option<String>,
    /// File with the certificates (PEM) that vouch for an https gate, read again for each stream
    #[arg(long, env = "BLUEBACK_AGENT_GATE_CA_FILE", value_name = "FILE", conflicts_with = "gate_ca")]
    pub gate_ca_file: Option<PathBuf>,
    /// The same certificates as text
    #[arg(long, env = "BLUEBACK_AGENT_GATE_CA", value_name = "PEM")]
    pub gate_ca: Option<String>,
    /// File with the token that an https gate is shown, read again for each stream
    #[arg(long, env = "BLUEBACK_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// URL of an OpenTelemetry Collector, such as http://collector:4318, for a span of the agent's own in each trace that is
    /// recorded [default: none]
    #[arg(long, env = "BLUEBACK_AGENT_OTLP", value_name = "URL")]
    pub otlp: Option<String>,
    /// Where /metrics, /live and /ready are served
    #[arg(long, env = "BLUEBACK_AGENT_ADMIN", value_name = "ADDR")]
    pub admin: Option<String>,
    /// Name of the pod [default: the host's name]
    #[arg(long, env = "BLUEBACK_AGENT_POD", value_name = "NAME")]
    pub pod: Option<String>,
    /// UID of the pod [default: its name stands for it]
    #[arg(long, env = "BLUEBACK_AGENT_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,
    /// What the application depends on, such as database=postgres://shop@db/orders, cache=redis://cache,
    /// payments=http://payments/live or queue=tcp://queue:5672; several times, or separated by commas
    #[arg(long, env = "BLUEBACK_AGENT_DEPENDENCY", value_name = "NAME=URL", value_delimiter = ',')]
    pub dependency: Vec<String>,
    /// Folder of the control group whose processor and memory are reported, such as /sys/fs/cgroup [default: none]
    #[arg(long, env = "BLUEBACK_AGENT_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Threads that serve clients [default: 1]
    #[arg(long, env = "BLUEBACK_AGENT_WORKERS", value_name = "N")]
    pub workers: Option<String>,
    /// Seed of the coins [default: random]
    #[arg(long, env = "BLUEBACK_AGENT_SEED", value_name = "N")]
    pub seed: Option<String>,
    /// Path of the backends' health probe [default: a TCP connection]
    #[arg(long, env = "BLUEBACK_AGENT_PROBE", value_name = "PATH")]
    pub probe: Option<String>,
    /// What is spoken with backends [default: auto, what the client speaks]
    #[arg(long, env = "BLUEBACK_AGENT_APP_PROTOCOL", value_name = "auto|http1|http2")]
    pub app_protocol: Option<String>,
    /// Time until the head of a response, such as 30s [default: none]
    #[arg(long, env = "BLUEBACK_AGENT_TIMEOUT", value_name = "TIME")]
    pub timeout: Option<String>,
    /// Time until a connection to a backend stands [default: 1s]
    #[arg(long, env = "BLUEBACK_AGENT_CONNECT_TIMEOUT", value_name = "TIME")]
    pub connect_timeout: Option<String>,
    /// Time until a request's head is complete [default: 10s]
    #[arg(long, env = "BLUEBACK_AGENT_HEAD_TIMEOUT", value_name = "TIME")]
    pub head_timeout: Option<String>,
    /// Time a connection may be kept without a request [default: 75s]
    #[arg(long, env = "BLUEBACK_AGENT_IDLE_TIMEOUT", value_name = "TIME")]
    pub idle_timeout: Option<String>,
    /// Time a stopping agent waits for requests in flight [default: 30s]
    #[arg(long, env = "BLUEBACK_AGENT_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<String>,
    /// Largest request head in bytes [default: 32768]
    #[arg(long, env = "BLUEBACK_AGENT_HEAD_BYTES", value_name = "N")]
    pub head_bytes: Option<String>,
    /// Client connections of a worker [default: 8192]
    #[arg(long, env = "BLUEBACK_AGENT_CONNECTIONS", value_name = "N")]
    pub connections: Option<String>,
    /// Requests in flight of a worker [default: 4096]
    #[arg(long, env = "BLUEBACK_AGENT_REQUESTS", value_name = "N")]
    pub requests: Option<String>,
    /// HTTP/2 streams of a connection [default: 256]
    #[arg(long, env = "BLUEBACK_AGENT_STREAMS", value_name = "N")]
    pub streams: Option<String>,
}

impl Flags {
    /// The configuration that these flags say.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn into_config(self) -> Result<Config, ConfigErrors> {
        let mut reading = Reading::default();
        let service = reading.required("--service", self.service.as_deref(), "the name of the guarded service");
        let service = service.map(|value| reading.name("--service", value));
        let listen = reading.required("--listen", self.listen.as_deref(), ADDRESS);
        let listen = listen.and_then(|value| reading.address("--listen", value, ADDRESS));
        let pod = self.pod.clone().or_else(|| std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()));
        let pod = reading.name("--pod", pod.as_deref().unwrap_or("agent"));
        let (role, targets) = match self.role.as_deref() {
            Some("sidecar") => reading.sidecar(&self, &pod),
            Some("front") => reading.front(&self),
            other => {
                let problem = if other.is_some() { "is not a role" } else { "is missing" };
                reading.wrong("--role", other.unwrap_or_default(), problem, "sidecar or front");
                (None, Vec::new())
            }
        };
        if targets.len() > TARGETS_MAX {
            let seen = targets.len().to_string();
            reading.wrong("--blue, --green, --divert", &seen, "backends are too many", "up to 256 backends");
        }
        let serving = self.serving.as_deref().and_then(|value| reading.slot("--serving", value));
        let gate = self.gate.as_deref().and_then(|value| reading.gate(value));
        let gate_authority = reading.authority(&self, gate.as_ref());
        let otlp = self.otlp.as_deref().and_then(|value| reading.otlp(value));
        let dependencies = reading.dependencies(&self.dependency);
        let pod_uid = self.pod_uid.as_deref().map(|value| reading.name("--pod-uid", value));
        let admin = self.admin.as_deref().and_then(|value| reading.address("--admin", value, ADDRESS));
        let workers = reading
            .number("--workers", self.workers.as_deref(), WORKERS_MAX as u64, "a number of threads from 1 to 256")
            .unwrap_or(1);
        let seed = self.seed.as_deref().and_then(|value| {
            let seed = value.parse().ok();
            if seed.is_none() {
                reading.wrong("--seed", value, "is not a number", "a whole number from 0 to 18446744073709551615");
            }
            seed
        });
        if let Some(probe) = self.probe.as_deref().filter(|path| !path.starts_with('/') || path.parse::<Uri>().is_err())
        {
            reading.wrong("--probe", probe, "is not a path", "a path such as /healthz");
        }
        let app_protocol = match self.app_protocol.as_deref() {
            None | Some("auto") => AppProtocol::Auto,
            Some("http1") => AppProtocol::Http1,
            Some("http2") => AppProtocol::Http2,
            Some(other) => {
                reading.wrong("--app-protocol", other, "is not a protocol", "auto, http1 or http2");
                AppProtocol::Auto
            }
        };
        let limits = reading.limits(&self);
        match (service, role, listen) {
            (Some(service), Some(role), Some(listen)) if reading.0.is_empty() => {
                let base = Config::new(&service, role, listen, targets);
                let serving = serving.unwrap_or(base.serving);
                let unassigned = matches!(role, Role::Sidecar(_)) && self.slot.is_none();
                Ok(Config {
                    unassigned,
                    gate,
                    gate_authority,
                    token_file: self.token_file,
                    otlp,
                    admin,
                    workers,
                    serving,
                    pod,
                    pod_uid,
                    dependencies,
                    cgroup: self.cgroup,
                    seed,
                    probe: self.probe,
                    app_protocol,
                    limits,
                    ..base
                })
            }
            _ => Err(ConfigErrors(reading.0)),
        }
    }
}

#[cfg(test)]
mod tests;
