//! A service whose requests a platform splits, as Kubernetes does: no agent in front, one beside each pod, and clients that
//! keep their connections.
//!
//! The Service's selector is the truth about where new connections go; a connection stays where it is until its agent lets
//! go. The gate only sees what the platform did, some time later, and only green's agents can divert: to the agents of blue's
//! pods that the gate named last. Pods come and go meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use blueback_gate::platform::{self, Backend, Group, Snapshot};
use blueback_report::{Role, Slot};

use crate::agent::{Agent, Pod};
use crate::random::Random;
use crate::traffic::{Traffic, question};

/// How long after a pod was made it is ready.
const STARTS_US: u64 = 1_500_000;
/// How long a pod that leaves goes on serving what it is still sent.
const DRAINS_US: u64 = 3_000_000;
/// The gate is shown what the platform did this often.
const SEEN_US: u64 = 100_000;
/// Between the steps of a rolling restart.
const ROLLS_US: u64 = 2_500_000;
/// Clients that keep their connections.
const CLIENTS: usize = 20;

/// What a scenario says about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Part of the requests that come over kept connections.
    pub(crate) kept: f64,
    /// Nothing that green's agents divert arrives.
    pub(crate) severed: bool,
    /// What becomes of the pods, in microseconds since the switch.
    pub(crate) acts: Vec<(u64, Act)>,
}

/// What becomes of a slot's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// One more.
    Add(Slot),
    /// The oldest leaves, unless it is the last.
    Remove(Slot),
}

impl Plan {
    /// Any part of kept connections, and half of the time pods that come and go.
    pub(crate) fn draw(random: &mut Random, moves: bool) -> Self {
        let mut plan = Self { kept: *random.pick(&[0.0, 0.5, 0.9, 1.0]), ..Self::default() };
        if moves && random.chance(0.6) {
            let slot = *random.pick(&[Slot::Blue, Slot::Green]);
            let at_us = random.between(0, 15_000_000);
            match random.between(0, 3) {
                0 => plan.acts.extend((0..2).map(|step| (at_us + step * ROLLS_US, Act::Add(slot)))),
                1 => plan.acts.extend((0..2).map(|step| (at_us + step * ROLLS_US, Act::Remove(slot)))),
                _ => plan.roll(slot, at_us, 5),
            }
        }
        plan
    }

    /// A rolling restart of so many pods.
    pub(crate) fn roll(&mut self, slot: Slot, at_us: u64, pods: u64) {
        for step in 0..pods {
            self.acts.push((at_us + step * ROLLS_US, Act::Add(slot)));
            self.acts.push((at_us + (step + 1) * ROLLS_US - 100_000, Act::Remove(slot)));
        }
    }
}

/// A pod with its agent; its place here is its agent's among all.
#[derive(Debug)]
struct Replica {
    pod: Pod,
    ready_us: u64,
    leaves_us: u64,
}

impl Replica {
    fn is_ready(&self, now_us: u64) -> bool {
        (self.ready_us..self.leaves_us).contains(&now_us)
    }

    fn is_over(&self, now_us: u64) -> bool {
        now_us >= self.leaves_us.saturating_add(DRAINS_US)
    }
}

/// The platform.
#[derive(Debug)]
pub(crate) struct Cluster {
    plan: Plan,
    replicas: Vec<Replica>,
    selected: Slot,
    /// Where each client's connection is.
    connections: Vec<Option<usize>>,
    /// Connections that will be let go of: when, whose, and by which agent.
    closing: Vec<(u64, usize, usize)>,
    /// What the gate saw last.
    seen: Snapshot,
}

impl Cluster {
    /// The pods that serve when it begins, and their agents.
    pub(crate) fn new(plan: Plan, blue: usize, green: usize) -> (Self, Vec<Agent>) {
        let mut cluster = Self {
            plan,
            replicas: Vec::new(),
            selected: Slot::Blue,
            connections: vec![None; CLIENTS],
            closing: Vec::new(),
            seen: Snapshot::default(),
        };
        let slots = std::iter::repeat_n(Slot::Blue, blue).chain(std::iter::repeat_n(Slot::Green, green));
        let agents = slots.map(|slot| cluster.add(slot, 0, 0)).collect();
        (cluster, agents)
    }

    fn add(&mut self, slot: Slot, now_us: u64, starts_us: u64) -> Agent {
        let place = self.replicas.iter().filter(|replica| replica.pod.slot == slot).count();
        let pod = Pod { slot, name: format!("{slot}-{place}").into(), place };
        let away = Pod { slot: slot.other(), name: "away".into(), place: 0 };
        let instance = format!("uid-{}/0", pod.name);
        self.replicas.push(Replica { pod: pod.clone(), ready_us: now_us + starts_us, leaves_us: u64::MAX });
        Agent::new(&instance, Role::Sidecar(slot), vec![pod, away], slot, now_us)
    }

    /// Sends new connections there.
    pub(crate) fn select(&mut self, slot: Slot) {
        self.selected = slot;
    }

    /// What is to happen to the pods by now: the agents of new ones.
    pub(crate) fn advance(&mut self, switch_us: u64, now_us: u64) -> Vec<Agent> {
        let mut made = Vec::new();
        let due: Vec<Act> = self
            .plan
            .acts
            .extract_if(.., |(at_us, _)| switch_us.saturating_add(*at_us) <= now_us)
            .map(|(_, act)| act)
            .collect();
        for act in due {
            match act {
                Act::Add(slot) => made.push(self.add(slot, now_us, STARTS_US)),
                Act::Remove(slot) => {
                    let mut ready =
                        (0..self.replicas.len()).filter(|&index| self.serves(index, slot, now_us)).collect::<Vec<_>>();
                    if ready.len() >= 2 {
                        let oldest = ready.remove(0);
                        self.replicas[oldest].leaves_us = now_us;
                        // It lets go of everybody.
                        self.let_go(oldest, 0, now_us, |_| 0.0);
                    }
                }
            }
        }
        let connections = &mut self.connections;
        self.closing.retain(|&(at_us, client, agent)| {
            if at_us <= now_us && connections[client] == Some(agent) {
                connections[client] = None;
            }
            at_us > now_us
        });
        made
    }

    /// What the gate sees now, if it sees something new.
    pub(crate) fn seen(&mut self, traffic: &Traffic, now_us: u64) -> Option<Snapshot> {
        if !now_us.is_multiple_of(SEEN_US) {
            return None;
        }
        let snapshot = self.snapshot(traffic, now_us);
        (snapshot != self.seen).then(|| {
            self.seen.clone_from(&snapshot);
            snapshot
        })
    }

    /// All that there is to be seen.
    pub(crate) fn snapshot(&self, traffic: &Traffic, now_us: u64) -> Snapshot {
        let key = |slot: Slot| slot.to_string();
        let alive = self.replicas.iter().enumerate().filter(|(_, replica)| !replica.is_over(now_us));
        let pod = |(index, replica): (usize, &Replica)| platform::Pod {
            name: replica.pod.name.clone(),
            uid: format!("uid-{}", replica.pod.name).into(),
            group: key(replica.pod.slot),
            ready: replica.is_ready(now_us) && traffic.ready(replica.pod.slot, now_us),
            agent: Some(address(index)),
            restarts: 0,
            out_of_memory: 0,
            trouble: None,
        };
        let group = |slot: Slot| Group {
            key: key(slot),
            name: key(slot).into(),
            born_ms: 1 + slot as u64,
            selected: slot == self.selected,
            share: if slot == self.selected { 1.0 } else { 0.0 },
        };
        let selector = BTreeMap::from([("colour".to_owned(), key(self.selected))]);
        Snapshot {
            backends: vec![Backend { name: "shop".to_owned(), selector, weight: 1 }],
            groups: vec![group(Slot::Blue), group(Slot::Green)],
            pods: alive.map(pod).collect(),
            ..Snapshot::default()
        }
    }

    fn serves(&self, index: usize, slot: Slot, now_us: u64) -> bool {
        self.replicas[index].pod.slot == slot && self.replicas[index].is_ready(now_us)
    }

    /// The pod is gone, and its agent with it.
    pub(crate) fn is_over(&self, index: usize, now_us: u64) -> bool {
        self.replicas[index].is_over(now_us)
    }

    /// The pod of an agent.
    pub(crate) fn pod(&self, index: usize) -> &Pod {
        &self.replicas[index].pod
    }

    /// Whose agent a request reaches: that of its kept connection, or of a new one.
    pub(crate) fn entry(&mut self, traffic: &Traffic, number: u64, now_us: u64) -> Option<usize> {
        let client = (traffic.coin(number, question::CLIENT) * CLIENTS as f64) as usize;
        let keeps = traffic.coin(number, question::ENTRY) < self.plan.kept;
        if let Some(index) = self.connections[client].filter(|&index| keeps && !self.is_over(index, now_us)) {
            return Some(index);
        }
        let ready: Vec<usize> =
            (0..self.replicas.len()).filter(|&index| self.serves(index, self.selected, now_us)).collect();
        let fresh = *ready.get((traffic.coin(number, question::POD) * ready.len() as f64) as usize)?;
        if keeps {
            self.connections[client] = Some(fresh);
        }
        Some(fresh)
    }

    /// Which of the peers that an agent was told gets what it diverts; none if that one cannot be reached.
    pub(crate) fn peer(&self, agent: &Agent, traffic: &Traffic, number: u64, now_us: u64) -> Option<usize> {
        let peers = &agent.route.peers;
        let place = (traffic.coin(number, question::PEER) * peers.len() as f64) as usize;
        let SocketAddr::V4(address) = peers.get(place)?.address else { return None };
        if self.plan.severed {
            return None;
        }
        let index = usize::from(address.ip().octets()[3]);
        (!self.is_over(index, now_us)).then_some(index)
    }

    /// An agent lets go of its clients, each at some time within `within_ms`.
    pub(crate) fn let_go(&mut self, agent: usize, within_ms: u32, now_us: u64, coin: impl Fn(u64) -> f64) {
        for (client, _) in self.connections.iter().enumerate().filter(|(_, connection)| **connection == Some(agent)) {
            let delay_us = (coin(client as u64) * f64::from(within_ms) * 1e3) as u64;
            self.closing.push((now_us + delay_us, client, agent));
        }
    }
}

fn address(index: usize) -> SocketAddr {
    let last = u8::try_from(index).expect("a run makes few pods");
    ([10, 0, 0, last], 15_080).into()
}
