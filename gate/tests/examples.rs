//! Examples that have a trace, from an agent's report to the evidence of a release.

use blueback_gate::event::Event;
use blueback_gate::figures::Dropped;
use blueback_report::{Exemplar, Outcome, Slot};

use crate::world::World;

fn exemplar(number: u8, pod: &str, at_ms: u64) -> Exemplar {
    Exemplar {
        slot: if pod.starts_with("green") { Slot::Green } else { Slot::Blue },
        pod: pod.into(),
        route: "".into(),
        outcome: Outcome::ServerError,
        trace: [number; 16],
        span: [number; 8],
        latency_us: 5_000,
        at_ms,
        status: Some(503),
    }
}

fn report(world: &mut World, ago_ms: u64, change: impl FnOnce(u64) -> Exemplar, replayed: bool) {
    let mut report = world.front.report(world.now);
    report.replayed = replayed;
    report.exemplars = vec![change(report.at_ms - ago_ms)];
    world.apply(Event::AgentReport { connection: 1, report });
}

fn traces(world: &World) -> Vec<String> {
    let evidence = world.gate.evidence(&world.release().id, world.now).expect("there is a release");
    evidence.example_traces.into_iter().map(|example| example.trace_id).collect()
}

#[test]
fn a_release_has_the_examples_of_its_own_time_and_pods() {
    let mut world = World::new();
    world.run(2_000);
    world.switch(Slot::Green);
    world.run(1_000);
    report(&mut world, 0, |at_ms| exemplar(1, "blue-0", at_ms), false);
    report(&mut world, 0, |at_ms| exemplar(2, "green-0", at_ms), false);
    // Twice, as before an acknowledgement.
    report(&mut world, 0, |at_ms| exemplar(2, "green-0", at_ms), false);
    report(&mut world, 1_900, |at_ms| exemplar(3, "green-0", at_ms), false);
    report(&mut world, 0, |at_ms| exemplar(4, "green-0", at_ms), true);
    // The candidate's come first.
    assert_eq!(traces(&world), ["02".repeat(16), "01".repeat(16)]);
    let figures = world.gate.figures();
    let exposed: Vec<_> = figures.services[0].examples[1].exposed().iter().map(|known| known.trace[0]).collect();
    assert_eq!(exposed, [3, 2], "a service has those of before too");
    let dropped = |world: &World| world.gate.counters().dropped(Dropped::UnknownPod);
    let before = dropped(&world);
    report(&mut world, 0, |at_ms| exemplar(5, "green-9", at_ms), false);
    assert_eq!((dropped(&world) - before, traces(&world).len()), (1, 2));
}
