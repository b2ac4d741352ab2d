//! Requests whose trace is known, as examples of what was counted.
//!
//! No evidence: a judge never sees them. They tell a person which traces to open.

use std::sync::Arc;

use crate::wire::{Invalid, bounded, name, part, proto};
use crate::{Outcome, Slot};

/// Most examples in one report.
pub const EXEMPLARS_MAX: usize = 64;
/// Ranges of latency of which examples are kept apart: what is slow is rare, and would be lost among what is quick.
pub const RANGES: usize = 4;
/// Where all ranges but the last end, in microseconds.
const RANGES_US: [u64; RANGES - 1] = [10_000, 100_000, 1_000_000];

/// The range that a latency lies in, the quickest first.
#[must_use]
pub fn range_of(latency_us: u64) -> usize {
    RANGES_US.iter().position(|&end| latency_us <= end).unwrap_or(RANGES - 1)
}

/// A request that ended and has a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The set that the backend belongs to.
    pub slot: Slot,
    /// The backend.
    pub pod: Arc<str>,
    /// Its route class.
    pub route: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Id of the trace (W3C Trace Context); not all zeros.
    pub trace: [u8; 16],
    /// Id of the span that the request came with; not all zeros.
    pub span: [u8; 8],
    /// Time to the last byte.
    pub latency_us: u64,
    /// When it ended, in milliseconds since the agent started.
    pub at_ms: u64,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
}

fn id<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], Invalid> {
    let id: Option<[u8; N]> = bytes.try_into().ok();
    id.filter(|id| *id != [0; N]).ok_or(Invalid::Id { field, bytes: bytes.len(), wanted: N })
}

fn status(status: u32) -> Result<Option<u16>, Invalid> {
    match u16::try_from(status) {
        Ok(0) => Ok(None),
        Ok(status @ 100..=999) => Ok(Some(status)),
        _ => Err(Invalid::Status { field: "exemplar.status", value: status }),
    }
}

impl Exemplar {
    fn from_wire(wire: &proto::Exemplar, report_ms: u64) -> Result<Self, Invalid> {
        part("exemplar.at_ms", wire.at_ms, report_ms)?;
        Ok(Self {
            slot: Slot::from_wire(wire.slot)?,
            pod: name("exemplar.pod", &wire.pod, 1)?,
            route: name("exemplar.route", &wire.route, 0)?,
            outcome: Outcome::from_wire(wire.outcome)?,
            trace: id("exemplar.trace_id", &wire.trace_id)?,
            span: id("exemplar.span_id", &wire.span_id)?,
            latency_us: wire.latency_us,
            at_ms: wire.at_ms,
            status: status(wire.status)?,
        })
    }

    pub(crate) fn all_from_wire(wire: &[proto::Exemplar], report_ms: u64) -> Result<Vec<Self>, Invalid> {
        bounded("exemplars", wire.len(), EXEMPLARS_MAX)?;
        wire.iter().map(|exemplar| Self::from_wire(exemplar, report_ms)).collect()
    }

    pub(crate) fn to_wire(&self) -> proto::Exemplar {
        proto::Exemplar {
            slot: self.slot.to_wire(),
            pod: self.pod.to_string(),
            route: self.route.to_string(),
            outcome: self.outcome.to_wire(),
            trace_id: self.trace.to_vec(),
            span_id: self.span.to_vec(),
            latency_us: self.latency_us,
            at_ms: self.at_ms,
            status: self.status.map_or(0, u32::from),
        }
    }

    /// With blue and green exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self { slot: self.slot.other(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> proto::Exemplar {
        let exemplar = Exemplar {
            slot: Slot::Green,
            pod: "green-1".into(),
            route: "".into(),
            outcome: Outcome::ServerError,
            trace: [7; 16],
            span: [8; 8],
            latency_us: 12,
            at_ms: 1_000,
            status: Some(503),
        };
        exemplar.to_wire()
    }

    #[test]
    fn what_is_no_exemplar_is_refused_by_its_field() {
        Exemplar::from_wire(&wire(), 1_000).expect("it is one");
        type Spoil = fn(&mut proto::Exemplar);
        let cases: [(Spoil, &str); 8] = [
            (|wire| wire.trace_id = vec![0; 16], "exemplar.trace_id"),
            (|wire| wire.trace_id = vec![1; 15], "exemplar.trace_id"),
            (|wire| wire.span_id = vec![0; 8], "exemplar.span_id"),
            (|wire| wire.span_id = vec![1; 1_000], "exemplar.span_id"),
            (|wire| wire.status = 99, "exemplar.status"),
            (|wire| wire.status = 70_000, "exemplar.status"),
            (|wire| wire.at_ms = 1_001, "exemplar.at_ms"),
            (|wire| wire.outcome = 0, "outcome"),
        ];
        for (spoil, field) in cases {
            let mut wire = wire();
            spoil(&mut wire);
            let error = Exemplar::from_wire(&wire, 1_000).expect_err(field);
            assert!(error.to_string().starts_with(field), "{error}");
        }
        Exemplar::all_from_wire(&vec![wire(); EXEMPLARS_MAX], 1_000).expect("so many are accepted");
        Exemplar::all_from_wire(&vec![wire(); EXEMPLARS_MAX + 1], 1_000).expect_err("that is one too many");
    }

    #[test]
    fn ranges_end_with_their_edge() {
        let ranges = [0, 10_000, 10_001, 100_000, 1_000_000, 1_000_001, u64::MAX].map(range_of);
        assert_eq!(ranges, [0, 0, 1, 1, 2, 3, 3]);
    }
}
