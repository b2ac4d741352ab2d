//! Requests with a trace that are remembered as examples, of one backend and route class.
//!
//! A few places, each with one request: one for every range of latency, and some for failed ones. The newest takes a place as
//! soon as the one there has stood for a second, so a place costs a busy worker one comparison a request, and what a report
//! carries is bounded. A place is a handful of atomics with one writer; a version that is odd while they are written tells a
//! reader that it has read half of one request and half of another (a seqlock).

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

use blueback_report::{Outcome, RANGES, range_of};

use crate::traceparent::TraceParent;

/// Failed requests that are remembered.
const FAILED: usize = 4;
/// How long a request keeps its place, in microseconds.
const STAYS_US: u64 = 1_000_000;
/// How often a reader tries to read a place that is being written; then it has nothing to say until the next report.
const READS_MAX: usize = 3;
const WORDS: usize = 6;

/// A remembered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its trace.
    pub trace: [u8; 16],
    /// The span it came with.
    pub span: [u8; 8],
    /// Time to the last byte.
    pub latency_us: u64,
    /// When it ended, in microseconds since the agent's start.
    pub at_us: u64,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}

/// One request, or none while the version is zero.
#[derive(Debug, Default)]
struct Place {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// All places.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    quick_to_slow: [Place; RANGES],
    failed: [Place; FAILED],
}

fn high(bytes: [u8; 16]) -> u64 {
    (u128::from_be_bytes(bytes) >> 64) as u64
}

fn low(bytes: [u8; 16]) -> u64 {
    u128::from_be_bytes(bytes) as u64
}

impl Place {
    /// When the request here ended; only for the one who writes.
    fn at_us(&self) -> Option<u64> {
        (self.version.load(Relaxed) > 0).then(|| self.words[4].load(Relaxed))
    }

    fn write(&self, words: [u64; WORDS]) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Relaxed);
        }
        self.version.store(version.wrapping_add(2), Release);
    }

    fn read(&self) -> Option<Remembered> {
        let words = (0..READS_MAX).find_map(|_| {
            let version = self.version.load(Acquire);
            let words = self.words.each_ref().map(|word| word.load(Relaxed));
            fence(Acquire);
            let is_whole = version > 0 && version % 2 == 0 && self.version.load(Relaxed) == version;
            is_whole.then_some(words)
        })?;
        let [high, low, span, latency_us, at_us, ended] = words;
        let status = ended as u16;
        Some(Remembered {
            trace: ((u128::from(high) << 64) | u128::from(low)).to_be_bytes(),
            span: span.to_be_bytes(),
            latency_us,
            at_us,
            status: (status > 0).then_some(status),
            outcome: *Outcome::ALL.get((ended >> 16) as usize)?,
        })
    }
}

impl Exemplars {
    /// A request ended. Only the worker that owns the recorder may say so.
    pub(crate) fn note(&self, parent: TraceParent, outcome: Outcome, status: u16, latency_us: u64, at_us: u64) {
        let place = if outcome.is_fault() {
            self.failed.iter().min_by_key(|place| place.at_us()).expect("there is a place for failed requests")
        } else {
            &self.quick_to_slow[range_of(latency_us)]
        };
        if place.at_us().is_some_and(|before_us| at_us.saturating_sub(before_us) < STAYS_US) {
            return;
        }
        let ended = u64::from(status) | (outcome as u64) << 16;
        let (trace, span) = (parent.trace, u64::from_be_bytes(parent.span));
        place.write([high(trace), low(trace), span, latency_us, at_us, ended]);
    }

    /// All that are remembered now.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Remembered> + '_ {
        self.quick_to_slow.iter().chain(&self.failed).filter_map(Place::read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn parent(number: u8) -> TraceParent {
        TraceParent { trace: [number; 16], span: [number; 8], flags: 1 }
    }

    #[test]
    fn the_newest_of_each_range_and_the_first_failures_of_a_second_are_remembered() {
        let exemplars = Exemplars::default();
        exemplars.note(parent(1), Outcome::Ok, 200, 500, 10);
        exemplars.note(parent(2), Outcome::Ok, 200, 600, 20);
        exemplars.note(parent(3), Outcome::ClientError, 404, 50_000, 30);
        exemplars.note(parent(4), Outcome::Ok, 200, 700, STAYS_US + 10);
        for number in 5..15 {
            exemplars.note(parent(number), Outcome::ServerError, 503, 500, u64::from(number));
        }
        exemplars.note(parent(15), Outcome::Unreachable, 0, 500, STAYS_US + 6);
        let traces: Vec<_> = exemplars.iter().map(|known| (known.trace[7], known.status)).collect();
        let failed = [(15, None), (6, Some(503)), (7, Some(503)), (8, Some(503))];
        assert_eq!(traces, [[(4, Some(200)), (3, Some(404))].as_slice(), &failed].concat());
        let first = exemplars.iter().next().expect("there are some");
        assert_eq!((first.latency_us, first.at_us, first.outcome), (700, STAYS_US + 10, Outcome::Ok));
        assert_eq!((first.trace, first.span), ([4; 16], [4; 8]));
    }

    #[test]
    fn nobody_reads_half_of_a_request() {
        let (exemplars, done) = (Exemplars::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..200_000_u64 {
                    let number = (turn % 250) as u8 + 1;
                    exemplars.note(parent(number), Outcome::Ok, u16::from(number), u64::from(number), turn * STAYS_US);
                }
                done.store(true, Relaxed);
            });
            let mut read = 0_u64;
            while !done.load(Relaxed) || read == 0 {
                for known in exemplars.iter() {
                    let number = known.trace[0];
                    assert_eq!((known.trace, known.span), ([number; 16], [number; 8]));
                    assert_eq!((known.latency_us, known.status), (number.into(), Some(number.into())));
                    read += 1;
                }
            }
        });
    }
}
