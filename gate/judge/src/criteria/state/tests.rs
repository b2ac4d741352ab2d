//! Each kind of state in values: what is told, and what the rule makes of it.

use std::sync::Arc;

use blueback_report::{Counts, Slot};

use crate::criteria::plain::Plain;
use crate::criteria::state::Sense;
use crate::observation::{Observation, PodFate, PodState};
use crate::rules::{Rules, Spec};

fn plain(words: &str, list: fn(Vec<String>) -> Spec) -> Plain {
    let rules = Rules::parse(&list(vec![words.to_owned()])).expect(words);
    let rule = rules.iter().map(|(_, rule)| rule).find(|rule| rule.to_string() == words).expect("it is there");
    Plain::new(Sense::of(rule).expect("it is about a state"), rule.for_ms.unwrap_or(0))
}

fn revert(words: Vec<String>) -> Spec {
    Spec { revert_when: Some(words), ..Spec::default() }
}

fn pass(words: Vec<String>) -> Spec {
    Spec { pass_when: Some(words), ..Spec::default() }
}

impl Plain {
    /// Tells it, looks, and says whether it holds and is shared.
    fn tell(&mut self, now_ms: u64, observation: &Observation<'_>) -> (bool, bool) {
        self.hear(now_ms, Slot::Green, observation);
        self.see(now_ms)
    }

    fn see(&mut self, now_ms: u64) -> (bool, bool) {
        self.look(now_ms);
        (self.fired_ms.is_some(), self.is_shared)
    }
}

const QUIET: (bool, bool) = (false, false);
const HOLDS: (bool, bool) = (true, false);
const SHARED: (bool, bool) = (true, true);

fn fate(slot: Slot, pod: &str, restarts: u32) -> PodFate {
    PodFate { slot, pod: Arc::from(pod), restarts, out_of_memory: restarts / 2, crash_looping: restarts >= 9 }
}

#[test]
fn a_restart_is_one_that_happened_since_the_switch() {
    let mut rule = plain("pods restarting", revert);
    assert_eq!(rule.see(50), QUIET);
    assert!(!rule.is_known, "nobody tells");
    let told = [fate(Slot::Green, "a", 4), fate(Slot::Blue, "x", 2)];
    assert_eq!(rule.tell(100, &Observation::Fates { pods: &told }), QUIET, "these were before");
    assert_eq!(rule.tell(5_000, &Observation::Fates { pods: &[fate(Slot::Green, "b", 0)] }), QUIET);
    assert_eq!(rule.tell(9_000, &Observation::Fates { pods: &[fate(Slot::Green, "b", 1)] }), HOLDS);
    assert_eq!(
        rule.sense.text(&rule.green),
        "1 of 2 pods of green restarted in the last 5 min (b, 1 time since the switch)"
    );
    assert_eq!(rule.tell(10_000, &Observation::Fates { pods: &[fate(Slot::Blue, "x", 3)] }), SHARED, "blue's die too");
    assert_eq!(rule.see(309_000), QUIET, "long ago");
}

#[test]
fn pods_that_come_and_go_restart_nothing() {
    let mut rule = plain("pods restarting", revert);
    rule.tell(100, &Observation::Fates { pods: &[fate(Slot::Green, "a", 0)] });
    for round in 1..20_u64 {
        let name = format!("green-{round}");
        let pods = [PodState { slot: Slot::Green, pod: Arc::from(&*name), ready: true }];
        assert_eq!(rule.tell(round * 1_000, &Observation::Fates { pods: &[fate(Slot::Green, &name, 0)] }), QUIET);
        assert_eq!(rule.tell(round * 1_000, &Observation::Pods { pods: &pods }), QUIET, "the others are gone");
        assert_eq!(rule.green.n, 2, "and one is not listed");
    }
    // A pod of the same name begins anew.
    rule.tell(30_000, &Observation::Fates { pods: &[fate(Slot::Green, "a", 3)] });
    assert_eq!(rule.tell(400_000, &Observation::Fates { pods: &[fate(Slot::Green, "a", 0)] }), QUIET);
    assert_eq!(rule.tell(401_000, &Observation::Fates { pods: &[fate(Slot::Green, "a", 1)] }), HOLDS);
}

#[test]
fn loops_and_memory() {
    let mut looping = plain("pods crash looping", revert);
    let mut memory = plain("pods out of memory", revert);
    for rule in [&mut looping, &mut memory] {
        rule.tell(0, &Observation::Fates { pods: &[fate(Slot::Green, "a", 0)] });
    }
    let told = |restarts| [fate(Slot::Green, "a", restarts)];
    assert_eq!(looping.tell(1_000, &Observation::Fates { pods: &told(2) }), QUIET);
    assert_eq!(memory.tell(1_000, &Observation::Fates { pods: &told(2) }), HOLDS);
    assert_eq!(looping.tell(2_000, &Observation::Fates { pods: &told(3) }), HOLDS, "three within five minutes");
    let mut named = plain("pods crash looping", revert);
    assert_eq!(named.tell(0, &Observation::Fates { pods: &told(9) }), HOLDS, "the cluster says so");
}

fn probe(agent: u32, slot: Option<Slot>, up: bool, latency: &Counts) -> Observation<'_> {
    Observation::Dependency { agent, slot, name: "database", up, latency }
}

#[test]
fn a_dependency_is_down_for_a_side() {
    let nothing = Counts::default();
    let mut rule = plain("database down for 15s", revert);
    let tell = |rule: &mut Plain, now_ms: u64, agent: u32, slot: Slot, up: bool| {
        rule.tell(now_ms, &probe(agent, Some(slot), up, &nothing))
    };
    for agent in 0..3 {
        tell(&mut rule, 3_000, agent, Slot::Green, true);
    }
    assert_eq!(tell(&mut rule, 3_000, 9, Slot::Blue, true), QUIET);
    tell(&mut rule, 4_000, 0, Slot::Green, false);
    assert_eq!(rule.see(25_000), QUIET, "one of three");
    for now_s in 30..50 {
        for agent in 0..3 {
            tell(&mut rule, now_s * 1_000, agent, Slot::Green, agent == 2);
        }
        let seen = tell(&mut rule, now_s * 1_000, 9, Slot::Blue, true);
        assert_eq!(seen, if now_s < 45 { QUIET } else { HOLDS }, "{now_s} s");
    }
    assert_eq!(rule.sense.text(&rule.green), "2 of 3 agents that probe database get no answer");
    assert_eq!(tell(&mut rule, 50_000, 9, Slot::Blue, false), SHARED);
    assert_eq!(rule.see(70_000), QUIET, "what nobody repeats is not known");
    assert_eq!(rule.green.holds, None);
}

#[test]
fn what_was_down_at_the_switch_is_not_greens_doing() {
    let nothing = Counts::default();
    let mut rule = plain("database down", revert);
    assert_eq!(rule.tell(100, &probe(1, None, false, &nothing)), SHARED, "seen from the front, and before");
    assert_eq!(rule.tell(9_000, &probe(1, None, true, &nothing)), QUIET);
    assert_eq!(rule.tell(10_000, &probe(1, None, false, &nothing)), HOLDS, "it is well in between");
    let mut green = plain("database down", revert);
    green.hear(100, Slot::Green, &probe(2, Some(Slot::Blue), true, &nothing));
    assert_eq!(green.tell(100, &probe(1, Some(Slot::Green), false, &nothing)), HOLDS, "blue reaches it");
    let mut silent = plain("database down", revert);
    silent.hear(100, Slot::Green, &probe(2, Some(Slot::Blue), false, &nothing));
    assert_eq!(silent.tell(100, &probe(1, Some(Slot::Green), false, &nothing)), SHARED);
    silent.hear(200, Slot::Green, &Observation::AgentGone { agent: 2 });
    assert_eq!(silent.see(300), SHARED, "blue is asked no more, and knew");
}

#[test]
fn a_dependency_is_slow() {
    let mut slow = plain("database latency p95 > 50ms", revert);
    let mut quick = plain("database latency p95 < 50ms", pass);
    let latency = |late: u64| {
        let mut counts = Counts::default();
        counts.record_n(5_000, 100 - late);
        counts.record_n(90_000, late);
        counts
    };
    let tell = |rule: &mut Plain, now_ms: u64, late: u64| {
        rule.tell(now_ms, &probe(1, Some(Slot::Green), true, &latency(late)))
    };
    assert_eq!((slow.see(1_000), quick.see(1_000)), (QUIET, QUIET), "no data is neither");
    assert_eq!((tell(&mut slow, 2_000, 3), tell(&mut quick, 2_000, 3)), (QUIET, HOLDS));
    assert_eq!((tell(&mut slow, 4_000, 40), tell(&mut quick, 4_000, 40)), (HOLDS, QUIET));
    assert!(slow.sense.text(&slow.green).contains("43 of 200 probes"), "{}", slow.sense.text(&slow.green));
    assert_eq!(slow.see(63_900), HOLDS, "within the minute");
    assert_eq!((slow.see(70_000), slow.green.holds), (QUIET, None), "a minute without probes");
}

#[test]
fn queries_that_are_not_answered_hold_nothing() {
    let mut rule = plain("query \"checkout failures\" > 0.5 for 10s", revert);
    let tell = |rule: &mut Plain, now_ms: u64, value: Option<f64>| {
        rule.tell(now_ms, &Observation::Query { name: "checkout failures", value })
    };
    assert_eq!(rule.tell(3_000, &Observation::Query { name: "another", value: Some(9.0) }), QUIET);
    assert_eq!(tell(&mut rule, 5_000, Some(0.7)), QUIET);
    assert_eq!(rule.see(15_000), HOLDS);
    assert_eq!(tell(&mut rule, 16_000, None), QUIET);
    assert_eq!(tell(&mut rule, 17_000, Some(f64::NAN)), QUIET);
    assert_eq!(tell(&mut rule, 18_000, Some(0.7)), QUIET, "it begins anew");
    assert_eq!(rule.see(200_000), QUIET, "too long ago");
    assert_eq!(rule.green.holds, None);
}

#[test]
fn services_resources_and_logs() {
    let mut service = plain("service payments down for 2s", revert);
    let up = |up| Observation::Service { name: "payments", up, requests: 0, failed: 0 };
    assert_eq!(service.tell(5_000, &up(true)), QUIET);
    assert_eq!(service.tell(6_000, &up(false)), QUIET);
    assert_eq!(service.see(8_000), HOLDS);
    assert_eq!(service.see(40_000), QUIET);

    let mut cpu = plain("cpu > 70%", revert);
    let mut memory = plain("memory < 80%", pass);
    let use_ = |slot, pod, ratio| Observation::Resources { slot, pod, cpu: Some(ratio), memory: Some(ratio) };
    assert_eq!(cpu.tell(100, &use_(Slot::Green, "a", 0.9)), HOLDS);
    assert_eq!(cpu.tell(200, &use_(Slot::Green, "b", 0.3)), QUIET, "the mean");
    assert_eq!(cpu.tell(300, &use_(Slot::Blue, "x", 0.9)), QUIET);
    assert_eq!(cpu.tell(400, &use_(Slot::Green, "b", 0.8)), SHARED);
    assert_eq!(memory.tell(100, &use_(Slot::Green, "a", 0.9)), QUIET);
    assert_eq!(memory.tell(200, &use_(Slot::Green, "b", 0.3)), QUIET, "the fullest");
    let gone = [PodState { slot: Slot::Green, pod: Arc::from("b"), ready: true }];
    assert_eq!(memory.tell(300, &Observation::Pods { pods: &gone }), HOLDS);

    let mut logs = plain("critical logs > 2 over 10s", revert);
    let mut clean = plain("critical logs < 1", pass);
    assert_eq!(clean.see(50), QUIET, "nobody looks");
    assert_eq!(clean.tell(100, &Observation::Logs { slot: Slot::Green, critical: 0 }), HOLDS);
    assert_eq!(clean.tell(200, &Observation::Logs { slot: Slot::Green, critical: 1 }), QUIET);
    assert_eq!(logs.tell(1_000, &Observation::Logs { slot: Slot::Green, critical: 2 }), QUIET);
    assert_eq!(logs.tell(5_000, &Observation::Logs { slot: Slot::Green, critical: 1 }), HOLDS);
    assert_eq!(logs.see(11_000), QUIET, "the first two are out of the window");
}
