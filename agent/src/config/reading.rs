//! Values of flags, read one by one; what is wrong is collected.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use blueback_report::{DEPENDENCIES_MAX, NAME_BYTES_MAX, Role, Slot};
use http::Uri;

use super::{ConfigError, Flags, Target};
use crate::dependency;
use crate::limits::Limits;
use crate::link::Authority;
use crate::spans;

/// Collects what is wrong while values are read.
#[derive(Default)]
pub(super) struct Reading(pub(super) Vec<ConfigError>);

pub(super) const ADDRESS: &str = "an address and a port, such as 127.0.0.1:8080 or app:8080";
const ADDRESSES: &str = "addresses with ports, separated by commas, such as 10.0.0.1:8080,10.0.0.2:8080";
const SLOT: &str = "blue or green";
const TIME: &str = "a time above zero with its unit, such as 500ms, 30s or 2m";

impl Reading {
    pub(super) fn wrong(
        &mut self,
        field: &'static str,
        value: &str,
        problem: impl Into<String>,
        accepted: &'static str,
    ) {
        self.0.push(ConfigError { field, value: value.to_owned(), problem: problem.into(), accepted });
    }

    pub(super) fn required<'a>(
        &mut self,
        field: &'static str,
        value: Option<&'a str>,
        accepted: &'static str,
    ) -> Option<&'a str> {
        if value.is_none() {
            self.wrong(field, "", "is missing", accepted);
        }
        value
    }

    pub(super) fn address(&mut self, field: &'static str, value: &str, accepted: &'static str) -> Option<SocketAddr> {
        match value.to_socket_addrs().map(|mut found| found.next()) {
            Ok(Some(address)) => return Some(address),
            Ok(None) => self.wrong(field, value, "names no address", accepted),
            Err(error) => self.wrong(field, value, format!("is not an address ({error})"), accepted),
        }
        None
    }

    pub(super) fn addresses(&mut self, field: &'static str, value: Option<&str>) -> Vec<SocketAddr> {
        let parts = value.into_iter().flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty());
        parts.filter_map(|part| self.address(field, part, ADDRESSES)).collect()
    }

    pub(super) fn slot(&mut self, field: &'static str, value: &str) -> Option<Slot> {
        match value {
            "blue" => Some(Slot::Blue),
            "green" => Some(Slot::Green),
            _ => {
                self.wrong(field, value, "is not a slot", SLOT);
                None
            }
        }
    }

    pub(super) fn number<N: TryFrom<u64>>(
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

    pub(super) fn time(&mut self, field: &'static str, value: Option<&str>) -> Option<Duration> {
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

    pub(super) fn gate(&mut self, value: &str) -> Option<Uri> {
        const ACCEPTED: &str = "http://HOST:PORT or https://HOST:PORT of the gate, such as http://gate:7070";
        let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
        let uri = value.parse::<Uri>().ok().filter(known);
        if uri.is_none() {
            self.wrong("--gate", value, "is not the URL of a gate", ACCEPTED);
        }
        uri
    }

    pub(super) fn otlp(&mut self, value: &str) -> Option<Uri> {
        let collector = spans::collector(value);
        if collector.is_none() {
            self.wrong("--otlp", value, "is not the http URL of a Collector", spans::COLLECTOR);
        }
        collector
    }

    /// Who vouches for the gate, and what it is shown: both only where nobody can listen in.
    pub(super) fn authority(&mut self, flags: &Flags, gate: Option<&Uri>) -> Option<Authority> {
        let file = flags.gate_ca_file.clone().map(Authority::File);
        let authority = file.or_else(|| flags.gate_ca.clone().map(Authority::Pem));
        let secret = gate.is_some_and(|gate| gate.scheme_str() == Some("https"));
        if secret && authority.is_none() {
            self.wrong(
                "--gate-ca-file",
                "",
                "is missing",
                "a file with the certificates that vouch for the https gate",
            );
        }
        if let Some(token) = flags.token_file.as_ref().filter(|_| gate.is_some() && !secret) {
            let token = token.display().to_string();
            self.wrong("--token-file", &token, "would be readable on its way", "a token for a gate with an https URL");
        }
        authority
    }

    pub(super) fn dependencies(&mut self, texts: &[String]) -> Vec<dependency::Target> {
        const ACCEPTED: &str =
            "NAME=tcp://HOST:PORT, NAME=http://HOST/PATH, NAME=postgres://USER@HOST/DATABASE or NAME=redis://HOST";
        let mut targets: Vec<dependency::Target> = Vec::new();
        for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            match dependency::Target::parse(text) {
                Ok(target) if targets.iter().any(|known| known.name == target.name) => {
                    self.wrong("--dependency", text, "has a name that is taken", "a name for each dependency");
                }
                Ok(target) => targets.push(target),
                Err(problem) => self.wrong("--dependency", text, problem, ACCEPTED),
            }
        }
        if targets.len() > DEPENDENCIES_MAX {
            self.wrong(
                "--dependency",
                &targets.len().to_string(),
                "dependencies are too many",
                "up to 16 dependencies",
            );
        }
        targets
    }

    pub(super) fn name(&mut self, field: &'static str, value: &str) -> String {
        if value.is_empty() || value.len() > NAME_BYTES_MAX - 17 {
            self.wrong(field, value, format!("has {} bytes", value.len()), "a name of 1 to 236 bytes");
        }
        value.to_owned()
    }

    pub(super) fn limits(&mut self, flags: &Flags) -> Limits {
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

    pub(super) fn sidecar(&mut self, flags: &Flags, pod: &str) -> (Option<Role>, Vec<Target>) {
        // Its own side is called blue until the gate has said what it is.
        let slot = flags.slot.as_deref().map_or(Some(Slot::Blue), |value| self.slot("--slot", value));
        if flags.slot.is_none() && flags.gate.is_none() {
            self.wrong("--slot", "", "is missing, and without a gate nobody says it", SLOT);
        }
        if let Some(divert) = flags.divert.as_deref().filter(|_| flags.slot.is_none()) {
            self.wrong("--divert", divert, "names backends of a slot that is not known", "nothing, or --slot too");
        }
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

    pub(super) fn front(&mut self, flags: &Flags) -> (Option<Role>, Vec<Target>) {
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
