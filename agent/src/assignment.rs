//! Which slot a sidecar is in, when the gate is to say so.
//!
//! Inside, such a sidecar calls its own side blue whatever the gate calls it, and what it says and hears is mirrored at the
//! stream. A pod may change sides: what it counted before belongs to the other slot then, so it goes on as another instance
//! whose counts begin at zero.

use std::cell::Cell;
use std::sync::Arc;

use blueback_report::Slot;

/// Whether, and what, the gate has assigned.
#[derive(Debug)]
pub struct Assignment {
    /// The gate is to say it.
    wanted: bool,
    slot: Cell<Option<Slot>>,
    /// How often it was another one than before.
    changes: Cell<u32>,
}

/// What a Welcome means for an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Go on.
    Same,
    /// Begin again, as another instance.
    Changed,
    /// The gate said nothing, though it was asked.
    Nothing,
}

impl Assignment {
    /// `wanted`: the agent does not know its slot itself.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self { wanted, slot: Cell::new(None), changes: Cell::new(0) }
    }

    /// The gate is to say the slot.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// What the gate says is to be mirrored, and what it hears.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        self.slot.get() == Some(Slot::Green)
    }

    /// What the gate calls the side that is called `slot` here. `None` until it has said so.
    #[must_use]
    pub fn as_assigned(&self, slot: Slot) -> Option<Slot> {
        match self.slot.get() {
            None if self.wanted => None,
            _ => Some(if self.is_mirrored() { slot.other() } else { slot }),
        }
    }

    /// The instance under which the agent reports now.
    #[must_use]
    pub fn instance(&self, agent: &Arc<str>) -> Arc<str> {
        match self.changes.get() {
            0 => agent.clone(),
            changes => format!("{agent}-{changes}").into(),
        }
    }

    /// Takes the slot of a Welcome.
    #[must_use]
    pub fn welcome(&self, slot: Option<Slot>) -> Assigned {
        if !self.wanted {
            return Assigned::Same;
        }
        let Some(slot) = slot else { return Assigned::Nothing };
        match self.slot.replace(Some(slot)) {
            Some(before) if before != slot => {
                self.changes.set(self.changes.get() + 1);
                Assigned::Changed
            }
            _ => Assigned::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_changes_sides_is_another_instance() {
        let (assignment, agent) = (Assignment::new(true), Arc::from("uid/1"));
        assert_eq!(assignment.welcome(None), Assigned::Nothing);
        assert_eq!(assignment.welcome(Some(Slot::Green)), Assigned::Same);
        assert!(assignment.is_mirrored());
        assert_eq!(assignment.welcome(Some(Slot::Green)), Assigned::Same);
        assert_eq!(&*assignment.instance(&agent), "uid/1");
        assert_eq!(assignment.welcome(Some(Slot::Blue)), Assigned::Changed);
        assert!(!assignment.is_mirrored());
        assert_eq!(&*assignment.instance(&agent), "uid/1-1");
    }

    #[test]
    fn an_agent_that_knows_its_slot_takes_its_own_word() {
        let assignment = Assignment::new(false);
        assert_eq!(assignment.welcome(Some(Slot::Green)), Assigned::Same);
        assert!(!assignment.is_mirrored());
    }
}
