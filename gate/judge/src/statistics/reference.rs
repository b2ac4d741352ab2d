//! What blue's history says about how bad is normal, and how long a verdict will take.

/// Slices of history with fewer requests say nothing about a worst minute.
const SLICE_REQUESTS_MIN: f64 = 200.0;
/// Green may be twice as bad as blue surely is: mixes of traffic differ, and a tenth of a percent is no reason to revert.
pub const REFERENCE_RATIO: f64 = 2.0;
/// Never below half a percent, however good blue was.
pub const REFERENCE_FLOOR: f64 = 0.005;
const HALVINGS: u32 = 200;

/// Kullback-Leibler divergence of a coin of `p` from one of `q`, in nats: the evidence a request gives.
#[must_use]
pub fn kl(p: f64, q: f64) -> f64 {
    let bad = if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    let good = if p < 1.0 { (1.0 - p) * ((-p).ln_1p() - (-q).ln_1p()) } else { 0.0 };
    bad + good
}

/// Requests still needed until ln(1/alpha) if the present rate `p_hat` goes on against the limit `q`; `None` when never.
#[must_use]
pub fn eta_requests(log_e: f64, alpha: f64, p_hat: f64, q: f64) -> Option<f64> {
    let gain = kl(p_hat, q);
    (gain > 0.0).then(|| ((-alpha.ln() - log_e) / gain).max(0.0))
}

/// Chernoff's upper bound of a rate: the largest p with n kl(x/n, p) <= ln(1/delta).
#[must_use]
pub fn kl_ucb(n: f64, x: f64, delta: f64) -> f64 {
    if n <= 0.0 {
        return 1.0;
    }
    let (mean, most) = (x / n, -delta.ln());
    let (mut low, mut high) = (mean, 1.0);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if n * kl(mean, middle) <= most {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The rate above which green is worse than blue, from blue's `(n, x)` of each minute before the switch: twice its upper
/// bound at confidence 1 - `delta`, never below blue's own worst busy minute or [`REFERENCE_FLOOR`].
#[must_use]
pub fn reference_threshold(minutes: &[(f64, f64)], delta: f64) -> f64 {
    let (n, x) = minutes.iter().fold((0.0, 0.0), |(n, x), minute| (n + minute.0, x + minute.1));
    let busy = minutes.iter().filter(|minute| minute.0 >= SLICE_REQUESTS_MIN);
    let worst = busy.map(|minute| minute.1 / minute.0).fold(0.0, f64::max);
    (REFERENCE_RATIO * kl_ucb(n, x, delta)).max(REFERENCE_FLOOR).max(worst).min(1.0)
}
