//! The story of one release.

use std::fmt::Write as _;

use blueback_gate::api::types::{Criterion, Evidence, ExampleTrace, Point, PointSide, Release};
use owo_colors::OwoColorize as _;

use super::{
    Table, count, counted, moment, percent, phase_styled, slot, slot_styled, span, sparkline, state, tally, time, value,
};

/// Widest curve, in characters: it fits beside its legend into 100 columns.
const CURVE_COLUMNS: usize = 60;

/// Verdict, timeline, rules and curves.
#[must_use]
pub fn explain(release: &Release, evidence: &Evidence) -> String {
    let mut text = String::new();
    let (candidate, baseline) = (slot(release.candidate), slot(release.baseline));
    let by = release.by.as_deref().unwrap_or("unknown");
    let _ = writeln!(
        text,
        "{}  {} to {}, {}",
        release.id.bold(),
        slot_styled(release.baseline),
        slot_styled(release.candidate),
        phase_styled(release.phase)
    );
    let _ = writeln!(text, "{}", release.verdict.text);
    let _ = writeln!(
        text,
        "Switched {} by {by}. {candidate} gets {} of the requests, {} were asked for; the shield is {}.",
        time(release.started_ms),
        percent(release.share),
        percent(release.target_share),
        release.shield,
    );
    if let Some(needed) = release.verdict.requests_needed {
        let _ =
            writeln!(text, "{} counted, {} more needed.", counted(release.verdict.requests, "request"), count(needed));
    }
    if let Some(pod) = &release.verdict.pod {
        let _ = writeln!(text, "Only {pod} is at fault.");
    }
    let _ = writeln!(text, "\n{}", "Timeline".bold());
    for event in &release.timeline {
        let _ = writeln!(text, "{}", moment(event));
    }
    if !evidence.criteria.is_empty() {
        let _ = writeln!(text, "\n{}\n{}", "Rules".bold(), rules(&evidence.criteria, candidate, baseline));
    }
    if !evidence.example_traces.is_empty() {
        let _ = writeln!(text, "\n{}\n{}", "Example traces".bold(), traces(&evidence.example_traces));
    }
    if !evidence.series.is_empty() {
        let _ = writeln!(text, "\n{}", "Curves".bold());
        text.push_str(&curves(&evidence.series, candidate, baseline));
    }
    let rising = rising(evidence);
    if !rising.is_empty() {
        let _ = writeln!(text, "\n{}\n{rising}", "Evidence, once a second, up to what each rule needs".bold());
    }
    if evidence.candidate.requests > 0 {
        let lost = evidence.candidate;
        let _ = writeln!(
            text,
            "\n{} of {} on {candidate} failed since the switch.",
            count(lost.failed),
            counted(lost.requests, "request")
        );
    }
    text.trim_end().to_owned()
}

fn rules(criteria: &[Criterion], candidate: &str, baseline: &str) -> String {
    let mut table = Table::new(["RULE", "LIST", "STATE", candidate, baseline, "LIMIT", "EVIDENCE"]);
    for criterion in criteria {
        let state = match (criterion.fired_ms, criterion.list.as_str()) {
            (Some(_), "pass") => state(criterion).green().to_string(),
            (Some(_), _) => state(criterion).red().to_string(),
            (None, _) => state(criterion),
        };
        // A signal is raised or not: there is nothing to measure.
        let measured = |text: String| if criterion.kind == "signal" { "-".to_owned() } else { text };
        table.row([
            criterion.rule.clone(),
            criterion.list.clone(),
            state,
            measured(tally(&criterion.candidate, &criterion.unit)),
            measured(tally(&criterion.baseline, &criterion.unit)),
            measured(value(criterion.limit, &criterion.unit)),
            weight(criterion),
        ]);
    }
    table.to_string()
}

fn traces(examples: &[ExampleTrace]) -> String {
    let has_links = examples.iter().any(|example| example.url.is_some());
    let mut table = Table::new([if has_links { "LINK" } else { "TRACE" }, "SIDE", "ENDED", "TOOK", "ROUTE", "POD"]);
    for example in examples {
        let outcome = example.outcome.replace('_', " ");
        table.row([
            example.url.clone().unwrap_or_else(|| example.trace_id.clone()),
            slot(example.slot).to_owned(),
            example.status.map_or_else(|| outcome.clone(), |status| format!("{status}, {outcome}")),
            value(example.latency_ms, "ms"),
            if example.route.is_empty() { "-".to_owned() } else { example.route.clone() },
            example.pod.clone(),
        ]);
    }
    table.to_string()
}

/// How far the evidence is on its way to the threshold, as odds that a person can read: both are logarithms.
fn weight(criterion: &Criterion) -> String {
    match (criterion.evidence, criterion.threshold) {
        (Some(evidence), Some(threshold)) if threshold > 0.0 => {
            let part = (evidence / threshold).clamp(0.0, 1.0);
            let filled = (part * 10.0).floor() as usize;
            format!("{}{} {evidence:.1} of {threshold:.1}", "■".repeat(filled), "□".repeat(10 - filled))
        }
        _ if criterion.kind == "persistent" => "by the words".to_owned(),
        _ => "-".to_owned(),
    }
}

/// How the evidence of each rule that is proven came to where it is.
fn rising(evidence: &Evidence) -> String {
    let weighings = &evidence.weighings;
    let proven = evidence.criteria.iter().enumerate().filter(|(_, criterion)| criterion.list == "revert");
    let lines: Vec<_> = proven
        .filter_map(|(place, criterion)| {
            let threshold = criterion.threshold.filter(|threshold| *threshold > 0.0)?;
            let values: Vec<_> = weighings.iter().map(|weighing| weighing.evidence.get(place).copied()?).collect();
            let most = values.iter().flatten().copied().reduce(f64::max)?;
            let line = sparkline(&values, threshold, CURVE_COLUMNS);
            Some((criterion.rule.as_str(), format!("{line}  at most {most:.1} of {threshold:.1}")))
        })
        .collect();
    let width = lines.iter().map(|(rule, _)| rule.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(rule, line)| format!("{rule:<width$}  {line}")).collect::<Vec<_>>().join("\n")
}

fn curves(series: &[Point], candidate: &str, baseline: &str) -> String {
    let errors = |side: &PointSide| (side.requests > 0).then(|| side.failed as f64 / side.requests as f64);
    let width = candidate.len().max(baseline.len());
    let mut text = String::new();
    let mut draw = |title: &str, unit: &str, of: &dyn Fn(&PointSide) -> Option<f64>| {
        let sides = [
            (candidate, series.iter().map(|point| of(&point.candidate)).collect::<Vec<_>>()),
            (baseline, series.iter().map(|point| of(&point.baseline)).collect()),
        ];
        let top = sides.iter().flat_map(|(_, values)| values.iter().flatten()).copied().fold(0.0, f64::max);
        for (name, values) in sides {
            let Some(most) = values.iter().flatten().copied().reduce(f64::max) else { continue };
            let line = sparkline(&values, top, CURVE_COLUMNS);
            let _ = writeln!(text, "{title:<11}  {name:<width$}  {line}  at most {}", value(most, unit));
        }
    };
    draw("error rate", "ratio", &errors);
    draw("latency p99", "ms", &|side| side.p99_ms);
    draw("latency p50", "ms", &|side| side.p50_ms);
    if let (Some(first), Some(last)) = (series.first(), series.last()) {
        let from = first.after_ms.saturating_sub(1_000);
        let sign = if from < 0 { "-" } else { "+" };
        let last_sign = if last.after_ms < 0 { "-" } else { "+" };
        let _ = writeln!(
            text,
            "from {sign}{} to {last_sign}{} since the switch, {} a character",
            span(from.unsigned_abs()),
            span(last.after_ms.unsigned_abs()),
            counted(series.len().div_ceil(CURVE_COLUMNS) as u64, "second"),
        );
    }
    text
}
