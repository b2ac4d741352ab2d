//! What other controllers ask: may this go on, must it go back? Argo Rollouts and Flagger read the same verdict.

use crate::api::types::{ArgoVerdict, Phase, Release};

/// A verdict as others need it. Harm comes before everything that was passed earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may go on.
    Pass,
    /// It is, or is being, taken back.
    Fail,
    /// It is too early to say.
    Pending,
    /// It cannot be said, and a person must decide.
    Inconclusive,
}

impl Answer {
    /// What a release's state means to others.
    #[must_use]
    pub fn of(release: &Release) -> Self {
        match release.phase {
            Phase::Reverting | Phase::Reverted => Self::Fail,
            Phase::Held | Phase::Inconclusive => Self::Inconclusive,
            Phase::Passed | Phase::Done => Self::Pass,
            Phase::Superseded if !release.passed.is_empty() => Self::Pass,
            Phase::Superseded => Self::Inconclusive,
            Phase::Watching => Self::Pending,
        }
    }

    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Pending => "pending",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The answer to an analysis. With a revision, a release of another one is no answer yet: the switch is still to come.
#[must_use]
pub fn argo(release: &Release, revision: Option<&str>) -> ArgoVerdict {
    let other = revision.is_some_and(|wanted| release.source_revision.as_deref() != Some(wanted));
    let (answer, text) = if other {
        (Answer::Pending, format!("The newest release, {}, is of another revision", release.id))
    } else {
        (Answer::of(release), release.verdict.text.clone())
    };
    ArgoVerdict {
        service: release.service.clone(),
        release: release.id.clone(),
        revision: release.source_revision.clone(),
        verdict: answer.as_str().to_owned(),
        pass: answer == Answer::Pass,
        fail: answer == Answer::Fail,
        pending: answer == Answer::Pending,
        inconclusive: answer == Answer::Inconclusive,
        phase: release.phase,
        text,
    }
}
