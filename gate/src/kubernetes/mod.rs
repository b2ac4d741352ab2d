//! The gate on Kubernetes.
//!
//! Nothing here decides. The pure part ([`index`], [`weights`], [`ownership`], [`elector::Election`]) turns objects into
//! values and is tested without an API server; the rest carries objects in and changes out:
//!
//! - [`controller`] watches, and tells the loop what each service's requests are seen to do.
//! - [`traffic`] makes the durable change, and lets go of what was reverted.
//! - [`status`] writes what came of it into the resources; [`state`] reads it when another gate takes over.
//! - [`elector`] says which of several gates acts, and [`leader`] passes on to it what people and machines ask.
//! - [`entrance`] is what stands at the doors: [`auth`] asks who comes, [`admission`] gives pods their agents ([`inject`]) and turns
//!   away rules that nobody can read, [`certs`] keeps the certificates.

pub mod admission;
pub mod auth;
pub mod board;
pub mod certs;
pub mod controller;
pub mod elector;
pub mod entrance;
mod farewell;
pub mod gates;
pub mod index;
pub mod inject;
pub mod leader;
pub mod objects;
pub mod ownership;
pub mod state;
pub mod status;
pub mod traffic;
#[expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the schema derive writes public items of its own, and several columns have a type"
)]
pub mod types;
pub mod watches;
pub mod weights;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::Context;
use board::Board;
use controller::{Controller, service_name};
use elector::{Elector, Leadership, Terms};
use entrance::{Entrance, Place, Served};
use gates::Gates;
use index::{Index, Name};
use kube::Client;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use status::Desk;
use tokio::sync::{mpsc, watch};
use traffic::KubernetesTraffic;

use crate::config::Config;
use crate::event::Step;
use crate::metrics::Metrics;
use crate::server::Message;
use crate::store::Store;
use crate::tls::Certificates;

/// What a gate on Kubernetes is told from outside.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// File that says how the cluster is reached; the pod's own service account when absent.
    pub kubeconfig: Option<PathBuf>,
    /// Namespaces whose ReleaseGates are looked after; all of them when empty.
    pub namespaces: Vec<String>,
    /// Name of the gate's own pod.
    pub pod_name: String,
    /// Its namespace: the Lease is there.
    pub pod_namespace: String,
    /// Address of the pod; that of the API's listener when absent.
    pub pod_ip: Option<String>,
    /// Deployment of the gate's own pod: without it there is no guard any more.
    pub deployment: Option<String>,
}

/// The gate's side of a cluster.
pub struct Kubernetes {
    client: Client,
    settings: Settings,
    shared: Shared,
    elector: Elector,
    leadership: Leadership,
}

impl Kubernetes {
    /// Finds the cluster: by the pod's own service account, or by the kubeconfig.
    ///
    /// # Errors
    /// When there is neither.
    pub async fn connect(settings: &Settings, api: SocketAddr, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let config = match &settings.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file).with_context(|| format!("{}", file.display()))?;
                kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
            }
            None => kube::Config::incluster().context("neither --kubeconfig nor a service account")?,
        };
        let client = Client::try_from(config)?;
        Ok(Self::with(client, settings, api, metrics))
    }

    /// With this client.
    #[must_use]
    pub fn with(client: Client, settings: &Settings, api: SocketAddr, metrics: &Arc<Metrics>) -> Self {
        let ip = settings.pod_ip.clone().unwrap_or_else(|| api.ip().to_string());
        let address = if ip.contains(':') { format!("[{ip}]:{}", api.port()) } else { format!("{ip}:{}", api.port()) };
        let terms = Terms::default();
        let failures = metrics.kubernetes_failures.with_label_values(&["lease"]);
        let (elector, leadership) =
            Elector::new(client.clone(), &settings.pod_namespace, &settings.pod_name, &address, terms, failures);
        let shared = Shared { metrics: Arc::clone(metrics), ..Shared::default() };
        Self { client, settings: settings.clone(), shared, elector, leadership }
    }

    /// What its parts share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether this gate acts.
    #[must_use]
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Opens the entrances: who is let in, and the webhooks.
    #[must_use]
    pub fn open(
        &self,
        config: &Config,
        port: u16,
        served: Option<&Served>,
        metrics: &Arc<Metrics>,
        closed: &watch::Receiver<bool>,
    ) -> Entrance {
        let gates: Arc<dyn Gates> = Arc::new(self.shared.clone());
        let place = self.place(config, port);
        entrance::open(&self.client, &gates, config, &place, served, metrics, closed)
    }

    /// How the gate that leads is reached.
    #[must_use]
    pub fn way(&self, config: &Config, certificates: Option<Certificates>) -> leader::Way {
        let place = self.place(config, config.api.port());
        leader::Way { certificates, name: place.host() }
    }

    fn place(&self, config: &Config, port: u16) -> Place {
        let (service, namespace) = (config.entrances.service_name.clone(), self.settings.pod_namespace.clone());
        Place { service, namespace, port }
    }

    /// What moves traffic.
    #[must_use]
    pub fn traffic(&self) -> KubernetesTraffic {
        KubernetesTraffic::new(self.client.clone(), self.shared.clone(), self.leadership.clone())
    }

    /// Watches, writes and takes part in the election until the gate closes.
    pub fn run(
        self,
        config: &Config,
        messages: &mpsc::Sender<Message>,
        store: Arc<dyn Store>,
        closed: &watch::Receiver<bool>,
    ) {
        let Self { client, settings, shared, elector, leadership } = self;
        let desk = Desk::new(client.clone(), shared.clone(), leadership.clone(), &settings.pod_name);
        let controller =
            Controller::new(client.clone(), shared, leadership, messages.clone(), store, settings.namespaces);
        let controller = controller.asking(config.ask.clone());
        if let Some(deployment) = settings.deployment {
            let own = Api::namespaced(client.clone(), &settings.pod_namespace);
            tokio::spawn(farewell::tell(own, deployment, messages.clone()));
        }
        tokio::spawn(elector.run(closed.clone()));
        tokio::spawn(desk.run(closed.clone()));
        tokio::spawn(controller.run(closed.clone()));
    }
}

/// What the parts of the gate on Kubernetes share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    index: Arc<RwLock<Index>>,
    /// News for the resources.
    pub board: Board,
    /// What is counted of it.
    pub metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

impl Shared {
    /// Everything that was there when this gate began is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The cluster as it was last seen.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step was tried, and this is what the API server did not allow about it.
    fn told(&self, name: &Name, step: Step, forbidden: Option<String>) {
        if matches!(step, Step::Switched | Step::Shifted | Step::Released) {
            self.board.fact(&service_name(name), |facts| facts.forbidden = forbidden);
        }
    }
}
