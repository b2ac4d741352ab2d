//! A verdict as JUnit XML: a test case for the release, and one for each of its rules.
//!
//! A rule of `revertWhen` fails when it fired. A rule of `passWhen` that does not hold is skipped, with what was measured: it keeps a
//! release from passing, and is no failure of it.

use std::time::Duration;

use blueback_gate::api::types::Criterion;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Verdict;
use crate::exit::Exit;
use crate::render;

/// The report.
///
/// # Errors
/// When a text cannot be written as XML.
pub fn report(verdict: Verdict<'_>) -> anyhow::Result<String> {
    let release = verdict.release;
    let mut suite = TestSuite::new(format!("blueback {}", release.service));
    suite.add_test_case(of_release(verdict));
    for criterion in verdict.evidence.iter().flat_map(|evidence| &evidence.criteria) {
        suite.add_test_case(of_rule(verdict, criterion));
    }
    let ended_ms = release.timeline.last().map_or(release.started_ms, |last| last.at_ms);
    suite.set_time(Duration::from_millis(ended_ms.saturating_sub(release.started_ms)));
    let mut report = Report::new("blueback");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

fn of_release(verdict: Verdict<'_>) -> TestCase {
    let release = verdict.release;
    let status = match verdict.exit {
        Exit::Passed => TestCaseStatus::success(),
        Exit::Reverted => failed(NonSuccessKind::Failure, verdict),
        // What could not be decided is no failure of the release, and no success either.
        _ => failed(NonSuccessKind::Error, verdict),
    };
    let mut case = TestCase::new(format!("release {}", release.id), status);
    case.set_classname(format!("blueback.{}", release.service));
    let story: Vec<String> = release.timeline.iter().map(plain_moment).collect();
    case.set_system_out(story.join("\n"));
    case
}

fn failed(kind: NonSuccessKind, verdict: Verdict<'_>) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(verdict.text).set_type(verdict.exit.word());
    status
}

fn of_rule(verdict: Verdict<'_>, criterion: &Criterion) -> TestCase {
    let told = super::summary::measured(criterion);
    let status = match (criterion.list.as_str(), criterion.fired_ms) {
        ("revert", Some(fired_ms)) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type("fired").set_message(format!("{told}, {} after the switch", render::span(fired_ms)));
            status
        }
        ("pass", None) if verdict.exit != Exit::Passed => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(told);
            status
        }
        _ => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(criterion.rule.clone(), status);
    case.set_classname(format!("blueback.{}.{}When", verdict.release.service, criterion.list));
    case
}

/// A line of the timeline, without colours.
fn plain_moment(moment: &blueback_gate::api::types::Moment) -> String {
    format!("+{} {} {}", render::span(moment.after_ms), moment.what, moment.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::tests_told::read;
    use crate::render::tests::{evidence, reverted};

    #[test]
    fn a_revert_is_a_failure_with_its_rule() {
        let (release, evidence) = (reverted(), evidence());
        let verdict =
            Verdict { release: &release, evidence: Some(&evidence), exit: Exit::Reverted, text: "52% <failed> & more" };
        let xml = report(verdict).expect("it is XML");
        assert!(xml.contains("52% &lt;failed&gt; &amp; more"), "{xml}");
        let told = read(&xml).expect("we read what we write");
        assert!(told.failed.iter().any(|name| name == "release shop-3"), "{told:?}");
        assert!(told.tests > evidence.criteria.len(), "{told:?}");
    }

    #[test]
    fn what_passed_has_no_failure() {
        let release = reverted();
        let verdict = Verdict { release: &release, evidence: None, exit: Exit::Passed, text: "well" };
        let told = read(&report(verdict).expect("it is XML")).expect("we read what we write");
        assert_eq!((told.tests, told.failed.len()), (1, 0));
        let verdict = Verdict { exit: Exit::Held, ..verdict };
        let told = read(&report(verdict).expect("it is XML")).expect("we read what we write");
        assert_eq!(told.failed, ["release shop-3"]);
    }
}
