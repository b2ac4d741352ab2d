//! Services whose traffic a platform splits: what it is seen to do, and what that means.
//!
//! Where agents split the traffic, the gate's route is the truth. Where a platform does (the selector of a Kubernetes
//! Service, the weights of a route), the platform is: a switch is whatever it is seen to do, whoever made it, and sidecars
//! only divert. This part knows no platform's API: it is given [`Snapshot`]s, and `Platform::read` says what the newest one
//! means. Everything that only moves pods about (scaling, drains, restarts) means nothing.

mod operate;
mod reading;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use blueback_judge::{PodFate, PodState};
use blueback_report::Slot;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::rules_file::RulesFile;

pub use reading::{Change, Under};

/// Name of a group of pods for machines; it stays the same when its pods are replaced.
pub type GroupKey = String;

/// Least share that a release begins with: a group that is sent requests but has no ready pod yet must not divide by zero.
pub const SHARE_MIN: f64 = 0.01;
/// Groups without traffic that are remembered of a service; the oldest are forgotten.
pub const GROUPS_MAX: usize = 32;
/// How long a change of traffic that was asked for may take to be seen, before what is seen counts again.
const EXPECTED_MS_MAX: u64 = 60_000;

/// What a platform is seen to do with a service's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Where requests are sent.
    pub backends: Vec<Backend>,
    /// The groups of pods, oldest first.
    pub groups: Vec<Group>,
    /// The pods of all groups.
    pub pods: Vec<Pod>,
    /// Any share can be given, not only all or nothing.
    pub weighted: bool,
    /// Rules for the next release.
    pub rules: RulesFile,
    /// Nobody is to be judged now.
    pub paused: bool,
}

/// Something that the platform sends requests to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The platform's name of it: a Service.
    pub name: String,
    /// Labels of the pods behind it.
    pub selector: BTreeMap<String, String>,
    /// Its part of the requests, beside those of the others.
    pub weight: u32,
}

/// Pods that serve as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// For machines.
    pub key: GroupKey,
    /// For people.
    pub name: Arc<str>,
    /// When it was made, in Unix milliseconds.
    pub born_ms: u64,
    /// A backend with weight has pods of it, ready or not.
    pub selected: bool,
    /// Its part of all requests, by its ready pods.
    pub share: f64,
}

/// A pod as the platform sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: Arc<str>,
    /// Its UID.
    pub uid: Arc<str>,
    /// Its group.
    pub group: GroupKey,
    /// Ready for requests.
    pub ready: bool,
    /// Where its agent listens, when it has one.
    pub agent: Option<SocketAddr>,
    /// Times that containers of it were started again.
    pub restarts: u32,
    /// Of those, because one had used more memory than it may.
    pub out_of_memory: u32,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
}

/// What keeps a pod from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A container ends again and again.
    CrashLooping,
    /// An image cannot be had.
    ImagePull,
}

/// Who splits a service's requests.
#[derive(Debug, Default)]
pub(crate) enum Split {
    /// Agents, by the route.
    #[default]
    Agents,
    /// The platform.
    Platform(Box<Platform>),
}

impl Split {
    pub(crate) fn platform(&self) -> Option<&Platform> {
        match self {
            Self::Agents => None,
            Self::Platform(platform) => Some(platform),
        }
    }

    pub(crate) fn platform_mut(&mut self) -> Option<&mut Platform> {
        match self {
            Self::Agents => None,
            Self::Platform(platform) => Some(platform),
        }
    }
}

/// A service whose requests a platform splits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platform {
    /// As it was last seen.
    pub(crate) seen: Snapshot,
    /// What is kept of it.
    pub(crate) record: PlatformRecord,
    /// A change was asked for; until it is seen, or that time, what is seen is not held against it.
    pub(crate) expected: Option<Expected>,
}

/// A change of traffic that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    /// The group that is meant.
    pub(crate) group: GroupKey,
    /// It shall be selected, or not.
    pub(crate) selected: bool,
    /// Not longer than this.
    pub(crate) until: Timestamp,
}

/// What is kept of a service whose requests a platform splits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlatformRecord {
    /// Groups that serve, or served before the release that is under way.
    pub serving: Vec<GroupKey>,
    /// The group that is new.
    pub candidate: Option<GroupKey>,
    /// Its name for people.
    pub candidate_name: Option<String>,
    /// The name of what served before, for people.
    pub serving_name: Option<String>,
    /// Where requests were sent while only the serving groups got any: what a revert goes back to.
    pub home: Vec<Backend>,
    /// The group that was reverted last.
    pub reverted: Option<GroupKey>,
    /// The platform had gone back already when the revert began, so its pods are left as they are.
    pub returned: bool,
    /// Somebody has set back to green what was reverted.
    pub conflict: bool,
}

impl Platform {
    /// A change that was asked for is on its way.
    pub(crate) fn expect(&mut self, group: GroupKey, selected: bool, now: Timestamp) {
        self.expected = Some(Expected { group, selected, until: now.plus_ms(EXPECTED_MS_MAX) });
    }

    /// The name of a group for people.
    pub(crate) fn name_of<'a>(&'a self, key: &'a str) -> &'a str {
        self.seen.groups.iter().find(|group| group.key == key).map_or(key, |group| &group.name)
    }

    /// The slot of each group that has one.
    pub(crate) fn slots(&self, serving: Slot) -> BTreeMap<GroupKey, Slot> {
        slots::assign(&self.record, &self.seen.groups, serving)
    }

    /// The slot of each pod that has one, by name and by UID: agents know themselves by either.
    pub(crate) fn pod_slots(&self, serving: Slot) -> BTreeMap<Arc<str>, Slot> {
        let slots = self.slots(serving);
        let known = self.seen.pods.iter().filter_map(|pod| Some((pod, *slots.get(&pod.group)?)));
        known.flat_map(|(pod, slot)| [(Arc::clone(&pod.name), slot), (Arc::clone(&pod.uid), slot)]).collect()
    }

    /// The groups that get requests are the ones that serve, and no other.
    pub(crate) fn is_home(&self) -> bool {
        let mut selected = self.seen.groups.iter().filter(|group| group.selected).peekable();
        selected.peek().is_some() && selected.all(|group| self.record.serving.contains(&group.key))
    }

    /// The pods as the judge takes them.
    pub(crate) fn pod_states(&self, serving: Slot) -> Vec<PodState> {
        let slots = self.slots(serving);
        let known = self.seen.pods.iter().filter_map(|pod| Some((pod, *slots.get(&pod.group)?)));
        let mut pods: Vec<_> =
            known.map(|(pod, slot)| PodState { slot, pod: Arc::clone(&pod.name), ready: pod.ready }).collect();
        pods.sort_by(|a, b| (a.slot, &a.pod).cmp(&(b.slot, &b.pod)));
        pods
    }

    /// What became of the pods' containers, as the judge takes it.
    pub(crate) fn fates(&self, serving: Slot) -> Vec<PodFate> {
        let slots = self.slots(serving);
        let known = self.seen.pods.iter().filter_map(|pod| Some((pod, *slots.get(&pod.group)?)));
        known
            .map(|(pod, slot)| PodFate {
                slot,
                pod: Arc::clone(&pod.name),
                restarts: pod.restarts,
                out_of_memory: pod.out_of_memory,
                crash_looping: pod.trouble == Some(Trouble::CrashLooping),
            })
            .collect()
    }

    /// Pods whose image cannot be had.
    fn without_image(&self) -> BTreeSet<&str> {
        let pods = self.seen.pods.iter().filter(|pod| pod.trouble == Some(Trouble::ImagePull));
        pods.map(|pod| &*pod.name).collect()
    }

    /// The group that a switch to the slot that does not serve would mean.
    pub(crate) fn other(&self, serving: Slot) -> Option<GroupKey> {
        let slots = self.slots(serving);
        slots.into_iter().find(|(_, slot)| *slot == serving.other()).map(|(key, _)| key)
    }
}
