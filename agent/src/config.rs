//! What the agent is told at its start, and the only place that reads the environment.
//!
//! Flags are taken as text and checked together, so that one run shows everything that is wrong, each with the flag, the
//! value and what would be accepted.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use blueback_report::{NAME_BYTES_MAX, Role, Slot, TARGETS_MAX};
use clap::Parser;
use http::Uri;

use crate::limits::{Limits, WORKERS_MAX};

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
    /// The backends. Of a sidecar: its application (the one of its own slot) and those to divert to.
    pub targets: Vec<Target>,
    /// The gate; without one the agent routes and counts, and reports to nobody.
    pub gate: Option<Uri>,
    /// Where `/metrics`, `/live` and `/ready` are served. Port 0 takes a free one.
    pub admin: Option<SocketAddr>,
    /// Threads that serve clients.
    pub workers: usize,
    /// The slot that a front agent sends everything to before the gate says anything. A sidecar serves its own.
    pub serving: Slot,
    /// Name of the pod the agent runs in; together with a random number it names this instance.
    pub pod: String,
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
            targets,
            gate: None,
            admin: None,
            workers: 1,
            serving,
            pod: format!("{service}-agent"),
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
    /// Sidecar: the slot of its application
    #[arg(long, env = "BLUEBACK_AGENT_SLOT", value_name = "blue|green")]
    pub slot: Option<String>,
    /// Sidecar: its application
    #[arg(long, env = "BLUEBACK_AGENT_APP", value_name = "ADDR")]
    pub app: Option<String>,
    /// Sidecar: backends of the other slot, separated by commas
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
    /// URL of the gate, such as http://gate:7070
    #[arg(long, env = "BLUEBACK_AGENT_GATE", value_name = "URL")]
    pub gate: Option<String>,
    /// Where /metrics, /live and /ready are served
    #[arg(long, env = "BLUEBACK_AGENT_ADMIN", value_name = "ADDR")]
    pub admin: Option<String>,
    /// Name of the pod [default: the host's name]
    #[arg(long, env = "BLUEBACK_AGENT_POD", value_name = "NAME")]
    pub pod: Option<String>,
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

/// Collects what is wrong while values are read.
#[derive(Default)]
struct Reading(Vec<ConfigError>);

const ADDRESS: &str = "an address and a port, such as 127.0.0.1:8080 or app:8080";
const ADDRESSES: &str = "addresses with ports, separated by commas, such as 10.0.0.1:8080,10.0.0.2:8080";
const SLOT: &str = "blue or green";
const TIME: &str = "a time above zero with its unit, such as 500ms, 30s or 2m";

impl Reading {
    fn wrong(&mut self, field: &'static str, value: &str, problem: impl Into<String>, accepted: &'static str) {
        self.0.push(ConfigError { field, value: value.to_owned(), problem: problem.into(), accepted });
    }

    fn required<'a>(&mut self, field: &'static str, value: Option<&'a str>, accepted: &'static str) -> Option<&'a str> {
        if value.is_none() {
            self.wrong(field, "", "is missing", accepted);
        }
        value
    }

    fn address(&mut self, field: &'static str, value: &str, accepted: &'static str) -> Option<SocketAddr> {
        match value.to_socket_addrs().map(|mut found| found.next()) {
            Ok(Some(address)) => return Some(address),
            Ok(None) => self.wrong(field, value, "names no address", accepted),
            Err(error) => self.wrong(field, value, format!("is not an address ({error})"), accepted),
        }
        None
    }

    fn addresses(&mut self, field: &'static str, value: Option<&str>) -> Vec<SocketAddr> {
        let parts = value.into_iter().flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty());
        parts.filter_map(|part| self.address(field, part, ADDRESSES)).collect()
    }

    fn slot(&mut self, field: &'static str, value: &str) -> Option<Slot> {
        match value {
            "blue" => Some(Slot::Blue),
            "green" => Some(Slot::Green),
            _ => {
                self.wrong(field, value, "is not a slot", SLOT);
                None
            }
        }
    }

    fn number<N: TryFrom<u64>>(
        &mut self,
        field: &'static str,
        value: Option<&str>,
        most: u64,
        accepted: &'static str,
    ) -> Option<N> {
        let value = value?;
        let number = value.parse().ok().filter(|number| (1..=most).contains(number));
        if number.is_none() {
            self.wrong(field, value, "is out of range or not a number", accepted);
        }
        number.and_then(|number| N::try_from(number).ok())
    }

    fn time(&mut self, field: &'static str, value: Option<&str>) -> Option<Duration> {
        let value = value?;
        let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        let number = value[..split].parse::<u64>().ok().filter(|&number| number > 0);
        let time = match (number, &value[split..]) {
            (Some(ms), "ms") => Some(Duration::from_millis(ms)),
            (Some(s), "s") => Some(Duration::from_secs(s)),
            (Some(m), "m") => m.checked_mul(60).map(Duration::from_secs),
            _ => None,
        };
        if time.is_none() {
            self.wrong(field, value, "is not a time", TIME);
        }
        time
    }

    fn gate(&mut self, value: &str) -> Option<Uri> {
        const ACCEPTED: &str = "http://HOST:PORT of the gate, such as http://gate:7070";
        let uri = value.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
        if uri.is_none() {
            self.wrong("--gate", value, "is not a plain http URL", ACCEPTED);
        }
        uri
    }

    fn name(&mut self, field: &'static str, value: &str) -> String {
        if value.is_empty() || value.len() > NAME_BYTES_MAX - 17 {
            self.wrong(field, value, format!("has {} bytes", value.len()), "a name of 1 to 236 bytes");
        }
        value.to_owned()
    }

    fn limits(&mut self, flags: &Flags) -> Limits {
        let default = Limits::default();
        let any = "a number from 1 to 1000000";
        Limits {
            head_bytes: self
                .number("--head-bytes", flags.head_bytes.as_deref(), 1 << 20, "bytes, from 1 to 1048576")
                .unwrap_or(default.head_bytes),
            connections: self
                .number("--connections", flags.connections.as_deref(), 1_000_000, any)
                .unwrap_or(default.connections),
            requests: self.number("--requests", flags.requests.as_deref(), 1_000_000, any).unwrap_or(default.requests),
            streams: self.number("--streams", flags.streams.as_deref(), 1_000_000, any).unwrap_or(default.streams),
            head_timeout: self.time("--head-timeout", flags.head_timeout.as_deref()).unwrap_or(default.head_timeout),
            idle_timeout: self.time("--idle-timeout", flags.idle_timeout.as_deref()).unwrap_or(default.idle_timeout),
            connect_timeout: self
                .time("--connect-timeout", flags.connect_timeout.as_deref())
                .unwrap_or(default.connect_timeout),
            request_timeout: self.time("--timeout", flags.timeout.as_deref()),
            drain_timeout: self
                .time("--drain-timeout", flags.drain_timeout.as_deref())
                .unwrap_or(default.drain_timeout),
            ..default
        }
    }

    fn sidecar(&mut self, flags: &Flags, pod: &str) -> (Option<Role>, Vec<Target>) {
        let slot = self.required("--slot", flags.slot.as_deref(), SLOT);
        let slot = slot.and_then(|value| self.slot("--slot", value));
        let app = self.required("--app", flags.app.as_deref(), ADDRESS);
        let app = app.and_then(|value| self.address("--app", value, ADDRESS));
        let divert = self.addresses("--divert", flags.divert.as_deref());
        for (field, value) in [("--blue", &flags.blue), ("--green", &flags.green), ("--serving", &flags.serving)] {
            if let Some(value) = value {
                self.wrong(
                    field,
                    value,
                    "is for the role front",
                    "nothing: a sidecar takes --slot, --app and --divert",
                );
            }
        }
        let (Some(slot), Some(app)) = (slot, app) else { return (None, Vec::new()) };
        let own = Target { slot, address: app, pod: pod.to_owned() };
        let other = divert.into_iter().map(|address| Target { slot: slot.other(), address, pod: address.to_string() });
        (Some(Role::Sidecar(slot)), std::iter::once(own).chain(other).collect())
    }

    fn front(&mut self, flags: &Flags) -> (Option<Role>, Vec<Target>) {
        for (field, value) in [("--slot", &flags.slot), ("--app", &flags.app), ("--divert", &flags.divert)] {
            if let Some(value) = value {
                self.wrong(field, value, "is for the role sidecar", "nothing: a front agent takes --blue and --green");
            }
        }
        let mut targets = Vec::new();
        for (slot, field, value) in [(Slot::Blue, "--blue", &flags.blue), (Slot::Green, "--green", &flags.green)] {
            let addresses = self.addresses(field, value.as_deref());
            targets.extend(addresses.into_iter().map(|address| Target { slot, address, pod: address.to_string() }));
        }
        if targets.is_empty() && self.0.iter().all(|error| !matches!(error.field, "--blue" | "--green")) {
            self.wrong("--blue", "", "and --green name no backend", ADDRESSES);
        }
        (Some(Role::Front), targets)
    }
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
                let probe = self.probe;
                Ok(Config { gate, admin, workers, serving, pod, seed, probe, app_protocol, limits, ..base })
            }
            _ => Err(ConfigErrors(reading.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(arguments: &[&str]) -> String {
        let flags = Flags::parse_from(std::iter::once("blueback-agent").chain(arguments.iter().copied()));
        flags.into_config().expect_err("these flags are wrong").to_string()
    }

    #[test]
    fn every_error_is_told_at_once_with_field_value_and_what_is_accepted() {
        let text = errors(&[
            "--service",
            "shop",
            "--listen",
            "nowhere",
            "--role",
            "sidecar",
            "--slot",
            "purple",
            "--gate",
            "https://gate",
            "--workers",
            "0",
            "--timeout",
            "5",
            "--app-protocol",
            "spdy",
            "--probe",
            "healthz",
            "--seed",
            "x",
        ]);
        let expected = [
            r#"--slot: "purple" is not a slot; accepted: blue or green"#,
            r#"--app: "" is missing; accepted: an address and a port, such as 127.0.0.1:8080 or app:8080"#,
            r#"--gate: "https://gate" is not a plain http URL; accepted: http://HOST:PORT of the gate, such as http://gate:7070"#,
            r#"--workers: "0" is out of range or not a number; accepted: a number of threads from 1 to 256"#,
            r#"--timeout: "5" is not a time; accepted: a time above zero with its unit, such as 500ms, 30s or 2m"#,
            r#"--app-protocol: "spdy" is not a protocol; accepted: auto, http1 or http2"#,
            r#"--probe: "healthz" is not a path; accepted: a path such as /healthz"#,
            r#"--seed: "x" is not a number; accepted: a whole number from 0 to 18446744073709551615"#,
        ];
        for line in expected {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        assert!(text.starts_with(r#"--listen: "nowhere" is not an address"#), "{text}");
        assert_eq!(text.lines().count(), expected.len() + 1);
    }

    #[test]
    fn flags_of_the_other_role_are_refused() {
        let text = errors(&["--service", "s", "--listen", "127.0.0.1:0", "--role", "front", "--app", "127.0.0.1:1"]);
        assert!(text.contains("--app: \"127.0.0.1:1\" is for the role sidecar"), "{text}");
        assert!(text.contains("name no backend"), "{text}");
    }

    #[test]
    fn a_sidecar_names_its_application_by_its_pod_and_the_others_by_address() {
        let flags = Flags::parse_from([
            "blueback-agent",
            "--service",
            "shop",
            "--listen",
            "127.0.0.1:0",
            "--role",
            "sidecar",
            "--slot",
            "green",
            "--app",
            "127.0.0.1:8080",
            "--divert",
            "127.0.0.1:8081, 127.0.0.1:8082",
            "--pod",
            "shop-1",
            "--timeout",
            "2m",
        ]);
        let config = flags.into_config().expect("these flags are right");
        let pods: Vec<_> = config.targets.iter().map(|target| (target.slot, target.pod.as_str())).collect();
        assert_eq!(pods, [(Slot::Green, "shop-1"), (Slot::Blue, "127.0.0.1:8081"), (Slot::Blue, "127.0.0.1:8082")]);
        assert_eq!((config.role, config.serving), (Role::Sidecar(Slot::Green), Slot::Green));
        assert_eq!(config.limits.request_timeout, Some(Duration::from_secs(120)));
    }
}
