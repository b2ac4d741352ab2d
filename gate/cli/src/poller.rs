//! What a poller would have made of the same incident.
//!
//! A poller looks every so often at the share of bad requests since it last looked, and reverts when that is above its
//! limit. It is given the best of everything: fresh numbers, one look that decides, traffic that moves at once. What
//! is left is the waiting that belongs to polling itself. When the incident falls between two looks is chance, so each
//! moment is tried, and the mean and the worst are told.

use std::time::Duration;

/// Moments between two looks that are tried.
const MOMENTS: u32 = 1_000;
/// Looks after which a poller that saw nothing is given up.
const LOOKS_MAX: u32 = 100;

/// An incident as it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// Requests a second to the side that fails.
    pub rate: f64,
    /// Share of them that are bad, 0 to 1.
    pub bad_share: f64,
    /// Time from the start of a bad request until it is known to be bad.
    pub known_after: Duration,
}

/// A poller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poller {
    /// Time between two looks, and the window of each.
    pub every: Duration,
    /// Share of bad requests above which it reverts, 0 to 1.
    pub limit: f64,
}

/// What it would have cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// From the first bad request to the revert, on average.
    pub after_mean: Duration,
    /// The same at worst.
    pub after_worst: Duration,
    /// Bad requests until then, on average.
    pub bad_mean: f64,
    /// The same at worst.
    pub bad_worst: f64,
}

impl Poller {
    /// What the incident would have cost; `None` when this poller never sees it.
    #[must_use]
    pub fn cost(&self, incident: &Incident) -> Option<Cost> {
        let mut sum = 0.0;
        let mut worst = 0.0_f64;
        for moment in 0..MOMENTS {
            let first_look = self.every.as_secs_f64() * (f64::from(moment) + 0.5) / f64::from(MOMENTS);
            let after = self.sees_after(first_look, incident)?;
            sum += after;
            worst = worst.max(after);
        }
        let mean = sum / f64::from(MOMENTS);
        let bad = |after: f64| after * incident.rate * incident.bad_share;
        Some(Cost {
            after_mean: Duration::from_secs_f64(mean),
            after_worst: Duration::from_secs_f64(worst),
            bad_mean: bad(mean),
            bad_worst: bad(worst),
        })
    }

    /// Seconds from the first bad request to the look that shows more than the limit.
    fn sees_after(&self, first_look: f64, incident: &Incident) -> Option<f64> {
        let every = self.every.as_secs_f64();
        (0..LOOKS_MAX).map(|look| first_look + every * f64::from(look)).find(|&at| {
            let bad_for = (at - incident.known_after.as_secs_f64()).clamp(0.0, every);
            incident.bad_share * bad_for / every > self.limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(every: u64, bad_share: f64, known_after_ms: u64) -> Option<Cost> {
        let incident = Incident { rate: 100.0, bad_share, known_after: Duration::from_millis(known_after_ms) };
        Poller { every: Duration::from_secs(every), limit: 0.05 }.cost(&incident)
    }

    #[test]
    fn an_outage_waits_half_an_interval_and_a_little() {
        // It takes 5 % of the window until 5 % of its requests are bad: 3 s, then 30 s to the next look.
        let minute = cost(60, 1.0, 0).expect("an outage is seen");
        assert!((minute.after_mean.as_secs_f64() - 33.0).abs() < 0.1, "{minute:?}");
        assert!((minute.after_worst.as_secs_f64() - 63.0).abs() < 0.1, "{minute:?}");
        assert!((minute.bad_mean - 3_300.0).abs() < 10.0, "{minute:?}");
        let ten = cost(10, 1.0, 0).expect("an outage is seen");
        assert!((ten.bad_mean - 550.0).abs() < 2.0, "{ten:?}");
    }

    #[test]
    fn what_is_known_late_is_seen_late() {
        let (soon, late) = (cost(10, 0.5, 0), cost(10, 0.5, 2_000));
        let (soon, late) = (soon.expect("it is seen"), late.expect("it is seen"));
        assert!(
            (late.after_mean.as_secs_f64() - soon.after_mean.as_secs_f64() - 2.0).abs() < 0.02,
            "{soon:?} {late:?}"
        );
    }

    #[test]
    fn below_its_limit_a_poller_sees_nothing() {
        assert_eq!(cost(60, 0.04, 0), None);
    }
}
