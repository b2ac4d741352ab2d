//! What a worker counts, read by the reporter without stopping it.
//!
//! Each worker has a recorder of its own and is its only writer, so a count goes up by a plain load and store: no lock, no
//! locked instruction, and no allocation once a series has been seen. Arrays are allocated when first needed, in pieces of
//! 128 buckets, so that a sidecar with one backend needs some tens of kilobytes.
//!
//! A request that ends is counted in its histogram before its crossed limits are settled, and the reporter reads in the same
//! order: between the two a report may be short by one request, which the next one makes good, and never one over.

use std::array;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use blueback_report::buckets::{BUCKETS, index_of};
use blueback_report::{Age, Counts, LIMITS_MAX, Outcome, Protocol, ROUTES_MAX, SERIES_MAX};

use crate::exemplars::{Exemplars, Remembered};
use crate::inflight::{InFlight, Marks, Origin};
use crate::route::{CLASS_DEFAULT, CLASS_OTHER};
use crate::traceparent::TraceParent;

/// Route classes that can ever be told apart: the default, `other`, and twice what may be watched at once.
pub const CLASSES: usize = 2 + 2 * ROUTES_MAX;
/// Pairs of backend and route class beyond the default ones that are counted apart; further ones share `other`.
pub const PAIRS_MAX: usize = 256;
/// Share epochs of which admissions are counted.
const EPOCHS: usize = 4;
const CHUNK: usize = 128;
const LANES: usize = AGES * Outcome::ALL.len();
const AGES: usize = 3;
const PROTOCOLS: [Protocol; 3] = [Protocol::Http1, Protocol::Http2, Protocol::Grpc];
const AGE: [Age; AGES] = [Age::Current, Age::Previous, Age::Older];

/// Adds to a count that only this thread writes.
#[inline]
fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Relaxed).wrapping_add(by), Relaxed);
}

type Chunk = [AtomicU64; CHUNK];
/// Allocated when first needed.
type Lazy<T> = OnceLock<Box<T>>;

#[derive(Debug)]
struct Histogram {
    sum_us: AtomicU64,
    chunks: [Lazy<Chunk>; BUCKETS / CHUNK],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { sum_us: AtomicU64::new(0), chunks: array::from_fn(|_| OnceLock::new()) }
    }
}

impl Histogram {
    fn record(&self, us: u64) {
        let index = index_of(us);
        let chunk = self.chunks[index / CHUNK].get_or_init(|| Box::new(array::from_fn(|_| AtomicU64::new(0))));
        add(&self.sum_us, us);
        add(&chunk[index % CHUNK], 1);
    }

    fn counts(&self) -> Counts {
        let full = self.chunks.iter().enumerate().filter_map(|(at, chunk)| Some((at * CHUNK, chunk.get()?)));
        let counts = full.flat_map(|(at, chunk)| {
            chunk.iter().enumerate().map(move |(index, count)| (at + index, count.load(Relaxed)))
        });
        Counts::from_sorted(counts, self.sum_us.load(Relaxed))
            .expect("chunks are walked by rising index, below BUCKETS")
    }
}

/// Latencies of the requests of one backend, class, protocol, age and outcome.
#[derive(Debug, Default)]
struct Lane {
    last_byte: Histogram,
    first_byte: Histogram,
}

#[derive(Debug, Default)]
struct Epoch {
    /// The epoch plus one; zero when unused.
    number: AtomicU64,
    admitted: AtomicU64,
    finished: AtomicU64,
}

/// What is counted of one backend and route class.
#[derive(Debug)]
struct Class {
    epochs: [Epoch; EPOCHS],
    /// By age at the end and by number of the limit.
    settled: [[AtomicU64; LIMITS_MAX]; AGES],
    lanes: [Lazy<[Lazy<Lane>; LANES]>; PROTOCOLS.len()],
    exemplars: Lazy<Exemplars>,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            epochs: array::from_fn(|_| Epoch::default()),
            settled: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            lanes: array::from_fn(|_| OnceLock::new()),
            exemplars: OnceLock::new(),
        }
    }
}

impl Class {
    fn admit(&self, epoch: u64) {
        if let Some(known) = self.epoch(epoch) {
            add(&known.admitted, 1);
            return;
        }
        let oldest = self.epochs.iter().min_by_key(|epoch| epoch.number.load(Relaxed)).expect("there are some epochs");
        // A reader that sees the number change takes nothing from this place.
        oldest.number.store(0, Release);
        oldest.admitted.store(1, Release);
        oldest.finished.store(0, Release);
        oldest.number.store(epoch + 1, Release);
    }

    fn finish(&self, epoch: u64) {
        if let Some(known) = self.epoch(epoch) {
            add(&known.finished, 1);
        }
    }

    fn epoch(&self, epoch: u64) -> Option<&Epoch> {
        self.epochs.iter().find(|known| known.number.load(Relaxed) == epoch + 1)
    }
}

/// What all workers' recorders must agree on.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bit of each limit that is about the first byte.
    pub first_byte_limits: AtomicU16,
    /// Pairs (backend, class) that are counted apart.
    pairs: Mutex<BTreeSet<(u16, u16)>>,
    /// Series (backend, class, protocol, lane) that exist in any recorder.
    series: Mutex<BTreeSet<(u16, u16, u8, u8)>>,
}

fn admit_below<K: Ord>(known: &Mutex<BTreeSet<K>>, key: K, most: usize) -> bool {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.contains(&key) || (known.len() < most && known.insert(key))
}

/// Counts of the worker about itself.
#[derive(Debug, Default)]
pub struct Own {
    /// Requests not recorded, or not seen in flight, because a bound was reached.
    pub unrecorded: AtomicU64,
    /// Requests recorded under `other` because a bound was reached.
    pub collapsed: AtomicU64,
    /// Requests that were to be diverted but were served at home.
    pub divert_failed: AtomicU64,
    /// Requests sent a second time on a fresh connection.
    pub retried: AtomicU64,
    /// Connections opened to backends.
    pub connected: AtomicU64,
    /// Client connections accepted.
    pub accepted: AtomicU64,
    /// Client connections open.
    pub connections: AtomicU64,
    /// Tunnels (upgraded connections) open.
    pub tunnels: AtomicU64,
    /// Requests and connections refused, by [`Refused`].
    pub refused: [AtomicU64; Refused::ALL.len()],
}

/// Why the agent itself refused a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many connections.
    Connections,
    /// Too many requests in flight.
    Requests,
    /// A request that must not be passed on (ambiguous length, CONNECT, no host).
    Malformed,
    /// A head that did not come in time.
    Slow,
}

impl Refused {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Requests, Self::Malformed, Self::Slow];

    /// Its label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Malformed => "malformed",
            Self::Slow => "slow",
        }
    }
}

impl Own {
    /// Counts one more; only for counts that this worker alone writes.
    pub fn count(count: &AtomicU64) {
        add(count, 1);
    }

    /// Counts a refusal.
    pub fn refuse(&self, why: Refused) {
        add(&self.refused[why as usize], 1);
    }
}

/// One worker's counts, as the reporter reads them.
#[derive(Debug)]
pub struct Recorder {
    /// The worker's requests in flight.
    pub in_flight: InFlight,
    /// Counts of the worker about itself.
    pub own: Own,
    shared: Arc<Shared>,
    /// By backend and class.
    rows: Box<[Box<[Lazy<Class>]>]>,
}

/// A request between its admission and its end. Whoever holds it must give it back to [`Writer::end`].
#[derive(Debug)]
pub struct Admitted {
    /// Microseconds since the agent's start.
    pub start_us: u64,
    epoch: u64,
    /// Number of the backend that it goes to.
    pub backend: u16,
    /// Number of its route class.
    pub class: u16,
    protocol: Protocol,
    /// Place in the in-flight table, if there was room.
    place: Option<u16>,
    /// The trace that it belongs to, if that is recorded.
    pub trace: Option<TraceParent>,
    /// HTTP status of its response, zero while there is none.
    pub status: Cell<u16>,
}

/// The one writer of a recorder.
#[derive(Debug)]
pub struct Writer {
    recorder: Arc<Recorder>,
    free: RefCell<Vec<u16>>,
    /// Requests admitted and not yet ended.
    pub active: Cell<usize>,
}

impl Recorder {
    /// For `backends` backends.
    #[must_use]
    pub fn new(backends: usize, shared: Arc<Shared>) -> Self {
        let row = || (0..CLASSES).map(|_| OnceLock::new()).collect();
        Self {
            in_flight: InFlight::default(),
            own: Own::default(),
            shared,
            rows: (0..backends).map(|_| row()).collect(),
        }
    }

    fn class(&self, backend: u16, class: u16) -> &Class {
        self.rows[usize::from(backend)][usize::from(class)].get_or_init(Box::default)
    }

    /// Calls `visit` with each lane that has counts: backend, class, protocol, age, outcome, last byte, first byte.
    pub fn lanes(&self, mut visit: impl FnMut(usize, usize, Protocol, Age, Outcome, Counts, Counts)) {
        self.classes(|backend, number, class| {
            for (protocol, lanes) in PROTOCOLS.into_iter().zip(&class.lanes) {
                for (at, lane) in lanes.get().into_iter().flat_map(|lanes| lanes.iter().enumerate()) {
                    let Some(lane) = lane.get() else { continue };
                    let (age, outcome) = (AGE[at / Outcome::ALL.len()], Outcome::ALL[at % Outcome::ALL.len()]);
                    visit(backend, number, protocol, age, outcome, lane.last_byte.counts(), lane.first_byte.counts());
                }
            }
        });
    }

    /// Calls `visit` with each request that is remembered as an example: backend, class, request.
    pub fn exemplars(&self, mut visit: impl FnMut(usize, usize, Remembered)) {
        self.classes(|backend, number, class| {
            for known in class.exemplars.get().into_iter().flat_map(|exemplars| exemplars.iter()) {
                visit(backend, number, known);
            }
        });
    }

    /// Calls `visit` with what was settled: backend, class, age at the end, number of the limit, count.
    pub fn settled(&self, mut visit: impl FnMut(usize, usize, Age, usize, u64)) {
        self.classes(|backend, number, class| {
            for (age, limits) in AGE.into_iter().zip(&class.settled) {
                for (bit, count) in limits.iter().enumerate() {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        visit(backend, number, age, bit, count);
                    }
                }
            }
        });
    }

    /// Calls `visit` with the admissions of each epoch that is kept: backend, class, epoch, admitted, in flight.
    pub fn admissions(&self, mut visit: impl FnMut(usize, usize, u64, u64, u64)) {
        self.classes(|backend, number, class| {
            for epoch in &class.epochs {
                let before = epoch.number.load(Acquire);
                // Finished first: a request between the two reads may be seen in flight, but never less than none.
                let finished = epoch.finished.load(Acquire);
                let admitted = epoch.admitted.load(Acquire);
                if before > 0 && epoch.number.load(Acquire) == before {
                    visit(backend, number, before - 1, admitted, admitted.saturating_sub(finished));
                }
            }
        });
    }

    fn classes(&self, mut visit: impl FnMut(usize, usize, &Class)) {
        for (backend, row) in self.rows.iter().enumerate() {
            for (number, class) in row.iter().enumerate() {
                if let Some(class) = class.get() {
                    visit(backend, number, class);
                }
            }
        }
    }
}

impl Writer {
    /// The writer of a recorder; there must be one only.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>) -> Self {
        let free = (0..crate::inflight::ENTRIES as u16).rev().collect();
        Self { recorder, free: RefCell::new(free), active: Cell::new(0) }
    }

    /// The worker's counts about itself.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.recorder.own
    }

    /// A request goes to a backend.
    pub fn admit(&self, backend: usize, class: u16, protocol: Protocol, epoch: u64, start_us: u64) -> Admitted {
        let backend = u16::try_from(backend).expect("there are at most TARGETS_MAX backends");
        let class = self.room(backend, class);
        self.recorder.class(backend, class).admit(epoch);
        self.active.set(self.active.get() + 1);
        let place = self.free.borrow_mut().pop();
        match place {
            Some(place) => {
                let origin = Origin { backend, class, epoch: epoch as u32 };
                self.recorder.in_flight.begin(usize::from(place), origin, start_us);
            }
            None => add(&self.own().unrecorded, 1),
        }
        Admitted { start_us, epoch, backend, class, protocol, place, trace: None, status: Cell::new(0) }
    }

    /// The first byte of its response came.
    pub fn first_byte(&self, request: &Admitted, outcome: Outcome, now_us: u64, epoch: u64) {
        let age = Age::of(request.epoch, epoch);
        if let Some(lane) = self.lane(request, age, outcome) {
            lane.first_byte.record(now_us.saturating_sub(request.start_us));
        }
        if let Some(place) = request.place {
            let marks = self.recorder.in_flight.answered(usize::from(place));
            self.settle(request, age, marks.only(self.recorder.shared.first_byte_limits.load(Relaxed)));
        }
    }

    /// It ended.
    pub fn end(&self, request: &Admitted, outcome: Outcome, now_us: u64, epoch: u64) {
        let age = Age::of(request.epoch, epoch);
        let latency_us = now_us.saturating_sub(request.start_us);
        match self.lane(request, age, outcome) {
            Some(lane) => lane.last_byte.record(latency_us),
            None => add(&self.own().unrecorded, 1),
        }
        if let Some(trace) = request.trace {
            let exemplars = self.recorder.class(request.backend, request.class).exemplars.get_or_init(Box::default);
            exemplars.note(trace, outcome, request.status.get(), latency_us, now_us);
        }
        if let Some(place) = request.place {
            let marks = self.recorder.in_flight.end(usize::from(place));
            // One that ended without a first byte stays counted as over the first-byte limit: it did wait that long.
            self.settle(request, age, marks.only(!self.recorder.shared.first_byte_limits.load(Relaxed)));
            self.free.borrow_mut().push(place);
        }
        self.recorder.class(request.backend, request.class).finish(request.epoch);
        self.active.set(self.active.get() - 1);
    }

    fn settle(&self, request: &Admitted, age: Age, marks: Marks) {
        for bit in marks.iter() {
            add(&self.recorder.class(request.backend, request.class).settled[age as usize][bit], 1);
        }
    }

    /// The class itself, or `other` when too many are counted apart already.
    fn room(&self, backend: u16, class: u16) -> u16 {
        if class == CLASS_DEFAULT || self.recorder.rows[usize::from(backend)][usize::from(class)].get().is_some() {
            return class;
        }
        if class != CLASS_OTHER && admit_below(&self.recorder.shared.pairs, (backend, class), PAIRS_MAX) {
            return class;
        }
        add(&self.own().collapsed, 1);
        CLASS_OTHER
    }

    fn lane(&self, request: &Admitted, age: Age, outcome: Outcome) -> Option<&Lane> {
        let lanes = &self.recorder.class(request.backend, request.class).lanes[request.protocol as usize];
        let lanes = lanes.get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
        let at = age as usize * Outcome::ALL.len() + outcome as usize;
        if let Some(lane) = lanes[at].get() {
            return Some(lane);
        }
        let key = (request.backend, request.class, request.protocol as u8, at as u8);
        admit_below(&self.recorder.shared.series, key, SERIES_MAX).then(|| &**lanes[at].get_or_init(Box::default))
    }
}
