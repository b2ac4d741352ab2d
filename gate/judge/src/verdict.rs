//! What the judge says, in one form for CI, alert, event and page.

use std::fmt;

use crate::save::{LoadError, Saved, saved, saved_variants};

/// The state of the decision. Only [`Verdict::Revert`] is terminal.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing is wrong, and not enough was seen to say that all is well.
    Watching(Progress),
    /// Sharp evidence of harm: traffic is diverted, all but a trickle, until it is proven or lifted.
    Suspect(Reason),
    /// Proven or persistent harm by green: traffic goes back to blue.
    Revert(Reason),
    /// Every pass rule holds, and the time of this checkpoint has come.
    Pass(Checkpoint),
    /// Harm is seen, but reverting would not help, or a person asked to wait.
    Hold(Reason),
    /// The time to decide is over and the evidence does not reach either way.
    Inconclusive(Reason),
}

/// A moment at which a release is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// `bake`, or the time after the switch as it was written (`30m`, `2h`, `24h`).
    pub name: String,
    /// When it was passed, in milliseconds since the release began.
    pub at_ms: u64,
    /// What was seen, for people.
    pub text: String,
}

/// How far the evidence is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Requests of green that were counted.
    pub requests: u64,
    /// Requests that the slowest pass rule still needs at the present rate; `None` when it would never get there.
    pub requests_needed: Option<u64>,
    /// What was seen and what is missing, for people ("812 of 2,995 requests needed").
    pub text: String,
}

/// Why.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The rule as the operator wrote it; empty when a person decided.
    pub rule: String,
    /// The whole story in one sentence, the same everywhere.
    pub text: String,
    /// What was measured against the rule's limit, where it has one.
    pub measured: Option<Measured>,
    /// Evidence against its threshold, for proven rules.
    pub evidence: Option<Evidence>,
    /// Requests of green that were counted.
    pub requests: u64,
    /// Of those, bad by this rule.
    pub bad: u64,
    /// Requests that the rule still needs, where that is what is missing.
    pub requests_needed: Option<u64>,
    /// Green pods seen.
    pub pods: u32,
    /// The one pod that is at fault, where it is only one.
    pub pod: Option<String>,
    /// Since when it holds, in milliseconds since the release began.
    pub since_ms: u64,
    /// What will change it, for people; the end of `text`.
    pub change: String,
}

/// A measured value against its limit, both in `unit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was seen.
    pub value: f64,
    /// What the rule allows.
    pub limit: f64,
    /// `ratio`, `ms`, `count` or `value`.
    pub unit: &'static str,
}

/// Units, by the number that stands for them in a saved state.
const UNITS: [&str; 4] = ["ratio", "ms", "count", "value"];

impl Saved for Measured {
    fn save(&self, out: &mut Vec<u8>) {
        (self.value, self.limit, UNITS.iter().position(|unit| *unit == self.unit).unwrap_or(0)).save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let (value, limit, unit) = <(f64, f64, usize)>::load(input)?;
        let unit = UNITS.get(unit).ok_or(LoadError::Wrong { what: "unit" })?;
        Ok(Self { value, limit, unit })
    }
}

saved!(Evidence { ln_e, threshold });
saved!(Checkpoint { name, at_ms, text });
saved!(Progress { requests, requests_needed, text });
saved!(Reason { rule, text, measured, evidence, requests, bad, requests_needed, pods, pod, since_ms, change });
saved_variants!(Verdict {
    Watching(Progress) = 0,
    Suspect(Reason) = 1,
    Revert(Reason) = 2,
    Pass(Checkpoint) = 3,
    Hold(Reason) = 4,
    Inconclusive(Reason) = 5,
});

/// Evidence as a logarithm, and the threshold it must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// ln E.
    pub ln_e: f64,
    /// ln(1/alpha).
    pub threshold: f64,
}

impl Verdict {
    /// One word for a column: `watching`, `suspect`, `revert`, `pass`, `hold`, `inconclusive`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Watching(_) => "watching",
            Self::Suspect(_) => "suspect",
            Self::Revert(_) => "revert",
            Self::Pass(_) => "pass",
            Self::Hold(_) => "hold",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// Why, where there is a reason.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Suspect(reason) | Self::Revert(reason) | Self::Hold(reason) | Self::Inconclusive(reason) => {
                Some(reason)
            }
            Self::Watching(_) | Self::Pass(_) => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watching(progress) => f.write_str(&progress.text),
            Self::Pass(checkpoint) => f.write_str(&checkpoint.text),
            Self::Suspect(reason) | Self::Revert(reason) | Self::Hold(reason) | Self::Inconclusive(reason) => {
                f.write_str(&reason.text)
            }
        }
    }
}
