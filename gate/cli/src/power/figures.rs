//! What many runs say: quantiles, and how sure a count makes of a probability.

/// The value that the part `quantile` of the sorted values does not exceed; `None` where that part never came to an end.
/// `runs` counts those as well that have no value.
#[must_use]
pub fn quantile_of(sorted: &[u64], runs: usize, quantile: f64) -> Option<u64> {
    let rank = ((quantile * runs as f64).ceil() as usize).max(1);
    sorted.get(rank - 1).copied()
}

/// ln of n!, by adding up.
fn ln_factorials(n: u64) -> Vec<f64> {
    let mut sum = 0.0;
    std::iter::once(0.0)
        .chain((1..=n).map(|i| {
            sum += (i as f64).ln();
            sum
        }))
        .collect()
}

/// P(at most `x` of `n`) when each has probability `p`.
fn at_most(ln_factorials: &[f64], n: u64, x: u64, p: f64) -> f64 {
    let term = |k: u64| {
        let choose = ln_factorials[n as usize] - ln_factorials[k as usize] - ln_factorials[(n - k) as usize];
        (choose + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp()
    };
    (0..=x).map(term).sum::<f64>().min(1.0)
}

/// The interval of probabilities that `x` of `n` leaves open, each side wrong with probability `delta` at most (Clopper and
/// Pearson 1934: exact for every n, where a normal approximation says 0 ± 0 for none seen).
#[must_use]
pub fn interval(x: u64, n: u64, delta: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let table = ln_factorials(n);
    let solve = |is_above: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0_f64, 1.0_f64);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if is_above(middle) { high = middle } else { low = middle }
        }
        0.5 * (low + high)
    };
    let low = if x == 0 { 0.0 } else { solve(&|p| 1.0 - at_most(&table, n, x - 1, p) >= delta) };
    let high = if x == n { 1.0 } else { solve(&|p| at_most(&table, n, x, p) <= delta) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Zero of n: 1 - delta^(1/n), the rule of three.
        let (low, high) = interval(0, 100, 0.05);
        assert_eq!(low, 0.0);
        assert!((high - (1.0 - 0.05_f64.powf(0.01))).abs() < 1e-9, "{high}");
        // 10 of 100 at 2.5 % a side: 4.900 % to 17.622 %.
        let (low, high) = interval(10, 100, 0.025);
        assert!((low - 0.04900).abs() < 1e-5 && (high - 0.17622).abs() < 1e-5, "{low} {high}");
        assert_eq!(interval(5, 5, 0.05).1, 1.0);
        assert_eq!(interval(0, 0, 0.05), (0.0, 1.0));
    }

    #[test]
    fn quantiles_count_runs_without_an_end() {
        assert_eq!(quantile_of(&[1, 2, 3, 4], 4, 0.5), Some(2));
        assert_eq!(quantile_of(&[1, 2, 3, 4], 10, 0.5), None);
        assert_eq!(quantile_of(&[7], 1, 0.95), Some(7));
        assert_eq!(quantile_of(&[], 0, 0.5), None);
    }
}
