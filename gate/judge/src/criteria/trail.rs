//! Cumulative counts at each second, so that any window of whole seconds is one subtraction.

use crate::metric::All;

/// Seconds kept at least: the text speaks of the last ten, and a minute is what a rule without `for` may want.
const SECONDS_MIN: usize = 60;

/// Counts of green and blue of each metric, at each of the last seconds.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    seconds: usize,
    width: usize,
    /// Second by second, then green's metrics, then blue's.
    ring: Vec<All>,
    now_s: u64,
}

impl Trail {
    pub(crate) fn new(width: usize, longest_s: u64) -> Self {
        let seconds = SECONDS_MIN.max(usize::try_from(longest_s).unwrap_or(SECONDS_MIN)) + 1;
        Self { seconds, width, ring: vec![All::default(); seconds * width * 2], now_s: 0 }
    }

    /// Notes the counts at the end of second `now_s`; seconds without a note repeat the last one.
    pub(crate) fn note(&mut self, now_s: u64, green: &[All], blue: &[All]) {
        let skipped = now_s.saturating_sub(self.now_s).saturating_sub(1).min(self.seconds as u64);
        let last = self.place(self.now_s);
        for back in 1..=skipped {
            let to = self.place(now_s - back);
            if to != last {
                self.ring.copy_within(last..last + 2 * self.width, to);
            }
        }
        let to = self.place(now_s);
        self.ring[to..to + self.width].copy_from_slice(green);
        self.ring[to + self.width..to + 2 * self.width].copy_from_slice(blue);
        self.now_s = now_s;
    }

    /// Whole seconds noted.
    pub(crate) const fn now_s(&self) -> u64 {
        self.now_s
    }

    /// Green's cumulative counts `ago_s` seconds before the last note.
    pub(crate) fn green_at(&self, metric: usize, ago_s: u64) -> All {
        self.at(metric, ago_s)
    }

    /// Blue's.
    pub(crate) fn blue_at(&self, metric: usize, ago_s: u64) -> All {
        self.at(self.width + metric, ago_s)
    }

    /// Green's counts of a metric from `from_s` seconds ago to `to_s` seconds ago.
    pub(crate) fn green(&self, metric: usize, from_s: u64, to_s: u64) -> All {
        self.window(metric, from_s, to_s)
    }

    /// Blue's.
    pub(crate) fn blue(&self, metric: usize, from_s: u64, to_s: u64) -> All {
        self.window(self.width + metric, from_s, to_s)
    }

    fn window(&self, column: usize, from_s: u64, to_s: u64) -> All {
        self.at(column, to_s).since(&self.at(column, from_s))
    }

    fn at(&self, column: usize, ago_s: u64) -> All {
        let ago_s = ago_s.min(self.seconds as u64 - 1);
        if ago_s > self.now_s { All::default() } else { self.ring[self.place(self.now_s - ago_s) + column] }
    }

    fn place(&self, second: u64) -> usize {
        (second % self.seconds as u64) as usize * self.width * 2
    }
}
