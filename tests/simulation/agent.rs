//! An agent as the gate knows one: it splits, counts, reports and replays as `blueback-agent` does, in virtual time and
//! without sockets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use blueback_report::buckets::crossing_us;
use blueback_report::wire::proto::{self, from_agent, to_agent};
use blueback_report::{
    AdmissionKey, Age, EPOCHS_KEPT, Health, Hello, Limit, Outcome, Overdue, OverdueKey, Protocol, Report, Role, Route,
    SeriesKey, Slot, TargetState, Totals, Watch,
};

use crate::clock::Clock;
use crate::traffic::{Answer, Traffic, question};

/// Seconds that the ring holds.
const RING_SLICES: usize = 600;
/// Milliseconds between reports while nothing is watched.
const IDLE_CADENCE_MS: u32 = 1_000;

/// A backend.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) slot: Slot,
    pub(crate) name: Arc<str>,
    /// Its place among those of its slot.
    pub(crate) place: usize,
}

/// Where the conversation with the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down { retry_us: u64 },
    Greeting { stream: u64 },
    Live { stream: u64 },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    end_us: u64,
    number: u64,
    epoch: u64,
    pod: usize,
    outcome: usize,
    latency_us: u64,
    first_byte: bool,
}

/// A request that will still be unanswered when it is over a limit.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crossing {
    at_us: u64,
    number: u64,
    /// Place of the limit in the watch list.
    limit: usize,
    epoch: u64,
    pod: usize,
}

#[derive(Debug)]
pub(crate) struct Agent {
    /// Instance; a restart is another one.
    pub(crate) instance: Arc<str>,
    pub(crate) role: Role,
    pub(crate) route: Route,
    /// What it has counted, all of it.
    pub(crate) totals: Totals,
    pods: Vec<Pod>,
    pub(crate) clock: Clock,
    started_us: u64,
    /// Told to let go of its clients within so many milliseconds, and not done yet.
    pub(crate) let_go_ms: Option<u32>,
    /// Requests that it was to divert and could not.
    pub(crate) divert_failed: u64,
    /// By its clock, when it said something last.
    last_ms: u64,
    watch: Watch,
    flights: BinaryHeap<Reverse<Flight>>,
    crossings: BinaryHeap<Reverse<Crossing>>,
    crossed: BTreeMap<u64, Vec<Limit>>,
    in_flight: BTreeMap<(u64, usize), u64>,
    /// Not yet in `totals`: latencies by lane (pod, age, outcome), admissions by pod.
    pending: Vec<Vec<(u64, bool)>>,
    admitted: Vec<u64>,
    ring: VecDeque<(u64, Rc<Totals>)>,
    /// The state at the beginning of the ring.
    base: (u64, Rc<Totals>),
    sent: VecDeque<(u64, Rc<Totals>)>,
    acked: Rc<Totals>,
    acked_ms: u64,
    link: Link,
    due_us: u64,
    slice_us: u64,
}

fn lane(pod: usize, age: Age, outcome: usize) -> usize {
    (pod * 3 + age as usize) * Outcome::ALL.len() + outcome
}

impl Agent {
    pub(crate) fn new(instance: &str, role: Role, pods: Vec<Pod>, serving: Slot, now_us: u64) -> Self {
        Self {
            instance: instance.into(),
            role,
            route: Route::all_to(serving, 0),
            totals: Totals::default(),
            clock: Clock::default(),
            started_us: now_us,
            let_go_ms: None,
            divert_failed: 0,
            last_ms: 0,
            watch: Watch { cadence_ms: IDLE_CADENCE_MS, ..Watch::default() },
            flights: BinaryHeap::new(),
            crossings: BinaryHeap::new(),
            crossed: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            pending: vec![Vec::new(); lane(pods.len(), Age::Current, 0)],
            admitted: vec![0; pods.len()],
            pods,
            ring: VecDeque::new(),
            base: (0, Rc::default()),
            sent: VecDeque::new(),
            acked: Rc::default(),
            acked_ms: 0,
            link: Link::Down { retry_us: now_us },
            due_us: now_us,
            slice_us: now_us + 1_000_000,
        }
    }

    /// Which backend gets a request: the slot by share, then one of its pods, unless that gets less than its turn. A slot is
    /// ready as a whole or not at all here, so readiness changes nobody's turn.
    pub(crate) fn choose(&self, traffic: &Traffic, number: u64) -> usize {
        let slot = if traffic.coin(number, question::SLOT) < self.route.green_share { Slot::Green } else { Slot::Blue };
        let chosen = self.turn(traffic, number, slot);
        let held = self.route.pods.iter().find(|pod| pod.slot == slot && pod.pod == self.pods[chosen].name);
        if held.is_some_and(|held| traffic.coin(number, question::POD_SHARE) >= held.share) {
            return self.turn(traffic, number, slot.other());
        }
        chosen
    }

    fn turn(&self, traffic: &Traffic, number: u64, slot: Slot) -> usize {
        let first = self.pods.iter().position(|pod| pod.slot == slot).expect("both slots have pods");
        let count = self.pods.iter().filter(|pod| pod.slot == slot).count();
        first + (traffic.coin(number, question::POD) * count as f64) as usize
    }

    /// A request arrives: it is sent to a backend, by its number among this agent's, and gets an answer.
    pub(crate) fn admit(&mut self, traffic: &Traffic, number: u64, now_us: u64) -> (usize, Answer) {
        let pod = self.choose(traffic, number);
        let answer = traffic.answer(number, self.pods[pod].slot, self.pods[pod].place, now_us);
        self.serve(number, pod, answer, now_us);
        (pod, answer)
    }

    /// The slot of a backend.
    pub(crate) fn slot(&self, pod: usize) -> Slot {
        self.pods[pod].slot
    }

    /// A request is sent to a backend and will be answered like this.
    pub(crate) fn serve(&mut self, number: u64, pod: usize, answer: Answer, now_us: u64) {
        let Answer { outcome, latency_us, first_byte } = answer;
        self.admitted[pod] += 1;
        *self.in_flight.entry((self.route.epoch, pod)).or_default() += 1;
        for (index, limit) in self.watch.limits.iter().enumerate() {
            let crossing = crossing_us(limit.us);
            if latency_us > crossing {
                let at_us = now_us + crossing + 1;
                let epoch = self.route.epoch;
                self.crossings.push(Reverse(Crossing { at_us, number, limit: index, epoch, pod }));
            }
        }
        self.flights.push(Reverse(Flight {
            end_us: now_us + latency_us,
            number,
            epoch: self.route.epoch,
            pod,
            outcome: outcome as usize,
            latency_us,
            first_byte,
        }));
    }

    /// Requests end and cross limits up to now.
    pub(crate) fn advance(&mut self, now_us: u64) {
        while self.crossings.peek().is_some_and(|Reverse(crossing)| crossing.at_us <= now_us) {
            let Some(Reverse(Crossing { number, limit, epoch, pod, .. })) = self.crossings.pop() else { break };
            let Some(&limit) = self.watch.limits.get(limit) else { continue };
            self.overdue(pod, Age::of(epoch, self.route.epoch), limit).crossed += 1;
            self.crossed.entry(number).or_default().push(limit);
        }
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.end_us <= now_us) {
            let Some(Reverse(flight)) = self.flights.pop() else { break };
            let age = Age::of(flight.epoch, self.route.epoch);
            self.pending[lane(flight.pod, age, flight.outcome)].push((flight.latency_us, flight.first_byte));
            if let Some(left) = self.in_flight.get_mut(&(flight.epoch, flight.pod)) {
                *left -= 1;
                if *left == 0 {
                    self.in_flight.remove(&(flight.epoch, flight.pod));
                }
            }
            for limit in self.crossed.remove(&flight.number).unwrap_or_default() {
                self.overdue(flight.pod, age, limit).settled += 1;
            }
        }
        if now_us >= self.slice_us {
            self.slice_us += 1_000_000;
            self.flush();
            let at_ms = self.at_ms(now_us);
            self.ring.push_back((at_ms, Rc::new(self.totals.clone())));
            if self.ring.len() > RING_SLICES
                && let Some(oldest) = self.ring.pop_front()
            {
                self.base = oldest;
            }
        }
    }

    fn overdue(&mut self, pod: usize, age: Age, limit: Limit) -> &mut Overdue {
        let pod = &self.pods[pod];
        let key = OverdueKey { slot: pod.slot, pod: pod.name.clone(), route: "".into(), age, limit };
        self.totals.overdue.entry(key).or_default()
    }

    /// Moves what was counted since into `totals`.
    fn flush(&mut self) {
        for (index, pod) in self.pods.iter().enumerate() {
            if self.admitted[index] > 0 {
                let key =
                    AdmissionKey { epoch: self.route.epoch, slot: pod.slot, pod: pod.name.clone(), route: "".into() };
                *self.totals.admitted.entry(key).or_default() += std::mem::take(&mut self.admitted[index]);
            }
            for age in [Age::Current, Age::Previous, Age::Older] {
                for outcome in Outcome::ALL {
                    let pending = &mut self.pending[lane(index, age, outcome as usize)];
                    if pending.is_empty() {
                        continue;
                    }
                    let key = SeriesKey {
                        slot: pod.slot,
                        pod: pod.name.clone(),
                        route: "".into(),
                        protocol: Protocol::Http1,
                        age,
                        outcome,
                    };
                    let latency = self.totals.series.entry(key).or_default();
                    for (us, first_byte) in pending.drain(..) {
                        latency.last_byte.record_n(us, 1);
                        if first_byte {
                            latency.first_byte.record_n(us / 2, 1);
                        }
                    }
                }
            }
        }
        let oldest = self.route.epoch.saturating_sub(EPOCHS_KEPT - 1);
        self.totals.admitted.retain(|key, _| key.epoch >= oldest);
    }

    /// The time by its clock, which never stands still or goes back in what it says.
    fn at_ms(&mut self, now_us: u64) -> u64 {
        self.last_ms = self.clock.at_ms(self.started_us, now_us).max(self.last_ms + 1);
        self.last_ms
    }

    fn targets(&self, traffic: &Traffic, now_us: u64) -> Vec<TargetState> {
        self.pods
            .iter()
            .map(|pod| TargetState { slot: pod.slot, pod: pod.name.clone(), ready: traffic.ready(pod.slot, now_us) })
            .collect()
    }

    /// Wants to connect now.
    pub(crate) fn calls(&self, now_us: u64) -> bool {
        matches!(self.link, Link::Down { retry_us } if now_us >= retry_us)
    }

    /// The connection is there: what it says first.
    pub(crate) fn connected(&mut self, stream: u64, service: &str, traffic: &Traffic, now_us: u64) -> proto::FromAgent {
        self.link = Link::Greeting { stream };
        let hello = Hello {
            agent: self.instance.clone(),
            service: service.into(),
            role: self.role,
            targets: self.targets(traffic, now_us),
            route: self.route.clone(),
            version: "simulated".into(),
        };
        proto::FromAgent { message: Some(from_agent::Message::Hello((&hello).into())) }
    }

    /// The connection is gone, or was refused.
    pub(crate) fn disconnected(&mut self, retry_us: u64) {
        self.link = Link::Down { retry_us };
    }

    pub(crate) const fn stream(&self) -> Option<u64> {
        match self.link {
            Link::Down { .. } => None,
            Link::Greeting { stream } | Link::Live { stream } => Some(stream),
        }
    }

    /// The gate said something on this stream. Returns what is answered at once: after a welcome, the ring.
    pub(crate) fn told(
        &mut self,
        stream: u64,
        message: proto::ToAgent,
        traffic: &Traffic,
        now_us: u64,
    ) -> Vec<proto::FromAgent> {
        if self.stream() != Some(stream) {
            return Vec::new();
        }
        match message.message.expect("the gate sends no empty message") {
            to_agent::Message::Welcome(welcome) => {
                if matches!(self.link, Link::Live { .. }) {
                    return Vec::new();
                }
                self.link = Link::Live { stream };
                self.sent.clear();
                self.acked = Rc::default();
                self.acked_ms = 0;
                self.due_us = now_us;
                self.replay(welcome.merged_ms, traffic, now_us)
            }
            to_agent::Message::Ack(ack) => {
                if ack.at_ms > self.acked_ms {
                    while let Some((at_ms, totals)) = self.sent.pop_front_if(|(at_ms, _)| *at_ms <= ack.at_ms) {
                        self.acked = totals;
                        self.acked_ms = at_ms;
                    }
                }
                Vec::new()
            }
            to_agent::Message::Route(route) => {
                let route = Route::try_from(route).expect("the gate sends valid routes");
                if route.epoch > self.route.epoch {
                    self.flush();
                    self.let_go_ms = route.let_go_ms;
                    self.route = route;
                } else if route.epoch == self.route.epoch {
                    self.route.peers = route.peers;
                }
                Vec::new()
            }
            to_agent::Message::Watch(watch) => {
                let watch = Watch::try_from(watch).expect("the gate sends valid watches");
                if watch != self.watch {
                    self.due_us = self.due_us.min(now_us + u64::from(watch.cadence_ms) * 1_000);
                    self.watch = watch;
                }
                Vec::new()
            }
        }
    }

    /// The ring from `merged_ms` on. A gate that knows nothing is told first what was before it.
    fn replay(&self, merged_ms: u64, traffic: &Traffic, now_us: u64) -> Vec<proto::FromAgent> {
        let mut before = Rc::default();
        let base = std::iter::once(&self.base).filter(|_| merged_ms == 0);
        let mut said = Vec::new();
        for (at_ms, totals) in base.chain(&self.ring) {
            if *at_ms > merged_ms || merged_ms == 0 {
                let report = Report {
                    at_ms: *at_ms,
                    epoch: self.route.epoch,
                    replayed: true,
                    totals: totals.since(&before),
                    targets: self.targets(traffic, now_us),
                    ..Report::default()
                };
                said.push(proto::FromAgent { message: Some(from_agent::Message::Report((&report).into())) });
            }
            before = totals.clone();
        }
        said
    }

    /// A report, if one is due.
    pub(crate) fn report(&mut self, traffic: &Traffic, now_us: u64) -> Option<(u64, proto::FromAgent)> {
        let Link::Live { stream } = self.link else { return None };
        if now_us < self.due_us {
            return None;
        }
        self.due_us = now_us + u64::from(self.watch.cadence_ms) * 1_000;
        self.flush();
        let at_ms = self.at_ms(now_us);
        let mut totals = self.totals.since(&self.acked);
        let mut in_flight = BTreeMap::new();
        for (&(epoch, pod), &count) in &self.in_flight {
            let pod = &self.pods[pod];
            let key = AdmissionKey { epoch, slot: pod.slot, pod: pod.name.clone(), route: "".into() };
            // Admissions of old epochs are dropped, and with them the gauge.
            if let Some(&admitted) = self.totals.admitted.get(&key) {
                totals.admitted.insert(key.clone(), admitted);
                in_flight.insert(key, count);
            }
        }
        let report = Report {
            at_ms,
            epoch: self.route.epoch,
            totals,
            in_flight,
            targets: self.targets(traffic, now_us),
            health: Health { divert_failed: self.divert_failed, ..Health::default() },
            ..Report::default()
        };
        self.sent.push_back((at_ms, Rc::new(self.totals.clone())));
        Some((stream, proto::FromAgent { message: Some(from_agent::Message::Report((&report).into())) }))
    }

    /// Everything counted up to now.
    pub(crate) fn counted(&mut self) -> &Totals {
        self.flush();
        &self.totals
    }

    /// Requests of one slot that failed.
    pub(crate) fn failed(&mut self, slot: Slot) -> u64 {
        self.flush();
        let faults = self.totals.series.iter().filter(|(key, _)| key.slot == slot && key.outcome.is_fault());
        faults.map(|(_, latency)| latency.last_byte.total()).sum()
    }

    /// Requests admitted by a slot under the epoch in force.
    pub(crate) fn admitted_now(&self, slot: Slot) -> u64 {
        let now = self.totals.admitted.iter().filter(|(key, _)| key.slot == slot && key.epoch == self.route.epoch);
        now.map(|(_, admitted)| admitted).sum()
    }
}
