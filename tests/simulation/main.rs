//! The real event loop, ledger, judge and wire form, with simulated agents under virtual time and a bad network.
//!
//! A seed draws a scenario (traffic, harm, agents) and a network that loses, delays, repeats, swaps and garbles reports, cuts
//! connections and kills gate and agents. The same traffic runs once more on a calm network, and both must come to the same
//! verdict. What becomes of a request is a function of the seed and its number alone, so both runs see the same traffic.
//!
//! `BLUEBACK_SEED=N` runs one seed and, with `--nocapture`, prints its story; `BLUEBACK_SEEDS=N` runs that many.

mod agent;
mod claims;
mod clock;
mod clocks;
mod cluster;
mod network;
mod random;
mod retries;
mod scenario;
mod seat;
mod seeds;
mod sidecars;
mod stories;
mod streams;
mod traffic;
mod world;
