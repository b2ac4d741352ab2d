//! Whole releases in which something else than requests decides.

use std::sync::Arc;

use blueback_report::{Counts, Slot};

use super::stories::{Act, Behaviour, Story, name, part, serve, tell, words};
use crate::{Judge, Observation, PodFate, PodState, ShieldState, Spec};

fn judge(revert: &[&str], pass: &[&str], until_ms: u64) -> Judge {
    let spec = Spec { revert_when: words(revert), pass_when: words(pass), ..Spec::default() };
    tell(&Story { spec, until_ms, ..Story::default() }).judge
}

fn standing(judge: &Judge, rule: &str) -> &'static str {
    let seen = judge.criteria();
    seen.iter().find(|criterion| criterion.words == rule).unwrap_or_else(|| panic!("{rule} in {seen:#?}")).standing
}

#[test]
fn what_nobody_tells_does_not_apply_and_says_so() {
    let told = tell(&Story { until_ms: 301_000, ..Story::default() });
    told.within("pass", 300_000, 300_100).says("not applicable here: database latency p95 < 50ms if known");
    for rule in ["cpu < 70% if known", "critical logs < 1 if known", "database down for 15s", "failures cascading"] {
        assert_eq!(standing(&told.judge, rule), "not applicable", "{rule}");
    }
    assert_eq!(standing(&told.judge, "pods ready > 99% if known"), "holds");
}

#[test]
fn what_is_told_must_be_shown() {
    let spec = Spec {
        bake: Some("5s".into()),
        pass_when: words(&["error rate < 1%", "cpu < 70% if known"]),
        ..Spec::default()
    };
    let mut judge = tell(&Story { spec, until_ms: 1_000, ..Story::default() }).judge;
    let cpu = |ratio| Observation::Resources { slot: Slot::Green, pod: "green-0", cpu: Some(ratio), memory: None };
    judge.observe(1_000, cpu(0.9));
    for now_ms in [1_000, 5_000, 9_000] {
        serve(&mut judge, now_ms, &[name(Slot::Green, 0)], false);
        assert_eq!(judge.deliberate(now_ms + 3_900).word(), "watching", "{}", judge.verdict());
    }
    let text = judge.verdict().to_string();
    assert!(text.contains("waits for cpu < 70% if known: processor of green at 90%"), "{text}");
    // What is not told any more is missing, and no pass.
    judge.deliberate(70_000);
    assert_eq!(standing(&judge, "cpu < 70% if known"), "no data");
}

#[test]
fn a_database_that_only_green_loses_reverts_and_a_shared_one_holds() {
    let nothing = Counts::default();
    let probe = |slot, up| Observation::Dependency {
        agent: u32::from(slot == Slot::Green),
        slot: Some(slot),
        name: "database",
        up,
        latency: &nothing,
    };
    for (blue_up, word) in [(true, "revert"), (false, "hold")] {
        let mut judge = judge(&["database down for 15s"], &["error rate < 1%"], 1_000);
        for second in 2..=20 {
            judge.observe(second * 1_000, probe(Slot::Green, false));
            judge.observe(second * 1_000, probe(Slot::Blue, blue_up));
            let expected = if second < 17 { "watching" } else { word };
            // A state is looked at with the next report interval.
            assert_eq!(judge.deliberate(second * 1_000 + 100).word(), expected, "{second} s: {}", judge.verdict());
        }
        let text = judge.verdict().to_string();
        assert!(text.contains("1 of 1 agent that probe database get no answer"), "{text}");
        assert_eq!(judge.verdict().reason().map(|reason| reason.change.is_empty()), Some(false));
    }
}

#[test]
fn a_crash_loop_alerts_by_default() {
    let mut judge = tell(&Story { until_ms: 1_000, ..Story::default() }).judge;
    let fate = |crash_looping| {
        [PodFate { slot: Slot::Green, pod: name(Slot::Green, 0), restarts: 2, out_of_memory: 0, crash_looping }]
    };
    judge.observe(1_000, Observation::Fates { pods: &fate(false) });
    judge.observe(2_000, Observation::Fates { pods: &fate(true) });
    judge.deliberate(2_200);
    assert_eq!(judge.alerts().iter().map(|alert| &*alert.rule).collect::<Vec<_>>(), ["pods crash looping"]);
    assert_eq!(judge.verdict().word(), "watching");
}

#[test]
fn a_dry_run_shows_and_does_nothing() {
    let green = |_: u64, request: u64, _: usize| if part(request, 50) { Act::Failed } else { Act::Ok(5) };
    let rules = ["error rate > 5% dry run", "error rate > 5% for 10s dry run", "signal stop dry run"];
    let spec = Spec { revert_when: words(&rules), ..Spec::default() };
    let mut told = tell(&Story { green, spec, until_ms: 30_000, ..Story::default() });
    told.never("revert").never("suspect").never("hold").never("shielded");
    told.judge.observe(30_000, Observation::Signal { name: "stop", why: "it is time" });
    told.judge.deliberate(30_100);
    assert_eq!(told.judge.dry_runs().len(), 3, "{:#?}", told.judge.dry_runs());
    assert!(told.judge.dry_runs()[0].text.contains("it would revert"), "{}", told.judge.dry_runs()[0].text);
    assert!(told.judge.criteria()[..3].iter().all(|seen| seen.dry_run && seen.standing == "holds"));
}

#[test]
fn a_checkpoint_waits_for_its_own_rules() {
    let checkpoints = words(&["10s when memory < 70%", "20s"]);
    let spec = Spec { bake: Some("5s".into()), pass_when: words(&["error rate < 1%"]), checkpoints, ..Spec::default() };
    let mut told = tell(&Story { spec, until_ms: 25_000, ..Story::default() });
    let passed = |judge: &Judge| judge.passed().iter().map(|passed| passed.name.clone()).collect::<Vec<_>>();
    assert_eq!(passed(&told.judge), ["bake", "20s"], "no data is no pass");
    let memory = Observation::Resources { slot: Slot::Green, pod: "green-0", cpu: None, memory: Some(0.4) };
    told.judge.observe(25_000, memory);
    serve(&mut told.judge, 25_000, &[name(Slot::Green, 0)], false);
    told.judge.deliberate(28_900);
    assert_eq!(passed(&told.judge), ["bake", "20s", "10s"]);
}

#[test]
fn slower_than_blue_is_found_and_a_little_slower_is_not() {
    let blue = |_: u64, request: u64, _: usize| Act::Ok(10 + request.wrapping_mul(61) % 100);
    let spec = || Spec { revert_when: words(&["latency worse than blue"]), ..Spec::default() };
    let run =
        |green, until_ms| tell(&Story { green, blue, blue_history: blue, spec: spec(), until_ms, ..Story::default() });
    run(blue, 120_000).never("suspect").never("revert");
    run(|_, request, _| Act::Ok(12 + request.wrapping_mul(61) % 100 * 115 / 100), 120_000).never("revert");
    let told = run(|_, request, _| Act::Ok(20 + request.wrapping_mul(61) % 100 * 2), 60_000);
    told.within("revert", 3_000, 20_000).says("latency worse than blue").says("took longer than");
    assert!(told.judge.limits().len() > told.judge.rules().limits().len(), "agents watch blue's limit as well");
}

#[test]
fn a_rule_over_another_window_is_decided_by_it() {
    // Two seconds in every ten: never a bad minute, always a bad ten seconds.
    let green = |now_ms: u64, _: u64, _: usize| if now_ms % 10_000 < 2_000 { Act::Failed } else { Act::Ok(5) };
    let run = |rule: &str| {
        tell(&Story {
            green,
            spec: Spec { revert_when: words(&[rule]), ..Spec::default() },
            until_ms: 90_000,
            ..Story::default()
        })
    };
    run("error rate > 15% over 10s for 1m").within("revert", 60_000, 60_100);
    run("error rate > 25% over 10s for 1m").never("revert");
    run("error rate > 15% over 30s").within("revert", 30_000, 30_100);
    run("error rate > 15% over 20s for 5s").within("revert", 25_000, 25_100);
    run("error rate > 90% over 1s for 5s").never("revert");
}

#[test]
fn a_switch_in_the_middle_of_a_fault_of_both_does_not_go_back_onto_it() {
    // Blue was failing when the switch came, and still is when it is asked; green fails alike.
    let fails = |_: u64, _: u64, _: usize| Act::Failed;
    let told = tell(&Story { green: fails, blue: fails, blue_history: fails, until_ms: 60_000, ..Story::default() });
    told.within("hold", 0, 3_000).never("revert");
    // Blue cannot even be asked.
    let told = tell(&Story {
        green: fails,
        blue: fails,
        blue_history: fails,
        spec: Spec { revert_when: words(&["error rate > 5%", "error rate > 5% for 20s"]), ..Spec::default() },
        until_ms: 60_000,
        ..Story::default()
    });
    told.within("hold", 0, 3_000).never("revert");
    // It was blue's fault alone: nothing is held against green.
    let told = tell(&Story { blue_history: fails, until_ms: 30_000, ..Story::default() });
    told.never("hold").never("suspect").never("revert");
    // Blue is well again, and green is not: that is green's.
    let told = tell(&Story { green: fails, blue_history: fails, until_ms: 60_000, ..Story::default() });
    told.within("revert", 1_000, 20_000);
}

#[test]
fn a_cold_blue_is_warmed_up() {
    let at = 1_200_000;
    let green = |now_ms: u64, _: u64, _: usize| if now_ms >= 1_200_000 { Act::Failed } else { Act::Ok(5) };
    let told = tell(&Story { green, until_ms: at + 15_000, ..Story::default() });
    told.within("shielded", at, at + 400).within("revert", at + 1_000, at + 12_000);
    let shares: Vec<u64> = told.shares.iter().map(|(_, share)| (share * 100.0).round() as u64).collect();
    assert_eq!(shares[..3], [75, 50, 10], "{shares:?}");
    // Two reports, the third of a second that the steps take at 100 requests a second, and ten a second until it is proven.
    assert!(told.failed <= 20 + 40 + 100, "{} failed", told.failed);
    // A cold blue that fails what it gets is given no more.
    let blue = |_: u64, _: u64, _: usize| Act::Failed;
    let told = tell(&Story { green, blue, until_ms: at + 3_000, ..Story::default() });
    told.never("revert");
    assert!(told.least > 0.7, "{}", told.least);
}

#[test]
fn green_takes_back_what_its_pods_can_take() {
    // A burst, and an autoscaler that takes three of four pods while they idle and gives them back when it sees the traffic.
    let green = |now_ms: u64, _: u64, _: usize| if now_ms / 1_000 == 10 { Act::Failed } else { Act::Ok(5) };
    let ready: fn(u64) -> usize = |now_ms| match now_ms {
        0..12_000 | 35_000.. => 4,
        12_000..30_000 => 1,
        _ => 2,
    };
    let spec = Spec { pass_when: words(&["error rate < 1%"]), ..Spec::default() };
    let story =
        |until_ms| Story { green, pods: 4, green_ready: Some(ready), spec: spec.clone(), until_ms, ..Story::default() };
    let told = tell(&story(29_000));
    told.within("shielded", 10_000, 10_350).ends("suspect probing").says("as much as suits its 1 ready pod");
    let told = tell(&story(330_000));
    told.never("revert").never("hold").ends("watching open");
    let most = |from_ms: u64, to_ms: u64| {
        let then = told.shares.iter().filter(|(at_ms, _)| (from_ms..to_ms).contains(at_ms));
        then.map(|&(_, share)| share).fold(0.0, f64::max)
    };
    // A pod is given a quarter more than it had, and not a step before green was good again.
    let seen = [most(10_000, 16_000), most(16_000, 30_000), most(30_000, 35_000), most(35_000, 330_000)];
    assert_eq!(seen.map(|share| (share * 1e4).round()), [1_000.0, 3_125.0, 6_250.0, 10_000.0], "{:?}", told.shares);
    // Not before a bake time has passed in which green had everything.
    assert!(told.at("pass").is_none_or(|at_ms| at_ms >= 335_000), "{:?}", told.changes);
}

#[test]
fn pods_that_join_may_warm_up() {
    let ready: fn(u64) -> usize = |now_ms| if now_ms < 4_000 { 1 } else { 4 };
    let told = |green: Behaviour| {
        let spec = Spec { revert_when: words(&["latency p99 > 500ms"]), ..Spec::default() };
        tell(&Story { rps: 200, green, pods: 4, green_ready: Some(ready), spec, until_ms: 30_000, ..Story::default() })
    };
    // Three pods that join are slow at first, and it shows: most of them are given less until they are good.
    told(|now_ms, _, pod| if pod > 0 && (4_000..6_900).contains(&now_ms) { Act::Ok(800) } else { Act::Ok(5) })
        .within("shielded", 4_000, 6_000)
        .never("revert");
    // They stay slow.
    told(|_, _, pod| if pod > 0 { Act::Ok(800) } else { Act::Ok(5) }).within("revert", 7_000, 15_000);
}

#[test]
fn pods_that_come_and_go_in_mid_release() {
    // An autoscaler: other names every minute, more than are told apart.
    let spec = Spec { pass_when: words(&["error rate < 1%"]), ..Spec::default() };
    let mut judge = tell(&Story { pods: 4, spec, until_ms: 10_000, ..Story::default() }).judge;
    for round in 1..200_u64 {
        let pods: Vec<PodState> = (0..4)
            .map(|pod| PodState { slot: Slot::Green, pod: Arc::from(format!("green-{round}-{pod}")), ready: true })
            .chain([PodState { slot: Slot::Blue, pod: name(Slot::Blue, 0), ready: true }])
            .collect();
        let now_ms = 10_000 + round * 5_000;
        judge.observe(now_ms, Observation::Pods { pods: &pods });
        let served: Vec<_> = pods.iter().filter(|pod| pod.slot == Slot::Green).map(|pod| pod.pod.clone()).collect();
        serve(&mut judge, now_ms, &served, round >= 190);
        judge.deliberate(now_ms + 4_900);
        assert!(judge.criteria()[0].green.n > 0);
    }
    let reason = judge.verdict().reason().expect("the last ones fail").clone();
    assert!(reason.pods <= 4, "{reason:?}");
    assert_ne!(judge.shield(), ShieldState::Shared);
    assert!(judge.save().len() < 512 << 10, "{} bytes", judge.save().len());
}
