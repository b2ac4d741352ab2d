//! What a person looks at and makes sure of after a revert, with the commands filled in.

use crate::api::types::{Evidence, Phase, Release};
use crate::wording;

/// Something to make sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Blueback has seen it done.
    pub done: bool,
    /// What.
    pub text: String,
    /// What to type for it.
    pub command: Option<String>,
}

fn happened(release: &Release, what: &str) -> bool {
    release.timeline.iter().any(|moment| moment.what == what)
}

/// The checklist of a rollback by hand. What Blueback has done itself is ticked; where it has not, or somebody doubts it,
/// the command beside it does it.
pub(super) fn of(release: &Release) -> Vec<Check> {
    let (candidate, baseline) = (wording::slot(release.candidate), wording::slot(release.baseline));
    let (service, id) = (quoted(&release.service), quoted(&release.id));
    let check = |done: bool, text: String, command: Option<String>| Check { done, text, command };
    vec![
        check(
            release.phase == Phase::Reverted || happened(release, "proven"),
            format!("The decision to go back is made and its reason is written down: {}", release.verdict.text),
            Some(format!("blueback revert {service} --why \"…\"")),
        ),
        check(
            happened(release, "reverted"),
            format!("Traffic is back on {baseline}: {candidate} gets 0% of the requests"),
            Some(format!("blueback status {service}")),
        ),
        check(
            happened(release, "verified"),
            format!("{baseline} is ready and answers without errors"),
            Some(format!("blueback explain {id}")),
        ),
        check(happened(release, "released"), format!("{candidate} is let go"), None),
        check(happened(release, "announced"), "The gate has announced the revert".to_owned(), None),
        check(false, format!("The logs of {candidate} are kept before its pods are gone"), None),
        check(false, "Whoever is on call and whoever released know of it".to_owned(), None),
        check(
            false,
            format!(
                "What {candidate} wrote while it served (data, messages, caches, schema) is understood by {baseline}"
            ),
            None,
        ),
        check(
            false,
            "The pipeline does not release the same revision again by itself".to_owned(),
            Some(format!("blueback releases {service}")),
        ),
        check(
            false,
            "The recording is kept for the review, and rules that came too late or too early are tried on it"
                .to_owned(),
            Some(format!(
                "curl -o recording.bin \"$BLUEBACK_GATE/v1/releases/{}/recording\"",
                wording::segment(&release.id)
            )),
        ),
        check(false, "Time, cause and follow-up are written down; the next release waits for them".to_owned(), None),
    ]
}

/// Where to look first, by what was seen.
pub(super) fn look_at(release: &Release, evidence: &Evidence) -> Vec<String> {
    let (candidate, baseline) = (wording::slot(release.candidate), wording::slot(release.baseline));
    let verdict = &release.verdict;
    let mut hints = Vec::new();
    if let Some(pod) = &verdict.pod {
        hints.push(format!(
            "Only {pod} is at fault: compare its node, configuration and restarts with those of the others."
        ));
    }
    let rule = verdict.rule.as_deref().unwrap_or_default();
    let since = verdict.since_ms.map(|ms| format!(" since {}", wording::time(release.started_ms.saturating_add(ms))));
    let since = since.unwrap_or_default();
    if rule.is_empty() && verdict.fail {
        hints.push("A person decided: ask who did, and why, before looking at numbers.".to_owned());
    } else if rule.contains("error rate") {
        hints.push(format!("Logs of {candidate}{since}: errors that {baseline} does not have."));
    } else if rule.contains("latency") {
        hints.push(format!(
            "What {candidate} waits for{since}: queries, locks, calls to others, garbage collection, CPU limits."
        ));
    } else if rule.contains("pods") {
        hints.push(format!("Events and logs of the pods of {candidate}{since}: probes, restarts, memory."));
    }
    for criterion in evidence.criteria.iter().filter(|criterion| criterion.list != "pass" && criterion.rule != rule) {
        if let Some(at) = criterion.fired_ms {
            hints.push(format!("“{}” fired as well, at +{}.", criterion.rule, wording::span(at)));
        }
    }
    let base = evidence.baseline;
    if base.requests > 0 && base.failed.saturating_mul(100) > base.requests {
        hints.push(format!(
            "{baseline} failed too: {} of {}. Something that both use may be at fault.",
            wording::count(base.failed),
            wording::counted(base.requests, "request")
        ));
    }
    if happened(release, "failed") {
        hints.push("A step of the revert did not succeed at once: see “failed” in the timeline.".to_owned());
    }
    if hints.is_empty() {
        hints.push("Nothing in particular: no rule has fired.".to_owned());
    }
    hints
}

/// A name as one word of a shell.
fn quoted(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._/".contains(letter);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let printable = name.chars().filter(|letter| !letter.is_control()).collect::<String>();
    format!("'{}'", printable.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_a_shell() {
        for (name, word) in [
            ("shop-3", "shop-3"),
            ("ns/shop", "ns/shop"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", "'it'\\''s'"),
            ("--gate", "'--gate'"),
            ("a\nb", "'ab'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(name), word);
        }
    }
}
