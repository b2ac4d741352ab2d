//! A gate that is killed and comes back.

use blueback_gate::api::types::Phase;
use blueback_gate::event::Event;
use blueback_gate::recording::{Recording, encode};
use blueback_gate::{Gate, RulesFile, Settings};
use blueback_report::{Outcome, Report, Slot};

use crate::world::{World, green_fails};

/// Kills the gate, and starts another one on what the store has after this long.
fn restart(world: &mut World, after_ms: u64) {
    let stored = world.stored();
    world.now = world.now.plus_ms(after_ms);
    world.gate = Gate::new(Settings::default(), world.now);
    world.apply(Event::Restore(Box::new(stored)));
}

fn evidence(world: &World) -> Vec<(String, Option<u64>)> {
    let evidence = world.gate.evidence(&world.release().id, world.now).expect("it is known");
    evidence.criteria.into_iter().map(|rule| (rule.rule, rule.evidence.map(f64::to_bits))).collect()
}

#[test]
fn replay_gives_the_same_verdict_and_evidence_bit_for_bit() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(4_000);
    world.fate = |slot, number| {
        if slot == Slot::Green && number % 9 == 0 { Outcome::ServerError } else { Outcome::Ok }
    };
    world.run(1_500);
    let (verdict, before) = (world.release().verdict.clone(), evidence(&world));
    assert!(before.iter().any(|(_, evidence)| evidence.is_some()));
    restart(&mut world, 0);
    assert_eq!(evidence(&world), before);
    assert_eq!(world.release().verdict.verdict, verdict.verdict);
    // The same through bytes.
    let frames = world.frames.values().next().expect("it is recorded").clone();
    let recording = Recording::from_frames(frames.clone()).expect("it has a beginning");
    let read = Recording::decode(&encode(frames)).expect("it was written by us");
    assert_eq!(read, recording);
    let judge = read.replay(RulesFile::default().rules().expect("they are the defaults"));
    assert_eq!(
        judge.criteria().iter().map(|rule| rule.ln_e.map(f64::to_bits)).collect::<Vec<_>>(),
        before.iter().map(|(_, evidence)| *evidence).collect::<Vec<_>>()
    );
}

#[test]
fn a_gate_killed_in_mid_incident_comes_to_the_same_verdict() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(2_000);
    world.fate = green_fails;
    assert!(world.run_until(2_000, |world| world.story().contains(&"shielded")), "{:#?}", world.release());
    restart(&mut world, 700);
    assert!(world.front.route.green_share < 0.5, "the shield stays up");
    world.front.connection = 2;
    world.connect();
    assert_ne!(world.front.welcome, Some(0), "what was merged is known");
    assert!(world.run_until(15_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    let story = world.story();
    assert_eq!(story.iter().filter(|what| **what == "shielded").count(), 1, "{story:?}");
    assert!(story.contains(&"restarted"), "{story:?}");
}

#[test]
fn what_agents_saw_meanwhile_is_judged_at_its_own_time() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(2_000);
    let front_ms = world.now.since(world.front.started);
    restart(&mut world, 3_000);
    world.front.connection = 2;
    let hello = world.front.hello();
    world.apply(Event::AgentHello { connection: 2, hello });
    // Three seconds from the ring: nothing but failures.
    for second in 1..=3 {
        world.front.count(Slot::Green, Outcome::ServerError, 100);
        let slice = Report { at_ms: front_ms + second * 1_000, replayed: true, ..world.front.report(world.now) };
        world.apply(Event::AgentReport { connection: 2, report: slice });
    }
    assert!(world.release().verdict.verdict == "watching", "slices wait for each other");
    world.run(100);
    let shielded_or_proven = |world: &World| world.story().iter().any(|what| matches!(*what, "shielded" | "proven"));
    assert!(world.run_until(1_000, shielded_or_proven), "{:#?}", world.release());
}

#[test]
fn a_gate_waits_for_agents_only_so_long() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(2_000);
    restart(&mut world, 500);
    world.front.connection = 2;
    let frames = |world: &World| world.frames.values().map(Vec::len).sum::<usize>();
    let before = frames(&world);
    for _ in 0..50 {
        world.now = world.now.plus_ms(50);
        world.apply(Event::Tick);
    }
    assert_eq!(frames(&world), before, "the judge waits");
    for _ in 0..20 {
        world.now = world.now.plus_ms(50);
        world.apply(Event::Tick);
    }
    assert!(frames(&world) > before, "and goes on");
}

#[test]
fn a_revert_that_was_begun_is_finished() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    world.front.obeys = false;
    world.operate(blueback_gate::Command::Revert { why: "test".to_owned() }).expect("a release is watched");
    restart(&mut world, 1_000);
    assert_eq!(world.phase(), Phase::Reverting);
    world.front.obeys = true;
    world.front.connection = 2;
    world.connect();
    assert_eq!(world.front.route.green_share, 0.0, "the agent that comes back is told");
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
}

#[test]
fn a_gate_without_memory_learns_from_its_agents() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    world.gate = Gate::new(Settings::default(), world.now);
    world.front.connection = 2;
    world.connect();
    world.run(500);
    let service = world.gate.service("shop", world.now).expect("its agent named it");
    assert_eq!((service.serving, service.green_share), (blueback_gate::api::types::Slot::Green, 1.0));
    assert!(world.front.route.epoch > 0);
    let next = world.switch(Slot::Blue);
    assert_eq!(next.id, "shop-1");
    assert_eq!(world.front.route.green_share, 0.0, "its epochs go on where the former gate's ended");
}
