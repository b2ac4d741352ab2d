//! The judge's words as the API's.

use blueback_judge::{CriterionView, Judge, Reason, Rules, Seen, Verdict};
use blueback_report::Slot;

use crate::api::types as api;

impl From<Slot> for api::Slot {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Blue => Self::Blue,
            Slot::Green => Self::Green,
        }
    }
}

impl From<api::Slot> for Slot {
    fn from(slot: api::Slot) -> Self {
        match slot {
            api::Slot::Blue => Self::Blue,
            api::Slot::Green => Self::Green,
        }
    }
}

/// A verdict before anything was seen.
pub(crate) fn nothing_yet() -> api::Verdict {
    api::Verdict {
        verdict: "watching".to_owned(),
        pass: false,
        fail: false,
        text: "Nothing seen yet".to_owned(),
        rule: None,
        value: None,
        limit: None,
        unit: None,
        evidence: None,
        threshold: None,
        requests: 0,
        requests_needed: None,
        pod: None,
        since_ms: None,
        pods: None,
        change: None,
    }
}

/// What a person decided, as a verdict.
pub(crate) fn by_hand(word: &str, text: &str, before: &api::Verdict, since_ms: u64) -> api::Verdict {
    api::Verdict {
        verdict: word.to_owned(),
        fail: word == "revert",
        text: text.to_owned(),
        requests: before.requests,
        since_ms: Some(since_ms),
        ..nothing_yet()
    }
}

/// The judge's verdict.
pub(crate) fn verdict(verdict: &Verdict) -> api::Verdict {
    let mut view = api::Verdict {
        verdict: verdict.word().to_owned(),
        pass: matches!(verdict, Verdict::Pass(_)),
        fail: matches!(verdict, Verdict::Revert(_)),
        text: verdict.to_string(),
        ..nothing_yet()
    };
    match verdict {
        Verdict::Watching(progress) => {
            view.requests = progress.requests;
            view.requests_needed = progress.requests_needed;
        }
        Verdict::Pass(checkpoint) => view.since_ms = Some(checkpoint.at_ms),
        Verdict::Suspect(reason) | Verdict::Revert(reason) | Verdict::Hold(reason) | Verdict::Inconclusive(reason) => {
            because(&mut view, reason);
        }
    }
    view
}

fn because(view: &mut api::Verdict, reason: &Reason) {
    view.rule = (!reason.rule.is_empty()).then(|| reason.rule.clone());
    if let Some(measured) = &reason.measured {
        view.value = finite(measured.value);
        view.limit = finite(measured.limit);
        view.unit = Some(measured.unit.to_owned());
    }
    if let Some(evidence) = reason.evidence {
        view.evidence = finite(evidence.ln_e);
        view.threshold = finite(evidence.threshold);
    }
    view.requests = reason.requests;
    view.requests_needed = reason.requests_needed;
    view.pod.clone_from(&reason.pod);
    view.since_ms = Some(reason.since_ms);
    view.pods = Some(reason.pods);
    view.change = (!reason.change.is_empty()).then(|| reason.change.clone());
}

/// What was measured, where a rule is behind the reason.
pub(crate) fn measured(reason: &Reason) -> Option<api::Measured> {
    if reason.rule.is_empty() {
        return None;
    }
    Some(api::Measured {
        rule: reason.rule.clone(),
        value: reason.measured.as_ref().and_then(|measured| finite(measured.value)),
        limit: reason.measured.as_ref().and_then(|measured| finite(measured.limit)),
        unit: reason.measured.as_ref().map(|measured| measured.unit.to_owned()),
        evidence: reason.evidence.and_then(|evidence| finite(evidence.ln_e)),
        threshold: reason.evidence.and_then(|evidence| finite(evidence.threshold)),
        requests: reason.requests,
        pod: reason.pod.clone(),
    })
}

/// JSON has no word for what is not finite.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// State of the shield in one word.
pub(crate) fn shield(judge: &Judge) -> &'static str {
    judge.shield().as_str()
}

/// Each rule and what is known about it.
pub(crate) fn criteria(judge: &Judge) -> Vec<api::Criterion> {
    judge.criteria().into_iter().map(criterion).collect()
}

fn criterion(view: CriterionView) -> api::Criterion {
    api::Criterion {
        rule: view.words,
        list: view.list.to_owned(),
        checkpoint: view.checkpoint,
        standing: view.standing.to_owned(),
        dry_run: view.dry_run,
        text: view.text,
        kind: if view.kind == "for" { "persistent" } else { view.kind }.to_owned(),
        candidate: tally(view.green),
        baseline: tally(view.blue),
        limit: finite(view.limit).unwrap_or(0.0),
        unit: view.unit.to_owned(),
        evidence: view.ln_e.and_then(finite),
        threshold: view.threshold.and_then(finite),
        fired_ms: view.fired_at_ms,
    }
}

fn tally(seen: Seen) -> api::Tally {
    api::Tally { requests: seen.n, bad: seen.bad, value: seen.value.and_then(finite) }
}

/// How many checkpoints a release of these rules passes in its life, the bake among them.
pub(crate) fn checkpoints(rules: &Rules) -> usize {
    1 + rules.checkpoints().len()
}
