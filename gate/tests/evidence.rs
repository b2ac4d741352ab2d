//! Evidence that is no count of requests, on its way to the judge; and where a release is kept.

use std::sync::Arc;

use blueback_gate::api::types::{Criterion, Phase};
use blueback_gate::event::{Command, Event};
use blueback_gate::recording::{Entry, Frame, encode};
use blueback_gate::store::{Batch, RedbStore, Store};
use blueback_gate::{Evidence, Gate, RulesFile, ServiceConfig, Settings};
use blueback_judge::PodFate;
use blueback_report::{Dependency, Hello, Report, Resources, Role, Route, Slot, TargetState};

use crate::world::{SERVICE, World};

fn rules(revert: &[&str]) -> RulesFile {
    RulesFile {
        revert_when: Some(revert.iter().map(ToString::to_string).collect()),
        pass_when: Some(vec!["error rate < 2%".to_owned(), "cpu < 70% if known".to_owned()]),
        ..RulesFile::default()
    }
}

fn tell(world: &mut World, evidence: Evidence) {
    world.apply(Event::Evidence { service: SERVICE.into(), evidence });
}

fn criterion(world: &World, rule: &str) -> Criterion {
    let evidence = world.gate.evidence(&world.release().id, world.now).expect("it is watched");
    evidence.criteria.into_iter().find(|seen| seen.rule == rule).unwrap_or_else(|| panic!("{rule} is judged"))
}

#[test]
fn a_query_reverts_and_its_silence_does_not() {
    let mut world = World::with(rules(&["query \"failures\" > 0.5 for 3s"]));
    tell(&mut world, Evidence::Query { name: "failures".into(), value: Some(9.0) });
    world.switch(Slot::Green);
    world.run(5_000);
    tell(&mut world, Evidence::Query { name: "failures".into(), value: None });
    world.run(5_000);
    assert_eq!(criterion(&world, "query \"failures\" > 0.5 for 3s").standing, "not applicable");
    tell(&mut world, Evidence::Query { name: "failures".into(), value: Some(0.7) });
    assert!(world.run_until(4_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    let verdict = &world.release().verdict;
    assert!(verdict.text.contains("the query failures says 0.7"), "{verdict:#?}");
    assert_eq!((verdict.value, verdict.unit.as_deref()), (Some(0.7), Some("value")));
    assert!(verdict.change.as_deref().is_some_and(|change| verdict.text.ends_with(change)), "{verdict:#?}");
}

#[test]
fn restarts_of_before_the_switch_are_nobodys() {
    let mut world = World::with(rules(&["pods restarting"]));
    let fate = |restarts| {
        Evidence::Fates(vec![PodFate {
            slot: Slot::Green,
            pod: "green-0".into(),
            restarts,
            out_of_memory: 0,
            crash_looping: false,
        }])
    };
    tell(&mut world, fate(3));
    world.switch(Slot::Green);
    world.run(1_000);
    tell(&mut world, fate(3));
    world.run(1_000);
    assert_eq!(criterion(&world, "pods restarting").standing, "quiet");
    tell(&mut world, fate(4));
    assert!(world.run_until(2_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
}

#[test]
fn what_agents_probe_and_use_is_judged() {
    let mut world = World::with(rules(&["database down for 2s"]));
    let sidecar = Hello {
        agent: "green-0/1".into(),
        service: SERVICE.into(),
        role: Role::Sidecar(Slot::Green),
        targets: vec![TargetState { slot: Slot::Green, pod: "green-0".into(), ready: true }],
        route: Route::all_to(Slot::Blue, 0),
        version: String::new(),
    };
    let targets = sidecar.targets.clone();
    world.apply(Event::AgentHello { connection: 7, hello: sidecar });
    let report = |at_ms: u64, up: bool, cpu: f64| {
        let database = Dependency { up, checks: at_ms / 500, ..Dependency::new("database".into()) };
        let resources = Resources { cpu_ratio: Some(cpu), memory_ratio: None };
        Report { at_ms, targets: targets.clone(), dependencies: vec![database], resources, ..Report::default() }
    };
    world.apply(Event::AgentReport { connection: 7, report: report(1_000, true, 0.5) });
    world.switch(Slot::Green);
    world.run(500);
    assert_eq!(criterion(&world, "database down for 2s").standing, "quiet", "it is known from the beginning");
    let cpu = criterion(&world, "cpu < 70% if known");
    assert_eq!((cpu.standing.as_str(), cpu.candidate.value), ("holds", Some(0.5)), "{cpu:#?}");
    for round in 1..=8 {
        world.apply(Event::AgentReport { connection: 7, report: report(1_000 + round * 500, false, 0.9) });
        world.run(500);
    }
    assert_eq!(world.phase(), Phase::Reverted, "{:#?}", world.release());
    assert!(
        world.release().verdict.text.contains("1 of 1 agent that probe database"),
        "{:#?}",
        world.release().verdict
    );
}

#[test]
fn another_service_that_is_down_reverts() {
    let mut world = World::with(rules(&["service payments down for 2s"]));
    let payments = |ready| Hello {
        agent: "payments/1".into(),
        service: "payments".into(),
        role: Role::Front,
        targets: vec![TargetState { slot: Slot::Blue, pod: "p".into(), ready }],
        route: Route::all_to(Slot::Blue, 0),
        version: String::new(),
    };
    world.apply(Event::AgentHello { connection: 8, hello: payments(true) });
    world.switch(Slot::Green);
    world.run(5_000);
    assert_eq!(criterion(&world, "service payments down for 2s").standing, "quiet");
    world.apply(Event::AgentHello { connection: 9, hello: payments(false) });
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    assert!(world.release().verdict.text.contains("service payments is down"), "{:#?}", world.release().verdict);
}

#[test]
fn a_dry_run_is_told_and_does_nothing() {
    let mut world = World::with(rules(&["signal stop dry run"]));
    world.switch(Slot::Green);
    world.operate(Command::Signal { name: "stop".into(), why: "a test".into() }).expect("it is watched");
    world.run(1_000);
    assert!(world.moment("tried").text.contains("it would revert"), "{:#?}", world.release().timeline);
    assert_eq!(world.phase(), Phase::Watching);
}

/// What the judge knows, to the last bit.
fn evidence(gate: &Gate, world: &World) -> String {
    format!("{:?}", gate.evidence(&world.release().id, world.now).expect("it is known").criteria)
}

#[test]
fn a_gate_goes_on_from_what_was_kept_without_what_was_before() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(25_000);
    let (id, frames) = world.frames.first_key_value().expect("it is recorded");
    let kept = frames.iter().filter(|frame| matches!(frame.entry, Entry::Kept(_))).count();
    assert!((2..=5).contains(&kept), "{kept} times in 25 s");
    // As the writer cuts it: what is kept begins a piece.
    let store = RedbStore::in_memory().expect("there is memory");
    let mut recordings = Vec::new();
    let mut piece: Vec<Frame> = Vec::new();
    for frame in frames {
        if matches!(frame.entry, Entry::Kept(_)) {
            recordings.push((Arc::clone(id), encode(std::mem::take(&mut piece))));
        }
        piece.push(frame.clone());
    }
    recordings.push((Arc::clone(id), encode(piece)));
    let services = world.services.values().cloned().collect();
    let releases = world.releases.values().cloned().collect();
    store.commit(&Batch { services, releases, recordings }).expect("it can be written");
    let stored = store.load().expect("it can be read");
    let (_, recording) = &stored.recordings[0];
    let (kept, after) = recording.last_kept();
    let kept = kept.expect("the last one is there");
    assert!(after.len() < 400, "{} frames after it", after.len());
    assert_eq!(kept.agents.len(), 1);
    let settings = || Settings {
        services: vec![ServiceConfig { name: SERVICE.to_owned(), serving: Slot::Blue }],
        ..Settings::default()
    };
    let before = evidence(&world.gate, &world);
    // Nothing is left of what was before it but how the release began.
    let mut bare = recording.clone();
    let first = recording.frames.len() - after.len() - 1;
    bare.frames.drain(..first);
    let mut gate = Gate::new(settings(), world.now);
    let recordings = vec![(Arc::clone(id), bare)];
    gate.apply(
        Event::Restore(Box::new(blueback_gate::event::Stored { recordings, ..store.load().expect("it can be read") })),
        world.now,
    );
    assert_eq!(evidence(&gate, &world), before);
    assert_eq!(gate.counted("front/1"), world.gate.counted("front/1"), "and the agent's counts are known");
}
