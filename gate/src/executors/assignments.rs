//! The slots of pods, for agents that do not know their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blueback_report::Slot;
use tokio::sync::watch;

/// How long an agent is kept waiting for its slot: less than its own patience, so that it is told to come again instead of
/// taking the gate for dead.
pub const ASSIGNMENT_MAX: Duration = Duration::from_millis(2_500);

/// Slots by pod, name or UID.
type Slots = Arc<BTreeMap<Arc<str>, Slot>>;

/// The newest slots of all services.
#[derive(Clone, Debug)]
pub struct Assignments(watch::Sender<BTreeMap<Arc<str>, Slots>>);

impl Default for Assignments {
    fn default() -> Self {
        Self(watch::channel(BTreeMap::new()).0)
    }
}

impl Assignments {
    /// These are the slots of a service's pods now.
    pub fn assign(&self, service: &Arc<str>, slots: Slots) {
        self.0.send_modify(|all| {
            if slots.is_empty() {
                all.remove(service);
            } else {
                all.insert(Arc::clone(service), slots);
            }
        });
    }

    /// The slot of a pod, by its UID or its name; waits shortly for a pod that has none yet.
    pub async fn slot_of(&self, service: &str, pod: &str) -> Option<Slot> {
        let mut all = self.0.subscribe();
        let find = |all: &BTreeMap<Arc<str>, Slots>| all.get(service)?.get(pod).copied();
        let known = tokio::time::timeout(ASSIGNMENT_MAX, all.wait_for(|all| find(all).is_some())).await;
        known.ok().and_then(Result::ok).and_then(|all| find(&all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_agent_that_comes_first_waits_for_its_slot() {
        let assignments = Assignments::default();
        let later = assignments.clone();
        let waiting = tokio::spawn(async move { later.slot_of("shop/cart", "pod").await });
        let slots = BTreeMap::from([("pod".into(), Slot::Green)]);
        assignments.assign(&"shop/cart".into(), Arc::new(slots));
        assert_eq!(waiting.await.expect("it ends"), Some(Slot::Green));
        assert_eq!(assignments.slot_of("shop/cart", "pod").await, Some(Slot::Green));
    }
}
