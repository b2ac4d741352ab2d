use blueback_gate::api::types::{Backend, Criterion, Evidence, Point, PointSide, Sum, Tally, Verdict, Weighing};

use super::*;

/// Text as it looks without styles.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// A release that was reverted after three seconds.
pub(crate) fn reverted() -> Release {
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
            evidence: Some(12.0),
            threshold: Some(8.0),
            requests: 61,
            requests_needed: None,
            pod: None,
            since_ms: Some(3_000),
            pods: None,
            change: None,
        },
        shield: "reverted".to_owned(),
        started_ms: 1_795_472_369_000,
        ended_ms: Some(1_795_472_373_000),
        passed: Vec::new(),
        timeline: vec![
            moment(0, "switched", "green gets 100% of the requests"),
            moment(3_214, "shielded", "error rate > 5%"),
            moment(125_900, "reverted", "blue serves"),
        ],
        by: Some("ada".to_owned()),
        source_revision: None,
        revision: 9,
    }
}

#[test]
fn numbers_are_short_and_exact_enough() {
    let cases = [(0.0, "0%"), (0.0005, "0.05%"), (0.05, "5%"), (0.1234, "12.3%"), (1.0, "100%"), (0.99999, "100%")];
    for (part, text) in cases {
        assert_eq!(percent(part), text);
    }
    let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
    for (number, text) in cases {
        assert_eq!(count(number), text);
    }
    let cases =
        [(0, "0.000 s"), (214, "0.214 s"), (59_999, "59.999 s"), (125_900, "2 m 05 s"), (11_220_000, "3 h 07 m")];
    for (ms, text) in cases {
        assert_eq!(span(ms), text);
    }
    assert_eq!(value(512.4, "ms"), "512 ms");
    assert_eq!(value(4.25, "ms"), "4.2 ms");
    assert_eq!(value(12_000.0, "ms"), "12.0 s");
    assert_eq!(value(0.052, "ratio"), "5.2%");
    assert_eq!(counted(1, "request"), "1 request");
    assert_eq!(time(1_795_472_369_000), "2026-11-23 22:19:29 UTC");
    assert_eq!(time(u64::MAX), "9999-12-31 23:59:59 UTC");
}

#[test]
fn a_moment_is_one_line() {
    let lines: Vec<String> = reverted().timeline.iter().map(|event| plain(&moment(event))).collect();
    assert_eq!(
        lines,
        [
            "    +0.000 s  switched      green gets 100% of the requests",
            "    +3.214 s  shielded      error rate > 5%",
            "  +2 m 05 s  reverted      blue serves",
        ]
        .map(|line| if line.starts_with("  +2") { format!(" {line}") } else { line.to_owned() })
    );
}

#[test]
fn status_shows_who_serves_and_who_is_ready() {
    let backend = |slot, pod: &str, ready| Backend { slot, pod: pod.to_owned(), ready };
    let service = Service {
        name: "shop".to_owned(),
        serving: Slot::Blue,
        green_share: 0.1,
        release: Some("shop-3".to_owned()),
        phase: Some(Phase::Watching),
        agents: 1,
        backends: vec![
            backend(Slot::Blue, "127.0.0.1:9001", true),
            backend(Slot::Green, "127.0.0.1:9002", false),
            backend(Slot::Green, "127.0.0.1:9003", true),
        ],
        requests_per_second: 99.96,
    };
    assert_eq!(
        plain(&status(&[service])),
        "NAME  SERVING  GREEN  PHASE     RELEASE  AGENTS  BLUE READY  GREEN READY  REQUESTS/S\n\
         shop  blue     10%    watching  shop-3   1       1 of 1      1 of 2       100.0"
    );
}

#[test]
fn releases_show_the_verdict() {
    assert_eq!(
        plain(&releases(&[reverted()])),
        "RELEASE  TO     SHARE  PHASE     STARTED                  BY   VERDICT\n\
         shop-3   green  0%     reverted  2026-11-23 22:19:29 UTC  ada  error rate > 5%: 52% of 61 requests failed"
    );
}

/// Evidence of [`reverted`]: the rule that fired, one that had nothing to say, and one that waits for a signal.
pub(crate) fn evidence() -> Evidence {
    let tally = |requests, bad: u64| Tally { requests, bad, value: Some(bad as f64 / requests as f64) };
    let side = |failed, p99_ms| PointSide { requests: 100, failed, p50_ms: Some(5.0), p99_ms };
    Evidence {
        release: "shop-3".to_owned(),
        now_ms: 4_000,
        criteria: vec![
            Criterion {
                rule: "error rate > 5%".to_owned(),
                list: "revert".to_owned(),
                kind: "proven".to_owned(),
                checkpoint: None,
                standing: "quiet".to_owned(),
                dry_run: false,
                text: String::new(),
                candidate: tally(61, 32),
                baseline: tally(1_000, 1),
                limit: 0.05,
                unit: "ratio".to_owned(),
                evidence: Some(12.0),
                threshold: Some(8.0),
                fired_ms: Some(3_600),
            },
            Criterion {
                rule: "latency p99 > 500ms for 1m".to_owned(),
                list: "revert".to_owned(),
                kind: "persistent".to_owned(),
                checkpoint: None,
                standing: "quiet".to_owned(),
                dry_run: false,
                text: String::new(),
                candidate: Tally::default(),
                baseline: Tally::default(),
                limit: 500.0,
                unit: "ms".to_owned(),
                evidence: None,
                threshold: None,
                fired_ms: None,
            },
            Criterion {
                rule: "signal security".to_owned(),
                list: "revert".to_owned(),
                kind: "signal".to_owned(),
                checkpoint: None,
                standing: "quiet".to_owned(),
                dry_run: false,
                text: String::new(),
                candidate: Tally::default(),
                baseline: Tally::default(),
                limit: 0.0,
                unit: "count".to_owned(),
                evidence: None,
                threshold: None,
                fired_ms: None,
            },
        ],
        series: vec![
            Point { after_ms: -1_000, share: 0.0, candidate: PointSide::default(), baseline: side(0, Some(8.0)) },
            Point { after_ms: 0, share: 0.0, candidate: PointSide::default(), baseline: side(1, Some(8.0)) },
            Point { after_ms: 1_000, share: 1.0, candidate: side(50, Some(9.0)), baseline: PointSide::default() },
        ],
        weighings: vec![
            Weighing { after_ms: 0, evidence: vec![Some(0.0), None, None] },
            Weighing { after_ms: 1_000, evidence: vec![Some(12.0), None, None] },
        ],
        candidate: Sum { requests: 61, failed: 32 },
        baseline: Sum::default(),
        example_traces: Vec::new(),
    }
}

#[test]
fn explain_tells_the_whole_story() {
    let text = plain(&explain(&reverted(), &evidence()));
    for line in [
        "shop-3  blue to green, reverted",
        "error rate > 5%: 52% of 61 requests failed",
        "Switched 2026-11-23 22:19:29 UTC by ada. green gets 0% of the requests, 100% were asked for; the shield is reverted.",
        "    +3.214 s  shielded      error rate > 5%",
        "error rate > 5%             revert  fired at +3.600 s  52.5% (32 of 61 requests)  0.10% (1 of 1,000 requests)  5%      ■■■■■■■■■■ 12.0 of 8.0",
        "latency p99 > 500ms for 1m  revert  quiet              no data                    no data                      500 ms  by the words",
        "signal security             revert  quiet              -                          -                            -       -",
        "error rate   green  ··█  at most 50%",
        "error rate   blue   ▁▁·  at most 1%",
        "latency p99  green  ··█  at most 9.0 ms",
        "error rate > 5%  ▁█  at most 12.0 of 8.0",
        "32 of 61 requests on green failed since the switch.",
        "from -2.000 s to +1.000 s since the switch, 1 second a character",
    ] {
        assert!(text.lines().any(|seen| seen == line), "missing: {line}\n{text}");
    }
}
