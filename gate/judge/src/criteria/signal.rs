//! Somebody says so.

use std::sync::Arc;

/// A signal by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signal {
    name: Arc<str>,
    raised: Option<(u64, String)>,
}

crate::save::saved!(Signal { name, raised });

impl Signal {
    pub(crate) const fn new(name: Arc<str>) -> Self {
        Self { name, raised: None }
    }

    /// Somebody raised the signal `name`; the first one counts.
    pub(crate) fn raise(&mut self, now_ms: u64, name: &str, why: &str) {
        if *self.name == *name && self.raised.is_none() {
            self.raised = Some((now_ms, why.to_owned()));
        }
    }

    pub(crate) fn raised_ms(&self) -> Option<u64> {
        self.raised.as_ref().map(|&(at, _)| at)
    }

    /// What was seen, for people.
    pub(crate) fn text(&self) -> String {
        match &self.raised {
            None => "nobody raised the signal".to_owned(),
            Some((_, why)) if why.is_empty() => "the signal was raised".to_owned(),
            Some((_, why)) => format!("the signal was raised: {why}"),
        }
    }
}
