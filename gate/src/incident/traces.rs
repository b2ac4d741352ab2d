//! Example traces as rows.

use crate::api::types::{Evidence, ExampleTrace};
use crate::wording;

/// A request whose trace can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Id of the trace.
    pub id: String,
    /// Where a person looks at it.
    pub url: Option<String>,
    /// Which side answered, or did not.
    pub side: &'static str,
    /// How it ended.
    pub ended: String,
    /// By the application's fault.
    pub is_fault: bool,
    /// Its latency.
    pub took: String,
    /// Its route class.
    pub route: String,
    /// Its backend.
    pub pod: String,
    /// When it ended.
    pub time: String,
}

impl From<&ExampleTrace> for Trace {
    fn from(example: &ExampleTrace) -> Self {
        let outcome = example.outcome.replace('_', " ");
        // Whoever reads a document clicks on what is in it.
        let is_web = |url: &&String| url.starts_with("https://") || url.starts_with("http://");
        Self {
            id: example.trace_id.clone(),
            url: example.url.as_ref().filter(is_web).cloned(),
            side: wording::slot(example.slot),
            ended: example.status.map_or_else(|| outcome.clone(), |status| format!("{status}, {outcome}")),
            is_fault: matches!(example.outcome.as_str(), "server_error" | "unreachable"),
            took: wording::value(example.latency_ms, "ms"),
            route: if example.route.is_empty() { "–".to_owned() } else { example.route.clone() },
            pod: example.pod.clone(),
            time: wording::time(example.at_ms),
        }
    }
}

/// Example traces as rows.
pub(crate) fn traces(evidence: &Evidence) -> Vec<Trace> {
    evidence.example_traces.iter().map(Trace::from).collect()
}
