//! How a command ends: the exit codes are a contract with scripts and CI, so they are one enum.

use std::fmt;
use std::process::ExitCode;

/// The codes, and what each says about the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; for `await`, the release passed.
    Passed,
    /// 1: the gate could not be reached, or something failed.
    Failed,
    /// 2: the command was used wrongly.
    Usage,
    /// 10: the release was reverted.
    Reverted,
    /// 11: the release is held; a person decides.
    Held,
    /// 12: the evidence does not reach either way.
    Inconclusive,
    /// 13: there was no verdict within the timeout.
    NoVerdict,
    /// 14: a replay comes to another verdict.
    Differs,
}

impl Exit {
    /// The number a shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Reverted => 10,
            Self::Held => 11,
            Self::Inconclusive => 12,
            Self::NoVerdict => 13,
            Self::Differs => 14,
        }
    }

    /// One word for results and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Reverted => "reverted",
            Self::Held => "held",
            Self::Inconclusive => "inconclusive",
            Self::NoVerdict => "no-verdict",
            Self::Differs => "differs",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ended before it had a result.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage: each line names what was wrong, the value, and what is accepted.
    Usage(Vec<String>),
    /// The gate could not be reached, or something failed.
    Failed(anyhow::Error),
}

impl Failure {
    /// Wrong usage with one complaint.
    #[must_use]
    pub fn usage(complaint: impl Into<String>) -> Self {
        Self::Usage(vec![complaint.into()])
    }

    /// What was wrong, one by one; each may have several lines.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        match self {
            Self::Usage(complaints) => complaints.clone(),
            Self::Failed(error) => vec![format!("{error:#}")],
        }
    }

    /// The code to leave with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Failed(_) => Exit::Failed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.complaints().join("\n"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_contract() {
        let codes = [
            (Exit::Passed, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Reverted, 10),
            (Exit::Held, 11),
            (Exit::Inconclusive, 12),
            (Exit::NoVerdict, 13),
            (Exit::Differs, 14),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{}", exit.word());
        }
    }
}
