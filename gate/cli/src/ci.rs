//! What a pipeline wants of a verdict, beside the exit code: a test report, a summary, outputs. Values in, text out.

pub mod github;
pub mod junit;
pub mod summary;
pub mod tests_told;

use blueback_gate::api::types::{Evidence, Release};

use crate::exit::Exit;

/// How the wait for a release ended, with all that is known.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its evidence, where the gate still has it.
    pub evidence: Option<&'a Evidence>,
    /// How it ended.
    pub exit: Exit,
    /// In one sentence.
    pub text: &'a str,
}
