//! A release as a story sees it: by the API, and by the exit code of `blueback await`.

use std::net::SocketAddr;
use std::time::Duration;

use blueback::client::Gate;
use blueback_gate::api::types::{Criterion, Evidence, Moment, Phase, Release};

use crate::stage::SERVICE;
use crate::{Ran, run, until};

/// A release and the gate that has it.
#[derive(Debug)]
pub struct Story {
    gate: Gate,
    api: SocketAddr,
    /// The release's id.
    pub id: String,
}

impl Story {
    pub(crate) fn new(gate: Gate, api: SocketAddr, id: String) -> Self {
        Self { gate, api, id }
    }

    /// The release as it is now.
    ///
    /// # Panics
    ///
    /// When the gate does not answer.
    pub async fn release(&self) -> Release {
        self.gate.release(&self.id).await.unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }

    /// What is known about it, rule by rule.
    ///
    /// # Panics
    ///
    /// When the gate does not answer.
    pub async fn evidence(&self) -> Evidence {
        self.gate.evidence(&self.id).await.unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }

    /// Runs `blueback await` and returns how it ended.
    pub async fn awaited(&self, within: Duration) -> Ran {
        let (url, timeout) = (format!("http://{}", self.api), format!("{}s", within.as_secs()));
        let arguments = ["await", "--gate", &url, SERVICE, "--release", &self.id, "--timeout", &timeout];
        run("blueback", arguments, within + Duration::from_secs(10)).await
    }

    /// Waits until the release meets a condition.
    ///
    /// # Panics
    ///
    /// When it does not within `deadline`.
    pub async fn until(&self, deadline: Duration, what: &str, condition: impl Fn(&Release) -> bool) -> Release {
        until(deadline, what, async || match self.gate.release(&self.id).await {
            Ok(release) if condition(&release) => Ok(release),
            Ok(release) => Err(format!("{release:#?}")),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Waits until what is known about a rule of `revertWhen` meets a condition.
    ///
    /// # Panics
    ///
    /// When it does not within `deadline`.
    pub async fn criterion_until(
        &self,
        deadline: Duration,
        rule: &str,
        condition: impl Fn(&Criterion) -> bool,
    ) -> Criterion {
        until(deadline, rule, async || {
            let evidence = self.gate.evidence(&self.id).await.map_err(|error| error.to_string())?;
            let seen = criterion(&evidence, "revert", rule).clone();
            if condition(&seen) { Ok(seen) } else { Err(format!("{seen:#?}")) }
        })
        .await
    }

    /// Waits until something has happened, by its word in the timeline.
    ///
    /// # Panics
    ///
    /// When it does not within `deadline`.
    pub async fn happened(&self, deadline: Duration, what: &str) -> Moment {
        let release = self.until(deadline, &format!("'{what}'"), |release| moment(release, what).is_some()).await;
        moment(&release, what).cloned().expect("it has just been there")
    }

    /// Waits until the release is in a phase.
    ///
    /// # Panics
    ///
    /// When it is not within `deadline`.
    pub async fn in_phase(&self, deadline: Duration, phase: Phase) -> Release {
        self.until(deadline, &format!("phase {phase:?}"), |release| release.phase == phase).await
    }
}

/// The first moment of the timeline with this word.
#[must_use]
pub fn moment<'a>(release: &'a Release, what: &str) -> Option<&'a Moment> {
    release.timeline.iter().find(|moment| moment.what == what)
}

/// What is known about the rule that the operator wrote as `rule` in `list`.
///
/// # Panics
///
/// When there is no such rule.
#[must_use]
pub fn criterion<'a>(evidence: &'a Evidence, list: &str, rule: &str) -> &'a Criterion {
    let found = evidence.criteria.iter().find(|criterion| criterion.list == list && criterion.rule == rule);
    found.unwrap_or_else(|| panic!("no rule {rule:?} in {list}: {:#?}", evidence.criteria))
}
