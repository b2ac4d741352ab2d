//! Those who poll, as the published tables simulate them: a scrape every 15 s with a random phase, the ratio of increases over
//! the samples of the last minute, a limit of 5 %. No time for queries, controllers or lost scrapes: real ones are slower.

use blueback::power::random::Random;

/// Seconds between two scrapes.
const SCRAPE_S: f64 = 15.0;
/// A measurement looks back so far.
const WINDOW_S: f64 = 60.0;
const LIMIT: f64 = 0.05;
/// Points a side of the rank test: half an hour of minutes.
const POINTS: usize = 30;
/// The 99 % point of the normal distribution: a rank test at 98 %, two-sided.
const RANK_Z: f64 = 2.326_347_874_040_841;

/// Who polls, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poller {
    /// Argo Rollouts: measured each interval, reverted when more measurements failed than this.
    Argo {
        /// Seconds between two measurements.
        interval_s: u32,
        /// `failureLimit`.
        failures: u32,
    },
    /// Flagger: reverted at the measurement after so many failed.
    Flagger {
        /// Seconds between two measurements.
        interval_s: u32,
        /// `threshold`.
        threshold: u32,
    },
    /// Kayenta: a rank test over half an hour of minutes, decided at its end.
    Kayenta,
}

impl Poller {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Argo { interval_s: 10, failures: 0 },
        Self::Argo { interval_s: 60, failures: 0 },
        Self::Argo { interval_s: 60, failures: 3 },
        Self::Flagger { interval_s: 10, threshold: 1 },
        Self::Flagger { interval_s: 60, threshold: 5 },
        Self::Kayenta,
    ];

    /// In words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Argo { interval_s, failures } => format!("Argo {interval_s} s × {failures}"),
            Self::Flagger { interval_s, threshold } => format!("Flagger {interval_s} s × {threshold}"),
            Self::Kayenta => "Kayenta".to_owned(),
        }
    }
}

/// Requests of green by the second: all of them, and the bad ones.
#[derive(Clone, Debug)]
pub struct Seconds {
    /// Up to and with each second.
    requests: Vec<u64>,
    bad: Vec<u64>,
}

impl Seconds {
    /// A release that is bad at `share` from `start_s` on and at `before` until then.
    #[must_use]
    pub fn new(rps: f64, before: f64, share: f64, start_s: u64, until_s: u64, random: &mut Random) -> Self {
        let (mut requests, mut bad) = (vec![0], vec![0]);
        for second in 0..until_s {
            let sent = (rps * (second + 1) as f64) as u64;
            let n = sent - requests[second as usize];
            let p = if second < start_s { before } else { share };
            requests.push(sent);
            bad.push(bad[second as usize] + random.binomial(n, p));
        }
        Self { requests, bad }
    }

    fn at(counts: &[u64], time_s: f64) -> f64 {
        let low = (time_s.max(0.0) as usize).min(counts.len() - 1);
        let high = (low + 1).min(counts.len() - 1);
        counts[low] as f64 + (counts[high] - counts[low]) as f64 * time_s.fract()
    }

    /// Bad requests from `start_s` up to a time.
    #[must_use]
    pub fn failed(&self, start_s: f64, until_s: f64) -> u64 {
        (Self::at(&self.bad, until_s) - Self::at(&self.bad, start_s)).round().max(0.0) as u64
    }

    /// The share of bad requests that a poller sees at a time; `None` with fewer than two samples, or without requests.
    fn ratio(&self, now_s: f64, phase_s: f64) -> Option<f64> {
        let last = phase_s + ((now_s - phase_s) / SCRAPE_S).floor() * SCRAPE_S;
        let first = phase_s + ((now_s - WINDOW_S - phase_s) / SCRAPE_S).ceil() * SCRAPE_S;
        let first = if first < 0.0 { phase_s } else { first };
        let increase = |counts: &[u64]| Self::at(counts, last) - Self::at(counts, first);
        (last > first && last >= 0.0 && increase(&self.requests) > 0.0)
            .then(|| increase(&self.bad) / increase(&self.requests))
    }
}

/// When the poller reverts, in seconds; `None` when it does not.
#[must_use]
pub fn reverts_s(poller: Poller, green: &Seconds, blue: &Seconds, random: &mut Random) -> Option<f64> {
    let until_s = (green.requests.len() - 1) as f64;
    let phase_s = random.unit() * SCRAPE_S;
    // Measurements begin with the release.
    let measurements = |interval_s: u32| {
        (1_u32..).map(move |step| f64::from(step * interval_s)).take_while(move |&now_s| now_s <= until_s)
    };
    match poller {
        Poller::Argo { interval_s, failures } => {
            let failed = |now_s: &f64| green.ratio(*now_s, phase_s).is_some_and(|ratio| ratio > LIMIT);
            measurements(interval_s).filter(failed).nth(failures as usize)
        }
        Poller::Flagger { interval_s, threshold } => {
            let mut failed = 0;
            measurements(interval_s).find(|&now_s| {
                let reverts = failed >= threshold;
                failed += u32::from(green.ratio(now_s, phase_s).is_some_and(|ratio| ratio > LIMIT));
                reverts
            })
        }
        Poller::Kayenta => {
            let minutes = |side: &Seconds| -> Vec<f64> {
                let minute = |minute: usize| {
                    let (from, to) = (60.0 * minute as f64, 60.0 * (minute + 1) as f64);
                    (Seconds::at(&side.bad, to) - Seconds::at(&side.bad, from))
                        / (Seconds::at(&side.requests, to) - Seconds::at(&side.requests, from)).max(1.0)
                };
                (0..POINTS).map(minute).collect()
            };
            let end_s = 60.0 * POINTS as f64;
            (until_s >= end_s && rank_z(&minutes(green), &minutes(blue)) > RANK_Z).then_some(end_s)
        }
    }
}

/// Mann and Whitney's statistic in standard deviations, with ties.
fn rank_z(green: &[f64], blue: &[f64]) -> f64 {
    let (m, n) = (green.len() as f64, blue.len() as f64);
    let mut all: Vec<(f64, bool)> =
        green.iter().map(|&value| (value, true)).chain(blue.iter().map(|&value| (value, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut ties, mut at) = (0.0, 0.0, 0);
    while at < all.len() {
        let end = at + all[at..].iter().take_while(|(value, _)| *value == all[at].0).count();
        let (size, rank) = ((end - at) as f64, (at + end + 1) as f64 / 2.0);
        ranks += rank * all[at..end].iter().filter(|(_, is_green)| *is_green).count() as f64;
        ties += size.powi(3) - size;
        at = end;
    }
    let total = m + n;
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 { 0.0 } else { (ranks - m * (m + 1.0) / 2.0 - m * n / 2.0) / variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pollers_take_the_times_of_the_published_table() {
        let mut random = Random::of(1, &[]);
        let green = Seconds::new(100.0, 0.001, 1.0, 0, 2_400, &mut random);
        let blue = Seconds::new(100.0, 0.001, 0.001, 0, 2_400, &mut random);
        let expected = [30.0, 60.0, 240.0, 40.0, 360.0, 1_800.0];
        for (poller, expected) in Poller::ALL.into_iter().zip(expected) {
            let at = reverts_s(poller, &green, &blue, &mut random).expect("an outage is found");
            let within = if poller == Poller::ALL[0] || poller == Poller::ALL[3] { 10.0 } else { 0.0 };
            assert!((at - expected).abs() <= within, "{}: {at} s", poller.words());
            assert_eq!(reverts_s(poller, &blue, &green, &mut random), None, "{}", poller.words());
        }
    }

    #[test]
    fn ranks_tell_sides_apart() {
        let low: Vec<f64> = (0..30).map(f64::from).collect();
        let high: Vec<f64> = (0..30).map(|value| f64::from(value) + 15.0).collect();
        assert!(rank_z(&high, &low) > 4.0 && rank_z(&low, &high) < -4.0);
        assert_eq!(rank_z(&[1.0; 30], &[1.0; 30]), 0.0);
    }
}
