//! Which spans are still to be sent: those of what is over, each once.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::types::Release;
use crate::trace::{Span, SpanId, spans};

/// A gate that begins, or begins to lead, sends again what ended in this time before. Spans have the same ids from whichever gate they
/// come, so a store that goes by them has each once; one that does not has those few twice. What ended earlier was sent by the gate
/// before, or dropped by it.
pub(super) const AGAIN_MS: u64 = 300_000;
/// Releases whose sending is remembered; the oldest are forgotten.
const RELEASES_MAX: usize = 1_024;

#[derive(Debug, Default)]
struct Sent {
    started_ms: u64,
    /// What of the release was looked at: moments, and whether it had ended.
    seen: Option<(usize, bool)>,
    spans: BTreeSet<SpanId>,
}

/// Knows which spans were handed on.
#[derive(Debug, Default)]
pub(super) struct Tracer {
    /// What ended before is somebody else's. Since the first release that was seen.
    floor_ms: Option<u64>,
    sent: BTreeMap<String, Sent>,
}

impl Tracer {
    /// Another gate leads.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is over since the last look.
    pub(super) fn read(&mut self, release: &Release, now_ms: u64) -> Vec<Span> {
        let floor_ms = *self.floor_ms.get_or_insert(now_ms.saturating_sub(AGAIN_MS));
        if !self.sent.contains_key(&release.id) && self.sent.len() >= RELEASES_MAX {
            let oldest = self.sent.iter().min_by_key(|(_, sent)| sent.started_ms).map(|(id, _)| id.clone());
            oldest.map(|id| self.sent.remove(&id));
        }
        let sent = self.sent.entry(release.id.clone()).or_default();
        if sent.started_ms != release.started_ms {
            *sent = Sent { started_ms: release.started_ms, ..Sent::default() };
        }
        // Most states of a release differ in numbers only.
        let seen = Some((release.timeline.len(), release.ended_ms.is_some()));
        if std::mem::replace(&mut sent.seen, seen) == seen {
            return Vec::new();
        }
        let mut new = spans(release);
        new.retain(|span| span.end_ms >= floor_ms && sent.spans.insert(span.id));
        new
    }
}
