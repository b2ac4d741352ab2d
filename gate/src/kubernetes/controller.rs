//! From the cluster to the loop: watches in, snapshots out.
//!
//! Watches run on every gate, so that one that takes over knows everything already. Only the leader's loop is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, DynamicObject};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::elector::{Leadership, Standing};
use super::index::{Name, PodEntry, Seen, ServiceEntry};
use super::types::ReleaseGate;
use super::watches::{Source, Told, Watch, follow, poll};
use super::{Shared, objects, state, weights};
use crate::ask::AskConfig;
use crate::event::Event;
use crate::platform::Snapshot;
use crate::server::Message;
use crate::store::Store;

/// Changes that wait. When there is no room, the watches wait, and the API server keeps what comes for them.
const TOLD_QUEUED_MAX: usize = 1_024;
/// How long changes wait for others that belong to them: a roll-out changes a Service and its pods at about the same time.
const COMPANY: Duration = Duration::from_millis(10);
/// Time between two looks at facts that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pause before the state of a former gate is read again, after it could not be read.
const LOAD_AGAIN: Duration = Duration::from_millis(500);

/// Watches the cluster.
pub struct Controller {
    client: Client,
    shared: Shared,
    leadership: Leadership,
    messages: mpsc::Sender<Message>,
    store: Arc<dyn Store>,
    /// Where ReleaseGates are looked for; everywhere when empty.
    namespaces: Vec<String>,
    told: mpsc::Sender<Told>,
    queue: mpsc::Receiver<Told>,
    watches: BTreeMap<Source, Watch>,
    complete: BTreeSet<Source>,
    /// Which ReleaseGate of a name it is.
    uids: BTreeMap<Name, String>,
    /// What the loop was told last.
    sent: BTreeMap<Name, Snapshot>,
    leads: bool,
    /// Whom this gate can ask.
    ask: AskConfig,
}

const GATES: &str = "ReleaseGate";
const SERVICES: &str = "Service";
const PODS: &str = "Pod";

impl Controller {
    /// Of a gate that looks for ReleaseGates in these namespaces, or everywhere.
    #[must_use]
    pub fn new(
        client: Client,
        shared: Shared,
        leadership: Leadership,
        messages: mpsc::Sender<Message>,
        store: Arc<dyn Store>,
        namespaces: Vec<String>,
    ) -> Self {
        let (told, queue) = mpsc::channel(TOLD_QUEUED_MAX);
        Self {
            client,
            shared,
            leadership,
            messages,
            store,
            namespaces,
            told,
            queue,
            watches: BTreeMap::new(),
            complete: BTreeSet::new(),
            uids: BTreeMap::new(),
            sent: BTreeMap::new(),
            leads: false,
            ask: AskConfig::default(),
        }
    }

    /// Rules may ask whom this gate knows.
    #[must_use]
    pub fn asking(self, ask: AskConfig) -> Self {
        Self { ask, ..self }
    }

    /// Watches until the gate closes.
    pub async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let everywhere = vec![String::new()];
        for namespace in if self.namespaces.is_empty() { everywhere } else { self.namespaces.clone() } {
            self.follow_gates(&namespace);
        }
        let mut standing = self.leadership.standing();
        standing.mark_changed();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut dirty: BTreeSet<Name> = BTreeSet::new();
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                told = self.queue.recv() => {
                    let Some(told) = told else { return };
                    dirty.extend(self.hear(told));
                    if !dirty.is_empty() && due.is_none() {
                        due = Some(Instant::now() + COMPANY);
                    }
                }
                () = until(due) => {
                    due = None;
                    for name in std::mem::take(&mut dirty) {
                        self.tell(&name).await;
                    }
                }
                changed = standing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = standing.borrow_and_update().clone();
                    self.stand(now, &mut standing).await;
                    dirty.extend(self.shared.index().gates().map(|(name, _)| name.clone()));
                    due = Some(Instant::now());
                }
                _ = looks.tick() => self.look(),
                () = async { drop(closed.wait_for(|closed| *closed).await) } => return,
            }
        }
    }

    fn follow_gates(&mut self, namespace: &str) {
        let api: Api<ReleaseGate> = match namespace {
            "" => Api::all(self.client.clone()),
            namespace => Api::namespaced(self.client.clone(), namespace),
        };
        let source = (namespace.to_owned(), GATES.to_owned());
        let watch = follow(api, source.clone(), self.told.clone(), |name, gate| Seen::Gate(name, gate.map(Arc::new)));
        self.watches.insert(source, watch);
    }

    /// Takes in what a watch says. Returns the ReleaseGates that it may matter to.
    fn hear(&mut self, told: Told) -> BTreeSet<Name> {
        match told {
            Told::Seen(seen) => {
                let gate = matches!(seen, Seen::Gate(..));
                let matters = self.shared.index_mut().apply(seen);
                if gate {
                    matters.iter().for_each(|name| self.attend(name));
                }
                matters
            }
            Told::Complete(source) => {
                if source.1 == GATES {
                    self.shared.index_mut().listed(&source.0);
                }
                self.complete.insert(source.clone());
                self.is_ready();
                self.of_source(&source)
            }
            Told::Broken(source, error) => {
                self.shared.metrics.kubernetes_failures.with_label_values(&["watch"]).inc();
                tracing::warn!(namespace = source.0, kind = source.1, %error, "Watch broken, it is made again");
                if !self.complete.contains(&source) {
                    for name in self.of_source(&source) {
                        let problem = format!("{} cannot be watched: {error}", source.1);
                        self.shared.board.fact(&service_name(&name), |facts| facts.problem = Some(problem));
                    }
                }
                BTreeSet::new()
            }
        }
    }

    /// Tells once that everything is known that was there when this gate began. What cannot be watched (a kind that is not
    /// installed, a right that is missing) is not waited for, but ReleaseGates, Services and pods are.
    fn is_ready(&self) {
        let asked = |kind: &str| [GATES, SERVICES, PODS].contains(&kind);
        if self.watches.keys().all(|source| !asked(&source.1) || self.complete.contains(source)) {
            self.shared.ready.store(true, Ordering::Relaxed);
        }
    }

    fn of_source(&self, (namespace, _): &Source) -> BTreeSet<Name> {
        let index = self.shared.index();
        let here = index.gates().filter(|((of, _), _)| namespace.is_empty() || of == namespace);
        here.map(|(name, _)| name.clone()).collect()
    }

    /// Begins the watches that a ReleaseGate needs, and ends those that nobody needs any more.
    fn attend(&mut self, name: &Name) {
        let mut needed: BTreeSet<Source> = BTreeSet::new();
        let (mut wanted, mut polled) = (Vec::new(), Vec::new());
        {
            let index = self.shared.index();
            for ((namespace, _), gate) in index.gates() {
                needed.extend([SERVICES, PODS].map(|kind| (namespace.clone(), kind.to_owned())));
                let traffic = &gate.spec.traffic;
                if let Some(webhook) = &traffic.webhook {
                    needed.insert((namespace.clone(), webhook.url.clone()));
                    polled.push((namespace.clone(), webhook.url.clone()));
                }
                if let (Some((kind, _)), Some(resource)) = (weights::object_of(traffic), objects::resource_of(traffic))
                {
                    let source = (namespace.clone(), kind.to_owned());
                    needed.insert(source.clone());
                    wanted.push((source, resource));
                }
            }
        }
        let own = |source: &Source| source.1 == GATES || needed.contains(source);
        self.watches.retain(|source, _| own(source));
        self.complete.retain(own);
        if !needed.contains(&(name.0.clone(), PODS.to_owned())) {
            self.shared.index_mut().forget(&name.0);
            return;
        }
        for kind in [SERVICES, PODS] {
            let source = (name.0.clone(), kind.to_owned());
            if self.watches.contains_key(&source) {
                continue;
            }
            let (client, told) = (self.client.clone(), self.told.clone());
            let watch = if kind == SERVICES {
                let api: Api<Service> = Api::namespaced(client, &name.0);
                follow(api, source.clone(), told, |name, service| {
                    Seen::Service(name, service.map(ServiceEntry::trimmed))
                })
            } else {
                let api: Api<Pod> = Api::namespaced(client, &name.0);
                follow(api, source.clone(), told, |name, pod| {
                    Seen::Pod(name, pod.and_then(|pod| PodEntry::trimmed(&pod)).map(Box::new))
                })
            };
            self.watches.insert(source, watch);
        }
        for source in polled {
            if !self.watches.contains_key(&source) {
                let watch = poll(&source.0, &source.1, self.told.clone());
                self.watches.insert(source, watch);
            }
        }
        for (source, resource) in wanted {
            if self.watches.contains_key(&source) {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &source.0, &resource);
            let kind = source.1.clone();
            let watch = follow(api, source.clone(), self.told.clone(), move |name, object: Option<DynamicObject>| {
                let object = object.and_then(|object| serde_json::to_value(object).ok());
                Seen::Weights(kind.clone(), name, object)
            });
            self.watches.insert(source, watch);
        }
    }

    /// Everything that a snapshot of this ReleaseGate is made of is here.
    fn is_complete(&self, name: &Name, gate: &ReleaseGate) -> bool {
        let traffic = &gate.spec.traffic;
        // A webhook is known by its address.
        let object = weights::object_of(traffic).map(|(kind, name)| if kind == weights::WEBHOOK { name } else { kind });
        let kinds = [SERVICES, PODS].into_iter().chain(object);
        kinds.into_iter().all(|kind| self.complete.contains(&(name.0.clone(), kind.to_owned())))
    }

    async fn tell(&mut self, name: &Name) {
        let service = service_name(name);
        let gate = self.shared.index().gate(name).cloned();
        let uid = gate.as_ref().map(|gate| gate.metadata.uid.clone().unwrap_or_default());
        let former = match &uid {
            Some(uid) => self.uids.insert(name.clone(), uid.clone()),
            None => self.uids.remove(name),
        };
        // Also one that was deleted and made again before anybody looked.
        if former.is_some() && former != uid {
            self.shared.board.forget_facts(&service);
            if self.sent.remove(name).is_some() {
                self.send(Event::PlatformGone { service: service.as_str().into() }).await;
            }
        }
        let Some(gate) = gate else { return };
        if !self.is_complete(name, &gate) {
            return;
        }
        let snapshot = self.shared.index().snapshot(name);
        let rules = gate.spec.rules();
        let mut wrong: Vec<_> = rules.rules().err().iter().flatten().map(ToString::to_string).collect();
        wrong.extend(rules.wrong_sources());
        wrong.extend(self.ask.lacking(&rules));
        let wrong = (!wrong.is_empty()).then(|| wrong.join("; "));
        let problem = snapshot.as_ref().err().cloned().or(wrong);
        let not_injected = self.shared.index().not_injected(name).map(|refusal| refusal.to_string());
        self.shared.board.fact(&service, |facts| {
            facts.problem.clone_from(&problem);
            facts.not_injected = not_injected;
        });
        let (Ok(snapshot), true) = (snapshot, self.leads) else { return };
        if self.sent.get(name) == Some(&snapshot) {
            return;
        }
        self.sent.insert(name.clone(), snapshot.clone());
        self.send(Event::Platform { service: service.as_str().into(), snapshot: Box::new(snapshot) }).await;
    }

    async fn send(&self, event: Event) {
        // A loop that has ended needs not be told.
        drop(self.messages.send(Message::Event(event)).await);
    }

    /// This gate leads now, or it does not any more.
    async fn stand(&mut self, standing: Standing, changes: &mut watch::Receiver<Standing>) {
        match standing {
            Standing::Leads(_) if !self.leads => {
                let stored = loop {
                    match state::load(&self.client, &self.namespaces, &self.store, &self.shared.board).await {
                        Ok(stored) => break stored,
                        Err(error) => tracing::error!(error = %format!("{error:#}"), "State not read, trying again"),
                    }
                    tokio::time::sleep(LOAD_AGAIN).await;
                    if changes.has_changed().unwrap_or(true) {
                        return;
                    }
                };
                self.leads = true;
                self.sent.clear();
                drop(self.messages.send(Message::Lead(Box::new(stored))).await);
            }
            Standing::Follows(_) if self.leads => {
                self.leads = false;
                self.sent.clear();
                drop(self.messages.send(Message::Follow).await);
            }
            _ => {}
        }
    }

    /// Asks the loop what nobody tells of.
    fn look(&self) {
        if !self.leads {
            return;
        }
        let board = self.shared.board.clone();
        let question: crate::server::Question = Box::new(move |gate, now| {
            for service in gate.services(now) {
                board.fact(&service.name, |facts| facts.agents = Some(service.agents));
            }
        });
        // A loop that has no time for it is asked again.
        drop(self.messages.try_send(Message::Ask(question)));
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The name of a ReleaseGate's service.
#[must_use]
pub fn service_name(name: &Name) -> String {
    format!("{}/{}", name.0, name.1)
}
