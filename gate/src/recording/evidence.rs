//! Evidence that is no count of requests, as a recording keeps it.

use std::sync::Arc;

use anyhow::Context as _;
use blueback_judge::PodFate;
use blueback_report::wire::proto;
use blueback_report::{Dependency, Report, Slot};

use super::{slot_from_wire, slot_to_wire};
use crate::evidence::Evidence;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireEvidence {
    #[prost(oneof = "What", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Fates(WireFates),
    #[prost(message, tag = "2")]
    Dependency(WireDependency),
    #[prost(message, tag = "3")]
    ServiceBefore(WireService),
    #[prost(message, tag = "4")]
    Service(WireService),
    #[prost(message, tag = "5")]
    Query(WireQuery),
    #[prost(message, tag = "6")]
    Resources(WireResources),
    #[prost(message, tag = "7")]
    Logs(WireLogs),
    #[prost(message, tag = "8")]
    Diverted(WireDiverted),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireFates {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<WireFate>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireFate {
    #[prost(enumeration = "proto::Slot", tag = "1")]
    slot: i32,
    #[prost(string, tag = "2")]
    pod: String,
    #[prost(uint32, tag = "3")]
    restarts: u32,
    #[prost(uint32, tag = "4")]
    out_of_memory: u32,
    #[prost(bool, tag = "5")]
    crash_looping: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDependency {
    #[prost(uint32, tag = "1")]
    agent: u32,
    /// Unspecified for an agent in front.
    #[prost(enumeration = "proto::Slot", tag = "2")]
    slot: i32,
    /// The dependency in a report, whose form it has.
    #[prost(message, optional, tag = "3")]
    report: Option<proto::Report>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireService {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    up: bool,
    #[prost(uint64, tag = "3")]
    requests: u64,
    #[prost(uint64, tag = "4")]
    failed: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireQuery {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireResources {
    #[prost(enumeration = "proto::Slot", tag = "1")]
    slot: i32,
    #[prost(string, tag = "2")]
    pod: String,
    #[prost(double, optional, tag = "3")]
    cpu: Option<f64>,
    #[prost(double, optional, tag = "4")]
    memory: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireLogs {
    #[prost(enumeration = "proto::Slot", tag = "1")]
    slot: i32,
    #[prost(uint64, tag = "2")]
    critical: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireDiverted {
    #[prost(uint64, tag = "1")]
    requests: u64,
    #[prost(uint64, tag = "2")]
    undelivered: u64,
}

impl From<Evidence> for WireEvidence {
    fn from(evidence: Evidence) -> Self {
        let what = match evidence {
            Evidence::Fates(pods) => {
                let pods = pods.into_iter().map(|fate| WireFate {
                    slot: slot_to_wire(fate.slot),
                    pod: fate.pod.to_string(),
                    restarts: fate.restarts,
                    out_of_memory: fate.out_of_memory,
                    crash_looping: fate.crash_looping,
                });
                What::Fates(WireFates { pods: pods.collect() })
            }
            Evidence::Dependency { agent, slot, name, up, latency } => {
                let dependency = Dependency { up, latency, ..Dependency::new(name) };
                let report = Report { dependencies: vec![dependency], ..Report::default() };
                What::Dependency(WireDependency {
                    agent,
                    slot: slot.map_or(proto::Slot::Unspecified as i32, slot_to_wire),
                    report: Some((&report).into()),
                })
            }
            Evidence::ServiceBefore { name, requests, failed } => {
                What::ServiceBefore(WireService { name: name.to_string(), up: true, requests, failed })
            }
            Evidence::Service { name, up, requests, failed } => {
                What::Service(WireService { name: name.to_string(), up, requests, failed })
            }
            Evidence::Query { name, value } => What::Query(WireQuery { name: name.to_string(), value }),
            Evidence::Resources { slot, pod, cpu, memory } => {
                What::Resources(WireResources { slot: slot_to_wire(slot), pod: pod.to_string(), cpu, memory })
            }
            Evidence::Logs { slot, critical } => What::Logs(WireLogs { slot: slot_to_wire(slot), critical }),
            Evidence::Diverted { requests, undelivered } => What::Diverted(WireDiverted { requests, undelivered }),
        };
        Self { what: Some(what) }
    }
}

fn fate(wire: WireFate) -> anyhow::Result<PodFate> {
    Ok(PodFate {
        slot: slot_from_wire(wire.slot)?,
        pod: wire.pod.into(),
        restarts: wire.restarts,
        out_of_memory: wire.out_of_memory,
        crash_looping: wire.crash_looping,
    })
}

impl TryFrom<WireEvidence> for Evidence {
    type Error = anyhow::Error;

    fn try_from(wire: WireEvidence) -> anyhow::Result<Self> {
        let name = |text: String| -> Arc<str> { text.into() };
        Ok(match wire.what.context("evidence without content")? {
            What::Fates(fates) => Self::Fates(fates.pods.into_iter().map(fate).collect::<Result<_, _>>()?),
            What::Dependency(wire) => {
                let report: Report = wire.report.context("a dependency without its report")?.try_into()?;
                let dependency = report.dependencies.into_iter().next().context("no dependency")?;
                let slot: Option<Slot> =
                    if wire.slot == proto::Slot::Unspecified as i32 { None } else { Some(slot_from_wire(wire.slot)?) };
                let Dependency { name, up, latency, .. } = dependency;
                Self::Dependency { agent: wire.agent, slot, name, up, latency }
            }
            What::ServiceBefore(wire) => {
                Self::ServiceBefore { name: name(wire.name), requests: wire.requests, failed: wire.failed }
            }
            What::Service(wire) => {
                Self::Service { name: name(wire.name), up: wire.up, requests: wire.requests, failed: wire.failed }
            }
            What::Query(wire) => Self::Query { name: name(wire.name), value: wire.value },
            What::Resources(wire) => Self::Resources {
                slot: slot_from_wire(wire.slot)?,
                pod: name(wire.pod),
                cpu: wire.cpu,
                memory: wire.memory,
            },
            What::Logs(wire) => Self::Logs { slot: slot_from_wire(wire.slot)?, critical: wire.critical },
            What::Diverted(wire) => Self::Diverted { requests: wire.requests, undelivered: wire.undelivered },
        })
    }
}

#[cfg(test)]
mod tests {
    use blueback_report::Counts;

    use super::*;

    #[test]
    fn evidence_survives() {
        let mut latency = Counts::default();
        latency.record_n(5_000, 3);
        let name = || Arc::from("database");
        let fate = PodFate { slot: Slot::Green, pod: "a".into(), restarts: 3, out_of_memory: 1, crash_looping: true };
        for evidence in [
            Evidence::Fates(vec![fate]),
            Evidence::Dependency { agent: 7, slot: None, name: name(), up: false, latency: latency.clone() },
            Evidence::Dependency { agent: 7, slot: Some(Slot::Blue), name: name(), up: true, latency },
            Evidence::ServiceBefore { name: name(), requests: 9, failed: 2 },
            Evidence::Service { name: name(), up: true, requests: 9, failed: 2 },
            Evidence::Query { name: name(), value: None },
            Evidence::Query { name: name(), value: Some(-0.5) },
            Evidence::Resources { slot: Slot::Blue, pod: name(), cpu: Some(0.0), memory: None },
            Evidence::Logs { slot: Slot::Green, critical: 0 },
            Evidence::Diverted { requests: 5, undelivered: 3 },
        ] {
            let read = Evidence::try_from(WireEvidence::from(evidence.clone())).expect("it was written by us");
            assert_eq!(read, evidence);
        }
        Evidence::try_from(WireEvidence::default()).expect_err("it is empty");
    }
}
