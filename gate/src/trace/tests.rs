use std::collections::BTreeSet;

use super::*;
use crate::api::types::{ExampleTrace, Measured, Moment, Phase, Release, Slot};
use crate::view;

const BEGAN: u64 = 1_795_472_369_000;

fn release(phase: Phase, ended: Option<u64>, moments: &[(u64, &str, &str)]) -> Release {
    let moment = |(after_ms, what, text): &(u64, &str, &str)| Moment {
        at_ms: BEGAN + after_ms,
        after_ms: *after_ms,
        what: (*what).to_owned(),
        text: (*text).to_owned(),
        measured: None,
    };
    Release {
        id: "shop-3".to_owned(),
        service: "shop".to_owned(),
        candidate: Slot::Green,
        baseline: Slot::Blue,
        target_share: 1.0,
        share: 0.0,
        phase,
        verdict: view::by_hand("revert", "52% failed", &view::nothing_yet(), 0),
        shield: "open".to_owned(),
        started_ms: BEGAN,
        ended_ms: ended.map(|after_ms| BEGAN + after_ms),
        passed: Vec::new(),
        timeline: moments.iter().map(moment).collect(),
        by: Some("ann".to_owned()),
        source_revision: None,
        revision: 7,
    }
}

const REVERT: [(u64, &str, &str); 9] = [
    (0, "switched", "green gets all"),
    (900, "shielded", "5 of 9 failed"),
    (1_400, "proven", "52% failed"),
    (1_450, "diverted", "all agents"),
    (1_500, "failed", "switched: 403 Forbidden (attempt 1; it is tried again)"),
    (1_600, "reverted", "back on blue"),
    (1_700, "verified", "blue answers"),
    (1_850, "released", "green is let go"),
    (1_900, "announced", "Told"),
];

/// Name, name of the parent, beginning and end, of each.
fn shape(release: &Release) -> Vec<(String, String, u64, u64)> {
    let spans = spans(release);
    let name = |id: Option<SpanId>| {
        let parent = id.map(|id| spans.iter().find(|span| span.id == id).map_or("(open)", |span| &span.name));
        parent.unwrap_or_default().to_owned()
    };
    let mut shape: Vec<_> = spans
        .iter()
        .map(|span| (span.name.clone(), name(span.parent), span.start_ms - BEGAN, span.end_ms - BEGAN))
        .collect();
    shape.sort_by_key(|(name, _, start, end)| (*start, u64::MAX - *end, name.clone()));
    shape
}

fn check(release: &Release, expected: &[(&str, &str, u64, u64)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, parent, start, end)| ((*name).to_owned(), (*parent).to_owned(), *start, *end))
        .collect();
    assert_eq!(shape(release), expected);
}

#[test]
fn a_revert_is_a_tree_of_phases_and_steps() {
    let reverted = release(Phase::Reverted, Some(1_900), &REVERT);
    check(
        &reverted,
        &[
            ("release shop", "", 0, 1_900),
            ("watching", "release shop", 0, 900),
            ("shielded", "release shop", 900, 1_400),
            ("reverting", "release shop", 1_400, 1_900),
            ("change traffic", "reverting", 1_400, 1_600),
            ("divert", "reverting", 1_400, 1_450),
            ("verify baseline", "reverting", 1_600, 1_700),
            ("release candidate", "reverting", 1_700, 1_850),
            ("announce", "reverting", 1_850, 1_900),
        ],
    );
    let spans = spans(&reverted);
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it is there");
    assert_eq!(named("release shop").status, Status::Error("52% failed".to_owned()));
    assert_eq!(named("reverting").status, Status::Ok);
    let failed = &named("change traffic").events;
    assert_eq!(failed.len(), 1, "what failed stands at its step");
    assert_eq!((&*failed[0].name, failed[0].at_ms - BEGAN), ("failed", 1_500));
    let proven: Vec<_> = named("reverting").events.iter().map(|event| &*event.name).collect();
    assert_eq!(proven, ["proven"], "and nowhere else");
}

#[test]
fn what_is_not_over_is_no_span_yet() {
    check(&release(Phase::Watching, None, &REVERT[..1]), &[]);
    check(&release(Phase::Watching, None, &REVERT[..2]), &[("watching", "(open)", 0, 900)]);
    check(
        &release(Phase::Reverting, None, &REVERT[..4]),
        &[("watching", "(open)", 0, 900), ("shielded", "(open)", 900, 1_400), ("divert", "(open)", 1_400, 1_450)],
    );
}

#[test]
fn a_shield_lies_over_the_phase_below_it() {
    let moments = [
        (0, "switched", ""),
        (10, "shielded", ""),
        (20, "probing", ""),
        (30, "opened", ""),
        (40, "passed", "bake"),
        (45, "alert", "cpu > 70%"),
        (50, "shielded", ""),
        (60, "opened", ""),
        (70, "passed", "2h"),
        (80, "held", ""),
        (90, "resumed", ""),
        (100, "done", ""),
    ];
    let done = release(Phase::Done, Some(100), &moments);
    let names: Vec<_> = shape(&done).into_iter().map(|(name, _, start, end)| (name, start, end)).collect();
    let expected = [
        ("release shop", 0, 100),
        ("watching", 0, 10),
        ("shielded", 10, 20),
        ("probing", 20, 30),
        ("watching", 30, 40),
        ("passed", 40, 50),
        ("shielded", 50, 60),
        ("passed", 60, 80),
        ("held", 80, 90),
        ("watching", 90, 100),
    ];
    assert_eq!(names, expected.map(|(name, start, end)| (name.to_owned(), start, end)));
    let spans = spans(&done);
    assert_eq!(spans.last().map(|span| &span.status), Some(&Status::Ok));
    let events: usize = spans.iter().map(|span| span.events.len()).sum();
    assert_eq!(events, moments.len(), "each moment is told once");
}

#[test]
fn a_release_superseded_on_its_way_back_says_what_was_not_done() {
    let ended = release(Phase::Superseded, Some(1_550), &REVERT[..5]);
    let spans = spans(&ended);
    let failed: Vec<_> =
        spans.iter().filter(|span| matches!(span.status, Status::Error(_))).map(|span| &*span.name).collect();
    assert_eq!(failed, ["change traffic", "verify baseline", "release candidate", "announce", "reverting"]);
    assert!(spans.iter().all(|span| span.start_ms <= span.end_ms));
}

#[test]
fn ids_follow_from_the_release_and_no_two_are_alike() {
    let (begun, whole) = (release(Phase::Watching, None, &REVERT[..3]), release(Phase::Reverted, Some(1_900), &REVERT));
    let (before, after) = (spans(&begun), spans(&whole));
    assert!(before.iter().all(|span| after.iter().any(|later| later.id == span.id)), "what is sent again is the same");
    let ids: BTreeSet<_> = after.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), after.len());
    // A store that was lost counts from one again.
    let mut other = whole.clone();
    other.started_ms += 1;
    assert_ne!(TraceId::of(&other), TraceId::of(&whole));
    // Ids are the same in every version: another gate may take over in the middle of an update.
    assert_eq!(TraceId::new("shop-3", BEGAN).to_string(), "912283bd321ec06ede084fbe9bd3e9ae");
    assert_eq!(SpanId::root(TraceId::new("shop-3", BEGAN)).to_string(), "3a88b5c77ae91d7d");
}

#[test]
fn evidence_is_told_with_its_numbers() {
    let mut whole = release(Phase::Reverted, Some(1_900), &REVERT);
    whole.timeline[2].measured = Some(Measured {
        rule: "error rate > 5%".to_owned(),
        value: Some(0.52),
        limit: Some(0.05),
        unit: Some("ratio".to_owned()),
        evidence: Some(9.1),
        threshold: Some(8.3),
        requests: 61,
        pod: None,
    });
    let spans = spans(&whole);
    let events = spans.iter().flat_map(|span| &span.events);
    let proven = events.into_iter().find(|event| event.name == "proven").expect("it was");
    for (name, value) in [
        ("blueback.rule", Value::from("error rate > 5%")),
        ("blueback.value", Value::from(0.52)),
        ("blueback.limit", Value::from(0.05)),
        ("blueback.evidence", Value::from(9.1)),
        ("blueback.evidence.threshold", Value::from(8.3)),
        ("blueback.requests", Value::from(61_u64)),
    ] {
        assert!(proven.attributes.contains(&(name, value.clone())), "{name} {value:?}: {proven:?}");
    }
}

fn example(outcome: &str, trace_id: &str) -> ExampleTrace {
    ExampleTrace {
        trace_id: trace_id.to_owned(),
        span_id: "00f067aa0ba902b7".to_owned(),
        url: None,
        slot: Slot::Green,
        pod: "green-1".to_owned(),
        route: String::new(),
        outcome: outcome.to_owned(),
        status: Some(500),
        latency_ms: 2.5,
        at_ms: BEGAN,
    }
}

#[test]
fn links_lead_to_requests_and_those_that_failed_come_first() {
    let (well, failed) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c");
    let told = links(&[example("ok", well), example("server_error", failed), example("ok", "no trace")]);
    let traces: Vec<_> = told.iter().map(|link| link.trace.to_string()).collect();
    assert_eq!(traces, [failed, well], "and what is no id leads nowhere");
    assert_eq!(told[0].span.to_string(), "00f067aa0ba902b7");
    assert_eq!(links(&vec![example("ok", well); LINKS_MAX + 5]).len(), LINKS_MAX);
    let spans = spans(&release(Phase::Reverted, Some(1_900), &REVERT));
    let linked: Vec<_> = spans.iter().filter(|span| takes_links(span)).map(|span| &*span.name).collect();
    assert_eq!(linked, ["reverting", "release shop"]);
}
