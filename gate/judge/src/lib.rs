//! The decision, and nothing else: rules in the operator's words, evidence, verdicts.
//!
//! Same observations in, same verdict out, on any machine, at any speed. Time is a number the caller gives (milliseconds
//! since the release began); there is no I/O, no clock and no async here.

mod verdict;

pub use verdict::{Checkpoint, Evidence, Measured, Progress, Reason, Verdict};
