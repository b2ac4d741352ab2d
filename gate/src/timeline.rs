//! What happened to a release, for people, in order.

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::trace::{SpanId, TraceId};

/// Most moments of a release. A release that flaps comes to three shields in ten minutes and is held, so this is many
/// days of it; what comes after is counted.
pub(crate) const MOMENTS_MAX: usize = 1_000;
/// Longest text that people and machines may add, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1_000;

/// Adds a moment, and logs it. Returns false when there is no room.
pub(crate) fn add(
    release: &mut api::Release,
    what: &str,
    text: String,
    measured: Option<api::Measured>,
    now: Timestamp,
) -> bool {
    let trace = TraceId::of(release);
    // The whole story in the log, each line with what leads to the release and to its trace.
    tracing::info!(
        release = release.id,
        service = release.service,
        what,
        rule = measured.as_ref().map(|measured| measured.rule.as_str()),
        trace_id = %trace,
        span_id = %SpanId::root(trace),
        "{text}"
    );
    if release.timeline.len() >= MOMENTS_MAX {
        return false;
    }
    let at_ms = now.unix_ms();
    release.timeline.push(api::Moment {
        at_ms,
        after_ms: at_ms.saturating_sub(release.started_ms),
        what: what.to_owned(),
        text,
        measured,
    });
    true
}

/// A share as people write it.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent - percent.round()).abs() < 0.05 { format!("{percent:.0}%") } else { format!("{percent:.1}%") }
}

/// ", by NAME" where somebody said who it is.
pub(crate) fn by(who: Option<&str>) -> String {
    who.map(|who| format!(", by {who}")).unwrap_or_default()
}

/// Milliseconds as people say them.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.125), "12.5%");
        assert_eq!(percent(0.1), "10%");
        assert_eq!(span(350), "350 ms");
        assert_eq!(span(4_500), "4.5 s");
        assert_eq!(span(61_000), "1 min 1 s");
    }
}
