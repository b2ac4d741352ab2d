//! The few special functions that the standard library lacks, in plain double precision.
//!
//! The engine itself needs only `ln_1p` and `exp`; `ln_gamma` serves the closed forms for reports and display.

/// ln(e^a + e^b) without overflow; either may be minus infinity.
#[must_use]
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY {
        return b;
    }
    if b == f64::NEG_INFINITY {
        return a;
    }
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}

/// ln of the sum of e^v over all v, summed in the order given so that it is the same everywhere.
#[must_use]
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + values.iter().map(|value| (value - most).exp()).sum::<f64>().ln()
}

/// ln Γ(x) for x > 0: Stirling's series above 16, shifted up by the recurrence Γ(x + 1) = x Γ(x) below.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_8;
    // Bernoulli numbers B_2k / (2k (2k - 1)); the first one left out is below 1e-17 at 16.
    const SERIES: [f64; 7] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1_260.0, -1.0 / 1_680.0, 1.0 / 1_188.0, -691.0 / 360_360.0, 1.0 / 156.0];
    let (mut x, mut below) = (x, 1.0);
    while x < 16.0 {
        below *= x;
        x += 1.0;
    }
    let square = x * x;
    let tail = SERIES.iter().rev().fold(0.0, |sum, term| sum / square + term) / x;
    (x - 0.5) * x.ln() - x + LN_SQRT_TAU + tail - f64::ln(below)
}

/// ln of the beta function.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln of the upper incomplete beta integral from `p` to 1 of t^(a-1) (1-t)^(b-1) dt, not regularised.
#[must_use]
pub fn ln_beta_upper(p: f64, a: f64, b: f64) -> f64 {
    let front = a * p.ln() + b * (-p).ln_1p();
    if p > (a + 1.0) / (a + b + 2.0) {
        return front + beta_fraction(b, a, 1.0 - p).ln() - b.ln();
    }
    let lower = front + beta_fraction(a, b, p).ln() - a.ln();
    let whole = ln_beta(a, b);
    whole + (-(lower - whole).exp_m1()).ln()
}

/// Continued fraction of the incomplete beta function by the modified Lentz method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const STEPS_MAX: u32 = 100_000;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..STEPS_MAX {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a - 1.0 + 2.0 * m) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 1.0 + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}
