//! Arbitrary reports, small enough that collisions of keys are common.

use std::sync::Arc;

use blueback_report::{
    AdmissionKey, Age, Counts, Dependency, Exemplar, Latency, Limit, Measure, Outcome, Overdue, OverdueKey, Peer,
    PodShare, Protocol, Report, Resources, Route, SeriesKey, Slot, TargetState, Totals,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

pub(crate) fn slot() -> impl Strategy<Value = Slot> {
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
    (slot(), pod(), route(), protocol, age(), outcome())
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

/// A dependency that this agent asked.
pub(crate) fn dependency() -> impl Strategy<Value = Dependency> {
    let name = prop_oneof![Just("database"), Just("cache")];
    (name, any::<bool>(), 0..5_u64, 0..4_u64, 0..4_u64, counts()).prop_map(
        |(name, up, down_for_ms, failures, answered, latency)| Dependency {
            name: Arc::from(name),
            up,
            down_for_ms,
            checks: failures + answered,
            failures,
            latency,
        },
    )
}

fn ratio() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![Just(None), (0.0..4.0_f64).prop_map(Some)]
}

fn target() -> impl Strategy<Value = TargetState> {
    (slot(), pod(), any::<bool>()).prop_map(|(slot, pod, ready)| TargetState { slot, pod, ready })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    proptest::sample::select(Outcome::ALL.to_vec())
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    let ids = (1..=u128::MAX, 1..=u64::MAX);
    let status = prop_oneof![Just(None), (100..1_000_u16).prop_map(Some)];
    (slot(), pod(), route(), outcome(), ids, any::<u64>(), status).prop_map(
        |(slot, pod, route, outcome, (trace, span), latency_us, status)| {
            let (trace, span) = (trace.to_be_bytes(), span.to_be_bytes());
            Exemplar { slot, pod, route, outcome, trace, span, latency_us, at_ms: 0, status }
        },
    )
}

/// A report with everything in it.
pub(crate) fn report() -> impl Strategy<Value = Report> {
    let resources = (ratio(), ratio()).prop_map(|(cpu_ratio, memory_ratio)| Resources { cpu_ratio, memory_ratio });
    let gauges = (vec(target(), 0..3), vec(dependency(), 0..3), resources, vec(exemplar(), 0..3));
    (totals(), any::<u64>(), any::<bool>(), 0..1_000_u64, gauges).prop_map(
        |(totals, at_ms, replayed, unrecorded, (targets, dependencies, resources, exemplars))| {
            let halves = totals.admitted.iter().map(|(key, &admitted)| (key.clone(), admitted / 2));
            let in_flight = halves.filter(|&(_, in_flight)| in_flight > 0).collect();
            let health = blueback_report::Health { unrecorded, ..Default::default() };
            let exemplars = exemplars.into_iter().map(|known| Exemplar { at_ms, ..known }).collect();
            Report { at_ms, epoch: 7, replayed, totals, in_flight, targets, health, dependencies, resources, exemplars }
        },
    )
}

/// A route with everything in it. Shares are as fine as the agents' coins.
pub(crate) fn route_command() -> impl Strategy<Value = Route> {
    let share = || (0..=1_u64 << 53).prop_map(|coin| coin as f64 / (1_u64 << 53) as f64);
    let pod_share = (slot(), pod(), share()).prop_map(|(slot, pod, share)| PodShare { slot, pod, share });
    let peer = (slot(), pod(), any::<std::net::SocketAddr>()).prop_map(|(slot, pod, address)| {
        // Neither a flow nor a scope is part of an address as it is written.
        let address = std::net::SocketAddr::new(address.ip(), address.port());
        Peer { slot, pod, address }
    });
    (any::<u64>(), share(), vec(pod_share, 0..3), proptest::option::of(any::<u32>()), vec(peer, 0..3))
        .prop_map(|(epoch, green_share, pods, let_go_ms, peers)| Route { epoch, green_share, pods, let_go_ms, peers })
}
