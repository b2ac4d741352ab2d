//! Green against blue, given the bad requests of the same block: load, dependencies and the time of day cancel.

use super::bernoulli::{LogMixture, ODDS};
use super::block_bet::BlockBet;

/// Odds of green over those of blue that are still no blame: a quarter worse in a shared outage is chance or warmth.
pub const BLAME_MARGIN: f64 = 1.25;
/// Probability of blaming green for an outage that hits both alike. It is a veto, not an alarm, so 1 % is enough.
pub const BLAME_ALPHA: f64 = 1e-2;

/// Counts of one block on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sides {
    /// Green's requests.
    pub green_n: f64,
    /// Of those, bad.
    pub green_x: f64,
    /// Blue's requests.
    pub blue_n: f64,
    /// Of those, bad.
    pub blue_x: f64,
}

impl Sides {
    /// The split of the bad ones says something: both had requests, and somebody failed.
    fn tells(&self) -> bool {
        self.green_x + self.blue_x > 0.0 && self.green_n > 0.0 && self.blue_n > 0.0
    }
}

/// Sharp: each bad request is green's with at most the probability that its share of the traffic and the margin give
/// (conditional binomial; Hoeffding 1963 covers sampling without replacement). For blame only.
#[derive(Clone, Debug, PartialEq)]
pub struct RelBernoulli {
    alpha: f64,
    margin: f64,
    mixture: LogMixture,
}

crate::save::saved!(RelBernoulli { alpha, margin, mixture });

impl RelBernoulli {
    /// With a false-alarm probability `alpha` and a `margin` of at least 1 on the odds.
    #[must_use]
    pub fn new(alpha: f64, margin: f64) -> Self {
        Self { alpha, margin, mixture: LogMixture::new() }
    }

    /// The blame test, with the defaults.
    #[must_use]
    pub fn blame() -> Self {
        Self::new(BLAME_ALPHA, BLAME_MARGIN)
    }

    /// One block of `seconds`.
    pub fn block(&mut self, seconds: f64, sides: &Sides) {
        self.mixture.seed(seconds);
        if !sides.tells() {
            return;
        }
        let green = self.margin * sides.green_n;
        for (component, ratio) in self.mixture.components.iter_mut().zip(ODDS) {
            let shift = ((green + sides.blue_n) / (ratio * green + sides.blue_n)).ln();
            *component += sides.green_x * (ratio.ln() + shift) + sides.blue_x * shift;
        }
    }

    /// ln E.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.mixture.log_e()
    }

    /// The evidence is at the threshold now.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.log_e() >= -self.alpha.ln()
    }
}

/// Robust: green's part of the bad requests of a block is one bounded observation. Four to five times slower than an
/// absolute limit at 50/50, as quick for a small canary.
#[derive(Clone, Debug)]
pub struct RelBlockBet {
    margin: f64,
    bet: BlockBet,
}

impl RelBlockBet {
    /// With a false-alarm probability `alpha` and a `margin` of at least 1 on the odds.
    #[must_use]
    pub fn new(alpha: f64, margin: f64) -> Self {
        Self { margin, bet: BlockBet::new(0.5, alpha) }
    }

    /// One block of `seconds`; `pods` of green and blue where known, because a burst that hits a pod at random lands on
    /// green by its part of the pods, not of the traffic.
    pub fn block(&mut self, seconds: f64, sides: &Sides, pods: Option<(u32, u32)>) {
        self.bet.seed(seconds);
        if !sides.tells() {
            return;
        }
        let part = |green: f64, blue: f64| self.margin * green / (self.margin * green + blue);
        let by_pods = pods.filter(|&(green, blue)| green > 0 && blue > 0);
        let by_pods = by_pods.map_or(0.0, |(green, blue)| part(f64::from(green), f64::from(blue)));
        let most = part(sides.green_n, sides.blue_n).max(by_pods);
        self.bet.bet(sides.green_x / (sides.green_x + sides.blue_x), most);
    }

    /// ln E.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.bet.log_e()
    }
}
