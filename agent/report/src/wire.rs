//! The wire form, and the only door from it into the crate.
//!
//! `proto/report.proto` is the specification; [`proto`] is compiled from it (`just generate`) and committed, so nobody
//! needs a protobuf compiler to build. Decoding is total: every byte string gives a value or an [`Invalid`], and each
//! list is held against its bound before anything is allocated for it beyond the bytes received.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::buckets::BUCKETS;
use crate::{
    AdmissionKey, Age, Counts, DEPENDENCIES_MAX, Dependency, Exemplar, Latency, Limit, Measure, NAME_BYTES_MAX,
    Outcome, OverdueKey, Protocol, Resources, SERIES_MAX, SeriesKey, Slot, TARGETS_MAX, Totals,
};

/// The messages of `report.proto`.
#[expect(missing_docs, clippy::all, reason = "generated; documented in report.proto")]
#[rustfmt::skip]
#[path = "generated/blueback.report.v1.rs"]
pub mod proto;

/// A message that does not say what a report may say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A list is longer than its bound.
    #[error("{field}: {seen} entries, at most {most} are accepted")]
    TooMany {
        /// Which field.
        field: &'static str,
        /// How many there were.
        seen: usize,
        /// The bound.
        most: usize,
    },
    /// An enumeration has an unknown number, or is unspecified.
    #[error("{field}: {value} is not one of the numbers that report.proto gives it")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// The number.
        value: i32,
    },
    /// A name is empty or too long.
    #[error("{field}: a name of {bytes} bytes, {least} to {NAME_BYTES_MAX} are accepted")]
    Name {
        /// Which field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The least accepted.
        least: usize,
    },
    /// A histogram's indices do not rise, go past the last bucket, or do not match its counts.
    #[error("{field}: {gaps} gaps and {counts} counts that name no rising buckets below {BUCKETS}")]
    Histogram {
        /// Which field.
        field: &'static str,
        /// Number of gaps.
        gaps: usize,
        /// Number of counts.
        counts: usize,
    },
    /// A share that is not between 0 and 1.
    #[error("{field}: {value} is not a share, 0 to 1 is accepted")]
    Share {
        /// Which field.
        field: &'static str,
        /// What it was, as text.
        value: String,
    },
    /// A ratio that is below zero or no number.
    #[error("{field}: {value} is not a ratio, 0 or more is accepted")]
    Ratio {
        /// Which field.
        field: &'static str,
        /// What it was, as text.
        value: String,
    },
    /// Not the id of a trace or of a span.
    #[error("{field}: {bytes} bytes, or all zeros; {wanted} bytes are accepted that are not all zeros")]
    Id {
        /// Which field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The length accepted.
        wanted: usize,
    },
    /// Not an HTTP status.
    #[error("{field}: {value} is no HTTP status, 100 to 999 are accepted, and 0 for none")]
    Status {
        /// Which field.
        field: &'static str,
        /// The number.
        value: u32,
    },
    /// Not an IP address and a port.
    #[error("{field}: {value:?} is not IP:PORT")]
    Address {
        /// Which field.
        field: &'static str,
        /// What it was.
        value: String,
    },
    /// A sidecar without a slot, where nobody assigns slots.
    #[error("slot: this sidecar does not know its slot, and this gate assigns none: give it --slot blue or green")]
    Unassigned,
    /// More requests in flight than admitted.
    #[error("{field}: {part} is more than the {whole} it is a part of")]
    PartOverWhole {
        /// Which field.
        field: &'static str,
        /// The part.
        part: u64,
        /// The whole.
        whole: u64,
    },
    /// A message without content.
    #[error("{field}: missing")]
    Missing {
        /// Which field.
        field: &'static str,
    },
}

/// A backend and whether it answers its probe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetState {
    /// The set it belongs to.
    pub slot: Slot,
    /// Its name.
    pub pod: Arc<str>,
    /// Answers its health probe.
    pub ready: bool,
}

/// The agent about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Requests not recorded because a bound was reached.
    pub unrecorded: u64,
    /// Requests recorded in a shared series because a bound was reached.
    pub collapsed: u64,
    /// Requests that should have been diverted but were served at home, as the other slot could not be reached.
    pub divert_failed: u64,
    /// Processor time used since the start, in microseconds.
    pub cpu_us: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
}

/// One report: what changed since an earlier one, and the state of things.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Milliseconds since the agent started.
    pub at_ms: u64,
    /// Epoch of the route in force.
    pub epoch: u64,
    /// From the ring of the last ten minutes.
    pub replayed: bool,
    /// Cumulative counts that changed.
    pub totals: Totals,
    /// Requests still unanswered, by the epoch that admitted them. A gauge: a key that is absent has none. Each key must
    /// also be in `totals.admitted`, or it is lost on the wire.
    pub in_flight: BTreeMap<AdmissionKey, u64>,
    /// The backends. A gauge.
    pub targets: Vec<TargetState>,
    /// The agent about itself.
    pub health: Health,
    /// What the application needs. Up and down are gauges, the counts are cumulative.
    pub dependencies: Vec<Dependency>,
    /// Processor and memory. A gauge.
    pub resources: Resources,
    /// Requests whose trace is known. No counts: those that changed since the last acknowledged report.
    pub exemplars: Vec<Exemplar>,
}

pub(crate) fn bounded(field: &'static str, seen: usize, most: usize) -> Result<(), Invalid> {
    if seen > most { Err(Invalid::TooMany { field, seen, most }) } else { Ok(()) }
}

pub(crate) fn name(field: &'static str, text: &str, least: usize) -> Result<Arc<str>, Invalid> {
    if (least..=NAME_BYTES_MAX).contains(&text.len()) {
        Ok(Arc::from(text))
    } else {
        Err(Invalid::Name { field, bytes: text.len(), least })
    }
}

pub(crate) fn share(field: &'static str, value: f64) -> Result<f64, Invalid> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(Invalid::Share { field, value: value.to_string() }) }
}

fn ratio(field: &'static str, value: Option<f64>) -> Result<Option<f64>, Invalid> {
    match value {
        Some(value) if !(value.is_finite() && value >= 0.0) => Err(Invalid::Ratio { field, value: value.to_string() }),
        value => Ok(value),
    }
}

pub(crate) fn part(field: &'static str, part: u64, whole: u64) -> Result<(), Invalid> {
    if part > whole { Err(Invalid::PartOverWhole { field, part, whole }) } else { Ok(()) }
}

/// Declares how an enumeration of the crate and one of the wire stand for each other.
macro_rules! enumeration {
    ($ours:ident, $wire:ident, $field:literal, $($variant:ident),+) => {
        impl $ours {
            pub(crate) fn from_wire(value: i32) -> Result<Self, Invalid> {
                match proto::$wire::try_from(value) {
                    $(Ok(proto::$wire::$variant) => Ok(Self::$variant),)+
                    _ => Err(Invalid::Unknown { field: $field, value }),
                }
            }

            pub(crate) fn to_wire(self) -> i32 {
                match self {
                    $(Self::$variant => proto::$wire::$variant as i32,)+
                }
            }
        }
    };
}

enumeration!(Slot, Slot, "slot", Blue, Green);
enumeration!(Protocol, Protocol, "protocol", Http1, Http2, Grpc);
enumeration!(Outcome, Outcome, "outcome", Ok, ClientError, ServerError, Unreachable, ClientGone);
enumeration!(Age, Age, "age", Current, Previous, Older);
enumeration!(Measure, Measure, "measure", LastByte, FirstByte);

impl Counts {
    fn from_wire(field: &'static str, histogram: Option<proto::Histogram>) -> Result<Self, Invalid> {
        let Some(proto::Histogram { gap, count, sum_us }) = histogram else { return Ok(Self::default()) };
        let invalid = Invalid::Histogram { field, gaps: gap.len(), counts: count.len() };
        if gap.len() != count.len() || gap.len() > BUCKETS {
            return Err(invalid);
        }
        // Gaps are 32 bits wide and fewer than 2^12, so their sum fits easily.
        let indices = gap.iter().scan(0_u64, |index, &gap| {
            *index += u64::from(gap);
            Some(usize::try_from(*index).unwrap_or(usize::MAX))
        });
        Self::from_sorted(indices.zip(count), sum_us).ok_or(invalid)
    }

    fn to_wire(&self) -> Option<proto::Histogram> {
        if self.is_empty() {
            return None;
        }
        let mut wire = proto::Histogram { sum_us: self.sum_us, ..Default::default() };
        let mut last = 0;
        for (index, count) in self.iter() {
            wire.gap.push((index - last) as u32);
            wire.count.push(count);
            last = index;
        }
        Some(wire)
    }
}

impl Limit {
    pub(crate) fn from_wire(limit: Option<proto::Limit>) -> Result<Self, Invalid> {
        let limit = limit.ok_or(Invalid::Missing { field: "limit" })?;
        Ok(Self { measure: Measure::from_wire(limit.measure)?, us: limit.us })
    }

    pub(crate) fn to_wire(self) -> proto::Limit {
        proto::Limit { measure: self.measure.to_wire(), us: self.us }
    }
}

impl TargetState {
    fn from_wire(target: &proto::Target) -> Result<Self, Invalid> {
        Ok(Self { slot: Slot::from_wire(target.slot)?, pod: name("target.pod", &target.pod, 1)?, ready: target.ready })
    }

    pub(crate) fn to_wire(&self) -> proto::Target {
        proto::Target { slot: self.slot.to_wire(), pod: self.pod.to_string(), ready: self.ready }
    }
}

impl Dependency {
    fn from_wire(wire: proto::Dependency) -> Result<Self, Invalid> {
        part("dependency.failures", wire.failures, wire.checks)?;
        Ok(Self {
            name: name("dependency.name", &wire.name, 1)?,
            up: wire.up,
            down_for_ms: wire.down_for_ms,
            checks: wire.checks,
            failures: wire.failures,
            latency: Counts::from_wire("dependency.latency", wire.latency)?,
        })
    }

    fn to_wire(&self) -> proto::Dependency {
        proto::Dependency {
            name: self.name.to_string(),
            up: self.up,
            checks: self.checks,
            failures: self.failures,
            latency: self.latency.to_wire(),
            down_for_ms: self.down_for_ms,
        }
    }
}

impl Resources {
    fn from_wire(wire: Option<proto::Resources>) -> Result<Self, Invalid> {
        let Some(wire) = wire else { return Ok(Self::default()) };
        Ok(Self {
            cpu_ratio: ratio("resources.cpu_ratio", wire.cpu_ratio)?,
            memory_ratio: ratio("resources.memory_ratio", wire.memory_ratio)?,
        })
    }

    fn to_wire(self) -> Option<proto::Resources> {
        let Self { cpu_ratio, memory_ratio } = self;
        (self != Self::default()).then_some(proto::Resources { cpu_ratio, memory_ratio })
    }
}

pub(crate) fn targets(wire: &[proto::Target]) -> Result<Vec<TargetState>, Invalid> {
    bounded("targets", wire.len(), TARGETS_MAX)?;
    wire.iter().map(TargetState::from_wire).collect()
}

impl TryFrom<proto::Report> for Report {
    type Error = Invalid;

    fn try_from(wire: proto::Report) -> Result<Self, Invalid> {
        bounded("series", wire.series.len(), SERIES_MAX)?;
        bounded("overdue", wire.overdue.len(), SERIES_MAX)?;
        bounded("admissions", wire.admissions.len(), SERIES_MAX)?;
        bounded("dependencies", wire.dependencies.len(), DEPENDENCIES_MAX)?;
        let mut report = Self {
            at_ms: wire.at_ms,
            epoch: wire.epoch,
            replayed: wire.replayed,
            targets: targets(&wire.targets)?,
            resources: Resources::from_wire(wire.resources)?,
            exemplars: Exemplar::all_from_wire(&wire.exemplars, wire.at_ms)?,
            ..Self::default()
        };
        for series in wire.series {
            let key = SeriesKey {
                slot: Slot::from_wire(series.slot)?,
                pod: name("series.pod", &series.pod, 1)?,
                route: name("series.route", &series.route, 0)?,
                protocol: Protocol::from_wire(series.protocol)?,
                age: Age::from_wire(series.age)?,
                outcome: Outcome::from_wire(series.outcome)?,
            };
            let latency = Latency {
                last_byte: Counts::from_wire("last_byte", series.last_byte)?,
                first_byte: Counts::from_wire("first_byte", series.first_byte)?,
            };
            let known = report.totals.series.entry(key).or_default();
            known.last_byte.merge(&latency.last_byte);
            known.first_byte.merge(&latency.first_byte);
        }
        for overdue in wire.overdue {
            // A request may cross under one age and end under the next, so settled is a part of crossed only over all ages,
            // and a report need not carry all of them.
            let key = OverdueKey {
                slot: Slot::from_wire(overdue.slot)?,
                pod: name("overdue.pod", &overdue.pod, 1)?,
                route: name("overdue.route", &overdue.route, 0)?,
                age: Age::from_wire(overdue.age)?,
                limit: Limit::from_wire(overdue.limit)?,
            };
            let known = report.totals.overdue.entry(key).or_default();
            known.crossed = known.crossed.max(overdue.crossed);
            known.settled = known.settled.max(overdue.settled);
        }
        for admission in wire.admissions {
            part("admission.in_flight", admission.in_flight, admission.admitted)?;
            let key = AdmissionKey {
                epoch: admission.epoch,
                slot: Slot::from_wire(admission.slot)?,
                pod: name("admission.pod", &admission.pod, 1)?,
                route: name("admission.route", &admission.route, 0)?,
            };
            if admission.in_flight > 0 {
                report.in_flight.insert(key.clone(), admission.in_flight);
            }
            let known = report.totals.admitted.entry(key).or_default();
            *known = (*known).max(admission.admitted);
        }
        report.dependencies = wire.dependencies.into_iter().map(Dependency::from_wire).collect::<Result<_, _>>()?;
        if let Some(health) = wire.health {
            report.health = Health {
                unrecorded: health.unrecorded,
                collapsed: health.collapsed,
                divert_failed: health.divert_failed,
                cpu_us: health.cpu_us,
                resident_bytes: health.resident_bytes,
            };
        }
        Ok(report)
    }
}

impl From<&Report> for proto::Report {
    fn from(report: &Report) -> Self {
        Self {
            at_ms: report.at_ms,
            epoch: report.epoch,
            replayed: report.replayed,
            series: report
                .totals
                .series
                .iter()
                .map(|(key, latency)| proto::Series {
                    slot: key.slot.to_wire(),
                    pod: key.pod.to_string(),
                    route: key.route.to_string(),
                    protocol: key.protocol.to_wire(),
                    age: key.age.to_wire(),
                    outcome: key.outcome.to_wire(),
                    last_byte: latency.last_byte.to_wire(),
                    first_byte: latency.first_byte.to_wire(),
                })
                .collect(),
            overdue: report
                .totals
                .overdue
                .iter()
                .map(|(key, overdue)| proto::Overdue {
                    slot: key.slot.to_wire(),
                    pod: key.pod.to_string(),
                    route: key.route.to_string(),
                    age: key.age.to_wire(),
                    limit: Some(key.limit.to_wire()),
                    crossed: overdue.crossed,
                    settled: overdue.settled,
                })
                .collect(),
            // A gauge needs a place even where its count did not change, so both maps are walked.
            admissions: report
                .totals
                .admitted
                .iter()
                .map(|(key, &admitted)| proto::Admission {
                    epoch: key.epoch,
                    slot: key.slot.to_wire(),
                    pod: key.pod.to_string(),
                    route: key.route.to_string(),
                    admitted,
                    in_flight: report.in_flight.get(key).copied().unwrap_or(0).min(admitted),
                })
                .collect(),
            targets: report.targets.iter().map(TargetState::to_wire).collect(),
            health: Some(proto::Health {
                unrecorded: report.health.unrecorded,
                collapsed: report.health.collapsed,
                divert_failed: report.health.divert_failed,
                cpu_us: report.health.cpu_us,
                resident_bytes: report.health.resident_bytes,
            }),
            dependencies: report.dependencies.iter().map(Dependency::to_wire).collect(),
            resources: report.resources.to_wire(),
            exemplars: report.exemplars.iter().map(Exemplar::to_wire).collect(),
        }
    }
}
