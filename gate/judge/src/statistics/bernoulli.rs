//! Sharp evidence that trusts requests to fail independently: near the information bound, and fooled by any burst.
//!
//! For reports and comparison; what raises the shield is its clipped relative, [`super::shield_test`].

use super::numerics::{log_add_exp, log_sum_exp};
use super::prior::Spending;

/// Alternatives, as multiples of the odds of the limit.
pub const ODDS: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];

/// Likelihood ratios with restarts, as logarithms: what the sharp tests have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogMixture {
    pub(super) components: [f64; ODDS.len()],
    spending: Spending,
}

crate::save::saved!(LogMixture { components, spending });

impl LogMixture {
    pub(super) fn new() -> Self {
        Self { components: [f64::NEG_INFINITY; ODDS.len()], spending: Spending::default() }
    }

    pub(super) fn seed(&mut self, seconds: f64) {
        let mass = self.spending.next(seconds);
        if mass > 0.0 {
            let mass = mass.ln();
            for component in &mut self.components {
                *component = log_add_exp(*component, mass);
            }
        }
    }

    pub(super) fn log_e(&self) -> f64 {
        let mean = log_sum_exp(&self.components) - (ODDS.len() as f64).ln();
        let rest = self.spending.rest();
        if rest > 0.0 { log_add_exp(mean, rest.ln()) } else { mean }
    }
}

/// ln of the likelihood ratio of a bad and of a good request, for odds `ratio` times those of `p0`.
pub(super) fn gains(p0: f64, ratio: f64) -> (f64, f64) {
    let theta = ratio * p0 / (1.0 - p0 + ratio * p0);
    ((theta / p0).ln(), (-theta).ln_1p() - (-p0).ln_1p())
}

/// Evidence against "every request is bad with probability at most `p0`, whatever came before".
#[derive(Clone, Debug)]
pub struct BernoulliChange {
    gains: [(f64, f64); ODDS.len()],
    mixture: LogMixture,
}

impl BernoulliChange {
    /// For a limit `p0` between 0 and 1.
    #[must_use]
    pub fn new(p0: f64) -> Self {
        Self { gains: ODDS.map(|ratio| gains(p0, ratio)), mixture: LogMixture::new() }
    }

    /// `seconds` in which `n` requests ended, `x` of them bad.
    pub fn block(&mut self, seconds: f64, n: f64, x: f64) {
        self.mixture.seed(seconds);
        for (component, (bad, good)) in self.mixture.components.iter_mut().zip(self.gains) {
            *component += x * bad + (n - x) * good;
        }
    }

    /// ln E.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        self.mixture.log_e()
    }
}
