//! Any observations in any order: no panic, and what must hold always holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{
    AdmissionKey, Age, Counts, Latency, Limit, Measure, Outcome, Overdue, OverdueKey, Protocol, Role, SeriesKey, Slot,
    Totals,
};
use proptest::prelude::*;

use crate::{Judge, LoadError, Observation, PodFate, PodState, Rules, Spec, Start};

#[derive(Clone, Debug)]
enum Event {
    Growth(u32, Role, u64, Totals, BTreeMap<AdmissionKey, u64>),
    Gone(u32),
    Share(u64, f64),
    Target(f64),
    Pods(Vec<PodState>),
    Signal(&'static str),
    Fates(Vec<PodFate>),
    Dependency(u32, Option<Slot>, bool, Counts),
    Service(bool, u64, u64),
    ServiceBefore(u64, u64),
    Query(Option<f64>),
    Resources(Slot, Arc<str>, Option<f64>, Option<f64>),
    Logs(Slot, u64),
    Diverted(u64, u64),
    Hold,
    Resume,
}

fn slot() -> impl Strategy<Value = Slot> {
    proptest::sample::select(vec![Slot::Blue, Slot::Green])
}

fn pod() -> impl Strategy<Value = Arc<str>> {
    proptest::sample::select(vec!["a", "b", "c", "d"]).prop_map(Arc::from)
}

fn route() -> impl Strategy<Value = Arc<str>> {
    proptest::sample::select(vec!["", "/checkout"]).prop_map(Arc::from)
}

fn age() -> impl Strategy<Value = Age> {
    proptest::sample::select(vec![Age::Current, Age::Previous, Age::Older])
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..50, 1 => any::<u64>()]
}

fn totals() -> impl Strategy<Value = Totals> {
    let series =
        (slot(), pod(), route(), age(), proptest::sample::select(Outcome::ALL.to_vec()), amount(), any::<u32>());
    let series = series.prop_map(|(slot, pod, route, age, outcome, count, us)| {
        let mut counts = Counts::default();
        counts.record_n(u64::from(us), count);
        let latency = Latency { last_byte: counts.clone(), first_byte: counts };
        (SeriesKey { slot, pod, route, protocol: Protocol::Http2, age, outcome }, latency)
    });
    let overdue =
        (slot(), pod(), route(), age(), amount(), amount()).prop_map(|(slot, pod, route, age, crossed, settled)| {
            let limit = Limit { measure: Measure::LastByte, us: 500_000 };
            (OverdueKey { slot, pod, route, age, limit }, Overdue { crossed, settled })
        });
    (
        proptest::collection::btree_map(any::<u8>(), series, 0..6),
        proptest::collection::btree_map(any::<u8>(), overdue, 0..3),
        gauges(),
    )
        .prop_map(|(series, overdue, admitted)| Totals {
            series: series.into_values().collect(),
            overdue: overdue.into_values().collect(),
            admitted,
        })
}

fn gauges() -> impl Strategy<Value = BTreeMap<AdmissionKey, u64>> {
    let key = (0_u64..6, slot(), pod(), route()).prop_map(|(epoch, slot, pod, route)| AdmissionKey {
        epoch,
        slot,
        pod,
        route,
    });
    proptest::collection::btree_map(key, amount(), 0..4)
}

fn event() -> impl Strategy<Value = Event> {
    let role = proptest::sample::select(vec![Role::Front, Role::Sidecar(Slot::Blue), Role::Sidecar(Slot::Green)]);
    let share = prop_oneof![0.0..=1.0, Just(f64::NAN), Just(-1.0), Just(f64::INFINITY)];
    let pods = (slot(), pod(), any::<bool>()).prop_map(|(slot, pod, ready)| PodState { slot, pod, ready });
    let fates = (slot(), pod(), 0_u32..9, 0_u32..9, any::<bool>()).prop_map(
        |(slot, pod, restarts, out_of_memory, crash_looping)| PodFate {
            slot,
            pod,
            restarts,
            out_of_memory,
            crash_looping,
        },
    );
    let ratio = || proptest::option::of(prop_oneof![0.0..2.0, Just(f64::NAN)]);
    let latency = (any::<u32>(), amount()).prop_map(|(us, count)| {
        let mut counts = Counts::default();
        counts.record_n(u64::from(us), count);
        counts
    });
    prop_oneof![
        12 => (0_u32..3, role, 0_u64..6, totals(), gauges()).prop_map(|(agent, role, epoch, totals, in_flight)| {
            Event::Growth(agent, role, epoch, totals, in_flight)
        }),
        1 => (0_u32..3).prop_map(Event::Gone),
        2 => (0_u64..6, share).prop_map(|(epoch, share)| Event::Share(epoch, share)),
        1 => (0.0..=1.0).prop_map(Event::Target),
        1 => proptest::collection::vec(pods, 0..6).prop_map(Event::Pods),
        1 => proptest::sample::select(vec!["noise", "fatal"]).prop_map(Event::Signal),
        1 => proptest::collection::vec(fates, 0..4).prop_map(Event::Fates),
        2 => (0_u32..3, proptest::option::of(slot()), any::<bool>(), latency)
            .prop_map(|(agent, slot, up, latency)| Event::Dependency(agent, slot, up, latency)),
        1 => (any::<bool>(), amount(), amount()).prop_map(|(up, n, x)| Event::Service(up, n, x)),
        1 => (amount(), amount()).prop_map(|(n, x)| Event::ServiceBefore(n, x)),
        1 => ratio().prop_map(Event::Query),
        1 => (slot(), pod(), ratio(), ratio()).prop_map(|(slot, pod, cpu, memory)| Event::Resources(slot, pod, cpu, memory)),
        1 => (slot(), amount()).prop_map(|(slot, lines)| Event::Logs(slot, lines)),
        1 => (amount(), amount()).prop_map(|(n, x)| Event::Diverted(n, x)),
        1 => Just(Event::Hold),
        1 => Just(Event::Resume),
    ]
}

fn judge(history: Vec<Totals>) -> Judge {
    let rules = Rules::parse(&Spec {
        revert_when: Some(
            [
                "error rate > 5%",
                "error rate > 5% for 20s",
                "error rate > 5% over 5s for 2s dry run",
                "latency p99 > 500ms",
                "latency worse than blue",
                "route \"/checkout\" error rate > 2%",
                "error rate worse than blue",
                "error rate > 1% dry run",
                "signal fatal",
                "pods ready < 20% for 10s",
                "pods restarting for 40s",
                "pods crash looping for 30s",
                "database down for 30s",
                "database latency p90 > 50ms over 10s for 20s",
                "service other down for 50s",
                "failures cascading",
                "query \"q\" > 1.5 for 20s",
                "memory > 99% for 40s",
                "critical logs > 50 over 3s",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        checkpoints: Some(vec!["9s when cpu < 70% if known and error rate < 10% over 5s".to_owned()]),
        bake: Some("5s".to_owned()),
        ..Spec::default()
    })
    .expect("the rules are sound");
    let pods = [Slot::Blue, Slot::Green].map(|slot| PodState { slot, pod: Arc::from("a"), ready: true });
    Judge::new(rules, Start { candidate: Slot::Green, target_share: 1.0, pods: pods.to_vec(), history })
}

fn see(judge: &mut Judge, now_ms: u64, event: &Event) {
    let observation = match event {
        Event::Growth(agent, role, epoch, totals, in_flight) => {
            Observation::Growth { agent: *agent, role: *role, epoch: *epoch, totals, in_flight }
        }
        Event::Gone(agent) => Observation::AgentGone { agent: *agent },
        Event::Share(epoch, share) => Observation::Share { epoch: *epoch, candidate_share: *share },
        Event::Target(share) => Observation::Target { share: *share },
        Event::Pods(pods) => Observation::Pods { pods },
        Event::Signal(name) => Observation::Signal { name, why: "so" },
        Event::Fates(pods) => Observation::Fates { pods },
        Event::Dependency(agent, slot, up, latency) => {
            Observation::Dependency { agent: *agent, slot: *slot, name: "database", up: *up, latency }
        }
        Event::Service(up, requests, failed) => {
            Observation::Service { name: "other", up: *up, requests: *requests, failed: *failed }
        }
        Event::ServiceBefore(requests, failed) => {
            Observation::ServiceBefore { name: "other", requests: *requests, failed: *failed }
        }
        Event::Query(value) => Observation::Query { name: "q", value: *value },
        Event::Resources(slot, pod, cpu, memory) => {
            Observation::Resources { slot: *slot, pod, cpu: *cpu, memory: *memory }
        }
        Event::Logs(slot, critical) => Observation::Logs { slot: *slot, critical: *critical },
        Event::Diverted(requests, undelivered) => {
            Observation::Diverted { requests: *requests, undelivered: *undelivered }
        }
        Event::Hold => Observation::Hold { why: "so" },
        Event::Resume => Observation::Resume,
    };
    judge.observe(now_ms, observation);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_seen_the_judge_stays_sound(
        history in proptest::collection::vec(totals(), 0..20),
        events in proptest::collection::vec((1_u64..3_000, event()), 0..60),
        leap in any::<u64>(),
    ) {
        let mut judge = judge(history);
        let (mut twin, mut now_ms, mut reverted) = (judge.clone(), 0, None);
        for (after_ms, event) in &events {
            now_ms += after_ms;
            see(&mut judge, now_ms, event);
            see(&mut twin, now_ms, event);
            let verdict = judge.deliberate(now_ms).clone();
            prop_assert!(!verdict.to_string().is_empty());
            prop_assert!(!verdict.to_string().contains("NaN"), "{}", verdict);
            if let Some(reverted) = &reverted {
                prop_assert_eq!(reverted, &verdict, "a revert is for ever");
            } else if verdict.word() == "revert" {
                reverted = Some(verdict);
            }
            let allowance = judge.allowance();
            prop_assert!((0.0..=1.0).contains(&allowance.all), "{allowance:?}");
            prop_assert!(allowance.pods.iter().all(|(_, share)| (0.0..=1.0).contains(share)), "{allowance:?}");
        }
        now_ms += 1_000;
        prop_assert_eq!(judge.deliberate(now_ms), twin.deliberate(now_ms), "looking changes nothing");
        judge.deliberate(leap);
        judge.deliberate(0);
        prop_assert_eq!(judge.criteria().len(), 19 + 8 + 2 + 2);
    }

    /// A gate that stops and comes back knows exactly what it would have known.
    #[test]
    fn a_judge_that_is_saved_and_loaded_goes_on_to_the_last_bit(
        history in proptest::collection::vec(totals(), 0..3),
        events in proptest::collection::vec((0_u64..3_000, event(), any::<bool>()), 1..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut judge = judge(history);
        let mut twin = judge.clone();
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(events.len())).collect();
        let mut now_ms = 0;
        for (place, (ahead_ms, event, look)) in events.iter().enumerate() {
            now_ms += ahead_ms;
            see(&mut judge, now_ms, event);
            see(&mut twin, now_ms, event);
            if *look {
                judge.deliberate(now_ms);
                twin.deliberate(now_ms);
            }
            if cuts.contains(&place) {
                let saved = judge.save();
                judge = Judge::load(&saved).expect("it was written by us");
                prop_assert_eq!(judge.save(), saved);
            }
        }
        now_ms += 2_500;
        prop_assert_eq!(judge.deliberate(now_ms), twin.deliberate(now_ms));
        prop_assert_eq!(judge.allowance(), twin.allowance());
        prop_assert_eq!(judge.save(), twin.save());
    }

    #[test]
    fn a_damaged_state_is_refused(at in any::<prop::sample::Index>(), bit in 0_u32..8, cut in any::<prop::sample::Index>()) {
        let saved = judge(Vec::new()).save();
        let mut damaged = saved.clone();
        damaged[at.index(saved.len())] ^= 1 << bit;
        prop_assert!(Judge::load(&damaged).is_err());
        prop_assert!(Judge::load(&saved[..cut.index(saved.len())]).is_err());
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let mut saved = judge(Vec::new()).save();
    saved[0] = 7;
    let error = Judge::load(&saved).expect_err("version 7 is not known");
    assert_eq!(error, LoadError::Version { seen: 7, known: 2 });
    assert_eq!(error.to_string(), "the judge's state has version 7, and version 2 is understood");
}
