//! When did it begin? Weight for every possible start of a change, spent from a budget of one.
//!
//! Most bad releases are bad at once, so half of the weight lies on the switch; the rest is spread evenly over the
//! logarithm of time, so that a start an hour in costs 11 nats and not the 13 of an even spread over a day (Shin, Ramdas,
//! Rinaldo 2022: the same recursion with even weights). The weights sum to one, which is why one alpha covers a release.

/// Weight on the switch itself.
pub const LUMP: f64 = 0.5;
/// Scale of the logarithm in seconds: starts within the first ten seconds are alike.
pub const SCALE_S: f64 = 10.0;
/// After this many seconds no new start is seeded: one day, the last checkpoint.
pub const HORIZON_S: f64 = 86_400.0;

/// Mass of the start times in the block (t0, t1], in seconds since the test began; the first block takes the lump too.
#[must_use]
pub fn mass(t0: f64, t1: f64, first: bool) -> f64 {
    if t0 >= HORIZON_S {
        return 0.0;
    }
    if first {
        return up_to(t1);
    }
    spread() * ((t1.min(HORIZON_S) - t0) / (SCALE_S + t0)).ln_1p()
}

/// Mass of all start times up to `t` seconds.
#[must_use]
pub fn up_to(t: f64) -> f64 {
    if t >= HORIZON_S { 1.0 } else { LUMP + spread() * (t / SCALE_S).ln_1p() }
}

fn spread() -> f64 {
    (1.0 - LUMP) / (HORIZON_S / SCALE_S).ln_1p()
}

/// Spends the mass along a test's own clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spending {
    t: f64,
    spent: f64,
    /// Weight on a start in the next block, beside what is spread over all of them.
    lump: f64,
    /// Weight that is kept for further steps of traffic.
    kept: f64,
}

crate::save::saved!(Spending { t, spent, lump, kept });

impl Default for Spending {
    fn default() -> Self {
        Self { t: 0.0, spent: 0.0, lump: LUMP, kept: 0.0 }
    }
}

impl Spending {
    /// Half of the lump is kept for further steps of traffic, of which nobody knows how many there will be: each takes half of what
    /// is left, so that all of them together never take more.
    #[must_use]
    pub fn with_steps() -> Self {
        Self { lump: 0.5 * LUMP, kept: 0.5 * LUMP, ..Self::default() }
    }

    /// More traffic comes with the next block.
    pub fn step(&mut self) {
        let lump = 0.5 * self.kept;
        self.lump += lump;
        self.kept -= lump;
    }

    /// The mass for the block that covers the next `seconds`.
    pub fn next(&mut self, seconds: f64) -> f64 {
        let mass = std::mem::take(&mut self.lump) + mass(self.t, self.t + seconds, false);
        self.t += seconds;
        self.spent = (self.spent + mass).min(1.0);
        mass
    }

    /// What is not spent yet: the part of the evidence that stays one.
    #[must_use]
    pub fn rest(&self) -> f64 {
        1.0 - self.spent
    }
}
