//! One message for each real change of a release: made from its timeline, once.
//!
//! A revert is seven moments for those who watch it and two messages for everybody else: that it was decided, and that traffic is
//! back. What may come often (a shield that goes up and down) is limited, and what was left out is said; what a person must know
//! is never left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::types::{Moment, Release};

/// A restarted gate tells again what happened in this time before its start, with the same ids.
pub const AGAIN_MS: u64 = 60_000;
/// Most messages a minute about one release, beyond those that a person must have.
pub const MINOR_A_MINUTE_MAX: usize = 12;
/// The same words about the same thing are told once in this time.
const SAME_MS: u64 = 60_000;
const MINUTE_MS: u64 = 60_000;
/// Releases whose telling is remembered; the oldest are forgotten.
const RELEASES_MAX: usize = 1_024;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A release began.
    Started,
    /// Its share was changed by whoever releases.
    Stepped,
    /// The shield is up.
    Shielded,
    /// It is down again.
    Opened,
    /// Both sides fail alike; diverting does not help.
    Shared,
    /// A revert is decided, and begun.
    Reverting,
    /// Traffic is back for good.
    Reverted,
    /// A person must decide.
    Held,
    /// The judge decides again.
    Resumed,
    /// A checkpoint is passed.
    Passed,
    /// All of them are.
    Done,
    /// There was not enough evidence in time.
    Inconclusive,
    /// A step of a revert does not succeed.
    StepFailing,
    /// A rule of `alertWhen` holds.
    Alert,
    /// Somebody raised a signal, or said that it is over.
    Signal,
    /// A newer switch took its place.
    Superseded,
}

impl Kind {
    /// What a moment of the timeline is to those who do not watch it. `None` for steps that nobody needs to be told.
    #[must_use]
    pub fn of(what: &str) -> Option<Self> {
        Some(match what {
            "switched" => Self::Started,
            "stepped" => Self::Stepped,
            "shielded" => Self::Shielded,
            "opened" => Self::Opened,
            "shared" => Self::Shared,
            "proven" => Self::Reverting,
            "reverted" => Self::Reverted,
            "held" => Self::Held,
            "resumed" => Self::Resumed,
            "passed" => Self::Passed,
            "done" => Self::Done,
            "inconclusive" => Self::Inconclusive,
            "failed" => Self::StepFailing,
            "alert" => Self::Alert,
            "signal" => Self::Signal,
            "superseded" => Self::Superseded,
            _ => return None,
        })
    }

    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stepped => "stepped",
            Self::Shielded => "shielded",
            Self::Opened => "opened",
            Self::Shared => "shared",
            Self::Reverting => "reverting",
            Self::Reverted => "reverted",
            Self::Held => "held",
            Self::Resumed => "resumed",
            Self::Passed => "passed",
            Self::Done => "done",
            Self::Inconclusive => "inconclusive",
            Self::StepFailing => "step-failing",
            Self::Alert => "alert",
            Self::Signal => "signal",
            Self::Superseded => "superseded",
        }
    }

    /// `critical` when a person must act, `warning` when one should look, `info` otherwise.
    #[must_use]
    pub const fn severity(self) -> &'static str {
        match self {
            Self::Held | Self::StepFailing => "critical",
            Self::Reverting | Self::Reverted | Self::Shielded | Self::Shared | Self::Inconclusive | Self::Alert => {
                "warning"
            }
            _ => "info",
        }
    }

    /// Told whatever else was told before.
    const fn is_major(self) -> bool {
        !matches!(
            self,
            Self::Stepped
                | Self::Shielded
                | Self::Opened
                | Self::Shared
                | Self::StepFailing
                | Self::Alert
                | Self::Signal
        )
    }

    /// The runbook about it.
    #[must_use]
    pub const fn runbook(self) -> Option<&'static str> {
        match self {
            Self::Reverting | Self::Reverted => Some("RB-003"),
            Self::StepFailing => Some("RB-010"),
            Self::Held | Self::Inconclusive | Self::Shielded | Self::Shared | Self::Alert => Some("RB-009"),
            _ => None,
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Follows from what is told, so the same news have the same id, from whichever gate they come.
    pub id: String,
    /// What changed.
    pub kind: Kind,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// The story for people.
    pub text: String,
    /// Messages about the release that were left out before this one.
    pub omitted: usize,
    /// The release as it was when this was told.
    pub release: Arc<Release>,
}

impl News {
    /// What happened to which service, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let service = &self.release.service;
        match self.kind {
            Kind::Started => format!("A release of {service} began"),
            Kind::Stepped => format!("The release of {service} got another share"),
            Kind::Shielded => format!("The release of {service} is shielded"),
            Kind::Opened => format!("The shield of {service} is down again"),
            Kind::Shared => format!("Both sides of {service} fail alike"),
            Kind::Reverting => format!("The release of {service} is being reverted"),
            Kind::Reverted => format!("The release of {service} was reverted"),
            Kind::Held => format!("The release of {service} is held: a person must decide"),
            Kind::Resumed => format!("The release of {service} goes on"),
            Kind::Passed => format!("The release of {service} passed a checkpoint"),
            Kind::Done => format!("The release of {service} is done"),
            Kind::Inconclusive => format!("The release of {service} could not be judged"),
            Kind::StepFailing => format!("The revert of {service} does not get through"),
            Kind::Alert => format!("A rule of alertWhen holds for {service}"),
            Kind::Signal => format!("A signal about {service}"),
            Kind::Superseded => format!("A newer release of {service} took the place"),
        }
    }
}

#[derive(Debug, Default)]
struct Told {
    started_ms: u64,
    /// Moments that were looked at.
    moments: usize,
    /// When minor messages were told, within the last minute.
    minor: Vec<u64>,
    omitted: usize,
    last: BTreeMap<Kind, (u64, String)>,
}

/// Reads timelines, and knows what it has told.
#[derive(Debug)]
pub struct Reader {
    began_ms: u64,
    told: BTreeMap<String, Told>,
}

impl Reader {
    /// A reader that knows nothing yet; what happened well before `began_ms` was told by somebody else.
    #[must_use]
    pub const fn new(began_ms: u64) -> Self {
        Self { began_ms, told: BTreeMap::new() }
    }

    /// What is new about this release.
    pub fn read(&mut self, release: &Arc<Release>, now_ms: u64) -> Vec<News> {
        if !self.told.contains_key(&release.id) {
            self.make_room();
        }
        let floor_ms = self.began_ms.saturating_sub(AGAIN_MS);
        let told = self.told.entry(release.id.clone()).or_default();
        told.started_ms = release.started_ms;
        // A gate that was killed may come back with less than it has told.
        told.moments = told.moments.min(release.timeline.len());
        let first = std::mem::replace(&mut told.moments, release.timeline.len());
        let mut news = Vec::new();
        for (place, moment) in release.timeline.iter().enumerate().skip(first).filter(|(_, it)| it.at_ms >= floor_ms) {
            if let Some(kind) = Kind::of(&moment.what)
                && told.lets_pass(kind, moment, now_ms)
            {
                let id = format!("{}/{}-{place}/{}", release.id, moment.at_ms, kind.as_str());
                let omitted = std::mem::take(&mut told.omitted);
                let (at_ms, text) = (moment.at_ms, moment.text.clone());
                news.push(News { id, kind, at_ms, text, omitted, release: Arc::clone(release) });
            }
        }
        news
    }

    fn make_room(&mut self) {
        if self.told.len() >= RELEASES_MAX {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.started_ms).map(|(id, _)| id.clone());
            oldest.map(|id| self.told.remove(&id));
        }
    }
}

impl Told {
    fn lets_pass(&mut self, kind: Kind, moment: &Moment, now_ms: u64) -> bool {
        if kind.is_major() {
            return true;
        }
        let same = |(at, text): &(u64, String)| *text == moment.text && moment.at_ms.saturating_sub(*at) < SAME_MS;
        if self.last.get(&kind).is_some_and(same) {
            return false;
        }
        self.minor.retain(|at| now_ms.saturating_sub(*at) < MINUTE_MS);
        if self.minor.len() >= MINOR_A_MINUTE_MAX {
            self.omitted += 1;
            return false;
        }
        self.minor.push(now_ms);
        self.last.insert(kind, (moment.at_ms, moment.text.clone()));
        true
    }
}
