//! Shields for single pods: never wider than the evidence.
//!
//! Beside the sharp tests on all of green runs one without each pod. When the pooled test fires and the test without some
//! pod is quiet, that pod alone is shielded, and its counts leave the others' tests.

use crate::statistics::shield::{Hits, Look, Shield, State};
use crate::statistics::shield_test::{ShieldTest, shield_scope};

/// A pod that is held keeps one request in five seconds.
const HELD_RPS: f64 = 0.2;
/// How much of a pod's last second remains after each report, so that about a second is remembered.
const FADE: f64 = 0.9;

/// One pod of green.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// The sharp tests on green without it.
    without: Vec<ShieldTest>,
    /// Its own counts of about the last second, by criterion.
    last: Vec<(f64, f64)>,
    /// Present once it was shielded.
    shield: Option<Shield>,
}

/// The shields of green's pods.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodShields {
    p0s: Vec<f64>,
    alpha: f64,
    level: u32,
    generation: u64,
    entries: Vec<Entry>,
}

crate::save::saved!(Entry { without, last, shield });
crate::save::saved!(PodShields { p0s, alpha, level, generation, entries });

impl PodShields {
    pub(super) const fn new(p0s: Vec<f64>, alpha: f64, level: u32) -> Self {
        Self { p0s, alpha, level, generation: 0, entries: Vec::new() }
    }

    /// The pod gets less than its turn.
    pub(super) fn is_up(&self, pod: usize) -> bool {
        self.state(pod).is_some_and(|state| state != State::Open)
    }

    fn state(&self, pod: usize) -> Option<State> {
        self.entries.get(pod)?.shield.as_ref().map(Shield::state)
    }

    /// The first pod that is shielded, held ones first.
    pub(super) fn worst(&self) -> Option<(usize, State)> {
        let up = |pod: usize| Some((pod, self.state(pod).filter(|&state| state != State::Open)?));
        let mut shielded = (0..self.entries.len()).filter_map(up);
        let first = shielded.next()?;
        Some(std::iter::once(first).chain(shielded).find(|&(_, state)| state == State::Held).unwrap_or(first))
    }

    /// Since when the pod is shielded, and by which criteria.
    pub(super) fn since(&self, pod: usize) -> Option<(u64, Hits)> {
        let shield = self.entries.get(pod)?.shield.as_ref()?;
        Some((shield.since_ms(), shield.raised_by()))
    }

    /// Each shielded pod and the part of its turn that it keeps, which is its part of the trickle; `rate` is one pod's.
    pub(super) fn shares(&self, rate: f64) -> impl Iterator<Item = (usize, f64)> {
        self.entries.iter().enumerate().filter_map(move |(pod, entry)| {
            let shield = entry.shield.as_ref().filter(|shield| shield.state() != State::Open)?;
            let held = if rate > 0.0 { HELD_RPS / rate } else { 1.0 };
            Some((pod, if shield.state() == State::Held { shield.share().min(held) } else { shield.share() }))
        })
    }

    /// A report: green as a whole, and each pod, by criterion. Call it before the pooled tests see the same report.
    pub(super) fn report(&mut self, seconds: f64, pooled: &Shield, green: &[(f64, f64)], pods: &[Vec<(f64, f64)>]) {
        if self.generation != pooled.generation() {
            self.generation = pooled.generation();
            for entry in &mut self.entries {
                entry.without.clone_from_slice(pooled.tests());
            }
        }
        // A pod that was not seen before had no requests, so the test without it is the test with it, up to now.
        let width = self.p0s.len();
        self.entries.resize_with(pods.len().max(self.entries.len()), || Entry {
            without: pooled.tests().to_vec(),
            last: vec![(0.0, 0.0); width],
            shield: None,
        });
        for (pod, counts) in pods.iter().enumerate() {
            let is_up = self.is_up(pod);
            let entry = &mut self.entries[pod];
            for (last, own) in entry.last.iter_mut().zip(counts) {
                *last = (last.0 * FADE + own.0, last.1 * FADE + own.1);
            }
            if !pooled.is_testing() {
                continue;
            }
            for ((test, &all), &own) in entry.without.iter_mut().zip(green).zip(counts) {
                let own = if is_up { (0.0, 0.0) } else { own };
                test.report(seconds, (all.0 - own.0).max(0.0), (all.1 - own.1).max(0.0), pooled.reports());
            }
        }
    }

    /// The place belongs to another pod now, of which nothing is known.
    pub(super) fn replace(&mut self, pod: usize, pooled: &Shield) {
        if let Some(entry) = self.entries.get_mut(pod) {
            entry.without.clone_from_slice(pooled.tests());
            entry.last.fill((0.0, 0.0));
            entry.shield = None;
        }
    }

    /// The pod is gone, so nothing is held against it.
    pub(super) fn drop_gone(&mut self, is_gone: impl Fn(usize) -> bool) {
        for (pod, entry) in self.entries.iter_mut().enumerate() {
            if entry.shield.is_some() && is_gone(pod) {
                entry.shield = None;
            }
        }
    }

    /// Whom to shield for these hits: a pod, or `None` for all of green. `candidates` are the pods that had requests.
    pub(super) fn scope(&self, hits: Hits, candidates: &[usize]) -> Option<usize> {
        let candidates: Vec<usize> = candidates.iter().copied().filter(|&pod| !self.is_up(pod)).collect();
        let mut scope = None;
        for criterion in (0..self.p0s.len()).filter(|criterion| hits >> criterion & 1 == 1) {
            let tests = || candidates.iter().filter_map(|&pod| self.entries.get(pod)?.without.get(criterion));
            let log_e: Vec<f64> = tests().map(ShieldTest::log_e).collect();
            let pod = candidates[shield_scope(&log_e, tests().next()?.threshold())?];
            if scope.is_some_and(|other| other != pod) {
                return None;
            }
            scope = Some(pod);
        }
        scope
    }

    pub(super) fn raise(&mut self, pod: usize, now_ms: u64, hits: Hits, rate: f64) {
        let (p0s, alpha, level) = (&self.p0s, self.alpha, self.level);
        let Some(entry) = self.entries.get_mut(pod) else { return };
        let shield = entry.shield.get_or_insert_with(|| Shield::new(p0s, alpha, level));
        shield.raise_for(now_ms, hits, &entry.last, rate);
    }

    /// A report for the shields that are up.
    pub(super) fn look(&mut self, now_ms: u64, pods: &[Vec<(f64, f64)>], around: &Look<'_>) {
        for (entry, counts) in self.entries.iter_mut().zip(pods) {
            if let Some(shield) = entry.shield.as_mut().filter(|shield| shield.state() != State::Open) {
                shield.look(now_ms, &Look { green: counts, ..*around }, |_| true);
            }
        }
    }

    /// `rate` is that of all of green: a pod that is shielded alone keeps what it would keep if all were.
    pub(super) fn block_ended(&mut self, rate: f64, room: f64) {
        for shield in self.entries.iter_mut().filter_map(|entry| entry.shield.as_mut()) {
            if shield.state() != State::Open {
                shield.block_ended(rate, room, 1.0);
            }
        }
    }

    /// All of green is shielded now, which covers each pod.
    pub(super) fn drop_all(&mut self) {
        for entry in &mut self.entries {
            entry.shield = None;
        }
    }

    pub(super) fn reopen_held(&mut self) {
        for shield in self.entries.iter_mut().filter_map(|entry| entry.shield.as_mut()) {
            if shield.state() == State::Held {
                shield.reopen();
            }
        }
    }
}
