//! Which group has which slot.
//!
//! There are two slots and any number of groups: those that serve have the slot that serves, the newest other one has the
//! other slot, and the rest has none; nobody measures it, and nothing is diverted to it.

use std::collections::BTreeMap;

use blueback_report::Slot;

use super::{Group, GroupKey, PlatformRecord};

pub(super) fn assign(record: &PlatformRecord, groups: &[Group], serving: Slot) -> BTreeMap<GroupKey, Slot> {
    let serves = |group: &Group| record.serving.contains(&group.key);
    let mut slots: BTreeMap<_, _> =
        groups.iter().filter(|group| serves(group)).map(|group| (group.key.clone(), serving)).collect();
    let named = record.candidate.as_ref().and_then(|key| groups.iter().find(|group| group.key == *key));
    let newest = groups.iter().filter(|group| !serves(group)).max_by_key(|group| (group.born_ms, &group.key));
    if let Some(candidate) = named.or(newest) {
        slots.insert(candidate.key.clone(), serving.other());
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(key: &str, born_ms: u64) -> Group {
        Group { key: key.into(), name: key.into(), born_ms, selected: false, share: 0.0 }
    }

    fn check(serving: &[&str], candidate: Option<&str>, groups: &[(&str, u64)], expected: &[(&str, Slot)]) {
        let record = PlatformRecord {
            serving: serving.iter().map(|&key| key.into()).collect(),
            candidate: candidate.map(Into::into),
            ..PlatformRecord::default()
        };
        let groups: Vec<_> = groups.iter().map(|&(key, born_ms)| group(key, born_ms)).collect();
        let slots = assign(&record, &groups, Slot::Blue);
        let expected: BTreeMap<GroupKey, Slot> = expected.iter().map(|&(key, slot)| (key.into(), slot)).collect();
        assert_eq!(slots, expected);
    }

    #[test]
    fn the_newest_other_group_has_the_other_slot() {
        check(&["a"], None, &[("a", 1)], &[("a", Slot::Blue)]);
        check(&["a"], None, &[("a", 1), ("b", 2), ("c", 3)], &[("a", Slot::Blue), ("c", Slot::Green)]);
        check(&["b"], None, &[("a", 1), ("b", 2)], &[("a", Slot::Green), ("b", Slot::Blue)]);
        check(&["a", "b"], None, &[("a", 1), ("b", 2)], &[("a", Slot::Blue), ("b", Slot::Blue)]);
    }

    #[test]
    fn a_release_keeps_its_group() {
        check(&["a"], Some("b"), &[("a", 1), ("b", 2), ("c", 3)], &[("a", Slot::Blue), ("b", Slot::Green)]);
    }
}
