//! What a decision costs: a block of one criterion, a report to the shield's test, and a whole release with twelve rules,
//! fifty pods and twenty routes.
//!
//! `cargo bench -p blueback-tests --bench judge`. Goals: 200 ns a block, 50 µs a tick of the large release.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blueback_judge::statistics::block_bet::BlockBet;
use blueback_judge::statistics::shield_test::ShieldTest;
use blueback_judge::{Judge, Observation, PodState, Rules, Spec, Start};
use blueback_report::{AdmissionKey, Age, Latency, Outcome, Protocol, Role, SeriesKey, Slot, Totals};
use criterion::{Criterion, criterion_group, criterion_main};

const PODS: usize = 50;
/// A tick of the gate, in milliseconds of release time; a report comes at every second one.
const TICK_MS: u64 = 50;
const ROUTES: usize = 20;
/// Requests that one pod ends on one route between two reports: 10,000 a second over all of them.
const REQUESTS: u64 = 1;

fn tests(criterion: &mut Criterion) {
    criterion.bench_function("block of one criterion", |bencher| {
        let mut bet = BlockBet::new(0.05, 2e-4);
        let mut block = 0_u32;
        bencher.iter(|| {
            block += 1;
            bet.block(0.25, 25.0, f64::from(black_box(block) % 3), 0.0);
            bet.log_e()
        });
    });
    criterion.bench_function("report to the shield's test", |bencher| {
        let mut test = ShieldTest::new(0.05, 2e-3);
        let mut report = 0_u32;
        bencher.iter(|| {
            report += 1;
            test.report(0.1, 10.0, f64::from(black_box(report) % 3 / 2), 2);
            test.log_e()
        });
    });
}

fn pod(number: usize) -> Arc<str> {
    format!("green-{number}").into()
}

/// What fifty pods ended between two reports, all well.
fn growth() -> Totals {
    let mut totals = Totals::default();
    for (number, route) in (0..PODS).flat_map(|number| (0..ROUTES).map(move |route| (number, route))) {
        let route: Arc<str> = format!("/{route}").into();
        let key = SeriesKey {
            slot: Slot::Green,
            pod: pod(number),
            route: Arc::clone(&route),
            protocol: Protocol::Http1,
            age: Age::Current,
            outcome: Outcome::Ok,
        };
        let mut latency = Latency::default();
        for request in 0..REQUESTS {
            latency.last_byte.record_n(2_000 + request * 1_700, 1);
            latency.first_byte.record_n(1_000 + request * 1_500, 1);
        }
        totals.series.insert(key, latency);
        let key = AdmissionKey { epoch: 1, slot: Slot::Green, pod: pod(number), route };
        totals.admitted.insert(key, REQUESTS);
    }
    totals
}

fn large_release() -> Judge {
    let rules = [
        "error rate > 5%",
        "error rate > 5% for 5m",
        "error rate > 20%",
        "error rate > 50% for 1m",
        "latency p99 > 500ms",
        "latency p99 > 500ms for 5m",
        "latency p95 > 300ms",
        "route \"/1\" error rate > 2%",
        "first byte latency p99 > 400ms",
        "first byte latency p95 > 200ms",
    ];
    let spec = Spec {
        revert_when: Some(rules.map(str::to_owned).to_vec()),
        pass_when: Some(vec!["error rate < 0.1%".to_owned(), "latency p99 < 500ms".to_owned()]),
        ..Spec::default()
    };
    let pods = |slot: Slot| (0..PODS).map(move |number| PodState { slot, pod: pod(number), ready: true });
    let start = Start {
        candidate: Slot::Green,
        target_share: 1.0,
        pods: pods(Slot::Green).chain(pods(Slot::Blue)).collect(),
        history: Vec::new(),
    };
    Judge::new(Rules::parse(&spec).expect("every rule is accepted"), start)
}

fn release(criterion: &mut Criterion) {
    let growth = growth();
    let in_flight = BTreeMap::new();
    // One measurement drives both: what a tick and what a report cost are told apart by the clock's place.
    let measure = |iterations: u64, of_ticks: bool| {
        let mut judge = large_release();
        judge.observe(0, Observation::Share { epoch: 1, candidate_share: 1.0 });
        let mut spent = Duration::ZERO;
        for tick in 1..=iterations {
            let now_ms = tick * TICK_MS;
            if tick % 2 == 0 || !of_ticks {
                let observation = Observation::Growth {
                    agent: 1,
                    role: Role::Front,
                    epoch: 1,
                    totals: &growth,
                    in_flight: &in_flight,
                };
                let began = Instant::now();
                judge.observe(now_ms, observation);
                if !of_ticks {
                    spent += began.elapsed();
                }
            }
            let began = Instant::now();
            black_box(judge.deliberate(now_ms));
            if of_ticks {
                spent += began.elapsed();
            }
        }
        spent
    };
    let mut group = criterion.benchmark_group("release of 12 rules, 50 pods and 20 routes");
    group.bench_function("tick", |bencher| bencher.iter_custom(|iterations| measure(iterations, true)));
    group.bench_function("report of 50 pods", |bencher| bencher.iter_custom(|iterations| measure(iterations, false)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = tests, release
}
criterion_main!(benches);
