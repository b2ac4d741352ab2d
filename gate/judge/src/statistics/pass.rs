//! The pass test: evidence that the rate is below a target, at every look.
//!
//! It trusts independence; the bake time is what covers bursts. Betting on blocks would gain 0.001 nats a block against a
//! target of 0.1 %, an hour for what this says in a minute.

use super::numerics::log_sum_exp;
use super::reference::kl;

/// Alternatives as multiples of the target.
pub const SCALES: [f64; 5] = [0.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 3.0 / 4.0];
/// Probability of passing a release that is exactly at the target.
pub const PASS_ALPHA: f64 = 1e-2;

/// ln E against "the rate is `target` or more" after `x` bad of `n`.
#[must_use]
pub fn pass_log_e(n: f64, x: f64, target: f64) -> f64 {
    let gains = SCALES.map(|scale| {
        if scale == 0.0 && x > 0.0 {
            return f64::NEG_INFINITY;
        }
        let bad = if x > 0.0 { x * f64::ln(scale) } else { 0.0 };
        bad + (n - x) * ((-scale * target).ln_1p() - (-target).ln_1p())
    });
    log_sum_exp(&gains) - (SCALES.len() as f64).ln()
}

/// ln(1/alpha) of the pass test.
#[must_use]
pub fn pass_threshold() -> f64 {
    -PASS_ALPHA.ln()
}

/// How many requests in all it takes to pass if none but the `x` so far are bad.
#[must_use]
pub fn requests_in_all(x: u64, target: f64) -> u64 {
    let crossed = |n: u64| pass_log_e(n as f64, x as f64, target) >= pass_threshold();
    let (mut low, mut high) = (x, x.max(1));
    while !crossed(high) {
        if high > u64::MAX / 4 {
            return high;
        }
        low = high;
        high *= 2;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if crossed(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// How many more requests it takes to pass if the rate stays as it is; `None` when it never would.
#[must_use]
pub fn requests_to_pass(n: u64, x: u64, target: f64) -> Option<u64> {
    if x == 0 {
        return Some(requests_in_all(0, target).saturating_sub(n));
    }
    let rate = x as f64 / n.max(x) as f64;
    if rate >= target {
        return None;
    }
    let missing = (pass_threshold() - pass_log_e(n as f64, x as f64, target)).max(0.0);
    Some((missing / kl(rate, target)).ceil() as u64)
}
