//! How much of what they may use the pods use.
//!
//! Processor time is the mean over green's pods, as autoscalers see it: one busy pod is what balancing is for. Memory is that of
//! the fullest pod, because memory kills one pod at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::Slot;

use super::Sights;
use crate::criteria::plain::{Side, Sight};
use crate::observation::Observation;
use crate::rules::Comparison;
use crate::text::{count, percent};

/// Pods whose usage is kept.
const PODS_MAX: usize = 512;
/// What was said longer ago is not known any more.
const STALE_MS: u64 = 60_000;

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Cpu,
    Memory,
}

crate::save::saved_enum!(Resource { Cpu = 0, Memory = 1 });

/// A resource against a limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Usage {
    resource: Resource,
    comparison: Comparison,
    pub(super) limit: f64,
    pods: BTreeMap<(Side, Arc<str>), (f64, u64)>,
}

crate::save::saved!(Usage { resource, comparison, limit, pods });

impl Usage {
    pub(super) const fn new(resource: Resource, comparison: Comparison, limit: f64) -> Self {
        Self { resource, comparison, limit, pods: BTreeMap::new() }
    }

    pub(super) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        match observation {
            Observation::Resources { slot, pod, cpu, memory } => {
                let value = match self.resource {
                    Resource::Cpu => cpu,
                    Resource::Memory => memory,
                };
                let Some(value) = value.filter(|value| value.is_finite() && *value >= 0.0) else { return };
                let side = Side::of(Some(*slot), candidate);
                // A name is only made once.
                let known = self.pods.iter_mut().find(|((known, name), _)| *known == side && **name == **pod);
                if let Some((_, told)) = known {
                    *told = (value, now_ms);
                } else if self.pods.len() < PODS_MAX {
                    self.pods.insert((side, Arc::from(*pod)), (value, now_ms));
                }
            }
            Observation::Pods { pods } => {
                // A pod that is gone uses nothing.
                self.pods.retain(|(side, name), _| {
                    pods.iter().any(|pod| pod.pod == *name && Side::of(Some(pod.slot), candidate) == *side)
                });
            }
            _ => (),
        }
    }

    pub(super) fn look(&self, now_ms: u64) -> Sights {
        let mut sights = [Sight::default(); 3];
        let fresh = self.pods.iter().filter(|(_, (_, told_ms))| now_ms.saturating_sub(*told_ms) <= STALE_MS);
        for ((side, _), (value, _)) in fresh {
            let sight = &mut sights[*side as usize];
            sight.n += 1;
            sight.bad += u64::from(*value > self.limit);
            let so_far = sight.value.unwrap_or(0.0);
            sight.value = Some(match self.resource {
                Resource::Cpu => so_far + value,
                Resource::Memory => so_far.max(*value),
            });
        }
        for sight in &mut sights {
            if self.resource == Resource::Cpu {
                sight.value = sight.value.map(|sum| sum / sight.n as f64);
            }
            sight.holds = sight.value.map(|value| self.comparison.holds(value, self.limit));
        }
        sights
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        let (what, how) = match self.resource {
            Resource::Cpu => ("processor", "mean"),
            Resource::Memory => ("memory", "fullest"),
        };
        format!(
            "{what} of green at {} (limit {}), the {how} of {}",
            percent(green.value.unwrap_or(0.0)),
            percent(self.limit),
            count(green.n, "pod")
        )
    }
}
