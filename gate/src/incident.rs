//! The document of an incident: what happened, how it is known, what was done, what was lost, and what is to be done now.
//!
//! A pure function of a release and its evidence, so that it can be made at any time, by the gate or by `blueback explain`,
//! and says the same each time. Whoever reads it at night needs the order: verdict, loss, deeds, then the numbers behind
//! them. What comes from outside (names, reasons, rules) is text and nothing else: it is escaped for HTML by the template
//! and for Markdown by hand, and quoted where it stands in a command.

mod checklist;
mod markdown;
#[cfg(test)]
pub(crate) mod tests;
mod traces;

use askama::Template;

use crate::api::types::{Evidence, Phase, Point, Release};
use crate::charts::{self, Key};
use crate::timeline;
use crate::wording;

pub use checklist::Check;
pub use traces::Trace;
pub(crate) use traces::traces;

/// Moments that are steps of a revert, and what each of them is.
const STEPS: [(&str, &str); 5] = [
    ("diverted", "Agents divert all new requests"),
    ("reverted", "Traffic is changed for good"),
    ("verified", "What serves again is verified"),
    ("released", "What was new is let go"),
    ("announced", "Told"),
];

/// A release told as an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// Headline.
    pub title: String,
    /// The verdict in one sentence.
    pub verdict: String,
    /// What is known, by name.
    pub facts: Vec<(&'static str, String)>,
    /// What was lost, in one sentence.
    pub lost: String,
    /// What was done, with durations.
    pub actions: Vec<Action>,
    /// What happened, in order.
    pub timeline: Vec<Row>,
    /// The rules and what they measured.
    pub rules: Vec<Rule>,
    /// Requests whose trace can be looked at.
    pub traces: Vec<Trace>,
    /// What to look at.
    pub look_at: Vec<String>,
    /// What a person makes sure of.
    pub checklist: Vec<Check>,
    /// The pictures, and what each of their lines is.
    pub pictures: Vec<Picture>,
    /// Id of the release.
    pub release: String,
    baseline: &'static str,
    candidate: &'static str,
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub what: &'static str,
    /// When, since the decision.
    pub after: String,
    /// How long it took.
    pub took: String,
    /// How it is known.
    pub text: String,
}

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Time of day.
    pub time: String,
    /// Time since the switch.
    pub after: String,
    /// In one word.
    pub what: String,
    /// The story.
    pub text: String,
}

/// A rule and what it measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As the operator wrote it.
    pub words: String,
    /// Which list it is in.
    pub list: String,
    /// How it stands.
    pub state: String,
    /// It fired, and it is in a list that accuses.
    pub is_fired: bool,
    /// What was measured of the candidate.
    pub candidate: String,
    /// What was measured of the baseline.
    pub baseline: String,
    /// What it allows.
    pub limit: String,
    /// Its evidence against what it needs.
    pub evidence: String,
}

/// A picture and its legend.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// A word that is the only one of its kind.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// As SVG; the renderer has escaped what is text in it.
    pub svg: String,
    /// What its lines are.
    pub legend: Vec<Key>,
}

/// The document as HTML that needs nothing else.
#[derive(Template)]
#[template(path = "incident.html")]
struct Html<'a> {
    story: &'a Story,
    style: &'static str,
    charts: &'static str,
}

/// The document as Markdown.
#[must_use]
pub fn markdown(release: &Release, evidence: &Evidence) -> String {
    markdown::write(&Story::new(release, evidence))
}

/// The document as HTML that needs nothing else: no script, no font, no network.
#[must_use]
pub fn html(release: &Release, evidence: &Evidence) -> String {
    let story = Story::new(release, evidence);
    let page = Html { story: &story, style: include_str!("page/page.css"), charts: charts::STYLE };
    page.render().expect("a string takes all that is written into it")
}

impl Story {
    /// Tells a release.
    #[must_use]
    pub fn new(release: &Release, evidence: &Evidence) -> Self {
        let (candidate, baseline) = (wording::slot(release.candidate), wording::slot(release.baseline));
        let title = match release.phase {
            Phase::Reverted => format!("{} was reverted", release.id),
            Phase::Reverting => format!("{} is being reverted", release.id),
            phase => format!("{}: {}", release.id, wording::phase(phase)),
        };
        Self {
            title,
            verdict: release.verdict.text.clone(),
            facts: facts(release),
            lost: lost(release, evidence),
            actions: actions(release),
            timeline: rows(release),
            rules: rules(evidence),
            traces: traces(evidence),
            look_at: checklist::look_at(release, evidence),
            checklist: checklist::of(release),
            pictures: pictures(release, evidence),
            release: release.id.clone(),
            baseline,
            candidate,
        }
    }
}

fn facts(release: &Release) -> Vec<(&'static str, String)> {
    let verdict = &release.verdict;
    let (candidate, baseline) = (wording::slot(release.candidate), wording::slot(release.baseline));
    let mut facts = vec![
        ("Service", release.service.clone()),
        ("Release", format!("{}, from {baseline} to {candidate}", release.id)),
        (
            "Switched",
            format!("{}, by {}", wording::time(release.started_ms), release.by.as_deref().unwrap_or("unknown")),
        ),
    ];
    if let Some(ended_ms) = release.ended_ms {
        facts.push(("Ended", wording::time(ended_ms)));
    }
    facts.push(("State", wording::phase(release.phase).to_owned()));
    facts.push((
        "Traffic now",
        format!(
            "{candidate} gets {} of the requests; {} were asked for",
            wording::percent(release.share),
            wording::percent(release.target_share)
        ),
    ));
    if let Some(rule) = &verdict.rule {
        facts.push(("Rule", rule.clone()));
    }
    if let (Some(value), Some(limit), Some(unit)) = (verdict.value, verdict.limit, &verdict.unit) {
        facts.push(("Measured", format!("{}; allowed: {}", wording::value(value, unit), wording::value(limit, unit))));
    }
    if let (Some(evidence), Some(threshold)) = (verdict.evidence, verdict.threshold) {
        facts.push(("Evidence", format!("ln E = {evidence:.1}; needed: {threshold:.1}")));
    }
    if let Some(pod) = &verdict.pod {
        facts.push(("At fault", format!("only {pod}")));
    }
    facts
}

/// What was lost, and how long it went on.
fn lost(release: &Release, evidence: &Evidence) -> String {
    let (candidate, baseline) = (wording::slot(release.candidate), wording::slot(release.baseline));
    let sum = evidence.candidate;
    if sum.requests == 0 {
        return format!("No request of {candidate} was counted since the switch.");
    }
    let mut text = format!(
        "{} of {} on {candidate} failed since the switch ({}); on {baseline} {} of {}.",
        wording::count(sum.failed),
        wording::counted(sum.requests, "request"),
        wording::percent(sum.failed as f64 / sum.requests as f64),
        wording::count(evidence.baseline.failed),
        wording::count(evidence.baseline.requests),
    );
    let is_first = |point: &&Point| point.after_ms > 0 && point.candidate.failed > 0;
    let diverted = release.timeline.iter().find(|moment| moment.what == "diverted");
    if let (Some(first), Some(diverted)) = (evidence.series.iter().find(is_first), diverted) {
        // A point says what happened in the second that ends with it.
        let began = u64::try_from(first.after_ms - 1_000).unwrap_or(0);
        text.push_str(&format!(
            " The first failures were in the second after +{}; all new requests went to {baseline} from +{} on.",
            wording::span(began),
            wording::span(diverted.after_ms),
        ));
    }
    text
}

/// Steps of the revert, each with its duration: from the step before it to itself.
fn actions(release: &Release) -> Vec<Action> {
    let Some(decided) = release.timeline.iter().rposition(|moment| moment.what == "proven") else { return Vec::new() };
    let decided_ms = release.timeline[decided].at_ms;
    let mut before = decided_ms;
    let mut actions = Vec::new();
    if let Some(shielded) = release.timeline[..decided].iter().rfind(|moment| moment.what == "shielded") {
        actions.push(Action {
            what: "Shield: harm is diverted on suspicion",
            after: format!("-{}", timeline::span(decided_ms.saturating_sub(shielded.at_ms))),
            took: "at once".to_owned(),
            text: shielded.text.clone(),
        });
    }
    for moment in &release.timeline[decided + 1..] {
        let Some((_, what)) = STEPS.iter().find(|(word, _)| *word == moment.what) else { continue };
        actions.push(Action {
            what,
            after: format!("+{}", timeline::span(moment.at_ms.saturating_sub(decided_ms))),
            took: timeline::span(moment.at_ms.saturating_sub(before)),
            text: moment.text.clone(),
        });
        before = moment.at_ms;
    }
    actions
}

/// The timeline as rows.
pub(crate) fn rows(release: &Release) -> Vec<Row> {
    let row = |moment: &crate::api::types::Moment| Row {
        time: wording::time(moment.at_ms),
        after: format!("+{}", wording::span(moment.after_ms)),
        what: moment.what.clone(),
        text: moment.text.clone(),
    };
    release.timeline.iter().map(row).collect()
}

/// The rules as rows.
pub(crate) fn rules(evidence: &Evidence) -> Vec<Rule> {
    let rules = evidence.criteria.iter().map(|criterion| {
        // A signal is raised or not: there is nothing to measure.
        let measured = |text: String| if criterion.kind == "signal" { "–".to_owned() } else { text };
        Rule {
            words: criterion.rule.clone(),
            list: criterion.list.clone(),
            state: wording::state(criterion),
            is_fired: criterion.fired_ms.is_some() && criterion.list != "pass",
            candidate: measured(wording::tally(&criterion.candidate, &criterion.unit)),
            baseline: measured(wording::tally(&criterion.baseline, &criterion.unit)),
            limit: measured(wording::value(criterion.limit, &criterion.unit)),
            evidence: match (criterion.evidence, criterion.threshold) {
                (Some(evidence), Some(threshold)) => format!("{evidence:.1} of {threshold:.1}"),
                _ if criterion.kind == "persistent" => "by the words".to_owned(),
                _ => "–".to_owned(),
            },
        }
    });
    rules.collect()
}

/// The pictures with their legends.
pub(crate) fn pictures(release: &Release, evidence: &Evidence) -> Vec<Picture> {
    let picture =
        |plot: charts::Plot| Picture { svg: plot.svg(), legend: plot.legend(), id: plot.id, title: plot.title };
    charts::of_release(release, evidence).into_iter().map(picture).collect()
}
