//! How many reports a second one core merges and judges, and what decoding them costs beside that.
//!
//! A typical report of a front agent: two slots of two pods, four series, eight buckets of each changed since the last.

use std::hint::black_box;
use std::sync::Arc;

use blueback_gate::event::{Command, Event};
use blueback_gate::{Gate, ServiceConfig, Settings, Timestamp};
use blueback_report::wire::proto;
use blueback_report::{
    AdmissionKey, Age, Hello, Outcome, Protocol, Report, Role, Route, SeriesKey, Slot, TargetState, Totals,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;

const BEGIN_MS: u64 = 1_700_000_000_000;
const REPORTS: u64 = 1_000;

fn targets() -> Vec<TargetState> {
    let pods = [(Slot::Blue, 1), (Slot::Blue, 2), (Slot::Green, 3), (Slot::Green, 4)];
    let target = |(slot, pod)| TargetState { slot, pod: format!("10.0.0.{pod}:8080").into(), ready: true };
    pods.map(target).into()
}

fn hello() -> Hello {
    Hello {
        agent: "front/1".into(),
        service: "shop".into(),
        role: Role::Front,
        targets: targets(),
        route: Route::all_to(Slot::Blue, 0),
        version: String::new(),
    }
}

/// Report number `number`: cumulative counts of what changed since the one before.
fn report(number: u64, replayed: bool) -> Report {
    let mut totals = Totals::default();
    for target in targets() {
        let (slot, pod, route) = (target.slot, target.pod, Arc::from(""));
        let key = SeriesKey {
            slot,
            pod: Arc::clone(&pod),
            route: Arc::clone(&route),
            protocol: Protocol::Http1,
            age: Age::Current,
            outcome: Outcome::Ok,
        };
        let latency = totals.series.entry(key).or_default();
        for bucket in 0..8 {
            latency.last_byte.record_n(2_000 + bucket * 300, number);
            latency.first_byte.record_n(1_000 + bucket * 300, number);
        }
        totals.admitted.insert(AdmissionKey { epoch: 1, slot, pod, route }, number * 8);
    }
    Report { at_ms: number * 100, epoch: 1, replayed, totals, targets: targets(), ..Report::default() }
}

/// A gate in mid-release.
fn watching() -> (Gate, Timestamp) {
    let now = Timestamp::from_unix_ms(BEGIN_MS);
    let services = vec![ServiceConfig { name: "shop".to_owned(), serving: Slot::Blue }];
    let mut gate = Gate::new(Settings { services, ..Settings::default() }, now);
    gate.apply(Event::AgentHello { connection: 1, hello: hello() }, now);
    gate.apply(Event::AgentReport { connection: 1, report: report(0, true) }, now);
    gate.apply(Event::AgentReport { connection: 1, report: report(0, false) }, now);
    let command = Command::Switch { to: Slot::Green, share: Some(0.5) };
    gate.apply(Event::Operator { ticket: 1, service: "shop".into(), command, by: None }, now);
    (gate, now)
}

fn ledger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    group.throughput(Throughput::Elements(REPORTS));
    group.bench_function("merge_and_judge", |bencher| {
        let reports: Vec<_> = (1..=REPORTS).map(|number| report(number, false)).collect();
        bencher.iter_batched(
            || (watching(), reports.clone()),
            |((mut gate, now), reports)| {
                for (number, report) in (1..).zip(reports) {
                    let event = Event::AgentReport { connection: 1, report };
                    black_box(gate.apply(event, now.plus_ms(number * 100)));
                }
                gate
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("merge_and_judge_many_agents_at_once", |bencher| {
        // The judge closes blocks by time, so at one time its part is the least: this is the ledger.
        let reports: Vec<_> = (1..=REPORTS).map(|number| report(number, false)).collect();
        bencher.iter_batched(
            || (watching(), reports.clone()),
            |((mut gate, now), reports)| {
                for report in reports {
                    black_box(gate.apply(Event::AgentReport { connection: 1, report }, now.plus_ms(100)));
                }
                gate
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("decode", |bencher| {
        let bytes: Vec<_> =
            (1..=REPORTS).map(|number| proto::Report::from(&report(number, false)).encode_to_vec()).collect();
        bencher.iter(|| {
            for bytes in &bytes {
                let wire = proto::Report::decode(bytes.as_slice()).expect("it was encoded");
                black_box(Report::try_from(wire).expect("it was a report"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
