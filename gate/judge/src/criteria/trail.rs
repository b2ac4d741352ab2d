//! Cumulative counts at each second, so that any window of whole seconds is one subtraction.

use crate::metric::All;
use crate::save::{LoadError, Saved};

/// Seconds kept at least: the text speaks of the last ten, and a minute is what a rule without `for` may want.
const SECONDS_MIN: usize = 60;

/// Counts of green and blue of each metric, at each of the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trail {
    seconds: usize,
    width: usize,
    /// Second by second, then green's metrics, then blue's.
    ring: Vec<All>,
    now_s: u64,
}

/// Second by second in order of time, each as the distance from the one before: most are a byte or two.
impl Saved for Trail {
    fn save(&self, out: &mut Vec<u8>) {
        (self.seconds, self.width, self.now_s).save(out);
        let mut last = vec![All::default(); 2 * self.width];
        for place in self.places() {
            for (all, last) in self.ring[place..place + 2 * self.width].iter().zip(&mut last) {
                all.since(last).save(out);
                *last = *all;
            }
        }
    }

    fn load(input: &mut &[u8]) -> Result<Self, LoadError> {
        let (seconds, width, now_s) = <(usize, usize, u64)>::load(input)?;
        let places = seconds.checked_mul(width).and_then(|places| places.checked_mul(2));
        if places.is_none_or(|places| places > input.len()) || seconds == 0 {
            return Err(LoadError::Length);
        }
        let mut trail = Self { seconds, width, ring: vec![All::default(); seconds * width * 2], now_s };
        let mut last = vec![All::default(); 2 * width];
        for place in trail.places().collect::<Vec<_>>() {
            for (all, last) in trail.ring[place..place + 2 * width].iter_mut().zip(&mut last) {
                last.add(&All::load(input)?);
                *all = *last;
            }
        }
        Ok(trail)
    }
}

impl Trail {
    /// The places of all seconds that are kept, oldest first.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let (seconds, row, now) = (self.seconds, 2 * self.width, self.now_s % self.seconds as u64);
        (1..=seconds).map(move |ahead| (now as usize + ahead) % seconds * row)
    }

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
