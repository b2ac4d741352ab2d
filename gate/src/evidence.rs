//! Evidence that is no count of requests: what becomes of pods, what depends on what, what queries say.
//!
//! Whoever watches the cluster, asks the monitoring or reads the logs brings it in as [`crate::event::Event::Evidence`]; agents'
//! reports carry the rest. What is a state rather than a growth is remembered for each service, so that a release that begins
//! later is told how things were before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_judge::{Judge, Observation, PodFate, PodState};
use blueback_report::{Counts, Slot};

/// Pods of one service of which something is remembered.
const PODS_MAX: usize = 1_024;

/// Something that was seen and is no count of requests. See the judge's [`Observation`] for what each means, and how often it is to
/// be repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Pods' containers, as they changed.
    Fates(Vec<PodFate>),
    /// A dependency, as one agent probes it.
    Dependency {
        /// The agent's number.
        agent: u32,
        /// The slot of the pod it stands beside.
        slot: Option<Slot>,
        /// The dependency's name.
        name: Arc<str>,
        /// It answers.
        up: bool,
        /// How long probes took since it was told last.
        latency: Counts,
    },
    /// What another service answered in the ten minutes before the switch.
    ServiceBefore {
        /// Its name.
        name: Arc<str>,
        /// Requests that ended.
        requests: u64,
        /// Of those, failed.
        failed: u64,
    },
    /// Another service.
    Service {
        /// Its name.
        name: Arc<str>,
        /// It serves.
        up: bool,
        /// Requests that ended since it was told last.
        requests: u64,
        /// Of those, failed.
        failed: u64,
    },
    /// The answer to a query; `None` when there was none.
    Query {
        /// Its name, as rules refer to it.
        name: Arc<str>,
        /// The answer.
        value: Option<f64>,
    },
    /// How much of what it may use a pod uses, as ratios.
    Resources {
        /// The set it belongs to.
        slot: Slot,
        /// Its name.
        pod: Arc<str>,
        /// Processor.
        cpu: Option<f64>,
        /// Memory.
        memory: Option<f64>,
    },
    /// Critical lines since it was told last; 0 says that somebody looks.
    Logs {
        /// By pods of this slot.
        slot: Slot,
        /// How many.
        critical: u64,
    },
    /// Requests that agents beside the candidate were to divert.
    Diverted {
        /// How many.
        requests: u64,
        /// Of those, not delivered.
        undelivered: u64,
    },
}

impl Evidence {
    /// Tells the judge.
    pub(crate) fn drive(&self, at_ms: u64, judge: &mut Judge) {
        let observation = match self {
            Self::Fates(pods) => Observation::Fates { pods },
            Self::Dependency { agent, slot, name, up, latency } => {
                Observation::Dependency { agent: *agent, slot: *slot, name, up: *up, latency }
            }
            Self::ServiceBefore { name, requests, failed } => {
                Observation::ServiceBefore { name, requests: *requests, failed: *failed }
            }
            Self::Service { name, up, requests, failed } => {
                Observation::Service { name, up: *up, requests: *requests, failed: *failed }
            }
            Self::Query { name, value } => Observation::Query { name, value: *value },
            Self::Resources { slot, pod, cpu, memory } => {
                Observation::Resources { slot: *slot, pod, cpu: *cpu, memory: *memory }
            }
            Self::Logs { slot, critical } => Observation::Logs { slot: *slot, critical: *critical },
            Self::Diverted { requests, undelivered } => {
                Observation::Diverted { requests: *requests, undelivered: *undelivered }
            }
        };
        judge.observe(at_ms, observation);
    }
}

/// Of its processor and its memory, what a pod uses.
pub type Usage = (Option<f64>, Option<f64>);

/// How things are with a service, for a release that begins later.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    fates: BTreeMap<(Slot, Arc<str>), PodFate>,
    resources: BTreeMap<(Slot, Arc<str>), Usage>,
}

impl Remembered {
    /// Something was seen; these are the pods.
    pub(crate) fn note(&mut self, evidence: &Evidence, pods: &[PodState]) {
        if self.fates.len().max(self.resources.len()) >= PODS_MAX {
            self.keep(pods);
        }
        match evidence {
            Evidence::Fates(pods) => {
                for fate in pods {
                    let key = (fate.slot, Arc::clone(&fate.pod));
                    if self.fates.len() < PODS_MAX || self.fates.contains_key(&key) {
                        self.fates.insert(key, fate.clone());
                    }
                }
            }
            Evidence::Resources { slot, pod, cpu, memory } => {
                let key = (*slot, Arc::clone(pod));
                if self.resources.len() < PODS_MAX || self.resources.contains_key(&key) {
                    self.resources.insert(key, (*cpu, *memory));
                }
            }
            _ => {}
        }
    }

    /// Others than these pods are forgotten.
    fn keep(&mut self, pods: &[PodState]) {
        let is_there = |key: &(Slot, Arc<str>)| pods.iter().any(|pod| pod.slot == key.0 && pod.pod == key.1);
        self.fates.retain(|key, _| is_there(key));
        self.resources.retain(|key, _| is_there(key));
    }

    /// What those of these pods that are of this slot use, on average.
    pub(crate) fn usage(&self, slot: Slot, pods: &[PodState]) -> Usage {
        let pods = pods.iter().filter(|pod| pod.slot == slot);
        let used: Vec<_> = pods.filter_map(|pod| self.resources.get(&(slot, Arc::clone(&pod.pod)))).collect();
        let mean = |of: fn(&Usage) -> Option<f64>| {
            let known: Vec<_> = used.iter().filter_map(|usage| of(usage)).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        (mean(|usage| usage.0), mean(|usage| usage.1))
    }

    /// How it is now.
    pub(crate) fn now(&self) -> Vec<Evidence> {
        let fates = (!self.fates.is_empty()).then(|| Evidence::Fates(self.fates.values().cloned().collect()));
        let resources = self.resources.iter().map(|((slot, pod), (cpu, memory))| Evidence::Resources {
            slot: *slot,
            pod: Arc::clone(pod),
            cpu: *cpu,
            memory: *memory,
        });
        fates.into_iter().chain(resources).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_begins_later_is_told_how_it_was() {
        let pod: Arc<str> = "a".into();
        let fate = |restarts| PodFate {
            slot: Slot::Green,
            pod: Arc::clone(&pod),
            restarts,
            out_of_memory: 0,
            crash_looping: false,
        };
        let usage = |cpu| Evidence::Resources { slot: Slot::Green, pod: "gone".into(), cpu: Some(cpu), memory: None };
        let mut remembered = Remembered::default();
        assert_eq!(remembered.now(), []);
        let state = |pod: &str| PodState { slot: Slot::Green, pod: pod.into(), ready: true };
        assert_eq!(remembered.usage(Slot::Green, &[state("gone")]), (None, None));
        remembered.note(&Evidence::Fates(vec![fate(1)]), &[]);
        remembered.note(&Evidence::Fates(vec![fate(2)]), &[]);
        remembered.note(&usage(0.5), &[]);
        assert_eq!(remembered.usage(Slot::Green, &[state("gone"), state("silent")]), (Some(0.5), None));
        assert_eq!(remembered.usage(Slot::Blue, &[state("gone")]), (None, None));
        remembered.note(&usage(0.6), &[]);
        assert_eq!(remembered.now(), [Evidence::Fates(vec![fate(2)]), usage(0.6)]);
        remembered.keep(&[PodState { slot: Slot::Green, pod: Arc::clone(&pod), ready: true }]);
        assert_eq!(remembered.now(), [Evidence::Fates(vec![fate(2)])]);
    }
}
