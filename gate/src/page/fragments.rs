//! The parts of the page that change. The page is made of them, and the stream sends the same texts.
//!
//! Drawing a release takes a millisecond or two and is the same for everybody who looks, so it is done once for each
//! revision, however many people look.

use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;

use crate::api::State;
use crate::api::handlers::no_release;
use crate::api::problem::Failure;
use crate::api::types::{Evidence, Phase, Release, Service};
use crate::incident::{self, Picture, Row, Rule, Trace};
use crate::wording;

use super::views::{Badge, href};

/// Releases whose fragments are kept. Whoever looks at more at once makes them anew.
const KEPT_MAX: usize = 16;

/// A part of the page: the id of the element it fills, and its HTML.
pub(super) type Fragment = (&'static str, String);

/// Fragments of the releases that were looked at last.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Vec<Arc<Fragments>>>);

/// The fragments of one revision of a release.
#[derive(Debug)]
pub(super) struct Fragments {
    pub(super) release: Arc<Release>,
    /// `Evidence::now_ms`: after its end a release changes no more, but it may be looked at before its last evidence is in.
    now_ms: u64,
    pub(super) parts: Vec<Fragment>,
}

impl Fragments {
    pub(super) fn part(&self, id: &str) -> &str {
        self.parts.iter().find(|(name, _)| *name == id).map_or("", |(_, html)| html)
    }
}

#[derive(Template)]
#[template(path = "fragments/verdict.html")]
struct VerdictPart<'a> {
    badge: Badge,
    release: &'a Release,
    since: String,
    numbers: Vec<(&'static str, String)>,
    is_over: bool,
}

#[derive(Template)]
#[template(path = "fragments/charts.html")]
struct ChartsPart {
    pictures: Vec<Picture>,
}

#[derive(Template)]
#[template(path = "fragments/timeline.html")]
struct TimelinePart {
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "fragments/rules.html")]
struct RulesPart {
    rules: Vec<Rule>,
    candidate: &'static str,
    baseline: &'static str,
}

#[derive(Template)]
#[template(path = "fragments/traces.html")]
struct TracesPart {
    traces: Vec<Trace>,
}

#[derive(Template)]
#[template(path = "fragments/pods.html")]
struct PodsPart<'a> {
    service: Option<&'a Service>,
}

/// The fragments of a release as it is now.
pub(super) async fn of_release(state: &State, id: &str) -> Result<Arc<Fragments>, Failure> {
    let asked = id.to_owned();
    let release = state.ask(move |gate, _| gate.release(&asked).cloned()).await?.ok_or_else(|| no_release(id))?;
    if let Some(known) = state.page.get(&release) {
        return Ok(known);
    }
    let asked = id.to_owned();
    let name = release.service.clone();
    let (evidence, service) =
        state.ask(move |gate, now| (gate.evidence(&asked, now).unwrap_or_default(), gate.service(&name, now))).await?;
    let made = Arc::new(make(release, &evidence, service.as_ref()));
    state.page.put(Arc::clone(&made));
    Ok(made)
}

fn make(release: Arc<Release>, evidence: &Evidence, service: Option<&Service>) -> Fragments {
    let newest = release.timeline.last();
    let announced = newest.map_or_else(String::new, |moment| format!("{}: {}", moment.what, moment.text));
    let parts = vec![
        ("verdict", render(&verdict(&release, evidence))),
        ("announcement", escaped(&announced)),
        ("charts", render(&ChartsPart { pictures: incident::pictures(&release, evidence) })),
        ("timeline", render(&TimelinePart { rows: incident::rows(&release) })),
        (
            "rules",
            render(&RulesPart {
                rules: incident::rules(evidence),
                candidate: wording::slot(release.candidate),
                baseline: wording::slot(release.baseline),
            }),
        ),
        ("traces", render(&TracesPart { traces: incident::traces(evidence) })),
        ("pods", render(&PodsPart { service })),
    ];
    Fragments { release, now_ms: evidence.now_ms, parts }
}

fn verdict<'a>(release: &'a Release, evidence: &Evidence) -> VerdictPart<'a> {
    let verdict = &release.verdict;
    let mut numbers = vec![("share", wording::percent(release.share)), ("shield", release.shield.clone())];
    let lost = evidence.candidate;
    if lost.requests > 0 {
        numbers.push((
            "failed since the switch",
            format!("{} of {}", wording::count(lost.failed), wording::count(lost.requests)),
        ));
    }
    if let (Some(value), Some(limit), Some(unit)) = (verdict.value, verdict.limit, &verdict.unit) {
        numbers.push(("measured", format!("{}, allowed {}", wording::value(value, unit), wording::value(limit, unit))));
    }
    if let (Some(evidence), Some(threshold)) = (verdict.evidence, verdict.threshold) {
        numbers.push(("evidence", format!("{evidence:.1} of {threshold:.1}")));
    }
    if let Some(needed) = verdict.requests_needed {
        numbers.push(("requests still needed", wording::count(needed)));
    }
    if !release.passed.is_empty() {
        numbers.push(("passed", release.passed.join(", ")));
    }
    if let Some(pod) = &verdict.pod {
        numbers.push(("at fault", format!("only {pod}")));
    }
    VerdictPart { badge: Badge::of(release.phase), release, since: since(release), numbers, is_over: is_over(release) }
}

/// Nothing can be decided about it any more.
pub(super) fn is_over(release: &Release) -> bool {
    release.ended_ms.is_some() || release.phase == Phase::Reverting
}

/// Since when a release is in its phase: the last moment that told something.
pub(super) fn since(release: &Release) -> String {
    wording::time(release.timeline.last().map_or(release.started_ms, |moment| moment.at_ms))
}

#[derive(Template)]
#[template(path = "fragments/gates.html")]
struct GatesPart {
    rows: Vec<GateRow>,
}

/// One guarded service.
struct GateRow {
    name: String,
    badge: Option<Badge>,
    verdict: String,
    since: String,
    reason: String,
    link: Option<(String, String)>,
    traffic: String,
    ready: String,
}

#[derive(Template)]
#[template(path = "fragments/history.html")]
struct HistoryPart {
    rows: Vec<HistoryRow>,
    is_of_one: bool,
}

/// One release.
struct HistoryRow {
    id: String,
    link: String,
    service: String,
    badge: Badge,
    started: String,
    by: String,
    text: String,
}

/// The fragments of the first page.
pub(super) async fn of_gates(state: &State, releases_max: usize) -> Result<Vec<Fragment>, Failure> {
    let (services, releases) =
        state.ask(|gate, now| (gate.services(now), gate.releases().cloned().collect::<Vec<_>>())).await?;
    let rows = services.iter().map(|service| gate_row(service, &releases)).collect();
    let newest: Vec<_> = releases.iter().take(releases_max).cloned().collect();
    Ok(vec![("gates", render(&GatesPart { rows })), ("history", history(&newest, false))])
}

/// Releases as a table.
pub(super) fn history(releases: &[Arc<Release>], is_of_one: bool) -> String {
    let rows = releases.iter().map(|release| HistoryRow {
        id: release.id.clone(),
        link: href("releases", &release.id),
        service: release.service.clone(),
        badge: Badge::of(release.phase),
        started: wording::time(release.started_ms),
        by: release.by.clone().unwrap_or_else(|| "–".to_owned()),
        text: release.verdict.text.clone(),
    });
    render(&HistoryPart { rows: rows.collect(), is_of_one })
}

fn gate_row(service: &Service, releases: &[Arc<Release>]) -> GateRow {
    let release = service.release.as_ref().and_then(|id| releases.iter().find(|release| release.id == *id));
    let ready = service.backends.iter().filter(|backend| backend.ready).count();
    let serving = wording::slot(service.serving);
    GateRow {
        name: service.name.clone(),
        badge: release.map(|release| Badge::of(release.phase)),
        verdict: release.map_or_else(|| "–".to_owned(), |release| release.verdict.verdict.clone()),
        since: release.map_or_else(|| "–".to_owned(), |release| since(release)),
        reason: release
            .map_or_else(|| format!("No release yet; {serving} serves"), |release| release.verdict.text.clone()),
        link: release.map(|release| (href("releases", &release.id), release.id.clone())),
        traffic: format!("{:.1} /s, green {}", service.requests_per_second, wording::percent(service.green_share)),
        ready: format!(
            "{ready} of {} pods ready, {}",
            service.backends.len(),
            wording::counted(service.agents.into(), "agent")
        ),
    }
}

impl Cache {
    fn get(&self, release: &Release) -> Option<Arc<Fragments>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&Arc<Fragments>| {
            known.release.id == release.id && known.release.revision == release.revision && known.now_ms > 0
        };
        kept.iter().find(is_it).cloned()
    }

    fn put(&self, made: Arc<Fragments>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|known| known.release.id != made.release.id);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(made);
    }
}

fn render(part: &impl Template) -> String {
    part.render().expect("a string takes all that is written into it")
}

/// Text as it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::tests::{evidence, release};

    #[test]
    fn fragments_escape_what_comes_from_outside() {
        let mut nasty = release();
        nasty.verdict.text = "<script>alert(1)</script>".to_owned();
        nasty.shield = "<b>".to_owned();
        for moment in &mut nasty.timeline {
            moment.text = "<img src=x onerror=alert(1)>".to_owned();
            moment.what = "<i>".to_owned();
        }
        let mut evidence = evidence();
        evidence.criteria[0].rule = "error rate > \"<u>\"".to_owned();
        let made = make(Arc::new(nasty), &evidence, None);
        for (id, html) in &made.parts {
            for word in ["<script", "<img", "<b>", "<i>", "<u>"] {
                assert!(!html.contains(word), "{id}: {word} in {html}");
            }
        }
        assert!(made.part("verdict").contains("data-over"), "it is reverted");
    }

    #[test]
    fn a_revision_is_drawn_once() {
        let cache = Cache::default();
        let made = Arc::new(make(Arc::new(release()), &evidence(), None));
        cache.put(Arc::clone(&made));
        assert!(cache.get(&made.release).is_some_and(|known| Arc::ptr_eq(&known, &made)));
        let newer = Release { revision: 10, ..release() };
        assert!(cache.get(&newer).is_none());
        for number in 0..2 * KEPT_MAX {
            let other = Release { id: format!("other-{number}"), ..release() };
            cache.put(Arc::new(make(Arc::new(other), &evidence(), None)));
        }
        assert!(cache.0.lock().is_ok_and(|kept| kept.len() == KEPT_MAX));
    }
}
