use super::*;
use crate::api::types::{Criterion, ExampleTrace, Moment, PointSide, Slot, Sum, Tally, Verdict, Weighing};

/// A release that was reverted after three seconds.
pub(crate) fn release() -> Release {
    let moment = |after_ms: u64, what: &str, text: &str| Moment {
        at_ms: 1_795_472_369_000 + after_ms,
        after_ms,
        what: what.to_owned(),
        text: text.to_owned(),
        measured: None,
    };
    Release {
        id: "shop-3".to_owned(),
        service: "shop".to_owned(),
        candidate: Slot::Green,
        baseline: Slot::Blue,
        target_share: 1.0,
        share: 0.0,
        phase: Phase::Reverted,
        verdict: Verdict {
            verdict: "revert".to_owned(),
            pass: false,
            fail: true,
            text: "error rate > 5%: 52% of 61 requests failed".to_owned(),
            rule: Some("error rate > 5%".to_owned()),
            value: Some(0.52),
            limit: Some(0.05),
            unit: Some("ratio".to_owned()),
            evidence: Some(10.0),
            threshold: Some(8.0),
            requests: 61,
            requests_needed: None,
            pod: None,
            pods: None,
            since_ms: Some(2_000),
            change: None,
        },
        shield: "reverted".to_owned(),
        started_ms: 1_795_472_369_000,
        ended_ms: Some(1_795_472_373_000),
        passed: Vec::new(),
        timeline: vec![
            moment(0, "switched", "green gets 100% of the requests"),
            moment(2_500, "shielded", "green gets 2% of the requests"),
            moment(3_200, "proven", "error rate > 5%: 52% of 61 requests failed"),
            moment(3_210, "diverted", "1 agents send all new requests to blue"),
            moment(3_600, "reverted", "Traffic is back on blue for good"),
            moment(3_700, "verified", "blue is ready"),
            moment(3_800, "released", "green is let go"),
            moment(3_900, "announced", "Told"),
        ],
        by: Some("ada".to_owned()),
        revision: 9,
        source_revision: None,
    }
}

/// What is known about it.
pub(crate) fn evidence() -> Evidence {
    let tally = |requests, bad: u64| Tally { requests, bad, value: Some(bad as f64 / requests as f64) };
    let side = |failed| PointSide { requests: 100, failed, p50_ms: Some(5.0), p99_ms: Some(9.0) };
    let criterion = |rule: &str, list: &str, kind: &str, limit, unit: &str| Criterion {
        rule: rule.to_owned(),
        list: list.to_owned(),
        checkpoint: None,
        kind: kind.to_owned(),
        standing: "quiet".to_owned(),
        dry_run: false,
        text: String::new(),
        candidate: tally(61, 32),
        baseline: tally(1_000, 1),
        limit,
        unit: unit.to_owned(),
        evidence: None,
        threshold: None,
        fired_ms: None,
    };
    Evidence {
        release: "shop-3".to_owned(),
        now_ms: 4_000,
        criteria: vec![
            Criterion {
                evidence: Some(10.0),
                threshold: Some(8.0),
                fired_ms: Some(3_200),
                ..criterion("error rate > 5%", "revert", "proven", 0.05, "ratio")
            },
            criterion("error rate > 5% for 5m", "revert", "persistent", 0.05, "ratio"),
            criterion("latency p99 > 500ms for 5m", "revert", "persistent", 500.0, "ms"),
            criterion("error rate < 0.1%", "pass", "pass", 0.001, "ratio"),
        ],
        series: vec![
            Point { after_ms: -500, share: 0.0, candidate: PointSide::default(), baseline: side(0) },
            Point { after_ms: 500, share: 1.0, candidate: side(0), baseline: side(1) },
            Point { after_ms: 2_500, share: 1.0, candidate: side(50), baseline: PointSide::default() },
        ],
        weighings: vec![
            Weighing { after_ms: 1_000, evidence: vec![Some(-1.0), None, None, None] },
            Weighing { after_ms: 3_200, evidence: vec![Some(10.0), None, None, None] },
        ],
        candidate: Sum { requests: 200, failed: 50 },
        baseline: Sum { requests: 1_000, failed: 1 },
        example_traces: vec![ExampleTrace {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            span_id: "00f067aa0ba902b7".to_owned(),
            url: Some("https://tempo.example/trace/4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            slot: Slot::Green,
            pod: "green-1".to_owned(),
            route: String::new(),
            outcome: "server_error".to_owned(),
            status: Some(503),
            latency_ms: 12.5,
            at_ms: 1_795_472_369_000,
        }],
    }
}

#[test]
fn the_document_tells_loss_deeds_and_what_is_left_to_do() {
    let text = markdown(&release(), &evidence());
    for line in [
        "# shop-3 was reverted",
        "| [4bf92f3577b34da6a3ce929d0e0e4736](<https://tempo.example/trace/4bf92f3577b34da6a3ce929d0e0e4736>) | green | \
         503, server error | 12 ms | – | green-1 | 2026-11-23 22:19:29 UTC |",
        "**error rate &gt; 5%: 52% of 61 requests failed**",
        "- Switched: 2026-11-23 22:19:29 UTC, by ada",
        "- Measured: 52%; allowed: 5%",
        "50 of 200 requests on green failed since the switch (25%); on blue 1 of 1,000. The first failures were in the second after +1.500 s; all new requests went to blue from +3.210 s on.",
        "| Shield: harm is diverted on suspicion | -700 ms | at once | green gets 2% of the requests |",
        "| Agents divert all new requests | +10 ms | 10 ms | 1 agents send all new requests to blue |",
        "| Traffic is changed for good | +400 ms | 390 ms | Traffic is back on blue for good |",
        "| error rate &gt; 5% | revert | fired at +3.200 s | 52.5% (32 of 61 requests) | 0.10% (1 of 1,000 requests) | 5% | 10.0 of 8.0 |",
        "- Logs of green since 2026-11-23 22:19:31 UTC: errors that blue does not have.",
        "- [x] Traffic is back on blue: green gets 0% of the requests",
        "      blueback status shop",
        "- [ ] The pipeline does not release the same revision again by itself",
    ] {
        assert!(text.lines().any(|seen| seen == line), "missing: {line}\n{text}");
    }
}

#[test]
fn the_page_stands_alone_and_escapes_what_comes_from_outside() {
    let mut release = release();
    release.by = Some("<script>alert(1)</script>".to_owned());
    release.service = "\"><img src=x>".to_owned();
    release.timeline[0].text = "</td><script>".to_owned();
    release.verdict.rule = Some("route \"/<b>\" error rate > 5%".to_owned());
    let page = html(&release, &evidence());
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("/<b>"), "{page}");
    assert!(!page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org").count());
    assert_eq!(page.matches("role=\"img\"").count(), 4);
}

#[test]
fn a_release_that_was_not_reverted_has_no_deeds() {
    let mut release = release();
    release.phase = Phase::Watching;
    release.timeline.truncate(2);
    let story = Story::new(&release, &evidence());
    assert_eq!(story.actions, []);
    assert!(story.checklist.iter().all(|check| !check.done));
}
