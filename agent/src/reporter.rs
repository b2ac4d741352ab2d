//! Puts together what the workers counted: marks what hangs, sums the workers, and says what changed since the gate last
//! acknowledged.
//!
//! Plain data and no I/O; [`crate::stream`] carries its reports, [`crate::control`] gives it its turn.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use blueback_report::{
    AdmissionKey, Age, Dependency, EXEMPLARS_MAX, Exemplar, Health, LIMITS_MAX, Limit, Measure, OverdueKey, Report,
    Resources, SERIES_MAX, SeriesKey, Totals, Watch,
};

use crate::cgroup::Cgroup;
use crate::clock::Clock;
use crate::dependency::{self, Checked};
use crate::inflight::Watched;
use crate::recorder::{CLASSES, Recorder, Shared};
use crate::ring::Ring;
use crate::route::{CLASS_OTHER, Router};

/// Reports sent but not acknowledged whose content is remembered. Beyond it the later ones are not: an acknowledgement of
/// the older ones still makes the next reports smaller.
const UNACKNOWLEDGED_MAX: usize = 16;
/// Cadence until a gate says otherwise, in milliseconds.
const CADENCE_MS: u32 = 1_000;

/// Which limit each bit of the in-flight table stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Bit {
    #[default]
    Free,
    /// Marked on requests.
    Watched(Limit),
    /// Not watched now. Its marks stay, so that a limit that comes back does not count the same requests twice.
    Resting(Limit),
    /// Given to this limit from the next turn on; its marks were cleared, and a worker that was just settling one of the
    /// old limit has until then to finish.
    Cleared(Limit),
}

impl Bit {
    fn limit(self) -> Option<Limit> {
        match self {
            Self::Free => None,
            Self::Watched(limit) | Self::Resting(limit) | Self::Cleared(limit) => Some(limit),
        }
    }
}

/// What is cumulative in a report.
#[derive(Debug, Default)]
struct Counted {
    totals: Totals,
    dependencies: Vec<Dependency>,
}

/// The agent's view of everything it has counted.
#[derive(Debug)]
pub struct Reporter {
    clock: Clock,
    router: Arc<Router>,
    recorders: Vec<Arc<Recorder>>,
    shared: Arc<Shared>,
    /// Names of the route classes, by number.
    classes: Vec<Arc<str>>,
    bits: [Bit; LIMITS_MAX],
    cadence_ms: u32,
    crossed: BTreeMap<OverdueKey, u64>,
    settled: BTreeMap<OverdueKey, u64>,
    /// The workers' settled counts as last read, by recorder, backend, class, age and bit.
    settled_read: BTreeMap<(usize, usize, usize, Age, usize), u64>,
    ring: Ring,
    /// What was counted before this instance began.
    before: Totals,
    dependencies: Vec<Checked>,
    cgroup: Option<Cgroup>,
    resources: Resources,
    acknowledged: Counted,
    sent: VecDeque<(u64, Counted)>,
    /// Time of the newest report that is acknowledged on this stream: the gate has the exemplars until then.
    exemplars_ms: Option<u64>,
    last_ms: u64,
    process: (u64, u64),
}

impl Reporter {
    /// Over the recorders of all workers.
    #[must_use]
    pub fn new(clock: Clock, router: Arc<Router>, recorders: Vec<Arc<Recorder>>, shared: Arc<Shared>) -> Self {
        Self {
            clock,
            router,
            recorders,
            shared,
            classes: vec![Arc::from(""), Arc::from("other")],
            bits: [Bit::Free; LIMITS_MAX],
            cadence_ms: CADENCE_MS,
            crossed: BTreeMap::new(),
            settled: BTreeMap::new(),
            settled_read: BTreeMap::new(),
            ring: Ring::default(),
            before: Totals::default(),
            dependencies: Vec::new(),
            cgroup: None,
            resources: Resources::default(),
            acknowledged: Counted::default(),
            sent: VecDeque::new(),
            exemplars_ms: None,
            last_ms: 0,
            process: (0, 0),
        }
    }

    /// Reports these dependencies too, and the control group.
    #[must_use]
    pub fn beside(self, dependencies: impl Iterator<Item = Arc<str>>, cgroup: Option<Cgroup>) -> Self {
        Self { dependencies: dependencies.map(Checked::new).collect(), cgroup, ..self }
    }

    /// Notes how long a dependency took to answer, or that it did not.
    pub fn checked(&mut self, dependency: usize, answered_us: Option<u64>) {
        let now_ms = self.clock.now_ms();
        self.dependencies[dependency].note(answered_us, now_ms);
    }

    /// Goes on as another instance, which has counted nothing yet.
    pub fn restart(&mut self) {
        self.before = Totals::default();
        self.before = self.state().totals;
        self.ring = Ring::default();
    }

    /// Name of a route class; empty for requests of no route that is watched.
    #[must_use]
    pub fn class(&self, number: u16) -> Arc<str> {
        self.classes[usize::from(number)].clone()
    }

    /// Milliseconds between reports.
    #[must_use]
    pub fn cadence_ms(&self) -> u32 {
        self.cadence_ms
    }

    /// All workers' recorders.
    #[must_use]
    pub fn recorders(&self) -> &[Arc<Recorder>] {
        &self.recorders
    }

    /// What the gate wants to be watched.
    pub fn watch(&mut self, watch: &Watch) {
        self.cadence_ms = watch.cadence_ms;
        self.watch_limits(&watch.limits);
        let classes = watch.routes.iter().map(|route| (route.clone(), self.class_of(route))).collect();
        self.router.classify_by(classes);
    }

    fn class_of(&mut self, route: &Arc<str>) -> u16 {
        let known = self.classes.iter().position(|name| name == route);
        let number = known.unwrap_or_else(|| {
            if self.classes.len() == CLASSES {
                return usize::from(CLASS_OTHER);
            }
            self.classes.push(route.clone());
            self.classes.len() - 1
        });
        u16::try_from(number).expect("there are at most CLASSES")
    }

    fn watch_limits(&mut self, limits: &[Limit]) {
        for bit in &mut self.bits {
            *bit = match *bit {
                Bit::Watched(limit) if !limits.contains(&limit) => Bit::Resting(limit),
                Bit::Resting(limit) if limits.contains(&limit) => Bit::Watched(limit),
                Bit::Cleared(limit) if !limits.contains(&limit) => Bit::Free,
                other => other,
            };
        }
        for &limit in limits {
            if self.bits.iter().any(|bit| bit.limit() == Some(limit)) {
                continue;
            }
            let free = self.bits.iter().position(|bit| *bit == Bit::Free);
            let resting = || self.bits.iter().position(|bit| matches!(bit, Bit::Resting(_)));
            // A report's list of limits is bounded by LIMITS_MAX, so one of the two is found.
            let Some(place) = free.or_else(resting) else { continue };
            for recorder in &self.recorders {
                recorder.in_flight.clear(place);
            }
            self.bits[place] = Bit::Cleared(limit);
        }
        if self.crossed.len() > SERIES_MAX {
            let bits = self.bits;
            let known = |key: &OverdueKey| bits.iter().any(|bit| bit.limit() == Some(key.limit));
            self.crossed.retain(|key, _| known(key));
            self.settled.retain(|key, _| known(key));
        }
    }

    fn overdue_key(&self, backend: usize, class: usize, age: Age, limit: Limit) -> OverdueKey {
        let backend = &self.router.backends()[backend];
        OverdueKey { slot: backend.slot, pod: backend.pod.clone(), route: self.classes[class].clone(), age, limit }
    }

    /// Marks requests that are over a limit by now.
    fn mark(&mut self) {
        let (now_us, epoch) = (self.clock.now_us(), self.router.epoch());
        let watched: Vec<Watched> = self
            .bits
            .iter()
            .enumerate()
            .filter_map(|(bit, state)| match *state {
                Bit::Watched(limit) => Some(Watched { bit, limit }),
                _ => None,
            })
            .collect();
        if watched.is_empty() {
            return;
        }
        let mut crossed = std::mem::take(&mut self.crossed);
        for recorder in &self.recorders {
            recorder.in_flight.mark(now_us, &watched, |origin, limit| {
                // Only the low bits of the epoch are in the table; it is at most that far behind.
                let age = Age::of(0, u64::from((epoch as u32).wrapping_sub(origin.epoch)));
                let key = self.overdue_key(usize::from(origin.backend), usize::from(origin.class), age, limit);
                *crossed.entry(key).or_default() += 1;
            });
        }
        self.crossed = crossed;
    }

    fn settle(&mut self) {
        let mut settled = std::mem::take(&mut self.settled);
        let mut read = std::mem::take(&mut self.settled_read);
        for (worker, recorder) in self.recorders.iter().enumerate() {
            recorder.settled(|backend, class, age, bit, count| {
                let before = read.insert((worker, backend, class, age, bit), count).unwrap_or(0);
                if let (true, Bit::Watched(limit) | Bit::Resting(limit)) = (count > before, self.bits[bit]) {
                    *settled.entry(self.overdue_key(backend, class, age, limit)).or_default() += count - before;
                }
            });
        }
        self.settled = settled;
        self.settled_read = read;
        for (place, bit) in self.bits.iter_mut().enumerate() {
            if let Bit::Cleared(limit) = *bit {
                *bit = Bit::Watched(limit);
                let mask = self.shared.first_byte_limits.load(Relaxed);
                let first = u16::from(limit.measure == Measure::FirstByte) << place;
                self.shared.first_byte_limits.store(mask & !(1 << place) | first, Relaxed);
            }
        }
    }

    /// Everything counted until now, and the gauges.
    pub fn state(&mut self) -> Report {
        self.mark();
        let mut report = Report {
            at_ms: self.clock.now_ms().max(self.last_ms + 1),
            epoch: self.router.epoch(),
            targets: self.router.targets(),
            health: self.health(),
            dependencies: self.dependencies.iter().map(|checked| checked.at(self.clock.now_ms())).collect(),
            resources: self.resources,
            ..Report::default()
        };
        self.last_ms = report.at_ms;
        let backends = self.router.backends();
        for recorder in &self.recorders {
            recorder.lanes(|backend, class, protocol, age, outcome, last_byte, first_byte| {
                let backend = &backends[backend];
                let (slot, pod, route) = (backend.slot, backend.pod.clone(), self.classes[class].clone());
                let latency =
                    report.totals.series.entry(SeriesKey { slot, pod, route, protocol, age, outcome }).or_default();
                latency.last_byte.add(&last_byte);
                latency.first_byte.add(&first_byte);
            });
        }
        for recorder in &self.recorders {
            recorder.exemplars(|backend, class, known| {
                let (backend, at_ms) = (&backends[backend], known.at_us / 1_000);
                // One that ended while this was read comes next time.
                if at_ms <= report.at_ms {
                    report.exemplars.push(Exemplar {
                        slot: backend.slot,
                        pod: backend.pod.clone(),
                        route: self.classes[class].clone(),
                        outcome: known.outcome,
                        trace: known.trace,
                        span: known.span,
                        latency_us: known.latency_us,
                        at_ms,
                        status: known.status,
                    });
                }
            });
        }
        self.settle();
        for (key, &crossed) in &self.crossed {
            report.totals.overdue.entry(key.clone()).or_default().crossed = crossed;
        }
        for (key, &settled) in &self.settled {
            report.totals.overdue.entry(key.clone()).or_default().settled = settled;
        }
        let backends = self.router.backends();
        for recorder in &self.recorders {
            recorder.admissions(|backend, class, epoch, admitted, in_flight| {
                let (backend, route) = (&backends[backend], self.classes[class].clone());
                let key = AdmissionKey { epoch, slot: backend.slot, pod: backend.pod.clone(), route };
                if in_flight > 0 {
                    *report.in_flight.entry(key.clone()).or_default() += in_flight;
                }
                *report.totals.admitted.entry(key).or_default() += admitted;
            });
        }
        // Keys begin with the epoch, so the oldest epochs go first.
        while report.totals.admitted.len() > SERIES_MAX {
            report.totals.admitted.pop_first();
        }
        while report.totals.overdue.len() > SERIES_MAX {
            report.totals.overdue.pop_last();
        }
        if !self.before.is_empty() {
            // What grew since then; a request from before that is still in flight was admitted by the former instance.
            report.totals = self.before.clone().merge(&report.totals);
            report.in_flight.retain(|key, _| report.totals.admitted.contains_key(key));
        }
        report
    }

    /// Adds a slice to the ring: once a second.
    pub fn slice(&mut self) {
        self.process = process();
        if let Some(cgroup) = &mut self.cgroup {
            self.resources = cgroup.read(self.clock.now_us());
        }
        let mut state = self.state();
        // What is still remembered goes with the first live report of a stream; the ring's room is for evidence.
        state.exemplars.clear();
        self.ring.push(state);
    }

    /// A new stream began: nothing sent before counts as acknowledged. Returns what is to be replayed, encoded.
    pub fn begin(&mut self, merged_ms: u64) -> Vec<bytes::Bytes> {
        self.acknowledged = Counted::default();
        self.sent.clear();
        self.exemplars_ms = None;
        self.ring.replay(merged_ms)
    }

    /// What changed since the last acknowledgement.
    pub fn live(&mut self) -> Report {
        let mut report = self.state();
        let mut changed = report.totals.since(&self.acknowledged.totals);
        for key in report.in_flight.keys() {
            if let Some(&admitted) = report.totals.admitted.get(key) {
                changed.admitted.insert(key.clone(), admitted);
            }
        }
        let totals = std::mem::replace(&mut report.totals, changed);
        let dependencies = dependency::since(&report.dependencies, &self.acknowledged.dependencies);
        let dependencies = std::mem::replace(&mut report.dependencies, dependencies);
        report.exemplars.retain(|known| self.exemplars_ms.is_none_or(|known_ms| known.at_ms > known_ms));
        // Failed ones first, then the newest; the bound is far above what few routes and backends come to.
        report.exemplars.sort_by_key(|known| (!known.outcome.is_fault(), std::cmp::Reverse(known.at_ms)));
        report.exemplars.truncate(EXEMPLARS_MAX);
        if self.sent.len() < UNACKNOWLEDGED_MAX {
            self.sent.push_back((report.at_ms, Counted { totals, dependencies }));
        }
        report
    }

    /// The gate has merged the report of `at_ms` and so everything before it.
    pub fn acknowledge(&mut self, at_ms: u64) {
        while let Some((sent_ms, counted)) = self.sent.pop_front_if(|(sent_ms, _)| *sent_ms <= at_ms) {
            self.acknowledged = counted;
            self.exemplars_ms = Some(sent_ms);
        }
    }

    fn health(&self) -> Health {
        let sum = |count: fn(&Recorder) -> u64| self.recorders.iter().map(|recorder| count(recorder)).sum();
        Health {
            unrecorded: sum(|recorder| recorder.own.unrecorded.load(Relaxed)),
            collapsed: sum(|recorder| recorder.own.collapsed.load(Relaxed)),
            divert_failed: sum(|recorder| recorder.own.divert_failed.load(Relaxed)),
            cpu_us: self.process.0,
            resident_bytes: self.process.1,
        }
    }
}

/// Processor time in microseconds and resident bytes of this process, as Linux tells them; zeros elsewhere.
fn process() -> (u64, u64) {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    // After the name in parentheses: state is field 3, utime 14 and stime 15, in ticks of 1/100 s (USER_HZ).
    let stat = read("/proc/self/stat");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let status = read("/proc/self/status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    (ticks * 10_000, kib.unwrap_or(0) * 1_024)
}
