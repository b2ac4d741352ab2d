//! The statistics: evidence as numbers, without any notion of agents, rules or time zones.
//!
//! Each test is a nonnegative supermartingale that starts at one while nothing is wrong, so by Ville's inequality (1939)
//! the probability that it ever reaches 1/alpha is at most alpha, no matter how often it is looked at. What was turned
//! down: fixed-size tests (looking often makes them lie), CUSUM resets (an average run length is no probability a
//! release), and one test without restarts (healthy traffic drives it down without limit, so late harm goes unseen).

pub mod bernoulli;
pub mod block_bet;
pub mod decision;
pub mod divert;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;
pub mod mixture;
pub mod numerics;
pub mod pass;
pub mod prior;
pub mod reference;
pub mod relative;
pub mod schedule;
pub mod shield;
pub mod shield_test;
