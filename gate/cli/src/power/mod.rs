//! How well rules can tell, found by running the judge on simulated traffic: before a release, and for the project's proof.
//!
//! Nothing here is a formula typed in. [`release`] puts a whole judge into a release; [`alone`] runs one rule's test on its own,
//! for what needs ten thousand days; [`plan`] asks both what an operator wants to know of a rules file.

pub mod alone;
pub mod figures;
pub mod plan;
pub mod random;
pub mod release;
