//! The last ten minutes, for a gate that has not seen them.
//!
//! One slice a second: what changed since the slice before, encoded as it will be sent. A slice that falls out, by age or
//! because the ring is full, is merged into the base, the cumulative state before the oldest slice: nothing is ever lost, it
//! only loses its place in time.

use std::collections::VecDeque;

use blueback_report::wire::proto;
use blueback_report::{Dependency, Report, Totals};
use bytes::Bytes;
use prost::Message;

use crate::dependency;

/// Slices kept: ten minutes of one second.
pub const SLICES_MAX: usize = 600;
/// Bytes of slices kept. A busy agent's slice has some hundred bytes a series.
pub const BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Slice {
    at_ms: u64,
    encoded: Bytes,
}

/// The slices and the state before them.
#[derive(Debug, Default)]
pub struct Ring {
    base: Totals,
    base_ms: u64,
    base_epoch: u64,
    slices: VecDeque<Slice>,
    bytes: usize,
    newest: Totals,
    newest_dependencies: Vec<Dependency>,
}

impl Ring {
    /// Adds a slice. `state.totals` is everything counted until now.
    pub fn push(&mut self, mut state: Report) {
        let totals = state.totals;
        state.totals = totals.since(&self.newest);
        for key in state.in_flight.keys() {
            if let Some(&admitted) = totals.admitted.get(key) {
                state.totals.admitted.insert(key.clone(), admitted);
            }
        }
        state.replayed = true;
        let dependencies = dependency::since(&state.dependencies, &self.newest_dependencies);
        self.newest_dependencies = std::mem::replace(&mut state.dependencies, dependencies);
        let encoded = Bytes::from(proto::Report::from(&state).encode_to_vec());
        self.newest = totals;
        self.bytes += encoded.len();
        self.slices.push_back(Slice { at_ms: state.at_ms, encoded });
        while self.slices.len() > SLICES_MAX || self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// What a gate needs that has merged everything until `merged_ms` (zero: nothing): for a gate that knows nothing first
    /// the base, then the slices that are newer. Each is an encoded [`proto::Report`].
    #[must_use]
    pub fn replay(&self, merged_ms: u64) -> Vec<Bytes> {
        let base = (merged_ms == 0).then(|| {
            let base = Report {
                at_ms: self.base_ms,
                epoch: self.base_epoch,
                replayed: true,
                totals: self.base.clone(),
                ..Report::default()
            };
            Bytes::from(proto::Report::from(&base).encode_to_vec())
        });
        let newer = self.slices.iter().filter(|slice| slice.at_ms > merged_ms).map(|slice| slice.encoded.clone());
        base.into_iter().chain(newer).collect()
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.slices.pop_front() else { return };
        self.bytes -= oldest.encoded.len();
        let report = proto::Report::decode(oldest.encoded).expect("we encoded it ourselves");
        let report = Report::try_from(report).expect("what we count is within the bounds");
        self.base.merge(&report.totals);
        self.base_ms = report.at_ms;
        self.base_epoch = report.epoch;
    }
}

#[cfg(test)]
mod tests {
    use blueback_report::{Age, Latency, Outcome, Protocol, SeriesKey, Slot};

    use super::*;

    fn state(at_ms: u64, pods: usize) -> Report {
        let mut report = Report { at_ms, ..Report::default() };
        for pod in 0..pods {
            let key = SeriesKey {
                slot: Slot::Green,
                pod: format!("a-pod-with-a-rather-long-name-{pod}").into(),
                route: "".into(),
                protocol: Protocol::Http1,
                age: Age::Current,
                outcome: Outcome::Ok,
            };
            let mut latency = Latency::default();
            for us in 0..40 {
                latency.last_byte.record_n(us * 10, at_ms);
            }
            report.totals.series.insert(key, latency);
        }
        report
    }

    fn merged(replay: Vec<Bytes>) -> Totals {
        let mut totals = Totals::default();
        for bytes in replay {
            let report = proto::Report::decode(bytes).expect("it is a report");
            assert!(report.replayed);
            totals.merge(&Report::try_from(report).expect("it is valid").totals);
        }
        totals
    }

    #[test]
    fn a_replay_adds_up_to_the_present_even_when_slices_fell_out() {
        for (slices, pods) in [(10, 1), (700, 1), (300, 100)] {
            let mut ring = Ring::default();
            for second in 1..=slices {
                ring.push(state(second * 1_000, pods));
            }
            assert!(ring.slices.len() <= SLICES_MAX && ring.bytes <= BYTES_MAX, "{} B", ring.bytes);
            assert_eq!(merged(ring.replay(0)), state(slices * 1_000, pods).totals, "{slices} slices of {pods} pods");
        }
    }

    #[test]
    fn a_gate_that_knows_the_agent_gets_only_what_is_newer() {
        let mut ring = Ring::default();
        for second in 1..=20 {
            ring.push(state(second * 1_000, 1));
        }
        assert_eq!(ring.replay(15_000).len(), 5);
        assert_eq!(ring.replay(20_000).len(), 0);
        assert_eq!(ring.replay(0).len(), 21);
    }
}
