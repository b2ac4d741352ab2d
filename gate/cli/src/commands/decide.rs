//! `blueback revert`, `hold` and `resume`: a person decides.

use std::time::Duration;

use blueback_gate::api::types::{OperatorRequest, Phase};
use tokio::time::{Instant, timeout_at};

use super::{await_::Narrator, failed, find_service, json};
use crate::args::DecideArgs;
use crate::exit::{Exit, Failure};
use crate::follow::Follow;
use crate::{out, render};

/// Longest wait for the steps of a revert: they take a second when nothing is broken.
const REVERTED_MAX: Duration = Duration::from_secs(30);

/// What a person can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Back to what served before.
    Revert,
    /// Nothing happens by itself.
    Hold,
    /// Goes on.
    Resume,
}

impl Verb {
    /// As the API calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Hold => "hold",
            Self::Resume => "resume",
        }
    }
}

pub(super) async fn run(verb: Verb, args: DecideArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let service = find_service(&gate, args.name.as_deref()).await?;
    let request = OperatorRequest { why: args.why, by: Some(args.by.by) };
    let mut release = gate.decide(&service.name, verb.as_str(), &request).await.map_err(failed)?;
    let deadline = Instant::now() + REVERTED_MAX;
    let mut narrator = Narrator::of_the_last(&release);
    let mut follow = Follow::new(gate, release.id.clone());
    while verb == Verb::Revert && release.phase != Phase::Reverted {
        narrator.tell(&release);
        release = timeout_at(deadline, narrator.listen(&mut follow))
            .await
            .map_err(|_| {
                anyhow::anyhow!(
                    "the revert of {0} is accepted, but not done after {1} s; `blueback explain {0}` tells which step is missing",
                    release.id,
                    REVERTED_MAX.as_secs()
                )
            })?
            .map_err(failed)?;
    }
    narrator.tell(&release);
    if args.json {
        out::result(&json(&release)?);
    } else {
        out::result(&format!("{} {}: {}", release.id, render::phase(release.phase), release.verdict.text));
    }
    Ok(Exit::Passed)
}
