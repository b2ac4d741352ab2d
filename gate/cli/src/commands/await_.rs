//! `blueback await`: the verdict of a release as an exit code.
//!
//! The gate may restart meanwhile; only the timeout ends the wait. A revert is waited for to its end, so that whoever
//! reads the exit code finds the traffic back where it was.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use blueback_gate::api::types::{Phase, Release};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{failed, find_service, json, newest_release};
use crate::args::{AwaitArgs, WaitArgs};
use crate::client::{Gate, GateError};
use crate::exit::{Exit, Failure};
use crate::follow::{Follow, patiently};
use crate::{ci, out, render};

/// Longest wait for the steps of a revert once it is decided.
const REVERTING_MAX: Duration = Duration::from_secs(60);
/// Least time between two lines that only tell progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Time between two looks for a release that has not begun.
const APPEARS_EVERY: Duration = Duration::from_secs(1);

/// Time between two pictures of the line of progress.
const LINE_EVERY: Duration = Duration::from_millis(200);

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
        if let Some(id) = &args.release {
            return patiently(async || gate.release(id).await).await.map_err(failed);
        }
        let service = find_service(&gate, args.name.as_deref()).await?;
        match &args.revision {
            Some(revision) => release_of(&gate, &service.name, revision).await,
            None => newest_release(&gate, &service).await,
        }
    })
    .await;
    let release = match (release, &args.revision) {
        (Ok(release), _) => release?,
        (Err(_), Some(revision)) => {
            out::story(&format!("error: no release of revision {revision} began within the timeout"));
            return Ok(Exit::NoVerdict);
        }
        (Err(_), None) => {
            return Err(Failure::Failed(anyhow::anyhow!("{} did not answer within the timeout", gate.url())));
        }
    };
    if let Some(name) = args.name.filter(|name| *name != release.service) {
        return Err(Failure::usage(format!(
            "--release: {} is a release of '{}', not of '{name}'",
            release.id, release.service
        )));
    }
    verdict(&gate, release, &args.waiting, deadline).await
}

/// The newest release of a revision; waits while there is none, as whoever switches may be behind.
async fn release_of(gate: &Gate, service: &str, revision: &str) -> Result<Release, Failure> {
    let mut told = false;
    loop {
        let releases = patiently(async || gate.releases(Some(service)).await).await.map_err(failed)?;
        let is_of = |release: &Release| release.source_revision.as_deref() == Some(revision);
        if let Some(release) = releases.into_iter().find(is_of) {
            return Ok(release);
        }
        if !std::mem::replace(&mut told, true) {
            out::story(&format!("{service} has no release of revision {revision} yet; waiting for one"));
        }
        tokio::time::sleep(APPEARS_EVERY).await;
    }
}

/// Waits for the verdict of `release`, tells the story on the way, and prints the result.
pub(super) async fn verdict(
    gate: &Gate,
    release: Release,
    waiting: &WaitArgs,
    deadline: Instant,
) -> Result<Exit, Failure> {
    let until = Until::new(&waiting.until);
    let files = Files::open(waiting)?;
    out::story(&format!(
        "{}: {} to {}, waiting for {} (at most {})",
        release.id,
        render::slot_styled(release.baseline),
        render::slot_styled(release.candidate),
        waiting.until,
        humantime::format_duration(waiting.timeout),
    ));
    let mut narrator = Narrator::with_progress();
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
    narrator.end();
    let text = result_text(&release, exit, &waiting.until);
    // The gate may be gone by now; the verdict stands without its evidence.
    let evidence = if files.is_none() { None } else { gate.evidence(&release.id).await.ok() };
    files.write(ci::Verdict { release: &release, evidence: evidence.as_ref(), exit, text: &text });
    if waiting.json {
        let outcome = Outcome { outcome: exit.word(), exit_code: exit.code(), text: &text, release: &release };
        out::result(&json(&outcome)?);
    } else {
        out::result(&format!("{} {}: {text}", release.id, exit.word()));
    }
    Ok(exit)
}

/// Files that are written at the end. They are opened at the beginning: a wrong path is better known before the wait.
#[derive(Debug, Default)]
struct Files {
    junit: Option<(PathBuf, File)>,
    summary: Option<(PathBuf, File)>,
    step_summary: Option<(PathBuf, File)>,
    output: Option<(PathBuf, File)>,
    github: bool,
}

impl Files {
    fn open(waiting: &WaitArgs) -> Result<Self, Failure> {
        let mut wrong = Vec::new();
        let mut open = |flag: &str, path: Option<&PathBuf>, append: bool| {
            let path = path?;
            let file = File::options().create(true).write(!append).append(append).truncate(!append).open(path);
            match file {
                Ok(file) => Some((path.clone(), file)),
                Err(error) => {
                    wrong.push(format!("{flag} {}: {error}; a file that can be written is accepted", path.display()));
                    None
                }
            }
        };
        let within = |path: &'_ Option<PathBuf>| waiting.github.then(|| path.clone()).flatten();
        let files = Self {
            junit: open("--junit", waiting.junit.as_ref(), false),
            summary: open("--summary", waiting.summary.as_ref(), false),
            step_summary: open("GITHUB_STEP_SUMMARY", within(&waiting.github_step_summary).as_ref(), true),
            output: open("GITHUB_OUTPUT", within(&waiting.github_output).as_ref(), true),
            github: waiting.github,
        };
        if wrong.is_empty() { Ok(files) } else { Err(Failure::Usage(wrong)) }
    }

    const fn is_none(&self) -> bool {
        self.junit.is_none() && self.summary.is_none() && self.step_summary.is_none()
    }

    /// What cannot be written is told; the verdict stays what it is.
    fn write(self, verdict: ci::Verdict<'_>) {
        let summary = ci::summary::markdown(verdict);
        let texts = [
            (self.junit, ci::junit::report(verdict)),
            (self.summary, Ok(summary.clone())),
            (self.step_summary, Ok(summary)),
            (self.output, Ok(ci::github::outputs(verdict))),
        ];
        for (file, text) in texts {
            let Some((path, mut file)) = file else { continue };
            let written = text.and_then(|text| Ok(file.write_all(text.as_bytes())?));
            if let Err(error) = written {
                out::story(&format!("warning: {}: {error:#}", path.display()));
            }
        }
        if self.github {
            out::story(&ci::github::annotation(verdict));
        }
    }
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
    /// A line that is written over, where somebody looks at a terminal.
    line: Option<ProgressBar>,
}

impl Narrator {
    /// For somebody who knows all but the last moment of this release.
    pub(super) fn of_the_last(release: &Release) -> Self {
        Self { told: release.timeline.len().saturating_sub(1), ..Self::default() }
    }

    /// With a line of progress at the bottom of a terminal; elsewhere a line is written now and then.
    fn with_progress() -> Self {
        let line = std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::new_spinner();
            line.set_style(
                ProgressStyle::with_template("{spinner} {elapsed:>10}  {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            line.enable_steady_tick(LINE_EVERY);
            line
        });
        Self { line, ..Self::default() }
    }

    /// Nothing more is waited for.
    fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.suspend(|| out::story(text)),
            None => out::story(text),
        }
    }

    /// Tells the moments not yet told, and now and then the progress.
    pub(super) fn tell(&mut self, release: &Release) {
        // A gate that was restarted may know less than it has told us.
        self.told = self.told.min(release.timeline.len());
        let news = &release.timeline[self.told..];
        self.told = release.timeline.len();
        for event in news {
            self.say(&render::moment(event));
        }
        let text = &release.verdict.text;
        if let Some(line) = &self.line {
            line.set_message(text.clone());
            return;
        }
        let is_due = self.progress_at.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        if news.is_empty() && release.verdict.verdict == "watching" && is_due && *text != self.progress {
            self.say(&format!("              {text}"));
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
                        self.say("              the gate is back");
                    }
                    return Ok(release);
                }
                None => {
                    self.say("              the gate cannot be reached; trying again until the timeout");
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
