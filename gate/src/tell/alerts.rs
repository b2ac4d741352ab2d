//! What is alerting, as a function of the state of the releases and the time.
//!
//! Names, severities and runbooks are those of the Prometheus rules in `alerts/`, so whoever uses both routes, groups and silences
//! them alike. The labels of an alert follow from the release alone: a restarted gate, or another that leads now, goes on with
//! the same alert instead of beginning a second one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::types::{Phase, Release};

/// How long a release that was reverted or could not be judged is told: long enough to be seen, and not until the next one.
pub const TOLD_MS: u64 = 3_600_000;
/// A shield that is up for less is a burst.
pub const SHIELD_MS: u64 = 300_000;
/// A revert that takes longer needs somebody to look.
pub const REVERT_MS: u64 = 120_000;
/// How long a rule of `alertWhen` is told after it was met.
pub const RULE_MS: u64 = 900_000;
/// How long the end of an alert is repeated, for an Alertmanager that was away.
pub const RESOLVED_MS: u64 = 900_000;

/// Labels of an alert: its identity.
pub type Labels = BTreeMap<&'static str, String>;

/// An alert that lasts, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub labels: Labels,
    /// In one line.
    pub summary: String,
    /// What was seen, with numbers.
    pub description: String,
    /// The runbook about it, by its number.
    pub runbook: &'static str,
    /// The release.
    pub release: String,
    /// When it began, in Unix milliseconds.
    pub starts_ms: u64,
    /// When it ended, if it has.
    pub ends_ms: Option<u64>,
}

impl Alert {
    fn new(
        name: &str,
        severity: &str,
        release: &Release,
        starts_ms: u64,
        summary: String,
        runbook: &'static str,
    ) -> Self {
        let labels = [
            ("alertname", name),
            ("severity", severity),
            ("component", "release"),
            ("gate", &release.service),
            ("release", &release.id),
            ("side", "green"),
        ];
        Self {
            labels: labels.map(|(name, value)| (name, value.to_owned())).into(),
            summary,
            description: release.verdict.text.clone(),
            runbook,
            release: release.id.clone(),
            starts_ms,
            ends_ms: None,
        }
    }
}

/// What is alerting about a release that is the newest of its service.
#[must_use]
pub fn due(release: &Release, now_ms: u64) -> Vec<Alert> {
    let service = &release.service;
    let last = |what: &str| release.timeline.iter().rev().find(|moment| moment.what == what);
    let since = |what: &str| last(what).map_or(release.started_ms, |moment| moment.at_ms);
    let lasts = |from_ms: u64, ms: u64| now_ms.saturating_sub(from_ms) < ms;
    let mut alerts = Vec::new();
    match release.phase {
        Phase::Reverting => {
            let begun_ms = since("proven");
            let summary = format!("The release of {service} is being reverted");
            alerts.push(Alert::new("BluebackReleaseReverted", "warning", release, begun_ms, summary, "RB-003"));
            if !lasts(begun_ms, REVERT_MS) {
                let summary = format!("The revert of {service} is not finished after two minutes");
                alerts.push(Alert::new(
                    "BluebackRevertSlow",
                    "critical",
                    release,
                    begun_ms + REVERT_MS,
                    summary,
                    "RB-010",
                ));
            }
        }
        Phase::Reverted if lasts(release.ended_ms.unwrap_or(now_ms), TOLD_MS) => {
            let summary = format!("The release of {service} was reverted");
            alerts.push(Alert::new("BluebackReleaseReverted", "warning", release, since("proven"), summary, "RB-003"));
        }
        Phase::Held => {
            let summary = format!("The release of {service} is held: a person must decide");
            alerts.push(Alert::new("BluebackReleaseHeld", "critical", release, since("held"), summary, "RB-009"));
        }
        Phase::Inconclusive if lasts(since("inconclusive"), TOLD_MS) => {
            let summary = format!("The release of {service} could not be judged");
            let begun_ms = since("inconclusive");
            alerts.push(Alert::new("BluebackReleaseInconclusive", "warning", release, begun_ms, summary, "RB-009"));
        }
        _ => {}
    }
    if let (Phase::Reverting, Some(failed)) =
        (release.phase, release.timeline.last().filter(|last| last.what == "failed"))
    {
        let step = failed.text.split(':').next().unwrap_or_default().to_owned();
        let summary = format!("The revert of {service} fails at the step {step}");
        let mut alert =
            Alert::new("BluebackRevertStepFailing", "critical", release, since("failed"), summary, "RB-010");
        failed.text.clone_into(&mut alert.description);
        alert.labels.insert("step", step);
        alerts.push(alert);
    }
    let live = release.ended_ms.is_none() && release.phase != Phase::Reverting;
    if live && matches!(release.shield.as_str(), "shielded" | "probing" | "shared") {
        // Up since the first raising after the shield was last down.
        let up = release.timeline.iter().rev().take_while(|moment| moment.what != "opened");
        let up_ms =
            up.filter(|it| matches!(it.what.as_str(), "shielded" | "shared")).last().map_or(now_ms, |it| it.at_ms);
        if !lasts(up_ms, SHIELD_MS) {
            let summary = format!("The shield of {service} has been up for five minutes");
            alerts.push(Alert::new("BluebackShieldUp", "warning", release, up_ms + SHIELD_MS, summary, "RB-009"));
        }
    }
    if let Some(met) = last("alert").filter(|met| live && lasts(met.at_ms, RULE_MS)) {
        let summary = format!("A rule of alertWhen holds for {service}");
        let mut alert = Alert::new("BluebackAlertRuleMet", "warning", release, met.at_ms, summary, "RB-009");
        met.text.clone_into(&mut alert.description);
        alerts.push(alert);
    }
    alerts
}

/// All that is alerting, and what has lately ceased to.
#[derive(Debug, Default)]
pub struct Alerting {
    newest: BTreeMap<String, Arc<Release>>,
    firing: BTreeMap<Labels, Alert>,
    resolved: BTreeMap<Labels, Alert>,
}

impl Alerting {
    /// A release is like this now.
    pub fn see(&mut self, release: Arc<Release>) {
        let known = self.newest.get(&release.service);
        if known.is_none_or(|known| known.id == release.id || known.started_ms <= release.started_ms) {
            self.newest.insert(release.service.clone(), release);
        }
    }

    /// All alerts, when they have changed: those that last, and those that ended within [`RESOLVED_MS`].
    pub fn look(&mut self, now_ms: u64) -> Option<Arc<Vec<Alert>>> {
        let due = self.newest.values().flat_map(|release| due(release, now_ms));
        let mut firing: BTreeMap<Labels, Alert> = due.map(|alert| (alert.labels.clone(), alert)).collect();
        for (labels, alert) in &mut firing {
            // It may be met again; it began when it began.
            if let Some(before) = self.firing.get(labels) {
                alert.starts_ms = before.starts_ms;
            }
            self.resolved.remove(labels);
        }
        let mut changed = firing != self.firing;
        for (labels, alert) in std::mem::replace(&mut self.firing, firing) {
            if !self.firing.contains_key(&labels) {
                self.resolved.insert(labels, Alert { ends_ms: Some(now_ms), ..alert });
            }
        }
        let kept = self.resolved.len();
        self.resolved.retain(|_, alert| alert.ends_ms.is_some_and(|end| now_ms.saturating_sub(end) < RESOLVED_MS));
        changed |= kept != self.resolved.len();
        changed.then(|| Arc::new(self.firing.values().chain(self.resolved.values()).cloned().collect()))
    }
}
