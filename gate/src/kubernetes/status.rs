//! What came of it, in the resources: status, columns, conditions, Events.
//!
//! Numbers are written at most every two seconds an object, what is decided at once. The API server is not a log: a status
//! is bounded, and what no longer fits is in the gate's own recording.

mod conditions;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::Shared;
use super::controller::service_name;
use super::elector::{Leadership, Standing};
use super::index::Name;
use super::types::{GATE_LABEL, Release, ReleaseGate, ReleaseGateStatus, ReleaseStatus};
use crate::records::ReleaseRecord;

/// Least time between two writes of one object in which only numbers have changed.
const REFRESH: Duration = Duration::from_secs(2);
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes statuses.
pub struct Desk {
    client: Client,
    shared: Shared,
    leadership: Leadership,
    recorder: Recorder,
    /// Releases that are under way, or not written as they ended.
    releases: BTreeMap<String, (ReleaseRecord, Written<ReleaseStatus>)>,
    gates: BTreeMap<String, Written<ReleaseGateStatus>>,
    /// Of each service, its newest release.
    newest: BTreeMap<String, ReleaseRecord>,
    /// Which ReleaseGate of a name it is.
    uids: BTreeMap<String, String>,
    /// Of each service, its record.
    services: BTreeMap<String, crate::records::ServiceRecord>,
}

#[derive(Default)]
struct Written<S> {
    status: S,
    wanted: S,
    at: Option<Instant>,
    /// Moments of the timeline that Events were made of.
    told: usize,
    /// What another gate needs to go on, as base64.
    kept: Option<String>,
}

impl Desk {
    /// Writes what is left on the board, while this gate leads.
    #[must_use]
    pub fn new(client: Client, shared: Shared, leadership: Leadership, pod: &str) -> Self {
        let reporter = Reporter { controller: "blueback.dev/gate".to_owned(), instance: Some(pod.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            shared,
            leadership,
            recorder,
            releases: BTreeMap::new(),
            gates: BTreeMap::new(),
            newest: BTreeMap::new(),
            uids: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }

    /// Writes until the gate closes.
    pub async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let mut standing = self.leadership.standing();
        loop {
            tokio::select! {
                () = self.shared.board.wait() => {}
                () = tokio::time::sleep(REFRESH) => {}
                _ = standing.changed() => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
            if !matches!(*standing.borrow(), Standing::Leads(_)) {
                // Whoever leads writes; what is known here may be old when it is this gate's turn.
                self.releases.clear();
                self.gates.clear();
                self.newest.clear();
                self.uids.clear();
                self.services.clear();
                drop(self.shared.board.take());
                self.measure();
                continue;
            }
            let written = self.write().await;
            self.measure();
            if let Err(error) = written {
                self.shared.metrics.kubernetes_failures.with_label_values(&["patch"]).inc();
                tracing::warn!(error = %format!("{error:#}"), "Status not written, trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        let news = self.shared.board.take();
        let gates: Vec<(Name, Arc<ReleaseGate>)> =
            self.shared.index().gates().map(|(name, gate)| (name.clone(), Arc::clone(gate))).collect();
        for service in &news.forgotten {
            self.forget(service);
        }
        for (name, gate) in &gates {
            let (service, uid) = (service_name(name), gate.metadata.uid.clone().unwrap_or_default());
            let former = self.uids.insert(service.clone(), uid.clone());
            if former.is_some_and(|former| former != uid) {
                self.forget(&service);
                self.gates.remove(&service);
            }
        }
        for record in news.releases.into_values() {
            let id = record.release.id.clone();
            let (known, written) = self.releases.entry(id).or_insert_with(|| (record.clone(), Written::default()));
            written.wanted = shape::release(&record);
            known.clone_from(&record);
            let newest = self.newest.entry(record.release.service.clone()).or_insert_with(|| record.clone());
            if newest.release.started_ms <= record.release.started_ms {
                *newest = record;
            }
        }
        self.services.extend(news.services);
        for (id, bytes) in news.kept {
            if let Some((_, written)) = self.releases.get_mut(&id) {
                written.kept = (!bytes.is_empty()).then(|| BASE64.encode(bytes));
            }
        }
        for (record, written) in self.releases.values_mut() {
            // Nobody goes on with one that is over.
            let kept = written.kept.as_ref().filter(|_| record.release.ended_ms.is_none());
            if let Some(resume) = &mut written.wanted.resume {
                resume.judge = kept.cloned();
            }
        }
        self.uids.retain(|service, _| gates.iter().any(|(name, _)| service_name(name) == *service));
        self.gates.retain(|service, _| gates.iter().any(|(name, _)| service_name(name) == *service));
        self.releases
            .retain(|_, (record, _)| gates.iter().any(|(name, _)| service_name(name) == record.release.service));
        self.newest.retain(|service, _| gates.iter().any(|(name, _)| service_name(name) == *service));
        for (name, gate) in &gates {
            let service = service_name(name);
            let of_service = |(record, _): &&(ReleaseRecord, _)| record.release.service == service;
            let mut records: Vec<_> =
                self.releases.values().filter(of_service).map(|(record, _)| record.clone()).collect();
            records.sort_by_key(|record| record.release.started_ms);
            for record in records {
                self.write_release(name, gate, &record).await?;
            }
            let facts = news.facts.get(&service).cloned().unwrap_or_default();
            let entry = self.gates.entry(service.clone()).or_insert_with(|| {
                let status = gate.status.clone().unwrap_or_default();
                Written { wanted: status.clone(), status, ..Written::default() }
            });
            let (record, newest) = (self.services.get(&service), self.newest.get(&service));
            entry.wanted = shape::gate(gate, &entry.wanted, record, newest, &facts, &Time(jiff::Timestamp::now()));
            if entry.wanted == entry.status {
                continue;
            }
            let urgent = shape::gate_word(&entry.wanted) != shape::gate_word(&entry.status);
            if !urgent && entry.at.is_some_and(|at| at.elapsed() < REFRESH) {
                continue;
            }
            let api: Api<ReleaseGate> = Api::namespaced(self.client.clone(), &name.0);
            if put_status(&api, &name.1, &entry.wanted).await.with_context(|| format!("ReleaseGate {}", name.1))? {
                entry.status = entry.wanted.clone();
                entry.at = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// What was known of a service was another's.
    fn forget(&mut self, service: &str) {
        self.releases.retain(|_, (record, _)| record.release.service != service);
        self.newest.remove(service);
        self.services.remove(service);
        if let Some(written) = self.gates.get_mut(service) {
            written.wanted = ReleaseGateStatus::default();
        }
    }

    /// Shows the conditions of the ReleaseGates that this gate looks after.
    fn measure(&self) {
        let condition = &self.shared.metrics.condition;
        condition.reset();
        for (service, written) in &self.gates {
            for one in &written.wanted.conditions {
                condition.with_label_values(&[service, &one.type_]).set(i64::from(one.status == "True"));
            }
        }
    }

    async fn write_release(&mut self, name: &Name, gate: &ReleaseGate, record: &ReleaseRecord) -> anyhow::Result<()> {
        let Some((_, entry)) = self.releases.get_mut(&record.release.id) else { return Ok(()) };
        if entry.wanted == entry.status {
            if record.release.ended_ms.is_some() {
                self.releases.remove(&record.release.id);
            }
            return Ok(());
        }
        let urgent = shape::release_word(&entry.wanted) != shape::release_word(&entry.status);
        if !urgent && entry.at.is_some_and(|at| at.elapsed() < REFRESH) {
            return Ok(());
        }
        let api: Api<Release> = Api::namespaced(self.client.clone(), &name.0);
        let object = shape::object_name(record);
        let mut published = entry.told;
        if entry.at.is_none() {
            match api.get_opt(&object).await.with_context(|| format!("Release {object}"))? {
                // Another gate has written it, and told of what is in it.
                Some(known) => {
                    let told = known.status.map(|status| status.timeline.len()).unwrap_or_default();
                    published = published.max(told);
                }
                None => {
                    let spec = shape::spec(gate, record, self.services.get(&record.release.service));
                    let mut release = Release::new(&object, spec);
                    release.metadata = ObjectMeta {
                        name: Some(object.clone()),
                        namespace: Some(name.0.clone()),
                        labels: Some(BTreeMap::from([(GATE_LABEL.to_owned(), name.1.clone())])),
                        owner_references: owner(gate).map(|owner| vec![owner]),
                        ..ObjectMeta::default()
                    };
                    let made = api.create(&PostParams::default(), &release).await;
                    if !matches!(&made, Err(kube::Error::Api(status)) if status.code == 409) {
                        made.with_context(|| format!("create Release {object}"))?;
                    }
                    forget_old(&api, gate).await?;
                }
            }
        }
        put_status(&api, &object, &entry.wanted).await.with_context(|| format!("Release {object}"))?;
        entry.status = entry.wanted.clone();
        entry.at = Some(Instant::now());
        let moments = &record.release.timeline;
        entry.told = moments.len();
        let reference = reference_of(gate, name);
        for moment in moments.iter().skip(published) {
            let Some(reason) = shape::event_reason(&moment.what) else { continue };
            let event = Event {
                type_: if reason.1 { EventType::Warning } else { EventType::Normal },
                reason: reason.0.to_owned(),
                note: Some(shape::bounded(&format!("{object}: {}", moment.text), shape::NOTE_BYTES_MAX)),
                action: "Judge".to_owned(),
                secondary: None,
            };
            // An Event is a courtesy: what it says is in the status as well.
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(%error, "Event not published");
            }
        }
        Ok(())
    }
}

/// Replaces a status as a whole. Returns false when the object is gone.
async fn put_status<K, S>(api: &Api<K>, name: &str, status: &S) -> anyhow::Result<bool>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let patch: json_patch::Patch = serde_json::from_value(json!([{"op": "add", "path": "/status", "value": status}]))?;
    let params = PatchParams { field_manager: Some("blueback".to_owned()), ..PatchParams::default() };
    match api.patch_status(name, &params, &Patch::Json::<()>(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Deletes Releases beyond the history that a ReleaseGate wants, oldest first, and never one under way.
async fn forget_old(api: &Api<Release>, gate: &ReleaseGate) -> anyhow::Result<()> {
    let selector = format!("{GATE_LABEL}={}", gate.name_any());
    let mut releases = api.list(&ListParams::default().labels(&selector)).await.context("list Releases")?.items;
    releases.sort_by_key(|release| release.spec.started_at.as_ref().map(|at| at.0));
    let surplus = releases.len().saturating_sub(gate.spec.history_limit as usize);
    for release in releases.iter().take(surplus) {
        let ended = release.status.as_ref().is_some_and(|status| status.ended_at.is_some());
        if ended {
            let gone = api.delete(&release.name_any(), &DeleteParams::default()).await;
            if !matches!(&gone, Err(kube::Error::Api(status)) if status.code == 404) {
                gone.context("delete a Release beyond the history's limit")?;
            }
        }
    }
    Ok(())
}

fn owner(gate: &ReleaseGate) -> Option<OwnerReference> {
    gate.controller_owner_ref(&())
}

fn reference_of(gate: &ReleaseGate, name: &Name) -> ObjectReference {
    ObjectReference { namespace: Some(name.0.clone()), ..gate.object_ref(&()) }
}
