//! Chance that a seed repeats, and the distributions that traffic is made of.
//!
//! Sixty-four-bit SplitMix, because a stream for each cell and each run can be had from their numbers alone: runs may be
//! spread over any number of cores and come out the same. All draws are exact; a normal approximation would be quicker and
//! is wrong just where it matters, in the tails.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream with these numbers: the same ones give the same stream.
    #[must_use]
    pub fn of(seed: u64, numbers: &[u64]) -> Self {
        let start = mix(seed.wrapping_add(STEP));
        Self(numbers.iter().fold(start, |state, number| mix(state ^ mix(number.wrapping_add(STEP)))))
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Above 0 and up to 1, evenly.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential, with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// How many of `n` tries succeed.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p <= 0.0 || n == 0 {
            0
        } else if p > 0.5 {
            n - self.binomial(n, 1.0 - p)
        } else {
            Tries::new(p, self).take(n, self)
        }
    }
}

/// Independent tries with one probability, by the gaps between successes: where they are rare, most calls cost a
/// subtraction.
#[derive(Clone, Debug)]
pub struct Tries {
    ln_miss: f64,
    gap: u64,
}

impl Tries {
    /// With probability `p`, 0 to 1.
    #[must_use]
    pub fn new(p: f64, random: &mut Random) -> Self {
        let mut tries = Self { ln_miss: (-p).ln_1p(), gap: 0 };
        tries.gap = tries.draw(random);
        tries
    }

    /// Misses before the next success.
    fn draw(&self, random: &mut Random) -> u64 {
        if self.ln_miss == 0.0 {
            return u64::MAX;
        }
        // A probability of one has a logarithm of minus infinity, and a gap of nothing.
        (random.unit().ln() / self.ln_miss) as u64
    }

    /// Successes among the next `n`.
    pub fn take(&mut self, n: u64, random: &mut Random) -> u64 {
        let (mut left, mut successes) = (n, 0);
        while self.gap < left {
            left -= self.gap + 1;
            successes += 1;
            self.gap = self.draw(random);
        }
        self.gap -= left.min(self.gap);
        successes
    }
}

/// Tries that succeed together: the probability itself is drawn anew for each group of them (beta-binomial), so that two
/// tries of a group are correlated by `icc`.
#[derive(Clone, Debug)]
pub struct Together {
    /// For a group of each size that occurs: the probability of at most 0, 1, 2, … successes.
    sizes: Vec<(u64, Vec<f64>)>,
    alpha: f64,
    beta: f64,
}

impl Together {
    /// With mean `p` and correlation `icc`, both above 0 and below 1.
    #[must_use]
    pub fn new(p: f64, icc: f64) -> Self {
        let rest = 1.0 / icc - 1.0;
        Self { sizes: Vec::new(), alpha: p * rest, beta: (1.0 - p) * rest }
    }

    /// Successes in a group of `n`.
    pub fn group(&mut self, n: u64, random: &mut Random) -> u64 {
        let place = self.sizes.iter().position(|(size, _)| *size == n).unwrap_or_else(|| {
            self.sizes.push((n, self.table(n)));
            self.sizes.len() - 1
        });
        let (table, unit) = (&self.sizes[place].1, random.unit());
        if unit <= table[0] { 0 } else { table.partition_point(|&up_to| up_to < unit).min(n as usize) as u64 }
    }

    /// P(0) = Π (b+i)/(a+b+i), then by the ratio of neighbours.
    fn table(&self, n: u64) -> Vec<f64> {
        let (a, b) = (self.alpha, self.beta);
        let mut term: f64 = (0..n).map(|i| (b + i as f64) / (a + b + i as f64)).product();
        let mut sum = term;
        let mut table = vec![sum];
        for k in 0..n {
            let (k, left) = (k as f64, (n - k) as f64);
            term *= left / (k + 1.0) * (a + k) / (b + left - 1.0);
            sum += term;
            table.push(sum);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws against the distribution's own, within five standard errors of the mean.
    #[track_caller]
    fn check(draws: &[u64], mean: f64, variance: f64) {
        let n = draws.len() as f64;
        let seen = draws.iter().sum::<u64>() as f64 / n;
        let spread = draws.iter().map(|&draw| (draw as f64 - seen).powi(2)).sum::<f64>() / n;
        assert!((seen - mean).abs() <= 5.0 * (variance / n).sqrt(), "mean {seen}, not {mean}");
        assert!((spread / variance - 1.0).abs() < 0.1, "variance {spread}, not {variance}");
    }

    #[test]
    fn binomials_have_their_mean_and_variance() {
        for (stream, (n, p)) in
            [(10_u64, 0.001), (25, 0.05), (25, 0.5), (1_000, 0.2), (25, 0.97)].into_iter().enumerate()
        {
            let mut random = Random::of(1, &[stream as u64]);
            let draws: Vec<u64> = (0..40_000).map(|_| random.binomial(n, p)).collect();
            check(&draws, n as f64 * p, n as f64 * p * (1.0 - p));
        }
    }

    #[test]
    fn tries_go_on_over_calls() {
        let mut random = Random::of(2, &[]);
        let mut tries = Tries::new(0.01, &mut random);
        let draws: Vec<u64> = (0..40_000).map(|_| tries.take(30, &mut random)).collect();
        check(&draws, 0.3, 0.3 * 0.99);
        assert_eq!(Tries::new(1.0, &mut random).take(7, &mut random), 7);
        assert_eq!(Tries::new(0.0, &mut random).take(u64::MAX - 1, &mut random), 0);
    }

    #[test]
    fn groups_are_correlated_as_asked() {
        let mut random = Random::of(3, &[]);
        let mut together = Together::new(0.05, 0.2);
        let draws: Vec<u64> = (0..60_000).map(|_| together.group(25, &mut random)).collect();
        check(&draws, 1.25, 25.0 * 0.05 * 0.95 * (1.0 + 24.0 * 0.2));
    }

    #[test]
    fn streams_repeat_and_differ() {
        assert_eq!(Random::of(1, &[2, 3]).bits(), Random::of(1, &[2, 3]).bits());
        let others = [Random::of(1, &[3, 2]).bits(), Random::of(2, &[2, 3]).bits(), Random::of(1, &[2]).bits()];
        assert!(!others.contains(&Random::of(1, &[2, 3]).bits()));
    }
}
