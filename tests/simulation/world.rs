//! Agents, the network and the gate in virtual time, in steps of ten milliseconds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use blueback_report::wire::proto;
use blueback_report::{Outcome, Role, Slot, Totals};
use prost::Message as _;

use crate::agent::{Agent, Pod};
use crate::cluster::Cluster;
use crate::network::{Network, Parcel, Weather};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::seat::{Said, Seat};
use crate::traffic::{ATTEMPT, Answer, Harm, Traffic, question};

pub(crate) const SERVICE: &str = "shop";
/// Length of a step, in microseconds.
const STEP_US: u64 = 10_000;
/// The gate is told the time this often, in microseconds.
const TICK_US: u64 = 50_000;
/// When the switch happens, before it has: a switch may have to wait for the agents, and harm comes after it.
const NOT_YET_US: u64 = u64::MAX / 4;
/// After the last request, time for everything to arrive, in microseconds.
const QUIET_US: u64 = 12_000_000;

/// What became of a run.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// Verdict at the end: its word and rule.
    pub(crate) verdict: String,
    pub(crate) rule: String,
    pub(crate) text: String,
    /// Each state of the shield, with milliseconds since the switch.
    pub(crate) shields: Vec<(u64, String)>,
    /// Each verdict's word, with milliseconds since the switch.
    pub(crate) verdicts: Vec<(u64, String)>,
    /// Laws that were broken on the way.
    pub(crate) broken: Vec<String>,
    /// Requests that the candidate failed since the harm began.
    pub(crate) failed: u64,
    /// Evidence at the end, rule by rule.
    pub(crate) evidence: Vec<String>,
    /// Reports that reached the gate.
    pub(crate) reports: u64,
    /// Requests that failed whatever their client did, since the switch.
    pub(crate) given_up: u64,
    /// Most that blue was asked in a second since the switch.
    pub(crate) blue_busiest: u64,
}

impl Story {
    /// When the shield was first in this state.
    pub(crate) fn shield_ms(&self, state: &str) -> Option<u64> {
        self.shields.iter().find(|(_, other)| other == state).map(|(at_ms, _)| *at_ms)
    }

    /// When the verdict was first this word.
    pub(crate) fn verdict_ms(&self, word: &str) -> Option<u64> {
        self.verdicts.iter().find(|(_, other)| other == word).map(|(at_ms, _)| *at_ms)
    }
}

struct World {
    scenario: Scenario,
    /// The platform, where no agent stands in front.
    cluster: Option<Cluster>,
    traffic: Traffic,
    network: Network,
    seat: Seat,
    agents: Vec<Agent>,
    /// Agents that were killed; what they had counted.
    dead: Vec<(std::sync::Arc<str>, Totals)>,
    /// Agents that do not get a connection before this time.
    barred_us: Vec<u64>,
    random: Random,
    now_us: u64,
    streams: u64,
    owner: BTreeMap<u64, usize>,
    next_request: u64,
    /// Requests that are asked again: when, which, and how often before.
    again: BinaryHeap<Reverse<(u64, u64, u64)>>,
    /// The second, and what blue was asked in it.
    blue_asked: (u64, u64),
    gate_back_us: Option<u64>,
    story: Story,
    reverted: bool,
    checks_restarts: bool,
    failed_before: u64,
}

fn pods(scenario: &Scenario) -> Vec<Pod> {
    let count = |slot| if slot == scenario.candidate { scenario.green_pods } else { scenario.blue_pods };
    let of =
        |slot: Slot| (0..count(slot)).map(move |place| Pod { slot, name: format!("{slot}-{place}").into(), place });
    of(Slot::Blue).chain(of(Slot::Green)).collect()
}

/// Runs the scenario; `seed` decides all that is left to chance, the network's part of it apart from the traffic's.
pub(crate) fn run(scenario: &Scenario, seed: u64) -> Story {
    World::new(scenario.clone(), seed).run()
}

/// The same; every second a gate is started from the store and must have the same evidence.
pub(crate) fn run_checking_restarts(scenario: &Scenario, seed: u64) -> Story {
    let mut world = World::new(scenario.clone(), seed);
    world.checks_restarts = true;
    world.run()
}

impl World {
    fn new(scenario: Scenario, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let traffic = Traffic {
            seed,
            rate: scenario.rate,
            // One failed request in the trickle after a burst may be what a revert still needs, rightly so.
            noise: if matches!(scenario.harm, Harm::Burst { .. }) { 0.0 } else { 0.0005 },
            harm: scenario.harm,
            takes_ms: scenario.takes_ms,
            streams: scenario.streams,
            candidate: scenario.candidate,
            planned_us: scenario.before_ms * 1_000,
            switch_us: NOT_YET_US,
            end_us: (scenario.before_ms + scenario.after_ms) * 1_000,
        };
        let baseline = scenario.candidate.other();
        let mut agents: Vec<Agent> = (0..scenario.fronts)
            .map(|index| Agent::new(&format!("front-{index}/0"), Role::Front, pods(&scenario), baseline, 0))
            .collect();
        if scenario.sidecars {
            for pod in pods(&scenario) {
                let role = Role::Sidecar(pod.slot);
                agents.push(Agent::new(&format!("{}/0", pod.name), role, vec![pod], baseline, 0));
            }
        }
        let cluster = scenario.cluster.clone().map(|plan| {
            let (cluster, sidecars) = Cluster::new(plan, scenario.blue_pods, scenario.green_pods);
            agents = sidecars;
            cluster
        });
        for (agent, clock) in agents.iter_mut().zip(scenario.clocks.iter().cycle()) {
            agent.clock = clock.clone();
        }
        Self {
            seat: Seat::new(baseline, scenario.latency_ms, seed),
            cluster,
            network: Network::new(scenario.weather.clone(), random.fork()),
            barred_us: vec![0; agents.len()],
            traffic,
            agents,
            dead: Vec::new(),
            random,
            now_us: 0,
            streams: 0,
            owner: BTreeMap::new(),
            next_request: 0,
            again: BinaryHeap::new(),
            blue_asked: (0, 0),
            gate_back_us: None,
            reverted: false,
            checks_restarts: false,
            failed_before: 0,
            story: Story {
                verdict: String::new(),
                rule: String::new(),
                text: String::new(),
                shields: Vec::new(),
                verdicts: Vec::new(),
                broken: Vec::new(),
                failed: 0,
                evidence: Vec::new(),
                reports: 0,
                given_up: 0,
                blue_busiest: 0,
            },
            scenario,
        }
    }

    fn run(mut self) -> Story {
        let end_us = self.traffic.end_us + QUIET_US;
        self.show_platform();
        while self.now_us < end_us {
            self.now_us += STEP_US;
            // Refused while no agent is connected, so it is asked for again.
            let is_due = self.now_us >= self.scenario.before_ms * 1_000 && self.now_us.is_multiple_of(100_000);
            if self.cluster.is_some() {
                self.move_platform();
            } else if is_due && self.gate_back_us.is_none() {
                let said = self.seat.switch(self.scenario.candidate, self.scenario.share, self.now_us);
                self.deliver(said);
            }
            self.traffic.switch_us = self.seat.switched_us.unwrap_or(NOT_YET_US);
            self.disturb();
            if self.now_us <= self.traffic.switch_us + self.traffic.harm.begins_ms() * 1_000 {
                self.failed_before = self.failed();
            }
            self.arrive();
            self.connect();
            for index in 0..self.agents.len() {
                self.agents[index].advance(self.now_us);
                if let Some((stream, report)) = self.agents[index].report(&self.traffic, self.now_us) {
                    self.network.send_report(self.now_us, stream, report.encode_to_vec());
                }
            }
            self.exchange();
            if self.now_us.is_multiple_of(TICK_US) && self.gate_back_us.is_none() {
                let said = self.seat.tick(self.now_us);
                self.deliver(said);
                self.look();
                if self.checks_restarts && self.now_us.is_multiple_of(1_000_000) && !self.reverted {
                    let (now, again) = (self.seat.evidence(self.now_us), self.seat.evidence_restored(self.now_us));
                    if now != again {
                        self.story
                            .broken
                            .push(format!("{} µs: {now:#?} before a restart, {again:#?} after", self.now_us));
                    }
                }
            }
            if self.story.verdict == "revert" && !self.scenario_goes_on() {
                // Enough was seen: what is left is to let everything arrive.
                self.traffic.end_us = self.traffic.end_us.min(self.now_us + 3_000_000);
            }
            if self.now_us > self.traffic.end_us + QUIET_US {
                break;
            }
            if self.now_us > self.traffic.end_us {
                self.network.weather = Weather::default();
            }
        }
        self.close()
    }

    /// A revert ends the run early, except where terminal means that it must also stay so for a while.
    fn scenario_goes_on(&self) -> bool {
        self.scenario.name == "late outage"
    }

    /// Kills and cuts, as the weather has it.
    fn disturb(&mut self) {
        let due = |at_us: u64, now_us: u64| at_us > now_us - STEP_US && at_us <= now_us;
        let now_us = self.now_us;
        for cut in self.network.weather.cuts.clone() {
            if due(cut.at_us, now_us) && cut.agent < self.agents.len() {
                self.barred_us[cut.agent] = self.barred_us[cut.agent].max(now_us + cut.for_us);
                self.cut(cut.agent, cut.unnoticed_us);
            }
        }
        if let Some(gone_ms) = self.scenario.agents_gone_ms
            && due(self.traffic.switch_us + gone_ms * 1_000, now_us)
        {
            for index in 0..self.agents.len() {
                self.barred_us[index] = u64::MAX;
                self.cut(index, 500_000);
            }
        }
        for (at_us, index) in self.network.weather.restarts.clone() {
            if due(at_us, now_us) {
                self.cut(index, 200_000);
                let baseline = self.scenario.candidate.other();
                let name = format!("front-{index}/{}", self.now_us);
                // The route it knew is gone with it: it starts by what its flags say, as the real one does.
                let fresh = Agent::new(&name, Role::Front, pods(&self.scenario), baseline, now_us);
                let mut old = std::mem::replace(&mut self.agents[index], fresh);
                self.agents[index].clock = old.clock.clone();
                self.dead.push((old.instance.clone(), old.counted().clone()));
            }
        }
        for (at_us, for_us) in self.network.weather.kills.clone() {
            if due(at_us, now_us) && self.gate_back_us.is_none() {
                self.network.clear();
                self.seat.kill();
                self.gate_back_us = Some(now_us + for_us);
                for index in 0..self.agents.len() {
                    let retry_us = now_us + 100_000 + self.random.between(0, 200_000);
                    self.agents[index].disconnected(retry_us);
                }
            }
        }
        if self.gate_back_us.is_some_and(|back_us| now_us >= back_us) {
            self.gate_back_us = None;
            let said = self.seat.restore(now_us);
            self.deliver(said);
            self.show_platform();
        }
    }

    /// A gate that has just started sees the platform as it is.
    fn show_platform(&mut self) {
        if let Some(cluster) = &self.cluster {
            let said = self.seat.saw(cluster.snapshot(&self.traffic, self.now_us), self.now_us);
            self.deliver(said);
        }
    }

    /// The platform switches, goes back, and moves pods about, and the gate sees it.
    fn move_platform(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        let now_us = self.now_us;
        if self.seat.is_set_back {
            cluster.select(Slot::Blue);
        } else if now_us >= self.scenario.before_ms * 1_000 {
            cluster.select(Slot::Green);
            self.seat.switched_us.get_or_insert(now_us);
        }
        for agent in cluster.advance(self.seat.switched_us.unwrap_or(NOT_YET_US), now_us) {
            self.agents.push(agent);
            // Where the agents have left, new ones do not come either.
            let gone_us = self.scenario.agents_gone_ms.map(|gone_ms| self.traffic.switch_us + gone_ms * 1_000);
            self.barred_us.push(if gone_us.is_some_and(|gone_us| now_us >= gone_us) { u64::MAX } else { now_us });
        }
        for (index, agent) in self.agents.iter_mut().enumerate() {
            if let Some(within_ms) = agent.let_go_ms.take() {
                let coin = |client| self.traffic.coin(client, question::LET_GO);
                cluster.let_go(index, within_ms, now_us, coin);
            }
        }
        for index in 0..self.agents.len() {
            let is_over = self.cluster.as_ref().is_some_and(|cluster| cluster.is_over(index, now_us));
            if is_over && self.barred_us[index] != u64::MAX {
                self.cut(index, 0);
                self.barred_us[index] = u64::MAX;
                let agent = &mut self.agents[index];
                self.dead.push((agent.instance.clone(), agent.counted().clone()));
            }
        }
        if self.gate_back_us.is_none()
            && let Some(snapshot) = self.cluster.as_mut().and_then(|cluster| cluster.seen(&self.traffic, now_us))
        {
            let said = self.seat.saw(snapshot, now_us);
            self.deliver(said);
        }
    }

    fn cut(&mut self, index: usize, unnoticed_us: u64) {
        if let Some(stream) = self.agents[index].stream() {
            self.network.cut(self.now_us, stream, unnoticed_us);
        }
        let retry_us = self.now_us + 100_000 + self.random.between(0, 200_000);
        self.agents[index].disconnected(retry_us);
    }

    /// Requests that arrive in this step, and those that clients repeat.
    fn arrive(&mut self) {
        while let Some(Reverse((at_us, number, times))) = self.again.peek().copied()
            && at_us <= self.now_us
        {
            self.again.pop();
            self.ask(number, times);
        }
        loop {
            let at_us = self.arrival_us(self.next_request);
            if at_us > self.now_us || at_us >= self.traffic.end_us {
                return;
            }
            let number = self.next_request;
            self.next_request += 1;
            self.ask(number, 0);
        }
    }

    /// A client asks, for the first time or again, and asks again at once if that fails.
    fn ask(&mut self, number: u64, times: u64) {
        // Each attempt goes its own way.
        let attempt = number + times * ATTEMPT;
        let reached =
            if self.cluster.is_some() { self.reach_a_pod(attempt) } else { Some(self.reach_a_front(attempt)) };
        let Some((slot, answer)) = reached else { return };
        if self.now_us < self.traffic.switch_us {
            return;
        }
        if slot != self.scenario.candidate {
            let second = self.now_us / 1_000_000;
            self.blue_asked = (second, if self.blue_asked.0 == second { self.blue_asked.1 + 1 } else { 1 });
            self.story.blue_busiest = self.story.blue_busiest.max(self.blue_asked.1);
        }
        if answer.outcome.is_fault() {
            if times < self.scenario.retries {
                self.again.push(Reverse((self.now_us + answer.latency_us, number, times + 1)));
            } else {
                self.story.given_up += 1;
            }
        }
    }

    fn reach_a_front(&mut self, number: u64) -> (Slot, Answer) {
        let fronts = self.scenario.fronts;
        let entry = (self.traffic.coin(number, question::ENTRY) * fronts as f64) as usize;
        let (pod, answer) = self.agents[entry].admit(&self.traffic, number, self.now_us);
        let slot = self.agents[entry].slot(pod);
        // What reaches a backend passes the sidecar beside it, which has no other place to send it.
        if self.scenario.sidecars && answer.outcome != Outcome::Unreachable {
            self.agents[fronts + pod].serve(number, 0, answer, self.now_us);
        }
        (slot, answer)
    }

    /// A request reaches the agent of a pod, which answers it at home or diverts it.
    fn reach_a_pod(&mut self, number: u64) -> Option<(Slot, Answer)> {
        let cluster = self.cluster.as_mut()?;
        let now_us = self.now_us;
        let entry = cluster.entry(&self.traffic, number, now_us)?;
        let is_away = self.agents[entry].choose(&self.traffic, number) > 0;
        let peer = if is_away { cluster.peer(&self.agents[entry], &self.traffic, number, now_us) } else { None };
        let pod = cluster.pod(peer.unwrap_or(entry));
        let slot = pod.slot;
        let answer = self.traffic.answer(number, pod.slot, pod.place, now_us);
        if let Some(peer) = peer {
            self.agents[entry].serve(number, 1, answer, now_us);
            self.agents[peer].serve(number, 0, answer, now_us);
        } else {
            self.agents[entry].divert_failed += u64::from(is_away);
            self.agents[entry].serve(number, 0, answer, now_us);
        }
        Some((slot, answer))
    }

    /// The rate may change with the switch.
    fn arrival_us(&self, number: u64) -> u64 {
        let before = (self.traffic.switch_us as f64 / 1e6 * self.scenario.rate) as u64;
        if number < before || (self.scenario.rate_after - self.scenario.rate).abs() < f64::EPSILON {
            return self.traffic.arrival_us(number);
        }
        let after = Traffic { rate: self.scenario.rate_after, ..self.traffic };
        self.traffic.switch_us + after.arrival_us(number - before)
    }

    fn connect(&mut self) {
        for index in 0..self.agents.len() {
            if !self.agents[index].calls(self.now_us) || self.now_us < self.barred_us[index] {
                continue;
            }
            if self.gate_back_us.is_some() {
                let retry_us = self.now_us + 100_000 + self.random.between(0, 900_000);
                self.agents[index].disconnected(retry_us);
                continue;
            }
            self.streams += 1;
            let stream = self.streams;
            self.owner.insert(stream, index);
            let hello = self.agents[index].connected(stream, SERVICE, &self.traffic, self.now_us);
            self.network.send(self.now_us, Parcel::ToGate { stream, bytes: hello.encode_to_vec() });
        }
    }

    /// Everything that arrives by now.
    fn exchange(&mut self) {
        while let Some(parcel) = self.network.arrives(self.now_us) {
            match parcel {
                Parcel::ToGate { stream, bytes } => {
                    self.story.reports += 1;
                    let said = self.seat.heard(stream, &bytes, self.now_us);
                    self.deliver(said);
                }
                Parcel::Ended { stream } => {
                    if self.gate_back_us.is_none() {
                        let said = self.seat.ended(stream, self.now_us);
                        self.deliver(said);
                    }
                }
                Parcel::ToAgent { stream, bytes } => {
                    let Some(&index) = self.owner.get(&stream) else { continue };
                    let message = proto::ToAgent::decode(bytes.as_slice()).expect("the gate's own encoding");
                    for answer in self.agents[index].told(stream, message, &self.traffic, self.now_us) {
                        let bytes = answer.encode_to_vec();
                        self.network.send(self.now_us, Parcel::ToGate { stream, bytes });
                    }
                }
            }
        }
    }

    fn deliver(&mut self, said: Vec<Said>) {
        for Said { stream, message, is_ack } in said {
            let bytes = message.encode_to_vec();
            if is_ack {
                self.network.send_ack(self.now_us, stream, bytes);
            } else {
                self.network.send(self.now_us, Parcel::ToAgent { stream, bytes });
            }
        }
    }

    /// Notes what changed, and holds it against the laws that must hold at every moment.
    fn look(&mut self) {
        let Some(view) = self.seat.view().cloned() else { return };
        let (verdict, rule) = (view.verdict.verdict.clone(), view.verdict.rule.clone().unwrap_or_default());
        let at_ms = self.now_us.saturating_sub(self.traffic.switch_us) / 1_000;
        if self.story.verdicts.last().is_none_or(|(_, word)| *word != verdict) {
            self.story.verdicts.push((at_ms, verdict.clone()));
        }
        if self.story.shields.last().is_none_or(|(_, state)| *state != view.shield) {
            self.story.shields.push((at_ms, view.shield.clone()));
        }
        let mut broken = Vec::new();
        if self.reverted && verdict != "revert" {
            broken.push(format!("{at_ms} ms: {verdict} after a revert"));
        }
        self.reverted |= verdict == "revert";
        if self.reverted && view.share > 0.0 {
            broken.push(format!("{at_ms} ms: reverted, and the candidate's share is {}", view.share));
        }
        if matches!(self.scenario.harm, Harm::BlueDown { .. }) && matches!(&*view.shield, "shielded" | "probing") {
            broken.push(format!("{at_ms} ms: shielded towards a blue that is not ready"));
        }
        if matches!(self.scenario.harm, Harm::None | Harm::Shared { .. } | Harm::Ongoing { .. } | Harm::BlueDown { .. })
            && self.reverted
        {
            broken.push(format!("{at_ms} ms: {}", view.verdict.text));
        }
        if self.scenario.name == "silence" && verdict == "pass" {
            broken.push(format!("{at_ms} ms: silence passed"));
        }
        if self.story.broken.is_empty() {
            self.story.broken.extend(broken.into_iter().next());
        }
        (self.story.verdict, self.story.rule, self.story.text) = (verdict, rule, view.verdict.text.clone());
    }

    fn failed(&mut self) -> u64 {
        let candidate = self.scenario.candidate;
        self.agents.iter_mut().map(|agent| agent.failed(candidate)).sum()
    }

    fn close(mut self) -> Story {
        let candidate = self.scenario.candidate;
        self.story.failed = self.failed().saturating_sub(self.failed_before);
        self.story.evidence = self.seat.evidence(self.now_us);
        if self.scenario.agents_gone_ms.is_none() {
            let is_there =
                |index: usize| self.cluster.as_ref().is_none_or(|cluster| !cluster.is_over(index, self.now_us));
            let there = self.agents.iter().enumerate().filter(|(index, _)| is_there(*index)).map(|(_, agent)| agent);
            self.story.broken.extend(self.seat.compare(there, &self.dead));
        }
        if self.reverted {
            for agent in self.agents.iter().filter(|agent| agent.role == Role::Front) {
                let share = match candidate {
                    Slot::Green => agent.route.green_share,
                    Slot::Blue => 1.0 - agent.route.green_share,
                };
                if share > 0.0 || agent.admitted_now(candidate) > 0 {
                    self.story.broken.push(format!("{} still sends to the candidate after a revert", agent.instance));
                }
            }
            for (index, agent) in self.agents.iter().enumerate() {
                let there = self.cluster.as_ref().is_some_and(|cluster| !cluster.is_over(index, self.now_us));
                if there
                    && agent.role == Role::Sidecar(candidate)
                    && agent.admitted_now(candidate) > agent.divert_failed
                {
                    self.story.broken.push(format!("{} still answers after a revert", agent.instance));
                }
            }
        }
        self.story
    }
}
