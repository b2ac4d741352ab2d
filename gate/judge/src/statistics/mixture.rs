//! Closed forms for reports and display: a beta mixture as evidence, and the confidence sequence that it gives.
//!
//! Robbins 1970 (mixtures of likelihood ratios). Valid at every look, for requests that fail independently.

use super::numerics::{ln_beta, ln_beta_upper};

// Jeffreys' prior, Beta(1/2, 1/2).
const PRIOR: f64 = 0.5;
// Bisection to the last bit of a double.
const HALVINGS: u32 = 200;

/// ln E of "the rate is above `p0`" after `x` bad of `n`: Jeffreys' prior cut off below `p0`, without restarts.
#[must_use]
pub fn beta_mixture_log_e(n: f64, x: f64, p0: f64) -> f64 {
    ln_beta_upper(p0, PRIOR + x, PRIOR + n - x)
        - ln_beta_upper(p0, PRIOR, PRIOR)
        - x * p0.ln()
        - (n - x) * (-p0).ln_1p()
}

/// Rates between which the truth lies at every look with probability 1 - `alpha`, after `x` bad of `n`.
#[must_use]
pub fn confidence_sequence(n: f64, x: f64, alpha: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let refuted = |p: f64| point_log_e(n, x, p) >= -alpha.ln();
    let mean = x / n;
    let low = if x > 0.0 { edge(0.0, mean, |p| !refuted(p)).0 } else { 0.0 };
    let high = if x < n { edge(mean, 1.0, refuted).1 } else { 1.0 };
    (low, high)
}

/// ln E of the mixture against the one rate `p`.
fn point_log_e(n: f64, x: f64, p: f64) -> f64 {
    let bad = if x > 0.0 { x * p.ln() } else { 0.0 };
    let good = if n > x { (n - x) * (-p).ln_1p() } else { 0.0 };
    ln_beta(PRIOR + x, PRIOR + n - x) - ln_beta(PRIOR, PRIOR) - bad - good
}

/// Narrows an interval at whose lower end `upper` is false and at whose upper end it is true.
fn edge(mut low: f64, mut high: f64, upper: impl Fn(f64) -> bool) -> (f64, f64) {
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if upper(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    (low, high)
}
