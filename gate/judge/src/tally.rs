//! What was counted: for each metric, for blue, for green and each of its pods, over the open report interval, the open
//! block and the whole release.
//!
//! Three ways of counting quietly destroy the false-alarm bound, and this is where they are kept out: a share that falls
//! inside a block ([`Tally::block`]'s `withheld`), slow failures that were admitted under a larger share
//! ([`is_counted`]), and fast failures that end before slow successes (requests in flight of a young share count as good).

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{AdmissionKey, Age, Counts, Measure, Role, Slot, Totals};

use crate::metric::{All, Bad, Cell, Metric, crosses, is_counted};
use crate::observation::PodState;

/// Green pods told apart; further ones share the last place.
pub(crate) const PODS_MAX: usize = 256;
/// Agents whose gauges are kept; what further ones count is counted all the same.
const AGENTS_MAX: usize = 1_024;
/// Shares of which the epoch is remembered.
const SHARES_MAX: usize = 64;
/// While a share is younger, its requests in flight count as good: fast failures end before slow successes.
pub(crate) const YOUNG_MS: u64 = 10_000;
/// The rate at the door is a mean over this many report intervals: 10 s.
const RATE_TICKS: usize = 100;
/// The latest part of it: where traffic comes over bit by bit, as kept connections are let go, the mean of 10 s lags.
const LATEST_TICKS: usize = 20;
/// Quantiles for people are over the last one to two of these.
const SPREAD_TICKS: u64 = 100;

/// `(n, x)` of each metric.
pub(crate) type Sample = Vec<(f64, f64)>;

/// What one report interval or block holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// All of green, by metric.
    pub(crate) green: Sample,
    /// Blue, by metric.
    pub(crate) blue: Sample,
    /// Each pod of green, by pod, then by metric.
    pub(crate) pods: Vec<Sample>,
    /// Requests that the share at the block's start would have given to green, by metric; of blocks only.
    pub(crate) withheld: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cells {
    tick: Cell,
    block: Cell,
}

/// Where a count belongs: a pod of green, or blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Pod(usize),
    Blue,
}

#[derive(Clone, Debug, PartialEq)]
struct Agent {
    epoch: u64,
    since_ms: u64,
    epoch_at_block: Option<u64>,
    in_flight: Vec<(Place, Arc<str>, u64)>,
    /// Crossed and not settled, of the epoch in force, by metric.
    overdue: BTreeMap<(usize, Place), i64>,
}

/// Latencies of one measure on one route, for people.
#[derive(Clone, Debug, PartialEq)]
struct Spread {
    measure: Measure,
    route: Option<Arc<str>>,
    green: Counts,
    blue: Counts,
    recent: Counts,
    before: Counts,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) name: Arc<str>,
    /// It had requests, and is not gone.
    pub(crate) is_used: bool,
    /// Start of the block in which it was first heard of.
    pub(crate) since_ms: u64,
    cells: Vec<Cells>,
    in_flight_before: Vec<f64>,
    /// Scratch.
    in_flight: Vec<f64>,
}

crate::save::saved!(Cells { tick, block });
crate::save::saved!(Agent { epoch, since_ms, epoch_at_block, in_flight, overdue });
crate::save::saved!(Spread { measure, route, green, blue, recent, before });
crate::save::saved!(Pod { name, is_used, since_ms, cells, in_flight_before, in_flight });
crate::save::saved!(Rate { ticks, next, filled, open });
crate::save::saved!(Tally {
    candidate,
    metrics,
    pods,
    pod_of,
    replaced,
    blue,
    blue_in_flight_before,
    blue_in_flight,
    all,
    agents,
    shares,
    block_share,
    block_start_ms,
    target,
    withheld,
    door,
    own,
    spreads,
    ticks,
    green_requests,
    blue_requests,
    blue_speaks,
});

impl crate::save::Saved for Place {
    fn save(&self, out: &mut Vec<u8>) {
        match self {
            Self::Blue => None,
            Self::Pod(pod) => Some(*pod),
        }
        .save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, crate::save::LoadError> {
        Ok(Option::load(input)?.map_or(Self::Blue, Self::Pod))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tally {
    candidate: Slot,
    metrics: Vec<Metric>,
    pods: Vec<Pod>,
    pod_of: BTreeMap<Arc<str>, usize>,
    /// Places that were given to another pod and that nobody was told about yet.
    replaced: Vec<usize>,
    blue: Vec<Cells>,
    blue_in_flight_before: Vec<f64>,
    /// Scratch.
    blue_in_flight: Vec<f64>,
    all: [Vec<All>; 2],
    agents: BTreeMap<u32, Agent>,
    shares: BTreeMap<u64, f64>,
    /// The newest share that was commanded before the open block, and its epoch. What agents do later than they are told
    /// does not depend on the block's outcomes, so the command counts and not its arrival.
    block_share: Option<(u64, f64)>,
    block_start_ms: u64,
    target: f64,
    withheld: Vec<f64>,
    door: Rate,
    own: Rate,
    spreads: Vec<Spread>,
    ticks: u64,
    green_requests: u64,
    blue_requests: u64,
    /// An agent beside a pod of blue has reported, so what agents beside green say of blue is said twice.
    blue_speaks: bool,
}

/// Events a second, as a mean over [`RATE_TICKS`].
#[derive(Clone, Debug, PartialEq)]
struct Rate {
    ticks: [f64; RATE_TICKS],
    next: usize,
    filled: usize,
    open: f64,
}

impl Rate {
    const fn new() -> Self {
        Self { ticks: [0.0; RATE_TICKS], next: 0, filled: 0, open: 0.0 }
    }

    fn close(&mut self) {
        self.ticks[self.next] = std::mem::take(&mut self.open);
        self.next = (self.next + 1) % RATE_TICKS;
        self.filled = (self.filled + 1).min(RATE_TICKS);
    }

    fn per_second(&self) -> f64 {
        self.over(RATE_TICKS)
    }

    fn over(&self, ticks: usize) -> f64 {
        let ticks = ticks.min(self.filled);
        let sum: f64 = (1..=ticks).map(|back| self.ticks[(self.next + RATE_TICKS - back) % RATE_TICKS]).sum();
        if ticks == 0 { 0.0 } else { (sum * 10.0 / ticks as f64).max(0.0) }
    }
}

impl Tally {
    pub(crate) fn new(candidate: Slot, target: f64, metrics: Vec<Metric>) -> Self {
        let mut spreads: Vec<Spread> = Vec::new();
        for metric in &metrics {
            let Bad::Slow(limit) = metric.bad else { continue };
            if !spreads.iter().any(|spread| spread.measure == limit.measure && spread.route == metric.route) {
                let empty = Counts::default;
                spreads.push(Spread {
                    measure: limit.measure,
                    route: metric.route.clone(),
                    green: empty(),
                    blue: empty(),
                    recent: empty(),
                    before: empty(),
                });
            }
        }
        let width = metrics.len();
        Self {
            candidate,
            metrics,
            pods: Vec::new(),
            pod_of: BTreeMap::new(),
            replaced: Vec::new(),
            blue: vec![Cells::default(); width],
            blue_in_flight_before: vec![0.0; width],
            blue_in_flight: vec![0.0; width],
            all: [vec![All::default(); width], vec![All::default(); width]],
            agents: BTreeMap::new(),
            shares: BTreeMap::new(),
            block_share: None,
            block_start_ms: 0,
            target,
            withheld: vec![0.0; width],
            door: Rate::new(),
            own: Rate::new(),
            spreads,
            ticks: 0,
            green_requests: 0,
            blue_requests: 0,
            blue_speaks: false,
        }
    }

    /// The metrics that are counted.
    pub(crate) fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The pods of green, all of them: the others are gone, so nothing is to be learnt from leaving them out.
    pub(crate) fn see_pods(&mut self, present: &[PodState]) {
        let candidate = self.candidate;
        let of_green = || present.iter().filter(|pod| pod.slot == candidate);
        if of_green().next().is_none() {
            return;
        }
        for pod in &mut self.pods {
            pod.is_used &= of_green().any(|known| known.pod == pod.name);
        }
    }

    /// Places that were given to other pods since this was asked last.
    pub(crate) fn take_replaced(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.replaced.drain(..)
    }

    /// A second before the switch in which `requests` arrived in all.
    pub(crate) fn second_before(&mut self, requests: f64) {
        for _ in 0..10 {
            self.door.open = requests * self.target / 10.0;
            self.own.open = requests * (1.0 - self.target) / 10.0;
            self.door.close();
            self.own.close();
        }
    }

    pub(crate) fn set_target(&mut self, target: f64) {
        self.target = target;
    }

    pub(crate) fn set_share(&mut self, epoch: u64, share: f64) {
        self.shares.insert(epoch, share);
        // A share rises at the end of a block only, so a rise is in force from the beginning of the next one.
        if self.block_share.is_none_or(|(_, before)| share >= before) {
            self.block_share = Some((epoch, share));
        }
        if self.shares.len() > SHARES_MAX {
            self.shares.pop_first();
        }
    }

    pub(crate) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    pub(crate) fn pods_used(&self) -> usize {
        self.pods.iter().filter(|pod| pod.is_used).count()
    }

    /// Requests a second at green's door, diverted ones included.
    pub(crate) fn rate(&self) -> f64 {
        self.door.per_second()
    }

    /// The same for whoever must not take it for less than it is: the latest 2 s where they had more.
    pub(crate) fn rate_at_most(&self) -> f64 {
        self.door.per_second().max(self.door.over(LATEST_TICKS))
    }

    /// What blue serves beside what is diverted to it, in requests a second.
    pub(crate) fn blue_own(&self) -> f64 {
        self.own.per_second()
    }

    /// Requests of green that ended, of any kind.
    pub(crate) fn green_requests(&self) -> u64 {
        self.green_requests
    }

    /// Requests of blue that ended, of any kind.
    pub(crate) fn blue_requests(&self) -> u64 {
        self.blue_requests
    }

    /// Unanswered requests of green.
    pub(crate) fn green_in_flight(&self) -> u64 {
        let gauges = self.agents.values().flat_map(|agent| &agent.in_flight);
        let of_green = gauges.filter(|(place, ..)| *place != Place::Blue);
        of_green.fold(0, |sum, &(.., count)| sum.saturating_add(count))
    }

    pub(crate) fn green_all(&self) -> &[All] {
        &self.all[0]
    }

    pub(crate) fn blue_all(&self) -> &[All] {
        &self.all[1]
    }

    /// The quantile of the metric's latency in milliseconds: green's and blue's since the switch, and green's of late.
    pub(crate) fn quantile_ms(&self, metric: usize, quantile: f64) -> [Option<f64>; 3] {
        let metric = &self.metrics[metric];
        let Bad::Slow(limit) = metric.bad else { return [None; 3] };
        let Some(spread) =
            self.spreads.iter().find(|spread| spread.measure == limit.measure && spread.route == metric.route)
        else {
            return [None; 3];
        };
        let mut late = spread.recent.clone();
        late.add(&spread.before);
        [&spread.green, &spread.blue, &late].map(|counts| Some(counts.quantile_us(quantile)? as f64 / 1_000.0))
    }

    pub(crate) fn agent_gone(&mut self, agent: u32) {
        self.agents.remove(&agent);
    }

    fn pod_index(&mut self, name: &Arc<str>) -> usize {
        if let Some(&index) = self.pod_of.get(name) {
            return index;
        }
        let width = self.metrics.len();
        let fresh = Pod {
            name: name.clone(),
            is_used: false,
            since_ms: self.block_start_ms,
            cells: vec![Cells::default(); width],
            in_flight_before: vec![0.0; width],
            in_flight: vec![0.0; width],
        };
        if self.pods.len() < PODS_MAX {
            self.pods.push(fresh);
        } else if let Some(gone) = self.pods.iter().position(|pod| !pod.is_used) {
            // A day of rolling restarts and an autoscaler makes many names; one that is gone makes room.
            self.pod_of.remove(&self.pods[gone].name);
            self.pods[gone] = fresh;
            self.replaced.push(gone);
            self.pod_of.insert(name.clone(), gone);
            return gone;
        } else {
            return PODS_MAX - 1;
        }
        self.pod_of.insert(name.clone(), self.pods.len() - 1);
        self.pods.len() - 1
    }

    fn place(&mut self, slot: Slot, pod: &Arc<str>) -> Place {
        if slot == self.candidate { Place::Pod(self.pod_index(pod)) } else { Place::Blue }
    }

    pub(crate) fn grow(
        &mut self,
        now_ms: u64,
        agent_id: u32,
        role: Role,
        epoch: u64,
        totals: &Totals,
        in_flight: &BTreeMap<AdmissionKey, u64>,
    ) {
        let was_blue_silent = !self.blue_speaks;
        self.blue_speaks |= matches!(role, Role::Sidecar(slot) if slot != self.candidate);
        if self.blue_speaks && was_blue_silent {
            // What is counted twice in the open block is not counted.
            self.blue.fill(Cells::default());
        }
        let is_known = self.agents.contains_key(&agent_id);
        if !is_known && self.agents.len() < AGENTS_MAX {
            let fresh = Agent {
                epoch,
                since_ms: now_ms,
                epoch_at_block: None,
                in_flight: Vec::new(),
                overdue: BTreeMap::new(),
            };
            self.agents.insert(agent_id, fresh);
        }
        let mut changed = !is_known;
        if let Some(agent) = self.agents.get_mut(&agent_id) {
            if epoch > agent.epoch {
                (agent.epoch, agent.since_ms) = (epoch, now_ms);
                agent.overdue.clear();
            }
            changed = agent.epoch_at_block != Some(agent.epoch);
            let mut gauges = std::mem::take(&mut agent.in_flight);
            gauges.clear();
            for (key, &count) in in_flight.iter().filter(|(key, _)| key.epoch == epoch) {
                if !self.is_said_twice(role, key.slot) {
                    gauges.push((self.place(key.slot, &key.pod), key.route.clone(), count));
                }
            }
            if let Some(agent) = self.agents.get_mut(&agent_id) {
                agent.in_flight = gauges;
            }
        }
        // An agent's first report reaches back before the switch, when blue had all the traffic: no control for green.
        self.count_ended(role, totals, changed, is_known);
        self.count_overdue(agent_id, role, totals, changed);
        self.count_admitted(role, totals);
    }

    /// What an agent beside green diverts is counted by the agent beside blue that gets it, where there is one.
    fn is_said_twice(&self, role: Role, slot: Slot) -> bool {
        self.blue_speaks && slot != self.candidate && role == Role::Sidecar(self.candidate)
    }

    fn count_ended(&mut self, role: Role, totals: &Totals, changed: bool, counts_blue: bool) {
        for (key, latency) in &totals.series {
            if self.is_said_twice(role, key.slot) {
                continue;
            }
            let place = self.place(key.slot, &key.pod);
            let counted = is_counted(key.age, changed) && (counts_blue || place != Place::Blue);
            let requests = latency.last_byte.total();
            if let Place::Pod(pod) = place {
                self.pods[pod].is_used |= requests > 0;
                self.green_requests = self.green_requests.saturating_add(requests);
            } else {
                self.blue_requests = self.blue_requests.saturating_add(requests);
            }
            for metric in 0..self.metrics.len() {
                if !self.metrics[metric].takes(&key.route) {
                    continue;
                }
                let (good, over) = self.metrics[metric].ended(key, latency);
                let cells = self.cells(place, metric);
                cells.tick.ended(counted, good, over);
                cells.block.ended(counted, good, over);
                self.all[usize::from(place == Place::Blue)][metric].ended(good, over);
            }
            for spread in &mut self.spreads {
                if spread.route.as_deref().is_some_and(|route| *route != *key.route) {
                    continue;
                }
                let counts = match spread.measure {
                    Measure::LastByte => &latency.last_byte,
                    Measure::FirstByte => &latency.first_byte,
                };
                if place == Place::Blue {
                    spread.blue.add(counts);
                } else {
                    spread.green.add(counts);
                    spread.recent.add(counts);
                }
            }
        }
    }

    fn count_overdue(&mut self, agent_id: u32, role: Role, totals: &Totals, changed: bool) {
        for (key, overdue) in &totals.overdue {
            if self.is_said_twice(role, key.slot) {
                continue;
            }
            let counted = is_counted(key.age, changed);
            let place = self.place(key.slot, &key.pod);
            if let Place::Pod(pod) = place {
                self.pods[pod].is_used |= overdue.crossed > 0;
            }
            for metric in 0..self.metrics.len() {
                if !crosses(&self.metrics[metric], key) {
                    continue;
                }
                let cells = self.cells(place, metric);
                cells.tick.overdue(counted, overdue);
                cells.block.overdue(counted, overdue);
                self.all[usize::from(place == Place::Blue)][metric].overdue(overdue);
                if key.age == Age::Current
                    && let Some(agent) = self.agents.get_mut(&agent_id)
                {
                    let known = agent.overdue.entry((metric, place)).or_default();
                    *known = known.saturating_add_unsigned(overdue.crossed).saturating_sub_unsigned(overdue.settled);
                }
            }
        }
    }

    fn count_admitted(&mut self, role: Role, totals: &Totals) {
        let is_green_sidecar = role == Role::Sidecar(self.candidate);
        // A sidecar of green sees green's door only, so its own share is the part of the target that it may keep.
        let local = |share: f64, target: f64| {
            if is_green_sidecar && target > 0.0 { (share / target).min(1.0) } else { share }
        };
        for (key, &admitted) in &totals.admitted {
            let admitted = admitted as f64;
            let to_blue = key.slot != self.candidate;
            match role {
                Role::Front => {
                    self.door.open += admitted * self.target;
                    self.own.open += admitted * (1.0 - self.target);
                }
                Role::Sidecar(slot) if slot == self.candidate => {
                    self.door.open += admitted;
                    // Blue's sidecar counts it too; it is not blue's own.
                    self.own.open -= if to_blue { admitted } else { 0.0 };
                }
                Role::Sidecar(_) => self.own.open += if to_blue { admitted } else { 0.0 },
            }
            let fell = self.block_share.filter(|&(epoch, _)| key.epoch > epoch);
            let (Some((_, before)), Some(&share)) = (fell, self.shares.get(&key.epoch)) else { continue };
            let (before, share) = (local(before, self.target), local(share, self.target));
            let may_be_green = is_green_sidecar || role == Role::Front;
            if may_be_green && to_blue && share < before {
                let withheld = admitted * (before - share) / (1.0 - share);
                for (sum, metric) in self.withheld.iter_mut().zip(&self.metrics) {
                    if metric.takes(&key.route) {
                        *sum += withheld;
                    }
                }
            }
        }
    }

    fn cells(&mut self, place: Place, metric: usize) -> &mut Cells {
        match place {
            Place::Pod(pod) => &mut self.pods[pod].cells[metric],
            Place::Blue => &mut self.blue[metric],
        }
    }

    /// Notes the requests in flight of young shares that are not counted yet, by pod and for blue, then by metric.
    fn see_in_flight(&mut self, now_ms: u64) {
        let Self { agents, metrics, pods, blue_in_flight, .. } = self;
        blue_in_flight.fill(0.0);
        pods.iter_mut().for_each(|pod| pod.in_flight.fill(0.0));
        for agent in agents.values().filter(|agent| now_ms.saturating_sub(agent.since_ms) < YOUNG_MS) {
            let mut add = |place: Place, metric: usize, count: f64| match place {
                Place::Pod(pod) => pods[pod].in_flight[metric] += count,
                Place::Blue => blue_in_flight[metric] += count,
            };
            for (place, route, count) in &agent.in_flight {
                for (index, metric) in metrics.iter().enumerate() {
                    if metric.takes(route) {
                        add(*place, index, *count as f64);
                    }
                }
            }
            for (&(metric, place), &overdue) in &agent.overdue {
                add(place, metric, -(overdue.max(0) as f64));
            }
        }
        let flying = pods.iter_mut().flat_map(|pod| &mut pod.in_flight).chain(blue_in_flight);
        flying.for_each(|count| *count = count.max(0.0));
    }

    /// Closes a report interval. What is newly in flight under a young share counts as good.
    pub(crate) fn tick(&mut self, now_ms: u64, samples: &mut Samples) {
        self.see_in_flight(now_ms);
        let close = |cells: &mut [Cells], flying: &[f64], before: &mut [f64], sample: &mut Sample| {
            sample.clear();
            sample.extend(cells.iter_mut().zip(flying).zip(before).map(|((cells, now), before)| {
                let (n, x) = std::mem::take(&mut cells.tick).counts();
                (n + (now - std::mem::replace(before, *now)).max(0.0), x)
            }));
        };
        close(&mut self.blue, &self.blue_in_flight, &mut self.blue_in_flight_before, &mut samples.blue);
        samples.pods.resize_with(self.pods.len(), Vec::new);
        for (pod, sample) in self.pods.iter_mut().zip(&mut samples.pods) {
            close(&mut pod.cells, &pod.in_flight, &mut pod.in_flight_before, sample);
        }
        self.door.close();
        self.own.close();
        self.ticks += 1;
        if self.ticks.is_multiple_of(SPREAD_TICKS) {
            for spread in &mut self.spreads {
                // The older counts' room is used again.
                std::mem::swap(&mut spread.before, &mut spread.recent);
                spread.recent.clear();
            }
        }
        self.pool(samples);
    }

    /// Closes a block. What is in flight under a young share counts as good.
    pub(crate) fn block(&mut self, now_ms: u64, samples: &mut Samples) {
        self.see_in_flight(now_ms);
        let close = |cells: &mut [Cells], flying: &[f64], sample: &mut Sample| {
            sample.clear();
            sample.extend(cells.iter_mut().zip(flying).map(|(cells, flying)| {
                let (n, x) = std::mem::take(&mut cells.block).counts();
                (n + flying, x)
            }));
        };
        close(&mut self.blue, &self.blue_in_flight, &mut samples.blue);
        samples.pods.resize_with(self.pods.len(), Vec::new);
        for (pod, sample) in self.pods.iter_mut().zip(&mut samples.pods) {
            close(&mut pod.cells, &pod.in_flight, sample);
        }
        for agent in self.agents.values_mut() {
            agent.epoch_at_block = Some(agent.epoch);
        }
        self.block_start_ms = now_ms;
        self.block_share = self.shares.last_key_value().map(|(&epoch, &share)| (epoch, share));
        samples.withheld.clear();
        samples.withheld.extend(self.withheld.iter_mut().map(std::mem::take));
        self.pool(samples);
    }

    fn pool(&self, samples: &mut Samples) {
        samples.green.clear();
        samples.green.resize(self.metrics.len(), (0.0, 0.0));
        for pod in &samples.pods {
            for (sum, counts) in samples.green.iter_mut().zip(pod) {
                sum.0 += counts.0;
                sum.1 += counts.1;
            }
        }
    }
}
