//! The decision, and nothing else: rules in the operator's words, evidence, verdicts.
//!
//! Same observations in, same verdict out, on any machine, at any speed. Time is a number the caller gives (milliseconds
//! since the release began); there is no I/O, no clock and no async here.

mod criteria;
mod judge;
mod metric;
mod observation;
pub mod rules;
mod save;
pub mod statistics;
mod tally;
mod text;
mod verdict;

pub use judge::Judge;
pub use observation::{Allowance, CriterionView, Observation, PodFate, PodState, Seen, ShieldState, Start};
pub use rules::{Explained, Moment, Rule, RuleError, Rules, Spec};
pub use save::LoadError;
pub use verdict::{Checkpoint, Evidence, Measured, Progress, Reason, Verdict};
