//! Releases, told in values.

use blueback_gate::api::types::Phase;
use blueback_gate::effect::{Effect, Refusal};
use blueback_gate::event::{Command, Event, Step};
use blueback_gate::figures::Dropped;
use blueback_report::{Outcome, Report, Role, Slot};

use crate::world::{Front, SERVICE, World, both_fail, green_fails};

#[test]
fn a_switch_moves_traffic_and_is_watched() {
    let mut world = World::new();
    assert_eq!(world.front.watch.as_ref().expect("agents are told what to watch").cadence_ms, 1_000);
    let release = world.switch(Slot::Green);
    assert_eq!((release.id.as_str(), release.phase, release.share), ("shop-1", Phase::Watching, 1.0));
    assert_eq!(world.front.route.green_share, 1.0);
    assert_eq!(world.front.route.let_go_ms, Some(10_000));
    assert_eq!(world.front.watch.as_ref().expect("agents are told what to watch").cadence_ms, 100);
    world.run(5_000);
    assert_eq!(world.story(), ["switched"]);
    assert!(world.release().verdict.requests > 400, "{:?}", world.release().verdict);
    let service = world.gate.service(SERVICE, world.now).expect("it is known");
    assert_eq!(service.release.as_deref(), Some("shop-1"));
    assert!((service.requests_per_second - 100.0).abs() < 5.0, "{}", service.requests_per_second);
    assert_eq!(service.backends.len(), 4);
}

#[test]
fn total_outage_is_shielded_then_reverted_step_by_step() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.fate = green_fails;
    assert!(world.run_until(20_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    assert_eq!(
        world.story(),
        ["switched", "shielded", "proven", "diverted", "reverted", "verified", "released", "announced"]
    );
    assert!(world.moment("shielded").after_ms <= 500, "{:?}", world.moment("shielded"));
    assert!(world.moment("proven").after_ms <= 2_000, "{:?}", world.moment("proven"));
    let verdict = &world.release().verdict;
    assert!(verdict.fail && verdict.verdict == "revert" && verdict.rule.is_some(), "{verdict:?}");
    assert_eq!(world.front.route.green_share, 0.0);
    assert_eq!(world.front.route.let_go_ms, Some(0));
    let service = world.gate.service(SERVICE, world.now).expect("it is known");
    assert_eq!((service.phase, service.green_share), (Some(Phase::Reverted), 0.0));
    let evidence = world.gate.evidence("shop-1", world.now).expect("it is kept");
    assert!(!evidence.criteria.is_empty() && evidence.series.iter().any(|point| point.candidate.failed > 0));
}

#[test]
fn late_report_cannot_undo_a_revert() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.fate = green_fails;
    assert!(world.run_until(20_000, |world| world.phase() == Phase::Reverted));
    let before = world.release().clone();
    world.fate = |_, _| Outcome::Ok;
    for _ in 0..100 {
        world.front.count(Slot::Green, Outcome::Ok, 1_000);
        world.run(100);
    }
    assert_eq!(*world.release(), before);
    assert_eq!(world.front.route.green_share, 0.0);
    let again = world.operate(Command::Resume { why: "it is well".to_owned() });
    assert!(matches!(again, Err(Refusal::Conflict(_))), "{again:?}");
}

#[test]
fn a_person_can_revert_and_must_say_why() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(2_000);
    let silent = world.operate(Command::Revert { why: " ".to_owned() });
    assert!(matches!(silent, Err(Refusal::Field { field: "why", .. })), "{silent:?}");
    let release = world.operate(Command::Revert { why: "carts are empty".to_owned() }).expect("a release is watched");
    assert!(release.verdict.fail && release.verdict.text.contains("by ann: carts are empty"), "{:?}", release.verdict);
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    assert_eq!(world.story(), ["switched", "proven", "diverted", "reverted", "verified", "released", "announced"]);
}

#[test]
fn switching_back_before_the_release_passed_is_a_revert() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(2_000);
    let release = world.switch(Slot::Blue);
    assert_eq!((release.id.as_str(), release.phase), ("shop-1", Phase::Reverting));
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    let next = world.switch(Slot::Green);
    assert_eq!(next.id, "shop-2");
}

#[test]
fn hold_keeps_the_release_from_being_decided() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    let held = world.operate(Command::Hold { why: "we look at it".to_owned() }).expect("a release is watched");
    assert_eq!((held.phase, held.verdict.verdict.as_str()), (Phase::Held, "hold"));
    world.fate = green_fails;
    world.run(10_000);
    assert_eq!(world.phase(), Phase::Held, "{:#?}", world.release());
    world.operate(Command::Resume { why: "seen enough".to_owned() }).expect("a release is held");
    assert!(world.run_until(20_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
    let story = world.story();
    assert!(story.contains(&"held") && story.contains(&"resumed"), "{story:?}");
}

#[test]
fn both_slots_failing_is_not_reverted() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    world.fate = both_fail;
    world.run(8_000);
    assert!(!world.story().contains(&"proven"), "{:#?}", world.release().timeline);
}

#[test]
fn canary_steps_change_the_target() {
    let mut world = World::new();
    let release = world.operate(Command::Switch { to: Slot::Green, share: Some(0.1) }).expect("blue serves");
    assert_eq!((release.share, world.front.route.green_share), (0.1, 0.1));
    world.run(3_000);
    let release = world.operate(Command::Switch { to: Slot::Green, share: Some(0.5) }).expect("a canary can step");
    assert_eq!((release.id.as_str(), release.target_share), ("shop-1", 0.5));
    assert_eq!(world.front.route.green_share, 0.5);
    let wrong = world.operate(Command::Switch { to: Slot::Green, share: Some(1.5) });
    assert!(matches!(wrong, Err(Refusal::Field { field: "share", .. })), "{wrong:?}");
    assert_eq!(world.story(), ["switched", "stepped"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut world = World::new();
    let serving = world.operate(Command::Switch { to: Slot::Blue, share: None });
    assert!(matches!(serving, Err(Refusal::Conflict(_))), "{serving:?}");
    let nothing = world.operate(Command::Revert { why: "x".to_owned() });
    assert!(matches!(nothing, Err(Refusal::Conflict(_))), "{nothing:?}");
    world.apply(Event::AgentGone { connection: 1 });
    let alone = world.operate(Command::Switch { to: Slot::Green, share: None });
    assert!(matches!(alone, Err(Refusal::Conflict(_))), "{alone:?}");
}

#[test]
fn a_step_that_fails_is_told_and_tried_until_it_succeeds() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    world.stuck = vec![Step::Switched];
    world.operate(Command::Revert { why: "test".to_owned() }).expect("a release is watched");
    world.run(5_000);
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(world.moment("failed").text.contains("the platform does not answer"), "{:?}", world.moment("failed"));
    world.stuck.clear();
    let release = world.release().id.as_str().into();
    world.apply(Event::EffectDone { release, step: Step::Switched, text: String::new() });
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
}

#[test]
fn traffic_is_not_called_back_before_the_agents_say_so() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    world.front.obeys = false;
    world.operate(Command::Revert { why: "test".to_owned() }).expect("a release is watched");
    world.run(5_000);
    assert!(!world.story().contains(&"diverted"), "{:#?}", world.release().timeline);
    assert!(world.moment("failed").text.contains("front/1"), "{:?}", world.moment("failed"));
    world.front.obeys = true;
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
}

#[test]
fn a_baseline_that_is_not_ready_is_looked_at_until_it_is() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    world.operate(Command::Revert { why: "test".to_owned() }).expect("a release is watched");
    world.blue_ready = false;
    world.run(6_000);
    assert_eq!(world.phase(), Phase::Reverting);
    assert!(world.moment("failed").text.contains("no ready pod"), "{:?}", world.moment("failed"));
    world.blue_ready = true;
    assert!(world.run_until(5_000, |world| world.phase() == Phase::Reverted), "{:#?}", world.release());
}

#[test]
fn a_restarted_agent_makes_no_jump() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(5_000);
    let seen = world.release().verdict.requests;
    world.apply(Event::AgentGone { connection: 1 });
    let route = world.front.route.clone();
    world.front = Front::new("front/2", 2, Slot::Blue, world.now);
    world.connect();
    assert_eq!(world.front.route, route, "a new agent is told the route");
    world.run(1_000);
    let now = world.release().verdict.requests;
    assert!((seen..=seen + 150).contains(&now), "{seen} {now}");
}

#[test]
fn an_unknown_agent_brings_no_evidence_of_before() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(3_000);
    // A second front agent was there all the time, and nobody knew it.
    let mut other = Front::new("front/9", 9, Slot::Blue, world.now);
    other.route = world.front.route.clone();
    other.count(Slot::Green, Outcome::ServerError, 1_000_000);
    world.apply(Event::AgentHello { connection: 9, hello: other.hello() });
    let base = Report { replayed: true, ..other.report(world.now) };
    world.apply(Event::AgentReport { connection: 9, report: base });
    let live = Report { at_ms: 100, ..other.report(world.now) };
    world.apply(Event::AgentReport { connection: 9, report: live });
    world.run(3_000);
    assert_eq!(world.story(), ["switched"], "{:#?}", world.release().timeline);
}

#[test]
fn what_is_wrong_is_counted_and_nothing_else_is_lost() {
    let mut world = World::new();
    let dropped = |world: &World, why| world.gate.counters().dropped(why);
    let mut unknown = world.front.report(world.now);
    let (key, latency) = unknown.totals.series.pop_first().expect("there is traffic");
    unknown.totals.series.insert(blueback_report::SeriesKey { pod: "blue-9".into(), ..key }, latency);
    world.apply(Event::AgentReport { connection: 1, report: unknown });
    assert_eq!(dropped(&world, Dropped::UnknownPod), 1);
    let mut future = world.front.report(world.now);
    future.at_ms += 60_000;
    world.apply(Event::AgentReport { connection: 1, report: future });
    assert_eq!(dropped(&world, Dropped::Future), 1);
    let invalid = blueback_report::Invalid::Missing { field: "limit" };
    world.apply(Event::AgentInvalid { connection: 1, invalid });
    assert_eq!(dropped(&world, Dropped::Invalid), 1);
    let report = world.front.report(world.now);
    world.apply(Event::AgentReport { connection: 77, report });
    assert_eq!(dropped(&world, Dropped::NoHello), 1);
    let merged = world.gate.counters().merged;
    world.run(1_000);
    assert_eq!(world.gate.counters().merged, merged + 10);
}

#[test]
fn a_second_stream_of_the_same_agent_takes_over() {
    let mut world = World::new();
    world.front.connection = 5;
    world.connect();
    assert_eq!(world.closed, [1]);
    assert_ne!(world.front.welcome, Some(0), "its counts are known");
    world.apply(Event::AgentGone { connection: 1 });
    assert_eq!(world.gate.service(SERVICE, world.now).expect("it is known").agents, 1);
}

#[test]
fn a_release_that_passed_makes_room_for_the_next() {
    let rules = blueback_gate::RulesFile {
        pass_when: Some(vec!["error rate < 5%".to_owned()]),
        bake: Some("2s".to_owned()),
        ..blueback_gate::RulesFile::default()
    };
    let mut world = World::with(rules);
    world.rate = 1_000;
    world.switch(Slot::Green);
    assert!(world.run_until(60_000, |world| world.phase() == Phase::Passed), "{:#?}", world.release());
    assert!(world.release().verdict.pass);
    let next = world.switch(Slot::Blue);
    assert_eq!((next.id.as_str(), next.phase), ("shop-2", Phase::Watching));
    let first = world.gate.release("shop-1").expect("it is kept");
    assert_eq!(first.phase, Phase::Superseded);
    assert_eq!(world.gate.releases().map(|release| release.id.as_str()).collect::<Vec<_>>(), ["shop-2", "shop-1"]);
}

#[test]
fn a_switch_waits_for_what_agents_have_to_tell() {
    let mut world = World::new();
    world.front = Front::new("front/2", 2, Slot::Blue, world.now);
    world.apply(Event::AgentHello { connection: 2, hello: world.front.hello() });
    let switch = Command::Switch { to: Slot::Green, share: None };
    let event = Event::Operator { ticket: 9, service: SERVICE.into(), command: switch, by: None };
    let answers = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Answer { ticket: 9, .. }));
    assert!(!answers(&world.gate.apply(event, world.now)), "its counts are not known yet");
    let report = world.front.report(world.now);
    world.apply(Event::AgentReport { connection: 2, report });
    assert!(answers(&world.gate.apply(Event::Tick, world.now)));
}

#[test]
fn a_sidecar_that_nobody_has_told_anything_does_not_say_who_serves() {
    let mut world = World::new();
    let mut hello = Front::new("green-0/1", 3, Slot::Green, world.now).hello();
    hello.role = Role::Sidecar(Slot::Green);
    hello.service = "cart".into();
    world.apply(Event::AgentHello { connection: 3, hello });
    let service = world.gate.service("cart", world.now).expect("its agent named it");
    assert_eq!(service.serving, blueback_gate::api::types::Slot::Blue);
}

#[test]
fn a_front_agent_with_other_flags_is_put_right() {
    let mut world = World::new();
    world.front = Front::new("front/2", 2, Slot::Green, world.now);
    world.connect();
    assert_eq!((world.front.route.green_share, world.front.route.epoch), (0.0, 1));
}

#[test]
fn numbers_that_no_agent_has_do_no_harm() {
    let mut world = World::new();
    world.switch(Slot::Green);
    for at_ms in [u64::MAX, 1 << 63, i64::MAX as u64] {
        let mut report = world.front.report(world.now);
        report.at_ms = at_ms;
        world.apply(Event::AgentReport { connection: 1, report });
    }
    assert_eq!(world.gate.counters().dropped(Dropped::Future), 3);
    let mut hello = world.front.hello();
    hello.route.epoch = u64::MAX;
    world.apply(Event::AgentHello { connection: 4, hello });
    assert_eq!(world.closed, [4]);
    for _ in 0..3 {
        world.front.count(Slot::Green, Outcome::Ok, u64::MAX / 2);
        world.run(100);
    }
    world.run(1_000);
    assert!(world.gate.evidence("shop-1", world.now).is_some());
    assert!(world.gate.figures().services.len() == 1);
}
