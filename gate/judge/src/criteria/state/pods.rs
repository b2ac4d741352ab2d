//! Pods: how many are ready, and those whose containers die.
//!
//! A rolling restart or an autoscaler replaces pods; neither restarts a container, so neither is trouble.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::Slot;

use super::Sights;
use crate::criteria::plain::{Side, Sight};
use crate::observation::{Observation, PodFate};
use crate::rules::Comparison;
use crate::text::{count, percent};

/// Pods that are remembered; further ones are not told apart from those that are well.
const PODS_MAX: usize = 512;
/// A restart is trouble for so long.
const TROUBLE_MS: u64 = 300_000;
/// So many restarts of one pod within [`TROUBLE_MS`] are a loop, whatever the cluster calls it.
const LOOP_RESTARTS: u32 = 3;

/// The share of ready pods against a limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ready {
    comparison: Comparison,
    pub(super) limit: f64,
    /// Pods and ready pods of green, then of blue.
    seen: [(u32, u32); 2],
}

crate::save::saved!(Ready { comparison, limit, seen });

impl Ready {
    pub(super) const fn new(comparison: Comparison, limit: f64) -> Self {
        Self { comparison, limit, seen: [(0, 0); 2] }
    }

    pub(super) fn hear(&mut self, candidate: Slot, observation: &Observation<'_>) {
        let Observation::Pods { pods } = observation else { return };
        self.seen = [(0, 0); 2];
        for pod in *pods {
            let seen = &mut self.seen[usize::from(pod.slot != candidate)];
            *seen = (seen.0.saturating_add(1), seen.1.saturating_add(u32::from(pod.ready)));
        }
    }

    pub(super) fn look(&self) -> Sights {
        // No pods at all say nothing: they may not be known yet.
        let [green, blue] = self.seen.map(|(pods, ready)| {
            let value = (pods > 0).then(|| f64::from(ready) / f64::from(pods));
            let holds = value.map(|value| self.comparison.holds(value, self.limit));
            Sight { n: pods.into(), bad: (pods - ready).into(), value, holds }
        });
        [green, blue, Sight::default()]
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        format!(
            "{} of {} of green ready ({}, limit {})",
            green.n - green.bad,
            count(green.n, "pod"),
            percent(green.value.unwrap_or(0.0)),
            percent(self.limit)
        )
    }
}

/// What happens to containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    Restarting,
    CrashLooping,
    OutOfMemory,
}

crate::save::saved_enum!(TroubleKind { Restarting = 0, CrashLooping = 1, OutOfMemory = 2 });

/// One pod.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    base: u32,
    seen: u32,
    changed_ms: Option<u64>,
    /// When the restarts before the last ones were, for the loop.
    loop_base: u32,
    loop_since_ms: u64,
    looping: bool,
    /// It stood among the pods of its slot, and does not any more.
    listed: bool,
    gone: bool,
}

crate::save::saved!(Known { base, seen, changed_ms, loop_base, loop_since_ms, looping, listed, gone });

/// Any pod in trouble.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    kind: TroubleKind,
    told: bool,
    pods: BTreeMap<(Side, Arc<str>), Known>,
    /// The pod of green that is worst.
    worst: Option<(Arc<str>, u32)>,
}

crate::save::saved!(Trouble { kind, told, pods, worst });

impl Trouble {
    pub(super) const fn new(kind: TroubleKind) -> Self {
        Self { kind, told: false, pods: BTreeMap::new(), worst: None }
    }

    pub(super) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        match observation {
            Observation::Fates { pods } => {
                let is_first = !std::mem::replace(&mut self.told, true);
                for fate in *pods {
                    self.note(now_ms, candidate, fate, is_first);
                }
            }
            Observation::Pods { pods } if self.told => {
                // A pod that is gone is nobody's trouble any more; one that is not listed yet may be.
                for ((side, name), known) in &mut self.pods {
                    let is_listed =
                        pods.iter().any(|pod| pod.pod == *name && Side::of(Some(pod.slot), candidate) == *side);
                    known.gone = known.listed && !is_listed;
                    known.listed |= is_listed;
                }
            }
            _ => (),
        }
    }

    fn note(&mut self, now_ms: u64, candidate: Slot, fate: &PodFate, is_first: bool) {
        let key = (Side::of(Some(fate.slot), candidate), Arc::clone(&fate.pod));
        if self.pods.len() >= PODS_MAX && !self.pods.contains_key(&key) {
            self.pods.retain(|_, known| !known.gone);
            if self.pods.len() >= PODS_MAX {
                return;
            }
        }
        let counted = match self.kind {
            TroubleKind::OutOfMemory => fate.out_of_memory,
            TroubleKind::Restarting | TroubleKind::CrashLooping => fate.restarts,
        };
        let known = self.pods.entry(key).or_insert_with(|| {
            let base = if is_first { counted } else { 0 };
            Known { base, seen: base, loop_base: base, loop_since_ms: now_ms, ..Known::default() }
        });
        if counted > known.seen {
            known.changed_ms = Some(now_ms);
        }
        // A count that falls is another pod of the same name.
        known.base = known.base.min(counted);
        known.seen = counted;
        if now_ms.saturating_sub(known.loop_since_ms) > TROUBLE_MS || counted < known.loop_base {
            (known.loop_base, known.loop_since_ms) = (counted, now_ms);
        }
        known.looping = fate.crash_looping || counted - known.loop_base >= LOOP_RESTARTS;
    }

    pub(super) fn look(&mut self, now_ms: u64) -> Sights {
        let mut sights = [Sight::default(); 3];
        if !self.told {
            return sights;
        }
        let mut worst: Option<(&Arc<str>, u32)> = None;
        for ((side, name), known) in self.pods.iter().filter(|(_, known)| !known.gone) {
            let times = known.seen - known.base;
            let is_recent = known.changed_ms.is_some_and(|at| now_ms.saturating_sub(at) < TROUBLE_MS);
            let is_bad = match self.kind {
                TroubleKind::CrashLooping => known.looping,
                TroubleKind::Restarting | TroubleKind::OutOfMemory => is_recent,
            };
            let sight = &mut sights[*side as usize];
            sight.n += 1;
            sight.bad += u64::from(is_bad);
            sight.value = Some(sight.value.unwrap_or(0.0) + f64::from(times));
            if is_bad && *side == Side::Green && worst.is_none_or(|(_, most)| times > most) {
                worst = Some((name, times));
            }
        }
        let worst = worst.map(|(name, times)| (Arc::clone(name), times));
        if worst != self.worst {
            self.worst = worst;
        }
        for sight in &mut sights[..2] {
            sight.holds = (sight.n > 0).then_some(sight.bad > 0);
        }
        sights
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        let what = match self.kind {
            TroubleKind::Restarting => "restarted in the last 5 min",
            TroubleKind::CrashLooping => "in a crash loop",
            TroubleKind::OutOfMemory => "out of memory in the last 5 min",
        };
        let of = count(green.n, "pod");
        match &self.worst {
            Some((pod, times)) => {
                format!(
                    "{} of {of} of green {what} ({pod}, {} since the switch)",
                    green.bad,
                    count((*times).into(), "time")
                )
            }
            None => format!("none of {of} of green {what}"),
        }
    }
}
