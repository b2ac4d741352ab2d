//! A judge in its steady state allocates nothing between two seconds, and what it keeps stays within a bound.
//!
//! Once a second it writes the sentence that everybody reads; that is the only room it asks for. Counting needs an allocator of
//! its own, which cannot be written without `unsafe`, so a small crate brings it, for tests alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_judge::{Judge, Observation, PodState, Rules, Spec, Start};
use blueback_report::{AdmissionKey, Age, Outcome, Protocol, Role, SeriesKey, Slot, Totals};

const PODS: usize = 50;
const ROUTES: usize = 20;

fn pod(slot: Slot, number: usize) -> Arc<str> {
    format!("{slot}-{number}").into()
}

/// A tenth of a second of fifty pods and twenty routes.
fn growth() -> Totals {
    let mut totals = Totals::default();
    for number in 0..PODS {
        for route in 0..ROUTES {
            let (pod, route): (Arc<str>, Arc<str>) = (pod(Slot::Green, number), format!("/{route}").into());
            let key = SeriesKey {
                slot: Slot::Green,
                pod: Arc::clone(&pod),
                route: Arc::clone(&route),
                protocol: Protocol::Http1,
                age: Age::Current,
                outcome: Outcome::Ok,
            };
            let latency = totals.series.entry(key).or_default();
            for us in [2_000, 9_000, 40_000] {
                latency.last_byte.record_n(us, 1);
                latency.first_byte.record_n(us / 2, 1);
            }
            totals.admitted.insert(AdmissionKey { epoch: 1, slot: Slot::Green, pod, route }, 3);
        }
    }
    totals
}

fn large_release() -> Judge {
    let routes = (0..ROUTES).map(|route| format!("route \"/{route}\" error rate > 5% dry run"));
    let rules = [
        "error rate > 5%",
        "error rate > 5% for 5m",
        "error rate > 20%",
        "error rate > 50% for 1m",
        "latency p99 > 500ms",
        "latency p99 > 500ms for 5m",
        "latency p95 > 300ms",
        "latency p50 > 100ms",
        "first byte latency p99 > 400ms",
        "first byte latency p95 > 200ms",
    ];
    let spec = Spec {
        revert_when: Some(rules.map(str::to_owned).into_iter().chain(routes).collect()),
        pass_when: Some(vec!["error rate < 0.1%".to_owned(), "latency p99 < 500ms".to_owned()]),
        ..Spec::default()
    };
    let pods = |slot: Slot| (0..PODS).map(move |number| PodState { slot, pod: pod(slot, number), ready: true });
    let start = Start {
        candidate: Slot::Green,
        target_share: 1.0,
        pods: pods(Slot::Green).chain(pods(Slot::Blue)).collect(),
        history: Vec::new(),
    };
    Judge::new(Rules::parse(&spec).expect("every rule is accepted"), start)
}

/// A tick of the gate: a report, and a look.
fn tick(judge: &mut Judge, now_ms: u64, totals: &Totals, in_flight: &BTreeMap<AdmissionKey, u64>) {
    let role = Role::Front;
    judge.observe(now_ms, Observation::Growth { agent: 1, role, epoch: 1, totals, in_flight });
    judge.deliberate(now_ms);
}

#[test]
fn a_steady_release_allocates_nothing_and_stays_small() {
    let (totals, in_flight) = (growth(), BTreeMap::new());
    let mut judge = large_release();
    judge.observe(0, Observation::Share { epoch: 1, candidate_share: 1.0 });
    let mut now_ms = 0;
    let mut run = |judge: &mut Judge, until_ms: u64| {
        while now_ms + 100 < until_ms {
            now_ms += 100;
            tick(judge, now_ms, &totals, &in_flight);
        }
    };
    run(&mut judge, 25_200);
    let between = allocation_counter::measure(|| run(&mut judge, 26_000));
    assert_eq!(between.count_total, 0, "{between:?}");
    // Across a second only the sentence is written.
    let across = allocation_counter::measure(|| run(&mut judge, 27_000));
    assert!(across.count_total < 200, "{across:?}");
    let early = judge.save().len();
    // The rings are as large as they will be; what grows are the digits of counts.
    let grown = allocation_counter::measure(|| run(&mut judge, 330_000));
    assert!(grown.bytes_current.abs() < 64 << 10, "{grown:?}");
    let late = judge.save().len();
    assert!(late < 400 << 10, "{early} bytes at first, {late} later");
}
