//! The default evidence: bets on the bad share of whole blocks, restarted in every block.
//!
//! One block (250 ms to 1 s) is one bounded observation, so requests that fail together inside it (one client retrying,
//! one connection pool) cannot pass for certainty; a test that multiplies per request does exactly that. Betting on a
//! bounded mean: Waudby-Smith and Ramdas 2023; restarts paid from a budget of start times: [`super::prior`].

use super::prior::Spending;

/// Shares of the largest admissible bet. Small ones find 6 % against 5 %, large ones find an outage in five blocks.
pub const FRACTIONS: [f64; 8] = [1.0 / 64.0, 1.0 / 32.0, 1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 3.0 / 4.0, 0.98];

/// No data whatsoever fire in fewer blocks: bursts shorter than four blocks can never roll back.
pub const MIN_BLOCKS: u32 = 4;

// A component is kept below this; ln 1e290 is 667 nats, far above every threshold, and a sum of eight cannot overflow.
const MOST: f64 = 1e290;

/// Evidence against "in every block the mean share of bad requests is at most `p0`".
///
/// Kept as plain numbers, not logarithms: each component is reseeded in every block, so it cannot fall below its last
/// seed by more than one block's factor, and it is capped above. That leaves one logarithm a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockBet {
    p0: f64,
    alpha: f64,
    most: f64,
    components: [f64; FRACTIONS.len()],
    spending: Spending,
}

crate::save::saved!(BlockBet { p0, alpha, most, components, spending });

impl BlockBet {
    /// For a limit `p0` and a false-alarm probability `alpha`, both between 0 and 1, that fires in no fewer than
    /// [`MIN_BLOCKS`] blocks.
    #[must_use]
    pub fn new(p0: f64, alpha: f64) -> Self {
        Self::with_min_blocks(p0, alpha, MIN_BLOCKS)
    }

    /// The same with another least number of blocks.
    #[must_use]
    pub fn with_min_blocks(p0: f64, alpha: f64, min_blocks: u32) -> Self {
        let most = (-alpha.ln() / f64::from(min_blocks)).exp();
        Self { p0, alpha, most, components: [0.0; FRACTIONS.len()], spending: Spending::default() }
    }

    /// The same with a part of the weight on likely starts kept for further steps of traffic.
    #[must_use]
    pub fn with_steps(mut self) -> Self {
        self.spending = Spending::with_steps();
        self
    }

    /// More traffic comes with the next block.
    pub fn step(&mut self) {
        self.spending.step();
    }

    /// One block of `seconds` in which `n` requests ended and `x` of them were bad.
    ///
    /// `withheld`: requests that the share at the block's start would have given to green and that were diverted after it
    /// fell in mid-block. Each counts as `p0` of a bad one; without that, bad outcomes would shrink the rest of their own
    /// block, which is optional stopping.
    pub fn block(&mut self, seconds: f64, n: f64, x: f64, withheld: f64) {
        self.seed(seconds);
        if n > 0.0 {
            self.bet((x + self.p0 * withheld) / (n + withheld), self.p0);
        }
    }

    /// Seeds the starts of a block of `seconds`.
    pub(super) fn seed(&mut self, seconds: f64) {
        let mass = self.spending.next(seconds);
        for component in &mut self.components {
            *component += mass;
        }
    }

    /// Bets on one observation `y` between 0 and 1, whose mean is at most `p0` while nothing is wrong.
    pub(super) fn bet(&mut self, y: f64, p0: f64) {
        let gain = (y - p0) / p0;
        for (component, fraction) in self.components.iter_mut().zip(FRACTIONS) {
            *component = (*component * (1.0 + fraction * gain).min(self.most)).min(MOST);
        }
    }

    /// ln E.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        let mean = self.components.iter().sum::<f64>() / FRACTIONS.len() as f64;
        (mean + self.spending.rest()).ln()
    }

    /// ln(1/alpha), which ln E must reach.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        -self.alpha.ln()
    }

    /// The limit it tests.
    #[must_use]
    pub const fn p0(&self) -> f64 {
        self.p0
    }

    /// The evidence is at the threshold now.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.log_e() >= self.threshold()
    }
}
