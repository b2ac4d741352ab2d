//! One rule's test on its own, block by block: the same [`BlockBet`] that the judge asks, without reports, pods and shield.
//!
//! A whole judge looks ten times a second at everything; over a day and ten thousand releases that is a week of computing.
//! The test alone sees the same blocks with the same counts, so its false alarms are the judge's before blame and shield take
//! some of them away: an upper bound of what the judge does.

use blueback_judge::statistics::block_bet::BlockBet;
use blueback_judge::statistics::schedule::{Profile, block_ms};

use super::random::{Random, Together, Tries};

/// Requests that share a fate are drawn in groups of this time: the length of the shortest block.
pub const GROUP_MS: u64 = 250;

/// How bad requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Each for itself.
    Independent,
    /// Within 250 ms they are correlated by this.
    Together(f64),
    /// Each for itself, and in bursts on top.
    Bursts(Bursts),
}

/// Short times in which much fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// How many in 24 hours, at random times.
    pub a_day: f64,
    /// Mean length; lengths are exponential.
    pub mean_s: f64,
    /// Share of the requests that fails in them.
    pub share: f64,
}

impl Bursts {
    /// Twenty a day of one second in which half fails: the bursts of the published tables.
    pub const TWENTY_A_DAY: Self = Self { a_day: 20.0, mean_s: 1.0, share: 0.5 };

    /// When they are, in milliseconds, up to `until_ms`.
    pub fn times(&self, until_ms: u64, random: &mut Random) -> Vec<(f64, f64)> {
        let mut times = Vec::new();
        let mut at = 0.0;
        loop {
            at += random.exponential(86_400_000.0 / self.a_day);
            if at >= until_ms as f64 {
                return times;
            }
            times.push((at, at + random.exponential(self.mean_s * 1_000.0)));
        }
    }
}

/// Bad requests over time.
#[derive(Clone, Debug)]
pub struct Stream {
    rps: f64,
    sent: u64,
    tries: Tries,
    together: Option<Together>,
    bursts: Vec<(f64, f64)>,
    share: f64,
    random: Random,
}

impl Stream {
    /// At `rps` requests a second, of which the part `p` is bad, up to `until_ms`.
    #[must_use]
    pub fn new(rps: f64, p: f64, manner: Manner, until_ms: u64, mut random: Random) -> Self {
        let tries = Tries::new(p, &mut random);
        let (mut together, mut bursts, mut share) = (None, Vec::new(), 0.0);
        match manner {
            Manner::Independent => (),
            Manner::Together(icc) => together = Some(Together::new(p, icc)),
            Manner::Bursts(kind) => {
                bursts = kind.times(until_ms, &mut random);
                bursts.reverse();
                share = kind.share;
            }
        }
        Self { rps, sent: 0, tries, together, bursts, share, random }
    }

    fn arrived(&mut self, end_ms: u64) -> u64 {
        let sent = (self.rps * end_ms as f64 / 1_000.0) as u64;
        sent - std::mem::replace(&mut self.sent, sent)
    }

    /// `(n, x)` of the time from `start_ms` to `end_ms`; each call begins where the last one ended.
    pub fn next(&mut self, start_ms: u64, end_ms: u64) -> (u64, u64) {
        if self.together.is_some() {
            return self.next_groups(start_ms, end_ms);
        }
        let n = self.arrived(end_ms);
        let mut in_burst = 0.0;
        while let Some(&(from, to)) = self.bursts.last().filter(|(from, _)| *from < end_ms as f64) {
            in_burst += (to.min(end_ms as f64) - from.max(start_ms as f64)).max(0.0);
            if to > end_ms as f64 {
                break;
            }
            self.bursts.pop();
        }
        if in_burst == 0.0 {
            return (n, self.tries.take(n, &mut self.random));
        }
        let part = (in_burst / (end_ms - start_ms) as f64).min(1.0);
        let hit = self.random.binomial(n, part);
        let bad = self.random.binomial(hit, self.share);
        (n, bad + self.tries.take(n - bad, &mut self.random))
    }

    fn next_groups(&mut self, start_ms: u64, end_ms: u64) -> (u64, u64) {
        let (mut n, mut x) = (0, 0);
        let mut at = start_ms;
        while at < end_ms {
            at = (at + GROUP_MS).min(end_ms);
            let group = self.arrived(at);
            n += group;
            if let Some(together) = &mut self.together {
                x += together.group(group, &mut self.random);
            }
        }
        (n, x)
    }
}

/// A test that runs along.
#[derive(Clone, Debug)]
pub struct Alone {
    bet: BlockBet,
    /// Largest ln E so far.
    pub most: f64,
    /// When it was first at its threshold.
    pub fired_ms: Option<u64>,
}

impl Alone {
    /// Against a limit `p0`, with a false-alarm probability `alpha`.
    #[must_use]
    pub fn new(p0: f64, alpha: f64) -> Self {
        Self { bet: BlockBet::new(p0, alpha), most: 0.0, fired_ms: None }
    }

    /// The block from `start_ms` to `end_ms`.
    pub fn block(&mut self, start_ms: u64, end_ms: u64, n: u64, x: u64) {
        self.bet.block((end_ms - start_ms) as f64 / 1_000.0, n as f64, x as f64, 0.0);
        // Where no more is bad than the limit allows, every part of the evidence falls: the largest is not in such a block.
        if x as f64 > self.bet.p0() * n as f64 {
            let log_e = self.bet.log_e();
            self.most = self.most.max(log_e);
            if log_e >= self.bet.threshold() {
                self.fired_ms.get_or_insert(end_ms);
            }
        }
    }
}

/// Runs tests over the same requests from the switch until `until_ms`, or until all of them have fired.
pub fn run(profile: Profile, until_ms: u64, stream: &mut Stream, tests: &mut [Alone]) {
    let mut now_ms = 0;
    while now_ms < until_ms {
        let end_ms = now_ms + block_ms(profile, now_ms);
        let (n, x) = stream.next(now_ms, end_ms);
        for test in &mut *tests {
            test.block(now_ms, end_ms, n, x);
        }
        if tests.iter().all(|test| test.fired_ms.is_some()) {
            return;
        }
        now_ms = end_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_its_rate_and_its_bursts() {
        let quiet = Stream::new(10.0, 0.0, Manner::Bursts(Bursts::TWENTY_A_DAY), 86_400_000, Random::of(1, &[]));
        let mut stream = quiet.clone();
        let bursts: f64 = quiet.bursts.iter().map(|(from, to)| to - from).sum();
        let (mut requests, mut bad) = (0, 0);
        for second in 0..86_400 {
            let (n, x) = stream.next(second * 1_000, (second + 1) * 1_000);
            (requests, bad) = (requests + n, bad + x);
        }
        assert_eq!(requests, 864_000);
        let expected = bursts / 1_000.0 * 10.0 * 0.5;
        assert!((bad as f64 - expected).abs() < 6.0 * expected.sqrt() + 5.0, "{bad} bad, {expected} expected");
    }

    #[test]
    fn a_total_outage_fires_when_the_published_table_says() {
        let fired = |from_ms: u64| {
            let mut test = Alone::new(0.05, 2e-4);
            let mut now_ms = 0;
            while test.fired_ms.is_none() {
                let end_ms = now_ms + block_ms(Profile::Fast, now_ms);
                test.block(now_ms, end_ms, 50, if now_ms >= from_ms { 50 } else { 0 });
                now_ms = end_ms;
            }
            now_ms - from_ms
        };
        assert_eq!((fired(0), fired(600_000)), (1_250, 4_500));
    }
}
