//! What users ask and what becomes of it, as a pure function of the seed, the request's number and who answers.

use blueback_report::{Outcome, Slot};

use crate::random::coin;

/// What goes wrong, and with whom. Times are milliseconds since the switch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Harm {
    /// Nothing.
    None,
    /// Green fails this part of its requests from then on.
    Errors { part: f64, from_ms: u64 },
    /// Green fails this part of its requests for a while.
    Burst { part: f64, from_ms: u64, for_ms: u64 },
    /// Green answers this part of its requests late.
    Slow { part: f64, from_ms: u64, latency_ms: u64 },
    /// Green fails a part of its requests and answers another part late.
    Mixed { failed: f64, slow: f64, from_ms: u64, latency_ms: u64 },
    /// Green stops answering.
    Hang { from_ms: u64 },
    /// Both fail alike.
    Shared { part: f64, from_ms: u64 },
    /// Both fail alike, and did so for this long before the switch.
    Ongoing { part: f64, before_ms: u64 },
    /// One of green's pods fails all it gets.
    BadPod { pod: usize, from_ms: u64 },
    /// Blue is not ready from `blue_ms` on, and green fails from `from_ms` on.
    BlueDown { blue_ms: u64, part: f64, from_ms: u64 },
}

impl Harm {
    /// When it begins.
    pub(crate) const fn begins_ms(self) -> u64 {
        match self {
            Self::None | Self::Ongoing { .. } => 0,
            Self::Errors { from_ms, .. }
            | Self::Burst { from_ms, .. }
            | Self::Slow { from_ms, .. }
            | Self::Mixed { from_ms, .. }
            | Self::Hang { from_ms }
            | Self::Shared { from_ms, .. }
            | Self::BadPod { from_ms, .. }
            | Self::BlueDown { from_ms, .. } => from_ms,
        }
    }
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) latency_us: u64,
    pub(crate) first_byte: bool,
}

/// How long a stream lasts: shorter than a run waits for what is left at its end.
const STREAM_US: u64 = 9_000_000;
/// Numbers of requests are below this; above it they count attempts.
pub(crate) const ATTEMPT: u64 = 1 << 40;
/// A client waits this long for an answer, then leaves.
const PATIENCE_US: u64 = 10_000_000;
/// Latencies of healthy answers, in microseconds; as many as keep reports small, spread as applications are.
const LATENCIES_US: [u64; 12] =
    [1_800, 2_400, 3_100, 3_900, 5_200, 6_400, 8_100, 11_000, 15_000, 23_000, 41_000, 90_000];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) seed: u64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Part of the requests that a healthy pod fails.
    pub(crate) noise: f64,
    pub(crate) harm: Harm,
    /// A healthy answer takes so much longer, on either side, and a failed one does not.
    pub(crate) takes_ms: u64,
    /// Part of the requests that are answered well and for long, as streams are.
    pub(crate) streams: f64,
    pub(crate) candidate: Slot,
    /// When it is asked for.
    pub(crate) planned_us: u64,
    /// When the switch happens, in microseconds of virtual time.
    pub(crate) switch_us: u64,
    /// No request arrives at or after this time.
    pub(crate) end_us: u64,
}

/// Questions that are asked of a request's coin.
pub(crate) mod question {
    pub(crate) const ARRIVAL: u64 = 1;
    pub(crate) const ENTRY: u64 = 2;
    pub(crate) const SLOT: u64 = 3;
    pub(crate) const POD: u64 = 4;
    pub(crate) const POD_SHARE: u64 = 5;
    pub(crate) const LATENCY: u64 = 6;
    pub(crate) const NOISE: u64 = 7;
    pub(crate) const HARM: u64 = 8;
    pub(crate) const CLIENT: u64 = 9;
    pub(crate) const PEER: u64 = 10;
    pub(crate) const LET_GO: u64 = 11;
    pub(crate) const STREAM: u64 = 12;
}

impl Traffic {
    /// When request `number` arrives, in microseconds: an even beat with jitter that keeps the order.
    pub(crate) fn arrival_us(&self, number: u64) -> u64 {
        ((number as f64 + coin(self.seed, number, question::ARRIVAL)) * 1e6 / self.rate) as u64
    }

    pub(crate) fn coin(&self, number: u64, question: u64) -> f64 {
        coin(self.seed, number, question)
    }

    /// Whether the pods of a slot pass their probe.
    pub(crate) fn ready(&self, slot: Slot, now_us: u64) -> bool {
        match self.harm {
            Harm::BlueDown { blue_ms, .. } => slot == self.candidate || now_us < self.switch_us + blue_ms * 1_000,
            _ => true,
        }
    }

    /// What becomes of request `number` if this pod (by its place in its slot) is asked now.
    pub(crate) fn answer(&self, number: u64, slot: Slot, pod: usize, now_us: u64) -> Answer {
        let latency = (self.coin(number, question::LATENCY) * LATENCIES_US.len() as f64) as usize;
        let is_stream = self.coin(number, question::STREAM) < self.streams;
        let latency_us = if is_stream { STREAM_US } else { LATENCIES_US[latency] + self.takes_ms * 1_000 };
        let healthy = Answer { outcome: Outcome::Ok, latency_us, first_byte: true };
        let failed = Answer { outcome: Outcome::ServerError, latency_us: LATENCIES_US[latency], first_byte: true };
        let refused = Answer { outcome: Outcome::Unreachable, latency_us: 300, first_byte: false };
        if !self.ready(slot, now_us) {
            return refused;
        }
        // What makes a request fail makes it fail at each attempt.
        let request = number % ATTEMPT;
        let harmed = |part: f64| self.coin(request, question::HARM) < part;
        let green = slot == self.candidate;
        let since = |from_ms: u64| now_us >= self.switch_us + from_ms * 1_000;
        let bad = match self.harm {
            Harm::None => false,
            Harm::Errors { part, from_ms } | Harm::BlueDown { part, from_ms, .. } => {
                green && since(from_ms) && harmed(part)
            }
            Harm::Burst { part, from_ms, for_ms } => {
                green && since(from_ms) && !since(from_ms + for_ms) && harmed(part)
            }
            Harm::Shared { part, from_ms } => since(from_ms) && harmed(part),
            Harm::Ongoing { part, before_ms } => now_us + before_ms * 1_000 >= self.planned_us && harmed(part),
            Harm::BadPod { pod: bad, from_ms } => green && pod == bad && since(from_ms),
            Harm::Slow { part, from_ms, latency_ms } => {
                if green && since(from_ms) && harmed(part) {
                    return Answer { latency_us: latency_ms * 1_000, ..healthy };
                }
                false
            }
            Harm::Mixed { failed: part, slow, from_ms, latency_ms } => {
                let coin = self.coin(request, question::HARM);
                if green && since(from_ms) && (part..part + slow).contains(&coin) {
                    return Answer { latency_us: latency_ms * 1_000, ..healthy };
                }
                green && since(from_ms) && coin < part
            }
            Harm::Hang { from_ms } => {
                if green && since(from_ms) {
                    return Answer { outcome: Outcome::ClientGone, latency_us: PATIENCE_US, first_byte: false };
                }
                false
            }
        };
        if bad || self.coin(request, question::NOISE) < self.noise { failed } else { healthy }
    }
}
