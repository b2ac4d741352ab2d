//! What lies between agents and gate: it takes time, repeats, swaps and loses.
//!
//! Whole messages travel as bytes. A connection that is cut takes everything under way with it; the agent knows at once,
//! the gate some time later, possibly after the agent is back on a new connection.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::random::Random;

/// How bad it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Part of the reports and acknowledgements that vanish.
    pub(crate) lost: f64,
    /// Part of the reports that arrive twice, the second time late.
    pub(crate) repeated: f64,
    /// Part of the reports that take longer than the ones sent after them.
    pub(crate) swapped: f64,
    /// Part of the reports that arrive twice, the second time with a byte changed.
    pub(crate) garbled: f64,
    /// Most that a message takes beyond the least, in microseconds.
    pub(crate) jitter_us: u64,
    /// Connections are cut.
    pub(crate) cuts: Vec<Cut>,
    /// The gate is killed and comes back: from, for how long, in microseconds.
    pub(crate) kills: Vec<(u64, u64)>,
    /// An agent is killed and a new one takes its place: when, which.
    pub(crate) restarts: Vec<(u64, usize)>,
}

/// A cut connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) at_us: u64,
    pub(crate) agent: usize,
    /// How long no new connection succeeds.
    pub(crate) for_us: u64,
    /// How much later the gate learns of it.
    pub(crate) unnoticed_us: u64,
}

/// Least time a message takes, in microseconds.
const LEAST_US: u64 = 1_000;

/// Something that arrives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Parcel {
    ToGate {
        stream: u64,
        bytes: Vec<u8>,
    },
    ToAgent {
        stream: u64,
        bytes: Vec<u8>,
    },
    /// The gate learns that a stream has ended.
    Ended {
        stream: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    random: Random,
    parcels: BinaryHeap<Reverse<(u64, u64, Parcel)>>,
    sent: u64,
    /// Time of the last ordered delivery, by stream and direction.
    last: BTreeMap<(u64, bool), u64>,
}

impl Network {
    pub(crate) fn new(weather: Weather, random: Random) -> Self {
        Self { weather, random, parcels: BinaryHeap::new(), sent: 0, last: BTreeMap::new() }
    }

    fn push(&mut self, at_us: u64, parcel: Parcel) {
        self.sent += 1;
        self.parcels.push(Reverse((at_us, self.sent, parcel)));
    }

    fn takes_us(&mut self) -> u64 {
        LEAST_US + self.random.between(0, self.weather.jitter_us + 1)
    }

    /// When a message sent now arrives if it keeps its place in the stream.
    fn in_turn(&mut self, stream: u64, up: bool, now_us: u64) -> u64 {
        let at_us = now_us + self.takes_us();
        let last = self.last.entry((stream, up)).or_default();
        *last = at_us.max(*last);
        *last
    }

    /// Something that must arrive in its turn unless the connection breaks.
    pub(crate) fn send(&mut self, now_us: u64, parcel: Parcel) {
        let (Parcel::ToGate { stream, .. } | Parcel::ToAgent { stream, .. } | Parcel::Ended { stream }) = &parcel;
        let up = !matches!(parcel, Parcel::ToAgent { .. });
        let at_us = self.in_turn(*stream, up, now_us);
        self.push(at_us, parcel);
    }

    /// A live report: it may vanish, come late, come twice, or come as something else besides.
    pub(crate) fn send_report(&mut self, now_us: u64, stream: u64, bytes: Vec<u8>) {
        if self.random.chance(self.weather.lost) {
            return;
        }
        if self.random.chance(self.weather.repeated) {
            let late = now_us + self.takes_us() + self.random.between(0, 1_500_000);
            self.push(late, Parcel::ToGate { stream, bytes: bytes.clone() });
        }
        if self.random.chance(self.weather.garbled) {
            let mut bytes = bytes.clone();
            // Field numbers are cleared, so nothing in it can be taken for a count.
            let from = bytes.len().min(3);
            bytes[from..].fill(0x07);
            let at_us = now_us + self.takes_us();
            self.push(at_us, Parcel::ToGate { stream, bytes });
        }
        if self.random.chance(self.weather.swapped) {
            let late = now_us + self.takes_us() + self.random.between(50_000, 400_000);
            self.push(late, Parcel::ToGate { stream, bytes });
        } else {
            self.send(now_us, Parcel::ToGate { stream, bytes });
        }
    }

    /// An acknowledgement: it may vanish.
    pub(crate) fn send_ack(&mut self, now_us: u64, stream: u64, bytes: Vec<u8>) {
        if !self.random.chance(self.weather.lost) {
            self.send(now_us, Parcel::ToAgent { stream, bytes });
        }
    }

    /// The connection breaks: what is under way is lost; the gate learns of it after `unnoticed_us`.
    pub(crate) fn cut(&mut self, now_us: u64, stream: u64, unnoticed_us: u64) {
        self.parcels.retain(|Reverse((_, _, parcel))| match parcel {
            Parcel::ToGate { stream: other, .. } | Parcel::ToAgent { stream: other, .. } => *other != stream,
            Parcel::Ended { .. } => true,
        });
        self.push(now_us + unnoticed_us, Parcel::Ended { stream });
    }

    /// The gate is gone, and with it everything under way.
    pub(crate) fn clear(&mut self) {
        self.parcels.clear();
        self.last.clear();
    }

    /// The next thing that arrives by now.
    pub(crate) fn arrives(&mut self, now_us: u64) -> Option<Parcel> {
        if self.parcels.peek().is_some_and(|Reverse((at_us, _, _))| *at_us <= now_us) {
            return self.parcels.pop().map(|Reverse((_, _, parcel))| parcel);
        }
        None
    }
}
