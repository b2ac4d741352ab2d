//! A release's and a service's record as a status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::conditions::{Says, merged};
use crate::api::types as api;
use crate::event::Step;
use crate::kubernetes::board::Facts;
use crate::kubernetes::types::{
    Group, MomentStatus, ReleaseGate, ReleaseGateStatus, ReleaseSpec, ReleaseStatus, ResumeState, StepStatus,
};
use crate::platform::PlatformRecord;
use crate::records::{ReleaseRecord, ServiceRecord};

/// Moments of a timeline that are kept from its beginning, and from its end.
const MOMENTS_KEPT: (usize, usize) = (30, 70);
/// Longest text of a moment or a reason.
const TEXT_BYTES_MAX: usize = 1_000;
/// Longest note of an Event.
pub(super) const NOTE_BYTES_MAX: usize = 1_000;
/// Most rules that are told.
const RULES_MAX: usize = 64;

/// A text cut where it is too long, and marked.
pub(super) fn bounded(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes.saturating_sub(3)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Name of the object of a release: its id without the namespace.
pub(super) fn object_name(record: &ReleaseRecord) -> String {
    record.release.id.rsplit('/').next().unwrap_or_default().to_owned()
}

fn time(ms: u64) -> Time {
    Time(i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default())
}

fn word(phase: api::Phase) -> String {
    format!("{phase:?}")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What never waits to be written.
pub(super) fn release_word(status: &ReleaseStatus) -> (Option<&str>, Option<&str>, usize) {
    (status.phase.as_deref(), status.verdict.as_deref(), status.timeline.len())
}

/// The same of a ReleaseGate.
pub(super) fn gate_word(status: &ReleaseGateStatus) -> (Option<&str>, Option<&str>, Vec<(&str, &str)>) {
    let conditions = status.conditions.iter().map(|condition| (condition.status.as_str(), condition.reason.as_str()));
    (status.phase.as_deref(), status.verdict.as_deref(), conditions.collect())
}

/// The spec of a release's object.
pub(super) fn spec(gate: &ReleaseGate, record: &ReleaseRecord, service: Option<&ServiceRecord>) -> ReleaseSpec {
    let none = PlatformRecord::default();
    let platform = service.and_then(|service| service.platform.as_ref()).unwrap_or(&none);
    let slot = |slot: api::Slot| format!("{slot:?}").to_lowercase();
    ReleaseSpec {
        gate: gate.name_any(),
        blue: Group {
            name: platform.serving_name.clone().unwrap_or_default(),
            key: platform.serving.join(","),
            slot: slot(record.release.baseline),
        },
        green: Group {
            name: platform.candidate_name.clone().unwrap_or_default(),
            key: platform.candidate.clone().unwrap_or_default(),
            slot: slot(record.release.candidate),
        },
        started_at: Some(time(record.release.started_ms)),
        rules: record.rules.clone(),
    }
}

/// The status of a release.
pub(super) fn release(record: &ReleaseRecord) -> ReleaseStatus {
    let release = &record.release;
    let evidence = record.evidence.iter().flat_map(|evidence| &evidence.criteria).take(RULES_MAX).map(|criterion| {
        let api::Tally { requests, bad, .. } = criterion.candidate;
        format!(
            "{}: {bad} of {requests} of green, {} of {} of blue",
            criterion.rule, criterion.baseline.bad, criterion.baseline.requests
        )
    });
    ReleaseStatus {
        phase: Some(word(release.phase)),
        verdict: Some(capital(&release.verdict.verdict)),
        reason: Some(bounded(&release.verdict.text, TEXT_BYTES_MAX)),
        shield: Some(release.shield.clone()),
        share_percent: Some((release.share * 100.0).round() as i32),
        by: release.by.clone(),
        ended_at: release.ended_ms.map(time),
        timeline: timeline(&release.timeline),
        steps: steps(record),
        evidence: evidence.collect(),
        resume: Some(ResumeState { record: resume(record), judge: None }),
        conditions: Vec::new(),
    }
}

fn timeline(moments: &[api::Moment]) -> Vec<MomentStatus> {
    kept(moments)
        .map(|moment| MomentStatus {
            at: time(moment.at_ms),
            what: moment.what.clone(),
            text: bounded(&moment.text, TEXT_BYTES_MAX),
        })
        .collect()
}

/// Of a long story the beginning and the newest.
fn kept(moments: &[api::Moment]) -> impl Iterator<Item = &api::Moment> {
    let (first, last) = MOMENTS_KEPT;
    let cut = moments.len().saturating_sub(last).max(first.min(moments.len()));
    moments.iter().take(first).chain(&moments[cut..])
}

/// What was done of a revert, by the timeline.
fn steps(record: &ReleaseRecord) -> Vec<StepStatus> {
    let Some(began) = record.revert_ms else { return Vec::new() };
    let done = record.step.map_or(0, |step| step as usize + 1);
    let steps = Step::ALL.iter().take(done).filter_map(|step| {
        // The timeline says "reverted" of the durable change.
        let what = if *step == Step::Switched { "reverted" } else { step.as_str() };
        let moment = record.release.timeline.iter().rev().find(|moment| moment.what == what)?;
        let after_ms = i64::try_from(moment.at_ms.saturating_sub(began)).unwrap_or(i64::MAX);
        Some(StepStatus { step: step.as_str().to_owned(), after_ms })
    });
    steps.collect()
}

/// The record without what a status has anyway, or has no room for.
fn resume(record: &ReleaseRecord) -> String {
    let mut record = record.clone();
    record.release.timeline = kept(&record.release.timeline).cloned().collect();
    if let Some(evidence) = &mut record.evidence {
        evidence.series.clear();
        evidence.criteria.truncate(RULES_MAX);
    }
    serde_json::to_string(&record).unwrap_or_default()
}

/// The status of a ReleaseGate.
pub(super) fn gate(
    gate: &ReleaseGate,
    former: &ReleaseGateStatus,
    service: Option<&ServiceRecord>,
    newest: Option<&ReleaseRecord>,
    facts: &Facts,
    now: &Time,
) -> ReleaseGateStatus {
    let platform = service.and_then(|service| service.platform.as_ref());
    let phase = match newest {
        Some(record) => Some(word(record.release.phase)),
        None if gate.spec.paused => Some("Paused".to_owned()),
        None => former.phase.clone().filter(|phase| phase != "Paused").or_else(|| Some("Idle".to_owned())),
    };
    let changed = newest.map(|record| {
        let last = record.release.timeline.last().map_or(record.release.started_ms, |moment| moment.at_ms);
        time(record.release.ended_ms.unwrap_or(last))
    });
    let since = match &former.since {
        Some(since) if former.phase == phase => Some(since.clone()),
        _ => changed.or_else(|| Some(now.clone())),
    };
    let generation = gate.metadata.generation;
    ReleaseGateStatus {
        observed_generation: generation,
        verdict: newest.map(|record| capital(&record.release.verdict.verdict)).or_else(|| former.verdict.clone()),
        reason: newest
            .map(|record| bounded(&record.release.verdict.text, TEXT_BYTES_MAX))
            .or_else(|| former.reason.clone()),
        release: newest.map(object_name).or_else(|| former.release.clone()),
        serving: platform.and_then(|platform| platform.serving_name.clone()).or_else(|| former.serving.clone()),
        resume: service.and_then(|service| serde_json::to_string(service).ok()).or_else(|| former.resume.clone()),
        conditions: merged(&former.conditions, &says(platform, newest, facts), generation, now),
        phase,
        since,
    }
}

fn says(platform: Option<&PlatformRecord>, newest: Option<&ReleaseRecord>, facts: &Facts) -> Vec<Says<'static>> {
    let ready = match &facts.problem {
        Some(problem) => Says("Ready", Some(false), "NotUnderstood", problem.clone()),
        None if platform.is_some_and(|platform| !platform.serving.is_empty()) => {
            Says("Ready", Some(true), "Watching", "The traffic is understood and watched".to_owned())
        }
        None => Says("Ready", None, "NothingServes", "No pod is selected yet".to_owned()),
    };
    let owned = if let Some(forbidden) = &facts.forbidden {
        Says("TrafficOwned", Some(false), "Forbidden", format!("{forbidden}; it is tried again, and agents divert"))
    } else if platform.is_some_and(|platform| platform.conflict) {
        let text = "What was reverted was set back from outside. It is left so, and its agents divert: change what applies it, \
                    or say `blueback switch` to try it again";
        Says("TrafficOwned", Some(false), "Conflict", text.to_owned())
    } else {
        let reason = match newest.map(|record| record.release.phase) {
            Some(api::Phase::Reverted) => "RevertHolds",
            _ => "NothingReverted",
        };
        Says("TrafficOwned", Some(true), reason, "The traffic is where it should be".to_owned())
    };
    let agents = match facts.agents {
        Some(0) => {
            let none = "No agent reports, so nothing can be judged";
            let (reason, text) = match &facts.not_injected {
                Some(why) => ("NotInjected", format!("{none}, and none is injected: {why}")),
                None => ("None", none.to_owned()),
            };
            Says("AgentsConnected", Some(false), reason, text)
        }
        Some(1) => Says("AgentsConnected", Some(true), "Reporting", "1 agent reports".to_owned()),
        Some(count) => Says("AgentsConnected", Some(true), "Reporting", format!("{count} agents report")),
        None => Says("AgentsConnected", None, "Unknown", "Not looked at yet".to_owned()),
    };
    let degraded = [&ready, &owned].into_iter().find(|says| says.1 == Some(false));
    let degraded = match degraded {
        Some(Says(_, _, reason, text)) => Says("Degraded", Some(true), reason, text.clone()),
        None => Says("Degraded", Some(false), "AsExpected", String::new()),
    };
    vec![ready, owned, agents, degraded]
}

/// The reason of the Event that a moment is worth, and whether it is a warning.
pub(super) fn event_reason(what: &str) -> Option<(&'static str, bool)> {
    Some(match what {
        "switched" => ("Switched", false),
        "stepped" => ("Stepped", false),
        "shielded" => ("Shielded", true),
        "opened" => ("ShieldLifted", false),
        "held" => ("Held", true),
        "proven" => ("Reverting", true),
        "reverted" => ("Reverted", true),
        "released" => ("Released", false),
        "failed" => ("StepFailed", true),
        "passed" => ("Passed", false),
        "done" => ("Done", false),
        "inconclusive" => ("Inconclusive", true),
        "superseded" => ("Superseded", false),
        _ => return None,
    })
}
