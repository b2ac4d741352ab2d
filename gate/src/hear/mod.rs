//! Hearing from others: what an Alertmanager says becomes signals, and what another controller asks gets its answer.

pub mod alertmanager;
pub mod matchers;
pub mod question;

use std::sync::Arc;

use crate::api::types::Release;
use crate::gate::Gate;
use crate::rules_file::RulesFile;

impl Gate {
    /// The release of a service that is under way, and the rules it began with.
    #[must_use]
    pub fn live_rules(&self, service: &str) -> Option<(Arc<str>, u64, &RulesFile)> {
        let live = self.services.get(service)?.live.as_ref()?;
        Some((Arc::clone(&live.id), live.record.release.started_ms, &live.record.rules))
    }

    /// The newest release of a service, under way or not. The outer `None`: there is no such service.
    #[must_use]
    pub fn newest(&self, service: &str) -> Option<Option<&Arc<Release>>> {
        let service = self.services.get(service)?;
        Some(service.latest.as_ref().and_then(|id| self.releases.get(id)))
    }

    /// The name of a service as it is kept here.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<&str> {
        self.services.get_key_value(name).map(|(name, _)| &**name)
    }
}
