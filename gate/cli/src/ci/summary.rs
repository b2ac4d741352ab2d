//! A verdict as Markdown: one line that says it, a table of the rules, and what happened.

use std::fmt::Write as _;

use blueback_gate::api::types::Criterion;

use super::Verdict;
use crate::exit::Exit;
use crate::render;

/// Longest summary, in bytes: GitHub drops one of a mebibyte without a word.
pub const SUMMARY_BYTES_MAX: usize = 900 << 10;

/// The summary, never longer than [`SUMMARY_BYTES_MAX`].
#[must_use]
pub fn markdown(verdict: Verdict<'_>) -> String {
    let release = verdict.release;
    let sign = match verdict.exit {
        Exit::Passed => "✅",
        Exit::Reverted => "❌",
        _ => "⚠️",
    };
    let mut text =
        format!("## {sign} {} {}\n\n{}\n\n", escaped(&release.id), verdict.exit.word(), escaped(verdict.text));
    let _ = writeln!(
        text,
        "{} to {}, {} of the requests{}{}\n",
        render::slot(release.baseline),
        render::slot(release.candidate),
        render::percent(release.target_share),
        release.source_revision.as_ref().map(|it| format!(", revision `{}`", it.replace('`', ""))).unwrap_or_default(),
        release.by.as_ref().map(|by| format!(", by {}", escaped(by))).unwrap_or_default(),
    );
    if let Some(evidence) = verdict.evidence.filter(|evidence| !evidence.criteria.is_empty()) {
        text.push_str("| Rule | List | Measured | Limit | Evidence | |\n|---|---|---:|---:|---:|---|\n");
        for criterion in &evidence.criteria {
            text.push_str(&row(criterion));
        }
        text.push('\n');
    }
    text.push_str("<details><summary>Timeline</summary>\n\n| After | What | |\n|---:|---|---|\n");
    let end = "\n</details>\n";
    for moment in &release.timeline {
        let row =
            format!("| {} | {} | {} |\n", render::span(moment.after_ms), escaped(&moment.what), escaped(&moment.text));
        if text.len() + row.len() + 200 > SUMMARY_BYTES_MAX {
            text.push_str("| | | more than fits here; `blueback explain` has it all |\n");
            break;
        }
        text.push_str(&row);
    }
    text + end
}

fn row(criterion: &Criterion) -> String {
    let (value, limit) = (criterion.candidate.value, criterion.limit);
    let evidence = match (criterion.evidence, criterion.threshold) {
        (Some(evidence), Some(threshold)) => format!("{evidence:.1} of {threshold:.1}"),
        _ => String::new(),
    };
    let word = if criterion.list == "pass" { "holds since" } else { "fired after" };
    let fired = criterion.fired_ms.map(|ms| format!("{word} {}", render::span(ms))).unwrap_or_default();
    format!(
        "| `{}` | {} | {} | {} | {evidence} | {fired} |\n",
        criterion.rule.replace('|', "\\|").replace('`', ""),
        criterion.list,
        value.map(|value| render::value(value, &criterion.unit)).unwrap_or_default(),
        render::value(limit, &criterion.unit),
    )
}

/// What a rule has seen, in words.
pub(super) fn measured(criterion: &Criterion) -> String {
    let seen = criterion.candidate.value.map_or_else(|| "nothing".to_owned(), |it| render::value(it, &criterion.unit));
    format!(
        "{seen} measured, {} requests, the limit is {}",
        criterion.candidate.requests,
        render::value(criterion.limit, &criterion.unit)
    )
}

/// Text that others wrote, as one line in which nothing is markup.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            _ => escaped.push(letter),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{evidence, reverted};

    #[test]
    fn the_verdict_comes_first_and_each_rule_has_a_row() {
        let (release, evidence) = (reverted(), evidence());
        let verdict = Verdict { release: &release, evidence: Some(&evidence), exit: Exit::Reverted, text: "a | <b>" };
        let text = markdown(verdict);
        assert!(text.starts_with("## ❌ shop-3 reverted\n\na \\| &lt;b&gt;\n"), "{text}");
        for criterion in &evidence.criteria {
            assert!(text.contains(&format!("| `{}` | {} |", criterion.rule, criterion.list)), "{text}");
        }
    }

    #[test]
    fn a_long_story_still_fits() {
        let mut release = reverted();
        let moment = release.timeline[0].clone();
        let long = "é <x> ".repeat(200);
        release.timeline =
            (0..1_000).map(|_| blueback_gate::api::types::Moment { text: long.clone(), ..moment.clone() }).collect();
        let text = markdown(Verdict { release: &release, evidence: None, exit: Exit::Held, text: "x" });
        assert!(text.len() <= SUMMARY_BYTES_MAX && text.contains("blueback explain"), "{}", text.len());
        assert!(text.ends_with("</details>\n"));
    }
}
