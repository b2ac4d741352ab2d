//! Which pictures a release has: error rate, latency, evidence and share, over the same time.

use std::ops::Range;

use super::plot::{Ink, Line, Mark, Plot, Scale};
use crate::api::types::{Criterion, Evidence, Point, PointSide, Release, Slot, Weighing};
use crate::wording;

/// Moments that are marked, and the word that is drawn. The timeline beside the pictures has them all.
pub const MARKS: [(&str, &str); 8] = [
    ("switched", "switch"),
    ("stepped", "step"),
    ("shielded", "shield"),
    ("opened", "open"),
    ("held", "hold"),
    ("resumed", "resume"),
    ("passed", "pass"),
    ("proven", "revert"),
];
/// Those without which a picture cannot be read.
const MAIN: [&str; 2] = ["switch", "revert"];
/// Least and most seconds before the switch that are shown: to see what was normal, and no more.
const BEFORE_S: (f64, f64) = (15.0, 60.0);
/// Least seconds that a picture spans.
const SPAN_S_MIN: f64 = 30.0;
/// Smallest error rate that fills the picture: a failure in a thousand must not look like an outage.
const ERRORS_TOP_MIN: f64 = 0.02;
/// Rules whose evidence is drawn: those nearest to their threshold. More lines could not be told apart.
const RULES_MAX: usize = 4;
/// Evidence in parts of its threshold that fills the picture: enough is enough.
const EVIDENCE_TOP: f64 = 1.4;
/// Evidence that speaks for the release is drawn this far down.
const EVIDENCE_BOTTOM: f64 = -0.2;

/// The pictures of a release, in the order in which they are looked at.
#[must_use]
pub fn of_release(release: &Release, evidence: &Evidence) -> Vec<Plot> {
    let frame = Frame::of(release, evidence);
    vec![frame.errors(), frame.latency(), frame.evidence(), frame.share()]
}

/// What the pictures of a release share.
struct Frame<'a> {
    release: &'a Release,
    evidence: &'a Evidence,
    seconds: Range<f64>,
    marks: Vec<Mark>,
}

impl<'a> Frame<'a> {
    fn of(release: &'a Release, evidence: &'a Evidence) -> Self {
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        let newest = evidence.series.last().map_or(0.0, |point| seconds(point.after_ms));
        let last = newest.max(evidence.now_ms as f64 / 1_000.0);
        let first = evidence.series.first().map_or(0.0, |point| seconds(point.after_ms) - 1.0);
        let start = first.max(-last.clamp(BEFORE_S.0, BEFORE_S.1));
        let marks = release.timeline.iter().filter_map(|moment| {
            let (_, name) = MARKS.iter().find(|(what, _)| *what == moment.what)?;
            Some(Mark { at: moment.after_ms as f64 / 1_000.0, name: (*name).to_owned(), is_main: MAIN.contains(name) })
        });
        Self { release, evidence, seconds: start..last.max(start + SPAN_S_MIN), marks: marks.collect() }
    }

    /// A line of one side.
    fn line(&self, of_candidate: bool, what: &str, thin: bool, value: impl Fn(&Point) -> Option<f64>) -> Line {
        let slot = if of_candidate { self.release.candidate } else { self.release.baseline };
        let points = self.evidence.series.iter().map(|point| (point.after_ms as f64 / 1_000.0, value(point)));
        Line {
            name: format!("{} {what}", wording::slot(slot)).trim_end().to_owned(),
            ink: ink(slot),
            dashed: !of_candidate,
            thin,
            points: points.collect(),
        }
    }

    fn plot(&self, id: &str, title: &str, lines: Vec<Line>, format: fn(f64) -> String) -> Plot {
        let service = &self.release.service;
        let told: Vec<_> = lines
            .iter()
            .filter_map(|line| {
                let values = || line.points.iter().filter(|(at, _)| self.seconds.contains(at)).filter_map(|(_, v)| *v);
                let (most, last) = (values().reduce(f64::max)?, values().next_back()?);
                Some(format!("{}: at most {}, last {}", line.name, format(most), format(last)))
            })
            .collect();
        let marks: Vec<_> = self.marks.iter().map(|mark| format!("{} at {:.1} s", mark.name, mark.at)).collect();
        let told = if told.is_empty() { "No data yet".to_owned() } else { told.join("; ") };
        let marks = if marks.is_empty() { String::new() } else { format!(" Marks: {}.", marks.join(", ")) };
        Plot {
            id: id.to_owned(),
            title: title.to_owned(),
            description: format!("{service}, {told}.{marks}"),
            seconds: self.seconds.clone(),
            values: 0.0..1.0,
            scale: Scale::Linear,
            format,
            lines,
            limits: Vec::new(),
            marks: self.marks.clone(),
        }
    }

    /// The whole values within the picture.
    fn most(&self, lines: &[Line]) -> f64 {
        let points = lines.iter().flat_map(|line| &line.points);
        points.filter(|(at, _)| self.seconds.contains(at)).filter_map(|(_, value)| *value).fold(0.0, f64::max)
    }

    /// What rules of `revertWhen` allow, where they measure this: largest last, each once.
    fn limits(&self, is_meant: impl Fn(&Criterion) -> bool, format: fn(f64) -> String) -> Vec<(f64, String)> {
        let criteria = self.evidence.criteria.iter().filter(|criterion| criterion.list == "revert");
        let mut limits: Vec<_> = criteria
            .filter(|criterion| criterion.limit.is_finite() && criterion.limit > 0.0 && is_meant(criterion))
            .map(|criterion| (criterion.limit, format!("limit {}", format(criterion.limit))))
            .collect();
        limits.sort_by(|a, b| a.0.total_cmp(&b.0));
        limits.dedup_by(|a, b| a.0 == b.0);
        limits
    }

    fn errors(&self) -> Plot {
        let rate = |side: &PointSide| (side.requests > 0).then(|| side.failed as f64 / side.requests as f64);
        let lines = vec![
            self.line(false, "", false, |point| rate(&point.baseline)),
            self.line(true, "", false, |point| rate(&point.candidate)),
        ];
        let limits = self.limits(|criterion| criterion.rule.starts_with("error rate >"), wording::percent);
        let limit = limits.last().map_or(0.0, |(limit, _)| *limit);
        let top = self.most(&lines).max(limit * 1.5).max(ERRORS_TOP_MIN) * 1.08;
        Plot { values: 0.0..top.min(1.0), limits, ..self.plot("errors", "Error rate", lines, wording::percent) }
    }

    fn latency(&self) -> Plot {
        let lines = vec![
            self.line(false, "p50", true, |point| point.baseline.p50_ms),
            self.line(false, "p99", false, |point| point.baseline.p99_ms),
            self.line(true, "p50", true, |point| point.candidate.p50_ms),
            self.line(true, "p99", false, |point| point.candidate.p99_ms),
        ];
        let limits = self.limits(|criterion| criterion.rule.starts_with("latency") && criterion.unit == "ms", span);
        let values = lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let least = values.filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        let limit = limits.last().map_or(0.0, |(limit, _)| *limit);
        let top = self.most(&lines).max(limit).max(1.0) * 1.5;
        let bottom = if least < top { least / 1.5 } else { top / 1_000.0 };
        Plot {
            values: bottom.max(0.001)..top.max(bottom * 10.0),
            scale: Scale::Logarithmic,
            limits,
            ..self.plot("latency", "Latency (logarithmic)", lines, span)
        }
    }

    fn evidence(&self) -> Plot {
        let weighings = &self.evidence.weighings;
        let mut proven: Vec<_> = self
            .evidence
            .criteria
            .iter()
            .enumerate()
            .filter(|(_, criterion)| criterion.list == "revert")
            .filter_map(|(place, criterion)| {
                let threshold = criterion.threshold.filter(|threshold| *threshold > 0.0)?;
                let part = |weighing: &Weighing| {
                    let evidence = weighing.evidence.get(place).copied().flatten()?;
                    Some((evidence / threshold).clamp(EVIDENCE_BOTTOM, EVIDENCE_TOP))
                };
                let points: Vec<_> = weighings.iter().map(|w| (w.after_ms as f64 / 1_000.0, part(w))).collect();
                let most = points.iter().filter_map(|(_, value)| *value).fold(f64::MIN, f64::max);
                Some((most, criterion.rule.clone(), points))
            })
            .collect();
        proven.sort_by(|a, b| b.0.total_cmp(&a.0));
        let lines = proven.into_iter().take(RULES_MAX).zip(0..).map(|((_, name, points), number)| Line {
            name,
            ink: Ink::Rule(number),
            dashed: number % 2 == 1,
            thin: number > 1,
            points,
        });
        let plot = self.plot("evidence", "Evidence", lines.collect(), wording::percent);
        Plot {
            values: EVIDENCE_BOTTOM..EVIDENCE_TOP,
            limits: vec![(1.0, "enough to revert".to_owned())],
            description: format!("In parts of what each rule needs to be proven. {}", plot.description),
            ..plot
        }
    }

    fn share(&self) -> Plot {
        let lines = vec![self.line(true, "", false, |point| Some(point.share))];
        let title = format!("Share of {}", wording::slot(self.release.candidate));
        Plot { values: 0.0..1.05, ..self.plot("share", &title, lines, wording::percent) }
    }
}

const fn ink(slot: Slot) -> Ink {
    match slot {
        Slot::Blue => Ink::Blue,
        Slot::Green => Ink::Green,
    }
}

/// Milliseconds as they stand beside a picture.
fn span(ms: f64) -> String {
    match ms {
        ms if ms >= 1_000.0 => format!("{} s", (ms / 100.0).round() / 10.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{} ms", (ms * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::tests::{evidence, release};

    #[test]
    fn a_release_has_its_four_pictures_over_the_same_time() {
        let plots = of_release(&release(), &evidence());
        let ids: Vec<_> = plots.iter().map(|plot| plot.id.as_str()).collect();
        assert_eq!(ids, ["errors", "latency", "evidence", "share"]);
        assert!(plots.iter().all(|plot| plot.seconds == plots[0].seconds));
        assert_eq!(plots[0].limits, [(0.05, "limit 5%".to_owned())], "the same limit twice is one line");
        assert!(plots[0].description.contains("green: at most 50%"), "{}", plots[0].description);
        assert!(plots[0].description.contains("revert at 3.2 s"), "{}", plots[0].description);
    }

    #[test]
    fn evidence_is_drawn_in_parts_of_what_is_needed() {
        let plot = &of_release(&release(), &evidence())[2];
        assert_eq!(plot.lines.len(), 1, "rules that are not proven have no evidence");
        assert_eq!(plot.lines[0].name, "error rate > 5%");
        let last = plot.lines[0].points.last().and_then(|(_, value)| *value);
        assert_eq!(last, Some(1.25), "10 of 8");
    }

    #[test]
    fn the_candidate_keeps_the_colour_of_its_slot() {
        let mut turned = release();
        (turned.candidate, turned.baseline) = (Slot::Blue, Slot::Green);
        let plot = &of_release(&turned, &evidence())[0];
        let seen: Vec<_> = plot.lines.iter().map(|line| (line.ink, line.dashed)).collect();
        assert_eq!(seen, [(Ink::Green, true), (Ink::Blue, false)]);
    }

    #[test]
    fn nothing_known_draws_all_the_same() {
        let nothing = Evidence::default();
        for plot in of_release(&release(), &nothing) {
            let svg = plot.svg();
            assert!(svg.contains("</svg>") && !svg.contains("NaN"), "{svg}");
        }
    }
}
