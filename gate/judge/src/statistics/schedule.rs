//! How long a block is. It depends on time only, never on outcomes: a block that ended at an error would be a lie.

/// How long blocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// 250 ms in the first minute after a step of traffic, 500 ms until a quarter of an hour, 1 s after that: releases break
    /// early, and few hours of exposure to bursts are spent there.
    #[default]
    Fast,
    /// 1 s throughout, for services with stalls that are known (garbage collection, failovers): a burst below four
    /// seconds can never roll back.
    Robust,
}

/// Length in milliseconds of a block that begins `since_step_ms` after the last step of traffic.
#[must_use]
pub const fn block_ms(profile: Profile, since_step_ms: u64) -> u64 {
    match (profile, since_step_ms) {
        (Profile::Fast, 0..60_000) => 250,
        (Profile::Fast, 60_000..900_000) => 500,
        _ => 1_000,
    }
}
