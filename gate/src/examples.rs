//! Requests with a trace, as examples of what was counted: which traces to open. A judge never sees them.

use std::collections::VecDeque;

use blueback_report::{Exemplar, RANGES, range_of};

use crate::api::types as api;
use crate::clock::Timestamp;

/// Failed requests that are kept of a side; the oldest go first.
pub const FAILED_MAX: usize = 8;
/// Other requests that are kept of a side in each range of latency; the oldest go first.
pub const RANGE_MAX: usize = 2;
/// What a template of links to traces must have in it.
const PLACE: &str = "{trace_id}";

/// Examples of one side.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    failed: VecDeque<Example>,
    quick_to_slow: [VecDeque<Example>; RANGES],
}

/// An example and when its request ended, by the gate's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// When.
    pub at: Timestamp,
    /// What the agent said.
    pub exemplar: Exemplar,
}

impl Examples {
    /// Keeps one. What is known already, as agents repeat what was not acknowledged, and what is older than all that there is
    /// room for, is left out.
    pub fn add(&mut self, example: &Example) {
        let exemplar = &example.exemplar;
        let (kept, most) = if exemplar.outcome.is_fault() {
            (&mut self.failed, FAILED_MAX)
        } else {
            (&mut self.quick_to_slow[range_of(exemplar.latency_us)], RANGE_MAX)
        };
        let is_same = |known: &Example| known.exemplar.trace == exemplar.trace && known.exemplar.span == exemplar.span;
        if kept.iter().any(is_same) {
            return;
        }
        let place = kept.partition_point(|known| known.at <= example.at);
        kept.insert(place, example.clone());
        if kept.len() > most {
            kept.pop_front();
        }
    }

    /// Failed ones, then the others from slow to quick; of each the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Example> {
        self.failed.iter().rev().chain(self.quick_to_slow.iter().rev().flat_map(|kept| kept.iter().rev()))
    }

    /// For `/metrics`, oldest first.
    #[must_use]
    pub fn exposed(&self) -> Vec<blueback_exposition::Exemplar> {
        let mut told: Vec<blueback_exposition::Exemplar> =
            self.iter().map(|example| (&example.exemplar, example.at.unix_ms()).into()).collect();
        told.sort_by_key(|exemplar| exemplar.at_ms);
        told
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Example {
    /// As the API tells it.
    #[must_use]
    pub fn view(&self, url: Option<&TraceUrl>) -> api::ExampleTrace {
        let Exemplar { slot, pod, route, outcome, trace, span, latency_us, status, .. } = &self.exemplar;
        let trace_id = hex(trace);
        api::ExampleTrace {
            url: url.map(|url| url.of(&trace_id)),
            trace_id,
            span_id: hex(span),
            slot: (*slot).into(),
            pod: pod.to_string(),
            route: route.to_string(),
            outcome: outcome.as_str().to_owned(),
            status: *status,
            latency_ms: *latency_us as f64 / 1_000.0,
            at_ms: self.at.unix_ms(),
        }
    }
}

/// Where a person looks at a trace: a URL with `{trace_id}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceUrl(String);

impl TraceUrl {
    /// Of one trace.
    fn of(&self, trace_id: &str) -> String {
        self.0.replace(PLACE, trace_id)
    }
}

impl std::str::FromStr for TraceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_web = ["http://", "https://"].iter().any(|scheme| {
            text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', '{']))
        });
        let is_plain =
            text.chars().all(|letter| letter.is_ascii_graphic() && !['"', '<', '>', '\\', '`'].contains(&letter));
        if is_web && is_plain && text.contains(PLACE) {
            Ok(Self(text.to_owned()))
        } else {
            Err("an http or https URL with {trace_id} in it is accepted, as https://tempo.example/trace/{trace_id}"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use blueback_report::{Outcome, Slot};

    use super::*;

    fn example(number: u8, outcome: Outcome, latency_us: u64) -> Example {
        let exemplar = Exemplar {
            slot: Slot::Green,
            pod: "green-0".into(),
            route: "".into(),
            outcome,
            trace: [number; 16],
            span: [number; 8],
            latency_us,
            at_ms: 0,
            status: Some(200),
        };
        Example { at: Timestamp::from_unix_ms(u64::from(number)), exemplar }
    }

    #[test]
    fn a_flood_of_quick_successes_leaves_failed_and_slow_ones_alone() {
        let mut examples = Examples::default();
        examples.add(&example(1, Outcome::ServerError, 10));
        examples.add(&example(2, Outcome::Ok, 5_000_000));
        for number in 3..200 {
            examples.add(&example(number, Outcome::Ok, 10));
        }
        let kept: Vec<_> = examples.iter().map(|known| known.exemplar.trace[0]).collect();
        assert_eq!(kept, [1, 2, 199, 198]);
        let times: Vec<_> = examples.exposed().iter().map(|exemplar| exemplar.at_ms).collect();
        assert_eq!(times, [1, 2, 198, 199]);
    }

    #[test]
    fn what_is_repeated_is_kept_once_and_what_is_late_takes_no_newer_ones_place() {
        let mut examples = Examples::default();
        for number in (10..30).chain(10..30).chain(1..5) {
            examples.add(&example(number, Outcome::Unreachable, 10));
        }
        let kept: Vec<_> = examples.iter().map(|known| known.exemplar.trace[0]).collect();
        assert_eq!(kept, [29, 28, 27, 26, 25, 24, 23, 22]);
    }

    #[test]
    fn a_link_has_the_trace_in_it() {
        let url: TraceUrl = "https://tempo.example/trace/{trace_id}?org=1".parse().expect("it is a template");
        let view = example(0xab, Outcome::ServerError, 1_500).view(Some(&url));
        assert_eq!(view.url.as_deref(), Some(&*format!("https://tempo.example/trace/{}?org=1", "ab".repeat(16))));
        assert_eq!((view.outcome.as_str(), view.latency_ms), ("server_error", 1.5));
        for wrong in [
            "",
            "tempo/{trace_id}",
            "https://tempo.example/",
            "javascript:{trace_id}",
            "https://a b/{trace_id}",
            "https:///{trace_id}",
            "https://{trace_id}",
            "https://x/\"{trace_id}",
        ] {
            assert!(wrong.parse::<TraceUrl>().is_err(), "{wrong}");
        }
    }
}
