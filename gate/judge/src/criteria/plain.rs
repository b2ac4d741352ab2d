//! A state that either is as the rule says or is not, for a time without a break: pods, dependencies, services, queries,
//! resources, logs.
//!
//! What has no evidence holds nothing: no answer is neither harm nor health. What blue has as well, or had at the switch, is not
//! green's doing, so it is held and not reverted.

use blueback_report::Slot;

use super::state::Sense;
use crate::observation::Observation;

/// What was so by then was so before the switch: evidence takes a moment to come in.
const AT_SWITCH_MS: u64 = 2_000;

/// What one look at one side shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sight {
    /// How many were asked.
    pub(crate) n: u64,
    /// Of those, bad.
    pub(crate) bad: u64,
    /// What the rule measures.
    pub(crate) value: Option<f64>,
    /// It is as the rule says; `None` without evidence.
    pub(crate) holds: Option<bool>,
}

crate::save::saved!(Sight { n, bad, value, holds });

/// A side of a release, or neither: what only the agents in front, or the gate, can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Green,
    Blue,
    Neither,
}

crate::save::saved_enum!(Side { Green = 0, Blue = 1, Neither = 2 });

impl Side {
    pub(crate) fn of(slot: Option<Slot>, candidate: Slot) -> Self {
        match slot {
            None => Self::Neither,
            Some(slot) if slot == candidate => Self::Green,
            Some(_) => Self::Blue,
        }
    }
}

/// One rule about a state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plain {
    pub(crate) sense: Sense,
    for_ms: u64,
    since_ms: Option<u64>,
    /// Since when it holds for long enough.
    pub(crate) fired_ms: Option<u64>,
    /// Blue has it too, or had it at the switch and nobody knows better.
    pub(crate) is_shared: bool,
    /// It was so at the switch, for blue or for both, and has been ever since for green.
    was_before: bool,
    /// There was evidence of this kind at some time.
    pub(crate) is_known: bool,
    pub(crate) green: Sight,
    pub(crate) blue: Sight,
}

crate::save::saved!(Plain { sense, for_ms, since_ms, fired_ms, is_shared, was_before, is_known, green, blue });

impl Plain {
    pub(crate) fn new(sense: Sense, for_ms: u64) -> Self {
        Self {
            sense,
            for_ms,
            since_ms: None,
            fired_ms: None,
            is_shared: false,
            was_before: false,
            is_known: false,
            green: Sight::default(),
            blue: Sight::default(),
        }
    }

    /// Something was seen; it is looked at with the next report interval.
    pub(crate) fn hear(&mut self, now_ms: u64, candidate: Slot, observation: &Observation<'_>) {
        self.sense.hear(now_ms, candidate, observation);
    }

    /// At the end of each report interval.
    pub(crate) fn look(&mut self, now_ms: u64) {
        let [green, blue, neither] = self.sense.look(now_ms);
        // What stands beside neither side speaks for both, where a side does not speak for itself.
        let sided = green.holds.is_some();
        self.green = if sided { green } else { neither };
        self.blue = blue;
        self.is_known |= self.green.holds.is_some();
        if self.green.holds != Some(true) {
            (self.since_ms, self.fired_ms, self.is_shared) = (None, None, false);
            // Evidence that is only late takes nothing back of what was seen at the switch.
            self.was_before &= self.green.holds.is_none();
            return;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        if now_ms <= AT_SWITCH_MS {
            self.was_before |= blue.holds == Some(true) || !sided;
        }
        self.is_shared = blue.holds.unwrap_or(self.was_before);
        if now_ms.saturating_sub(since_ms) >= self.for_ms {
            self.fired_ms.get_or_insert(now_ms);
        }
    }
}
