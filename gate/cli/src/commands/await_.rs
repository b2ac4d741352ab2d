//! `blueback await`: the verdict of a release as an exit code.
//!
//! The gate may restart meanwhile; only the timeout ends the wait. A revert is waited for to its end, so that whoever
//! reads the exit code finds the traffic back where it was.

use std::time::Duration;

use blueback_gate::api::types::{Phase, Release};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{failed, find_service, json, newest_release};
use crate::args::{AwaitArgs, WaitArgs};
use crate::client::{Gate, GateError};
use crate::exit::{Exit, Failure};
use crate::follow::{Follow, patiently};
use crate::{out, render};

/// Longest wait for the steps of a revert once it is decided.
const REVERTING_MAX: Duration = Duration::from_secs(60);
/// Least time between two lines that only tell progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// A checkpoint by its name.
    Checkpoint(String),
    /// All of them.
    Done,
}

impl Until {
    /// As typed.
    #[must_use]
    pub fn new(name: &str) -> Self {
        if name == "done" { Self::Done } else { Self::Checkpoint(name.to_owned()) }
    }

    fn is_reached(&self, release: &Release) -> bool {
        match self {
            Self::Checkpoint(name) => release.passed.contains(name),
            Self::Done => release.phase == Phase::Done,
        }
    }
}

/// How the wait ends in this state, if it does. Harm comes before everything that was passed earlier.
///
/// # Errors
/// When the release is over and has no such checkpoint.
pub fn ending(release: &Release, until: &Until) -> Result<Option<Exit>, Failure> {
    Ok(match release.phase {
        Phase::Reverted => Some(Exit::Reverted),
        Phase::Reverting => None,
        Phase::Held => Some(Exit::Held),
        _ if until.is_reached(release) => Some(Exit::Passed),
        Phase::Inconclusive | Phase::Superseded => Some(Exit::Inconclusive),
        Phase::Done => {
            return Err(Failure::usage(format!(
                "--until: {} has no such checkpoint; accepted: {}, done",
                release.id,
                release.passed.join(", ")
            )));
        }
        Phase::Watching | Phase::Passed => None,
    })
}

/// The result as JSON.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    outcome: &'static str,
    exit_code: u8,
    text: &'a str,
    release: &'a Release,
}

pub(super) async fn run(args: AwaitArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let deadline = Instant::now() + args.waiting.timeout;
    let release = timeout_at(deadline, async {
        match &args.release {
            Some(id) => patiently(async || gate.release(id).await).await.map_err(failed),
            None => newest_release(&gate, &find_service(&gate, args.name.as_deref()).await?).await,
        }
    })
    .await
    .map_err(|_| Failure::Failed(anyhow::anyhow!("{} did not answer within the timeout", gate.url())))??;
    if let Some(name) = args.name.filter(|name| *name != release.service) {
        return Err(Failure::usage(format!(
            "--release: {} is a release of '{}', not of '{name}'",
            release.id, release.service
        )));
    }
    verdict(&gate, release, &args.waiting, deadline).await
}

/// Waits for the verdict of `release`, tells the story on the way, and prints the result.
pub(super) async fn verdict(
    gate: &Gate,
    release: Release,
    waiting: &WaitArgs,
    deadline: Instant,
) -> Result<Exit, Failure> {
    let until = Until::new(&waiting.until);
    out::story(&format!(
        "{}: {} to {}, waiting for {} (at most {})",
        release.id,
        render::slot_styled(release.baseline),
        render::slot_styled(release.candidate),
        waiting.until,
        humantime::format_duration(waiting.timeout),
    ));
    let mut narrator = Narrator::default();
    let mut follow = Follow::new(gate.clone(), release.id.clone());
    let mut release = release;
    let mut reverting_since = None;
    let exit = loop {
        narrator.tell(&release);
        if let Some(exit) = ending(&release, &until)? {
            break exit;
        }
        let mut wake = deadline;
        if release.phase == Phase::Reverting {
            wake = wake.min(*reverting_since.get_or_insert_with(Instant::now) + REVERTING_MAX);
        }
        match timeout_at(wake, narrator.listen(&mut follow)).await {
            Ok(Ok(newer)) => release = newer,
            Ok(Err(error)) if error.is_unknown() => {
                return Err(Failure::Failed(anyhow::anyhow!(
                    "the gate does not know {} any more; it was restarted without its store",
                    release.id
                )));
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) if release.phase == Phase::Reverting => break Exit::Reverted,
            Err(_) => break Exit::NoVerdict,
        }
    };
    let text = result_text(&release, exit, &waiting.until);
    if waiting.json {
        let outcome = Outcome { outcome: exit.word(), exit_code: exit.code(), text: &text, release: &release };
        out::result(&json(&outcome)?);
    } else {
        out::result(&format!("{} {}: {text}", release.id, exit.word()));
    }
    Ok(exit)
}

/// The result in one sentence.
fn result_text(release: &Release, exit: Exit, until: &str) -> String {
    let verdict = &release.verdict;
    match exit {
        // Only a person reverts without a rule.
        Exit::Reverted if verdict.rule.as_deref().is_none_or(str::is_empty) => {
            format!("by a person: {}", verdict.text)
        }
        Exit::Reverted if release.phase == Phase::Reverting => {
            format!("{} (the traffic is not yet back on {})", verdict.text, render::slot(release.baseline))
        }
        Exit::NoVerdict => format!("{until} was not reached in time; {}", verdict.text),
        Exit::Inconclusive if release.phase == Phase::Superseded => "a newer switch took its place".to_owned(),
        _ => verdict.text.clone(),
    }
}

/// Tells what is new, once.
#[derive(Debug, Default)]
pub(super) struct Narrator {
    told: usize,
    progress: String,
    progress_at: Option<Instant>,
}

impl Narrator {
    /// For somebody who knows all but the last moment of this release.
    pub(super) fn of_the_last(release: &Release) -> Self {
        Self { told: release.timeline.len().saturating_sub(1), ..Self::default() }
    }

    /// Tells the moments not yet told, and now and then the progress.
    pub(super) fn tell(&mut self, release: &Release) {
        // A gate that was restarted may know less than it has told us.
        self.told = self.told.min(release.timeline.len());
        let news = &release.timeline[self.told..];
        self.told = release.timeline.len();
        for event in news {
            out::story(&render::moment(event));
        }
        let text = &release.verdict.text;
        let is_due = self.progress_at.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if news.is_empty() && release.verdict.verdict == "watching" && is_due && *text != self.progress {
            out::story(&format!("              {text}"));
            text.clone_into(&mut self.progress);
            self.progress_at = Some(Instant::now());
        }
    }

    /// The next state; tells when the gate is lost and when it is back.
    pub(super) async fn listen(&self, follow: &mut Follow) -> Result<Release, GateError> {
        let mut is_lost = false;
        loop {
            match follow.next().await? {
                Some(release) => {
                    if is_lost {
                        out::story("              the gate is back");
                    }
                    return Ok(release);
                }
                None => {
                    out::story("              the gate cannot be reached; trying again until the timeout");
                    is_lost = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::reverted;

    fn release(phase: Phase, passed: &[&str]) -> Release {
        Release { phase, passed: passed.iter().map(|&name| name.to_owned()).collect(), ..reverted() }
    }

    #[test]
    fn each_phase_ends_as_the_contract_says() {
        let cases = [
            (Phase::Watching, &[][..], None),
            (Phase::Passed, &["bake"], Some(Exit::Passed)),
            (Phase::Done, &["bake", "30m"], Some(Exit::Passed)),
            (Phase::Reverting, &[], None),
            (Phase::Reverted, &["bake"], Some(Exit::Reverted)),
            (Phase::Held, &["bake"], Some(Exit::Held)),
            (Phase::Inconclusive, &[], Some(Exit::Inconclusive)),
            (Phase::Superseded, &[], Some(Exit::Inconclusive)),
            (Phase::Superseded, &["bake"], Some(Exit::Passed)),
        ];
        for (phase, passed, expected) in cases {
            let exit = ending(&release(phase, passed), &Until::new("bake")).expect("bake is a checkpoint");
            assert_eq!(exit, expected, "{phase:?} {passed:?}");
        }
    }

    #[test]
    fn later_checkpoints_are_waited_for() {
        let until = Until::new("30m");
        assert_eq!(ending(&release(Phase::Passed, &["bake"]), &until).ok().flatten(), None);
        assert_eq!(ending(&release(Phase::Passed, &["bake", "30m"]), &until).ok().flatten(), Some(Exit::Passed));
        let done = Until::new("done");
        assert_eq!(ending(&release(Phase::Passed, &["bake", "30m"]), &done).ok().flatten(), None);
        assert_eq!(ending(&release(Phase::Done, &["bake", "30m"]), &done).ok().flatten(), Some(Exit::Passed));
    }

    #[test]
    fn a_checkpoint_that_never_comes_is_wrong_usage() {
        let failure = ending(&release(Phase::Done, &["bake", "30m"]), &Until::new("3h")).expect_err("there is no 3h");
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("bake, 30m, done"), "{failure}");
    }

    #[test]
    fn a_persons_revert_is_told_as_such() {
        let mut release = reverted();
        assert!(!result_text(&release, Exit::Reverted, "bake").contains("person"));
        release.verdict.rule = None;
        release.verdict.text = "reverted by ada: wrong prices".to_owned();
        assert_eq!(result_text(&release, Exit::Reverted, "bake"), "by a person: reverted by ada: wrong prices");
    }
}
