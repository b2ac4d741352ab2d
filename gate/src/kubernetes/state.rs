//! The state of a gate, read from the resources when it takes over.

use std::sync::Arc;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::Client;
use kube::api::{Api, ListParams};

use super::board::Board;
use super::types::{Release, ReleaseGate};
use crate::event::Stored;
use crate::recording::Recording;
use crate::records::{ReleaseRecord, ServiceRecord};
use crate::store::{Batch, Store};

/// Everything that a gate needs to go on: services and releases from the resources, recordings from this pod's own disk
/// where it has them.
///
/// # Errors
/// When the API server does not give them. What is in them and cannot be read is left out, and logged.
pub async fn load(
    client: &Client,
    namespaces: &[String],
    store: &Arc<dyn Store>,
    board: &Board,
) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    let mut releases = Vec::new();
    let everywhere = [String::new()];
    for namespace in if namespaces.is_empty() { &everywhere[..] } else { namespaces } {
        let (gates, api): (Api<ReleaseGate>, Api<Release>) = match namespace.as_str() {
            "" => (Api::all(client.clone()), Api::all(client.clone())),
            namespace => (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace)),
        };
        let gates = gates.list(&ListParams::default()).await.context("list ReleaseGates")?;
        stored.services.extend(gates.items.iter().filter_map(service));
        let found = api.list(&ListParams::default()).await.context("list Releases")?;
        releases.extend(found.items.iter().filter_map(release));
    }
    // What no ReleaseGate speaks for is history only.
    releases.retain(|(record, _)| stored.services.iter().any(|service| service.name == record.release.service));
    releases.sort_by_key(|(record, _)| record.release.started_ms);
    for (record, kept) in releases {
        if record.release.ended_ms.is_none() {
            let id = record.release.id.as_str();
            let own = store.recording(id).unwrap_or_else(|error| {
                tracing::error!(release = id, error = %format!("{error:#}"), "Recording unreadable");
                None
            });
            // Another gate may have led since this pod recorded, or this pod may have recorded more than it could keep.
            let end = |recording: &Recording| recording.frames.last().map(|frame| frame.at_ms);
            let own = own.and_then(|bytes| decoded(id, &bytes));
            let others = kept.as_ref().and_then(|bytes| decoded(id, bytes));
            let theirs = others.filter(|others| own.as_ref().is_none_or(|own| end(own) < end(others)));
            if let (Some(_), Some(bytes)) = (&theirs, kept) {
                let batch = Batch { recordings: vec![(id.into(), bytes)], ..Batch::default() };
                // So that this pod's recording goes on from there, too.
                store.commit(&batch).context("keep what another gate has kept")?;
            }
            if let Some(recording) = theirs.or(own) {
                board.goes_on(id, recording.began.clone());
                stored.recordings.push((id.into(), recording));
            }
        }
        stored.releases.push(record);
    }
    Ok(stored)
}

fn decoded(release: &str, bytes: &[u8]) -> Option<Recording> {
    Recording::decode(bytes)
        .map_err(|error| tracing::error!(release, error = %format!("{error:#}"), "What was kept is not understood"))
        .ok()
}

fn service(gate: &ReleaseGate) -> Option<ServiceRecord> {
    let text = gate.status.as_ref()?.resume.as_ref()?;
    read(text, gate.metadata.name.as_deref())
}

/// A release, and what another gate has kept of it.
fn release(release: &Release) -> Option<(ReleaseRecord, Option<Vec<u8>>)> {
    let resume = release.status.as_ref()?.resume.as_ref()?;
    let record = read(&resume.record, release.metadata.name.as_deref())?;
    Some((record, resume.judge.as_ref().and_then(|kept| BASE64.decode(kept).ok())))
}

fn read<T: serde::de::DeserializeOwned>(text: &str, name: Option<&str>) -> Option<T> {
    serde_json::from_str(text)
        .map_err(|error| tracing::error!(name, %error, "State in a resource's status is not read"))
        .ok()
}
