//! The sharp test that raises the shield: within two reports of gross harm, never on one report alone.

use super::bernoulli::gains;
use super::prior::Spending;

/// Alternatives, as multiples of the odds of the limit. Gross harm only: near the limit evidence is bounded by requests, not
/// by blocks, and a trickle would only make it late.
pub const SHIELD_ODDS: [f64; 6] = [2.0, 3.0, 5.0, 10.0, 30.0, 100.0];
/// False-alarm probability of a release, over all criteria. A false shield costs a few seconds on a trickle, so one in a
/// hundred is cheap; a smaller one moves the median by one report.
pub const SHIELD_ALPHA: f64 = 1e-2;
/// Highest level: 2, 4, 8, 16, 32, 64 wholly bad reports.
pub const LEVEL_MAX: u32 = 5;
/// Least bad requests of one criterion in the last ten seconds: three correlated errors at 10 requests a second are not harm.
pub const BAD_MIN: f64 = 5.0;

const MOST: f64 = 1e290;
// How fast a component's floor may rise: 0.1 nats a report.
const FLOOR_RISE: f64 = 1.105_170_918_075_647_7;

/// Evidence against "every request is bad with probability at most `p0`", whose clock starts at [`ShieldTest::restart`].
///
/// A report lifts a component by at most 1/`reports` of the way from its floor to K/alpha, so one report never fires it,
/// whatever it holds, and `reports` wholly bad ones do. Clipping only lowers the factor: Ville's bound stays.
#[derive(Clone, Debug, PartialEq)]
pub struct ShieldTest {
    alpha: f64,
    top: f64,
    gains: [(f64, f64); SHIELD_ODDS.len()],
    components: [f64; SHIELD_ODDS.len()],
    floors: [f64; SHIELD_ODDS.len()],
    spending: Spending,
}

crate::save::saved!(ShieldTest { alpha, top, gains, components, floors, spending });

/// Reports that must be wholly bad at a level.
#[must_use]
pub const fn reports_of(level: u32) -> u32 {
    2 << if level > LEVEL_MAX { LEVEL_MAX } else { level }
}

impl ShieldTest {
    /// For a limit `p0` and a false-alarm probability `alpha`, both between 0 and 1.
    #[must_use]
    pub fn new(p0: f64, alpha: f64) -> Self {
        Self {
            alpha,
            top: (SHIELD_ODDS.len() as f64 / alpha).ln(),
            gains: SHIELD_ODDS.map(|ratio| gains(p0, ratio)),
            components: [0.0; SHIELD_ODDS.len()],
            floors: [f64::INFINITY; SHIELD_ODDS.len()],
            spending: Spending::default(),
        }
    }

    /// Forgets everything; the clock starts anew.
    pub fn restart(&mut self) {
        self.components = [0.0; SHIELD_ODDS.len()];
        self.floors = [f64::INFINITY; SHIELD_ODDS.len()];
        self.spending = Spending::default();
    }

    /// One report of `seconds` in which `n` requests ended, `x` of them bad.
    pub fn report(&mut self, seconds: f64, n: f64, x: f64, reports: u32) {
        let mass = self.spending.next(seconds);
        for ((component, floor), (bad, good)) in self.components.iter_mut().zip(&mut self.floors).zip(self.gains) {
            let seeded = *component + mass;
            *floor = seeded.min(*floor * FLOOR_RISE);
            let mut step = x * bad + (n - x) * good;
            if step > 0.0 {
                step = step.min(((self.top - floor.ln()) / f64::from(reports)).max(0.0));
            }
            // After the last start was seeded a component may have died out; it stays dead.
            *component = if seeded > 0.0 { (seeded * step.exp()).min(MOST) } else { 0.0 };
        }
    }

    /// ln E.
    #[must_use]
    pub fn log_e(&self) -> f64 {
        (self.components.iter().sum::<f64>() / SHIELD_ODDS.len() as f64 + self.spending.rest()).ln()
    }

    /// ln(1/alpha), which ln E must reach.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        -self.alpha.ln()
    }

    /// The evidence is at the threshold now.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.log_e() >= self.threshold()
    }
}

/// Whom to shield when the pooled test fires: the index of the pod without which least evidence is left, or `None` for
/// the whole of green, when there are fewer than three pods or every pod can be left out and the test still fires.
#[must_use]
pub fn shield_scope(log_e_without: &[f64], threshold: f64) -> Option<usize> {
    let (index, least) =
        log_e_without.iter().copied().enumerate().reduce(|least, next| if next.1 < least.1 { next } else { least })?;
    (log_e_without.len() >= 3 && least < threshold).then_some(index)
}

/// The smallest level at which the test stays quiet on blue's own reports before the switch: what blue did as well is no
/// reason to shield. Each item of `reports` holds `(n, x)` for each of `p0s`, and covers `seconds`.
#[must_use]
pub fn shield_level(p0s: &[f64], reports: &[Vec<(f64, f64)>], seconds: f64, alpha: f64) -> u32 {
    let quiet = |level: u32| {
        p0s.iter().enumerate().all(|(criterion, &p0)| {
            let counts = |report: &Vec<(f64, f64)>| report.get(criterion).copied().unwrap_or_default();
            let mut test = ShieldTest::new(p0, alpha);
            let mut bad = 0.0;
            reports.iter().enumerate().all(|(index, report)| {
                let (n, x) = counts(report);
                bad += x;
                if index >= 100 {
                    bad -= counts(&reports[index - 100]).1;
                }
                test.report(seconds, n, x, reports_of(level));
                !(bad >= BAD_MIN && test.fires())
            })
        })
    };
    (0..LEVEL_MAX).find(|&level| quiet(level)).unwrap_or(LEVEL_MAX)
}
