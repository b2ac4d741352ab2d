//! What the store keeps of services and releases. JSON, so that fields can be added.

use blueback_report::{PodShare, Role, Route};
use serde::{Deserialize, Serialize};

use crate::api::types as api;
use crate::event::Step;
use crate::platform::PlatformRecord;
use crate::rules_file::RulesFile;

/// A service between two lives of the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// The slot that serves, or served before the release that is under way.
    pub serving: api::Slot,
    /// The newest epoch given out.
    pub epoch: u64,
    /// Where requests go.
    pub green_share: f64,
    /// Backends with less than their turn.
    pub pods: Vec<PodShareRecord>,
    /// Number of the newest release.
    pub releases: u64,
    /// Whose counts were evidence.
    #[serde(default)]
    pub vantage: Option<Vantage>,
    /// When this was so, in Unix milliseconds.
    pub at_ms: u64,
    /// What is kept of the platform that splits its requests, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformRecord>,
}

/// A backend with less than its turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodShareRecord {
    /// The set it belongs to.
    pub slot: api::Slot,
    /// Its name.
    pub pod: String,
    /// The share of its turn that it keeps.
    pub share: f64,
}

impl ServiceRecord {
    /// The route it stands for. Connections were told to go, or not, when it was new.
    #[must_use]
    pub fn route(&self) -> Route {
        let pods = self
            .pods
            .iter()
            .map(|pod| PodShare { slot: pod.slot.into(), pod: pod.pod.as_str().into(), share: pod.share })
            .collect();
        Route { epoch: self.epoch, green_share: self.green_share, pods, let_go_ms: None, peers: Vec::new() }
    }
}

/// Whose counts are evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// The front agents': they see what never reaches a backend, too.
    Front,
    /// The sidecars'.
    Sidecars,
}

impl Vantage {
    /// An agent of this role stands there.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        matches!((self, role), (Self::Front, Role::Front) | (Self::Sidecars, Role::Sidecar(_)))
    }
}

/// A release between two lives of the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// As everybody sees it.
    pub release: api::Release,
    /// The rules it began with, in words.
    pub rules: RulesFile,
    /// Whose counts are evidence.
    pub vantage: Vantage,
    /// When the target share last changed, in Unix milliseconds.
    pub stepped_ms: u64,
    /// The last step of the revert that is done.
    pub step: Option<Step>,
    /// Why it is being reverted.
    pub revert_text: Option<String>,
    /// When the revert was decided, in Unix milliseconds.
    pub revert_ms: Option<u64>,
    /// The evidence when it ended.
    pub evidence: Option<api::Evidence>,
}
