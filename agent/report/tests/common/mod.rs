//! Arbitrary reports, small enough that collisions of keys are common.

use std::sync::Arc;

use blueback_report::{
    AdmissionKey, Age, Counts, Latency, Limit, Measure, Outcome, Overdue, OverdueKey, Protocol, SeriesKey, Slot, Totals,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![Just(Slot::Blue), Just(Slot::Green)]
}

fn pod() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just("pod-1"), Just("pod-2")].prop_map(Arc::from)
}

fn route() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just(""), Just("/checkout")].prop_map(Arc::from)
}

fn age() -> impl Strategy<Value = Age> {
    prop_oneof![Just(Age::Current), Just(Age::Previous), Just(Age::Older)]
}

fn limit() -> impl Strategy<Value = Limit> {
    (prop_oneof![Just(Measure::LastByte), Just(Measure::FirstByte)], prop_oneof![Just(100_000), Just(500_000)])
        .prop_map(|(measure, us)| Limit { measure, us })
}

fn series_key() -> impl Strategy<Value = SeriesKey> {
    let protocol = prop_oneof![Just(Protocol::Http1), Just(Protocol::Http2), Just(Protocol::Grpc)];
    (slot(), pod(), route(), protocol, age(), proptest::sample::select(Outcome::ALL.to_vec()))
        .prop_map(|(slot, pod, route, protocol, age, outcome)| SeriesKey { slot, pod, route, protocol, age, outcome })
}

/// Counts of some latencies, from 0 µs to far beyond the longest one told apart.
pub(crate) fn counts() -> impl Strategy<Value = Counts> {
    vec((prop_oneof![0..300_u64, 0..10_000_000_u64, Just(u64::MAX)], 0..50_u64), 0..8).prop_map(|latencies| {
        let mut counts = Counts::default();
        for (us, count) in latencies {
            counts.record_n(us, count);
        }
        counts
    })
}

fn overdue() -> impl Strategy<Value = Overdue> {
    (0..100_u64, 0..100_u64).prop_map(|(settled, more)| Overdue { crossed: settled + more, settled })
}

/// Some counts of an agent.
pub(crate) fn totals() -> impl Strategy<Value = Totals> {
    let latency = (counts(), counts()).prop_map(|(last_byte, first_byte)| Latency { last_byte, first_byte });
    let overdue_key = (slot(), pod(), route(), age(), limit()).prop_map(|(slot, pod, route, age, limit)| OverdueKey {
        slot,
        pod,
        route,
        age,
        limit,
    });
    let admission_key = (0..20_u64, slot(), pod(), route()).prop_map(|(epoch, slot, pod, route)| AdmissionKey {
        epoch,
        slot,
        pod,
        route,
    });
    (
        btree_map(series_key(), latency, 0..4),
        btree_map(overdue_key, overdue(), 0..3),
        btree_map(admission_key, 0..1_000_u64, 0..4),
    )
        .prop_map(|(series, overdue, admitted)| Totals { series, overdue, admitted })
}
