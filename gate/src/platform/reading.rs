//! What a snapshot means.

use crate::clock::Timestamp;

use super::{Group, GroupKey, Platform, SHARE_MIN, Snapshot};

/// The release that is under way, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// None.
    Nothing,
    /// One that can still be decided.
    Watch {
        /// It has passed its bake.
        passed: bool,
    },
    /// One that is on its way back.
    Revert,
}

/// What a platform has done.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing that a judge should know of.
    Nothing,
    /// It is seen for the first time: whoever serves, serves.
    Adopted(Vec<GroupKey>),
    /// A new group gets requests.
    Began {
        /// It.
        candidate: GroupKey,
        /// Its part of them.
        share: f64,
    },
    /// The new group gets another part of them.
    Shifted {
        /// What it gets now.
        share: f64,
    },
    /// The new group gets none any more, and it was not the gate that has done it.
    Returned,
    /// The group that was reverted gets requests again, and it was not the gate that has done it.
    Reapplied(GroupKey),
    /// The group that was reverted, and set back by somebody, gets none any more.
    Settled,
}

impl Platform {
    /// What the newest snapshot means, and what is to be expected from now on. It changes nothing but expectations.
    pub(crate) fn read(&mut self, snapshot: &Snapshot, under: Under, now: Timestamp) -> Change {
        if self.record.serving.is_empty() {
            let serving: Vec<_> = selected(snapshot).map(|group| group.key.clone()).collect();
            return if serving.is_empty() { Change::Nothing } else { Change::Adopted(serving) };
        }
        if let Some(expected) = &self.expected {
            let is = selected(snapshot).any(|group| group.key == expected.group);
            if is == expected.selected || now >= expected.until {
                self.expected = None;
            } else {
                return Change::Nothing;
            }
        }
        // A platform that sends nowhere has lost its pods, or its selector: that is no decision of anybody.
        if snapshot.paused || selected(snapshot).next().is_none() {
            return Change::Nothing;
        }
        match under {
            Under::Revert => Change::Nothing,
            Under::Nothing => self.read_idle(snapshot),
            Under::Watch { .. } => self.read_watched(snapshot),
        }
    }

    fn read_idle(&self, snapshot: &Snapshot) -> Change {
        match newcomer(snapshot, |group| self.record.serving.contains(&group.key)) {
            Some(group) if self.record.reverted.as_ref() == Some(&group.key) => {
                if self.record.conflict {
                    Change::Nothing
                } else {
                    Change::Reapplied(group.key.clone())
                }
            }
            Some(group) => Change::Began { candidate: group.key.clone(), share: group.share.max(SHARE_MIN) },
            None if self.record.conflict => Change::Settled,
            None => Change::Nothing,
        }
    }

    fn read_watched(&self, snapshot: &Snapshot) -> Change {
        let Some(candidate) = &self.record.candidate else { return Change::Nothing };
        let known = |group: &Group| self.record.serving.contains(&group.key) || group.key == *candidate;
        if let Some(group) = newcomer(snapshot, known) {
            return Change::Began { candidate: group.key.clone(), share: group.share.max(SHARE_MIN) };
        }
        match selected(snapshot).find(|group| group.key == *candidate) {
            None => Change::Returned,
            Some(group) => Change::Shifted { share: group.share.max(SHARE_MIN) },
        }
    }
}

fn selected(snapshot: &Snapshot) -> impl Iterator<Item = &Group> {
    snapshot.groups.iter().filter(|group| group.selected)
}

/// The newest group that gets requests and is not known.
fn newcomer(snapshot: &Snapshot, known: impl Fn(&Group) -> bool) -> Option<&Group> {
    selected(snapshot).filter(|group| !known(group)).max_by_key(|group| (group.born_ms, &group.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Expected, PlatformRecord};

    fn platform(serving: &[&str], candidate: Option<&str>) -> Platform {
        let record = PlatformRecord {
            serving: serving.iter().map(|&key| key.into()).collect(),
            candidate: candidate.map(Into::into),
            ..PlatformRecord::default()
        };
        Platform { record, ..Platform::default() }
    }

    /// Groups in order of age, with the share of those that are selected.
    fn snapshot(groups: &[(&str, Option<f64>)]) -> Snapshot {
        let groups = groups.iter().zip(1..).map(|(&(key, share), born_ms)| Group {
            key: key.into(),
            name: key.into(),
            born_ms,
            selected: share.is_some(),
            share: share.unwrap_or(0.0),
        });
        Snapshot { groups: groups.collect(), ..Snapshot::default() }
    }

    fn check(platform: &Platform, under: Under, groups: &[(&str, Option<f64>)], expected: &Change) {
        let mut platform = platform.clone();
        let change = platform.read(&snapshot(groups), under, Timestamp::default());
        assert_eq!(change, *expected, "{groups:?}");
    }

    const WATCH: Under = Under::Watch { passed: false };

    #[test]
    fn who_serves_when_it_is_first_seen_serves() {
        let new = Platform::default();
        check(&new, Under::Nothing, &[("a", Some(1.0)), ("b", None)], &Change::Adopted(vec!["a".into()]));
        check(
            &new,
            Under::Nothing,
            &[("a", Some(0.5)), ("b", Some(0.5))],
            &Change::Adopted(vec!["a".into(), "b".into()]),
        );
        check(&new, Under::Nothing, &[("a", None)], &Change::Nothing);
    }

    #[test]
    fn a_new_group_with_requests_is_a_release() {
        let blue = platform(&["a"], None);
        let began = |key: &str, share| Change::Began { candidate: key.into(), share };
        check(&blue, Under::Nothing, &[("a", None), ("b", Some(1.0))], &began("b", 1.0));
        check(&blue, Under::Nothing, &[("a", Some(0.75)), ("b", Some(0.25))], &began("b", 0.25));
        // Sent requests, but nobody of it is ready: its pods are judged.
        check(&blue, Under::Nothing, &[("a", Some(1.0)), ("b", Some(0.0))], &began("b", SHARE_MIN));
        // The newest of two.
        check(&blue, Under::Nothing, &[("a", None), ("b", Some(0.5)), ("c", Some(0.5))], &began("c", 0.5));
        // Back to an older version.
        let green = platform(&["b"], None);
        check(&green, Under::Nothing, &[("a", Some(1.0)), ("b", None)], &began("a", 1.0));
    }

    #[test]
    fn pods_that_come_and_go_are_no_release() {
        let blue = platform(&["a"], None);
        check(&blue, Under::Nothing, &[("a", Some(1.0))], &Change::Nothing);
        check(&blue, Under::Nothing, &[("a", Some(1.0)), ("b", None)], &Change::Nothing);
        // All pods are gone for a while.
        check(&blue, Under::Nothing, &[("a", None)], &Change::Nothing);
        check(&blue, Under::Nothing, &[], &Change::Nothing);
    }

    #[test]
    fn a_paused_gate_looks_away() {
        let mut paused = snapshot(&[("a", None), ("b", Some(1.0))]);
        paused.paused = true;
        let change = platform(&["a"], None).read(&paused, Under::Nothing, Timestamp::default());
        assert_eq!(change, Change::Nothing);
    }

    #[test]
    fn a_watched_release_goes_on_returns_or_is_replaced() {
        let watched = platform(&["a"], Some("b"));
        check(&watched, WATCH, &[("a", Some(0.5)), ("b", Some(0.5))], &Change::Shifted { share: 0.5 });
        check(&watched, WATCH, &[("a", Some(1.0)), ("b", Some(0.0))], &Change::Shifted { share: SHARE_MIN });
        check(&watched, WATCH, &[("a", Some(1.0)), ("b", None)], &Change::Returned);
        let replaced = Change::Began { candidate: "c".into(), share: 1.0 };
        check(&watched, WATCH, &[("a", None), ("b", None), ("c", Some(1.0))], &replaced);
        // Nobody is selected: nobody has decided anything.
        check(&watched, WATCH, &[("a", None), ("b", None)], &Change::Nothing);
        check(&watched, Under::Revert, &[("a", Some(1.0)), ("b", None)], &Change::Nothing);
    }

    #[test]
    fn what_was_reverted_and_is_set_again_is_a_conflict_and_no_release() {
        let mut reverted = platform(&["a"], None);
        reverted.record.reverted = Some("b".into());
        check(&reverted, Under::Nothing, &[("a", None), ("b", Some(1.0))], &Change::Reapplied("b".into()));
        check(&reverted, Under::Nothing, &[("a", Some(1.0)), ("b", None)], &Change::Nothing);
        let newer = Change::Began { candidate: "c".into(), share: 1.0 };
        check(&reverted, Under::Nothing, &[("a", None), ("b", None), ("c", Some(1.0))], &newer);
        reverted.record.conflict = true;
        check(&reverted, Under::Nothing, &[("a", None), ("b", Some(1.0))], &Change::Nothing);
        check(&reverted, Under::Nothing, &[("a", Some(1.0)), ("b", None)], &Change::Settled);
    }

    #[test]
    fn a_change_that_was_asked_for_is_waited_for() {
        let mut waiting = platform(&["a"], Some("b"));
        waiting.expect("b".into(), true, Timestamp::default());
        check(&waiting, WATCH, &[("a", Some(1.0)), ("b", None)], &Change::Nothing);
        check(&waiting, WATCH, &[("a", None), ("b", Some(1.0))], &Change::Shifted { share: 1.0 });
        let until = waiting.expected.as_ref().map(|expected: &Expected| expected.until).expect("it is expected");
        let change = waiting.read(&snapshot(&[("a", Some(1.0)), ("b", None)]), WATCH, until);
        assert_eq!((change, waiting.expected), (Change::Returned, None));
    }
}
