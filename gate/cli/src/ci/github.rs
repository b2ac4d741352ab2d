//! What GitHub Actions reads: outputs of a step, and annotations.

use super::Verdict;
use crate::exit::Exit;

/// Lines for `$GITHUB_OUTPUT`.
#[must_use]
pub fn outputs(verdict: Verdict<'_>) -> String {
    let line = |text: &str| text.replace(['\n', '\r'], " ");
    format!(
        "outcome={}\nexit-code={}\nrelease={}\ntext={}\n",
        verdict.exit.word(),
        verdict.exit.code(),
        line(&verdict.release.id),
        line(verdict.text)
    )
}

/// The annotation of a verdict, as a workflow command.
#[must_use]
pub fn annotation(verdict: Verdict<'_>) -> String {
    let level = match verdict.exit {
        Exit::Passed => "notice",
        Exit::Reverted => "error",
        _ => "warning",
    };
    let title = format!("{} {}", verdict.release.id, verdict.exit.word());
    format!("::{level} title={}::{}", property(&title), data(verdict.text))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::reverted;

    #[test]
    fn texts_cannot_add_outputs_or_commands() {
        let release = reverted();
        let text = "52% failed\nrelease=other\n::error::x";
        let verdict = Verdict { release: &release, evidence: None, exit: Exit::Reverted, text };
        assert_eq!(outputs(verdict).lines().count(), 4);
        assert!(outputs(verdict).starts_with("outcome=reverted\nexit-code=10\nrelease=shop-3\n"));
        let command = annotation(verdict);
        assert_eq!(command.lines().count(), 1);
        assert!(command.starts_with("::error title=shop-3 reverted::52%25 failed%0A"), "{command}");
    }
}
