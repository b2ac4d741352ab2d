//! The gate as a running thing: one port, one loop, and what stands around them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::api;
use crate::ask;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::door::TokenDoor;
use crate::event::{Event, Stored};
use crate::executors::Executors;
use crate::executors::steps::Traffic;
use crate::executors::writer::Writer;
use crate::gate::{Gate, Settings, TICK_MS};
use crate::intake::Intake;
use crate::kubernetes::entrance::Served;
use crate::kubernetes::{Kubernetes, leader};
use crate::listen;
use crate::metrics::Metrics;
use crate::otlp::{self, Identity, Otlp};
use crate::store::{RedbStore, Store};
use crate::tell::http::Client;
use crate::tls::Certificates;

/// Events and questions that wait for the loop. When it is full, streams wait (agents then send only their newest
/// state) and operators are told to come again; both are counted.
pub const EVENTS_QUEUED_MAX: usize = 1_024;
/// Events of one turn, after which ticks and the clock get their turn again.
const EVENTS_A_TURN_MAX: usize = 256;

/// What comes to the loop.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is an event, and a box would be an allocation a report"
)]
pub enum Message {
    /// Something happened.
    Event(Event),
    /// Somebody wants to look at the gate.
    Ask(Question),
    /// This gate leads from now on, and goes on with this.
    Lead(Box<Stored>),
    /// Another gate leads: what was known here is not true any more.
    Follow,
    /// Blueback is taken out of the cluster.
    StandDown,
}

/// A look at the gate, between two events.
pub type Question = Box<dyn FnOnce(&Gate, Timestamp) + Send>;

/// A running gate. Dropping it leaves it running until the runtime ends; [`Server::shutdown`] ends it well.
pub struct Server {
    addr: SocketAddr,
    metrics: Option<SocketAddr>,
    closing: watch::Sender<bool>,
    accepting: Vec<JoinHandle<()>>,
    turning: JoinHandle<()>,
    writer: Writer,
    /// Sends spans, where somebody takes them.
    sending: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the store, goes on where a former gate was, and serves.
    ///
    /// # Errors
    /// When the address cannot be had, the store cannot be opened or read, or the rules are not accepted.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        config.check()?;
        let listener = listen("api", config.api).await?;
        let addr = listener.local_addr()?;
        let plain = match config.entrances.metrics {
            Some(address) => Some(listen("metrics", address).await?),
            None => None,
        };
        let folder = config.store.clone();
        let (store, stored) = tokio::task::spawn_blocking(move || {
            let store = match &folder {
                Some(folder) => RedbStore::open(folder)?,
                None => RedbStore::in_memory()?,
            };
            let stored = store.load()?;
            anyhow::Ok((Arc::new(store), stored))
        })
        .await??;
        let metrics = Arc::new(Metrics::new());
        let writer = Writer::start(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&metrics))?;
        let (messages, queue) = mpsc::channel(EVENTS_QUEUED_MAX);
        let (closing, closed) = watch::channel(false);
        let platform = match &config.kubernetes {
            Some(settings) => Some(Kubernetes::connect(settings, addr, &metrics).await.context("Kubernetes")?),
            None => None,
        };
        let served = config.entrances.tls_dir.clone().map(|folder| follow(folder, &closed));
        let certificates = served.as_ref().map(|(certificates, _)| certificates.clone());
        let tls = certificates.as_ref().map(|certificates| TlsAcceptor::from(certificates.server_config()));
        let entrance = platform
            .as_ref()
            .map(|kubernetes| kubernetes.open(&config, addr.port(), served.as_ref(), &metrics, &closed));
        let door = entrance.as_ref().map(|entrance| Arc::clone(&entrance.door));
        let door = door.unwrap_or_else(|| Arc::new(TokenDoor::new(config.token.clone())));
        let webhooks = match (config.entrances.webhooks, entrance) {
            (Some(address), Some(entrance)) => Some((listen("webhooks", address).await?, entrance.webhooks)),
            _ => None,
        };
        let traffic = match &platform {
            Some(kubernetes) => Traffic::Kubernetes(Box::new(kubernetes.traffic())),
            None => Traffic::Agents(writer.clone()),
        };
        let board = platform.as_ref().map(|kubernetes| kubernetes.shared().board.clone());
        let executors = Executors::new(writer.clone(), traffic, board, messages.clone(), Arc::clone(&metrics));
        let clock = Clock::start(newest(&stored));
        let settings = Settings {
            rules: config.rules.clone(),
            services: config.services.clone(),
            trace_url: config.trace_url.clone(),
        };
        let gate = Gate::new(settings.clone(), clock.now());
        let mut turns = Loop {
            gate,
            settings,
            clock,
            executors: executors.clone(),
            metrics: Arc::clone(&metrics),
            stood_down: false,
        };
        let client = Client::new(config.tell.ca_file.as_deref()).context("certificates")?;
        ask::start(&config.ask, client.clone(), messages.clone(), &metrics, closed.clone());
        let otlp = config.tell.otlp.as_ref();
        let otlp = otlp.map(|otlp| Otlp::new(otlp, client, &identity(&config, addr), &metrics));
        let (traces, sending) = otlp.as_ref().map(|otlp| otlp.traces(messages.clone())).unzip();
        executors.tell.start(&config.tell, clock, &metrics, traces, &closed).context("telling people")?;
        if let Some(otlp) = otlp {
            otlp.metrics(messages.clone(), clock, closed.clone());
        }
        let cluster = platform.as_ref().map(|kubernetes| kubernetes.shared().clone());
        let way = platform.as_ref().map(|kubernetes| kubernetes.way(&config, certificates.clone()));
        let standing = platform.as_ref().map(|kubernetes| kubernetes.leadership().standing());
        if let Some(kubernetes) = platform {
            metrics.leader.set(0);
            // Its state is in the cluster; what this pod has on its disk may be older than what another gate has done.
            kubernetes.run(&config, &messages, Arc::clone(&store) as Arc<dyn Store>, &closed);
        } else {
            turns.event(Event::Restore(Box::new(stored)), clock.now());
            turns.tell_all();
        }
        let turning = tokio::spawn(turns.run(queue, closed.clone()));
        let intake = Intake {
            door: Arc::clone(&door),
            messages: messages.clone(),
            streams: executors.streams.clone(),
            metrics: Arc::clone(&metrics),
            closing: closed.clone(),
            next: Arc::new(AtomicU64::new(1)),
            assignments: standing.is_some().then(|| executors.assignments.clone()),
            standing: standing.clone(),
        };
        let state = api::State::new(messages, executors, metrics, store, door, certificates, closed.clone());
        let state = state.of_cluster(cluster);
        tracing::info!(api = %addr, tls = tls.is_some(), "Gate listens");
        let mut accepting = Vec::new();
        let metrics = plain.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(listener) = plain {
            accepting.push(tokio::spawn(listen::serve(
                listener,
                None,
                api::plain_router(state.clone()),
                closed.clone(),
            )));
        }
        let router = api::router(state).route_service(Intake::PATH, intake.service());
        let router = match standing.zip(way) {
            Some((standing, way)) => leader::forwarding(router, standing, way),
            None => router,
        };
        if let Some((listener, webhooks)) = webhooks {
            accepting.push(tokio::spawn(listen::serve(listener, tls.clone(), webhooks, closed.clone())));
        }
        accepting.push(tokio::spawn(listen::serve(listener, tls, router, closed)));
        Ok(Self { addr, metrics, closing, accepting, turning, writer, sending })
    }

    /// The address of the plain port for probes and scrapers, if there is one.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The address of the API and of the agents' door.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends streams and connections, keeps what is to be kept, and ends.
    pub async fn shutdown(self) {
        self.closing.send_replace(true);
        // Tasks that panicked have said so themselves.
        for accepting in self.accepting {
            drop(accepting.await);
        }
        drop(self.turning.await);
        let writer = self.writer;
        drop(tokio::task::spawn_blocking(move || writer.end()).await);
        otlp::last(self.sending).await;
    }
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{what}: cannot listen on {address}"))
}

/// Who says what is sent as telemetry.
fn identity(config: &Config, addr: SocketAddr) -> Identity {
    match &config.kubernetes {
        Some(settings) => {
            let (namespace, name) = (settings.pod_namespace.clone(), settings.pod_name.clone());
            Identity { instance: format!("{namespace}.{name}"), pod: Some((namespace, name)) }
        }
        None => Identity { instance: format!("{}:{}", otlp::config::host(), addr.port()), pod: None },
    }
}

/// Follows the certificates in a folder.
fn follow(folder: PathBuf, closed: &watch::Receiver<bool>) -> Served {
    let (seen, sees) = watch::channel(None);
    let certificates = Certificates::default();
    tokio::spawn(certificates.clone().follow(folder, seen, closed.clone()));
    (certificates, sees)
}

/// The newest time that a former gate has stored: this gate's clock must not begin before it.
fn newest(stored: &Stored) -> Timestamp {
    let services = stored.services.iter().map(|service| service.at_ms);
    let moments = stored.releases.iter().flat_map(|record| &record.release.timeline).map(|moment| moment.at_ms);
    let frames = stored
        .recordings
        .iter()
        .filter_map(|(_, recording)| Some(recording.began.started_ms.saturating_add(recording.frames.last()?.at_ms)));
    Timestamp::from_unix_ms(services.chain(moments).chain(frames).max().unwrap_or(0))
}

struct Loop {
    gate: Gate,
    settings: Settings,
    clock: Clock,
    executors: Executors,
    metrics: Arc<Metrics>,
    /// The agents were sent home; whatever happens changes nothing any more.
    stood_down: bool,
}

impl Loop {
    async fn run(mut self, mut queue: mpsc::Receiver<Message>, mut closed: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut turn = Vec::with_capacity(EVENTS_A_TURN_MAX);
        loop {
            let ticked = tokio::select! {
                _ = ticks.tick() => true,
                count = queue.recv_many(&mut turn, EVENTS_A_TURN_MAX) => {
                    if count == 0 {
                        return;
                    }
                    false
                }
                _ = closed.wait_for(|closed| *closed) => return,
            };
            let (now, began) = (self.clock.now(), Instant::now());
            self.metrics.events_queued.set((queue.len() + turn.len()) as i64);
            for message in turn.drain(..) {
                match message {
                    Message::Ask(ask) => ask(&self.gate, now),
                    _ if self.stood_down => {}
                    Message::StandDown => {
                        tracing::warn!(
                            "The gate's Deployment is deleted: agents send everything to the application beside them"
                        );
                        self.stood_down = true;
                        let effects = self.gate.stand_down();
                        self.executors.carry_out(effects);
                    }
                    Message::Event(event) => self.event(event, now),
                    Message::Lead(stored) => {
                        self.metrics.leader.set(1);
                        self.gate = Gate::new(self.settings.clone(), now);
                        self.event(Event::Restore(stored), now);
                        self.tell_all();
                    }
                    Message::Follow => {
                        self.metrics.leader.set(0);
                        self.gate = Gate::new(self.settings.clone(), now);
                        self.executors.streams.close_all("another gate leads");
                        self.executors.tell.forget();
                    }
                }
            }
            if ticked && !self.stood_down {
                self.event(Event::Tick, now);
            }
            self.metrics.turn_seconds.observe(began.elapsed().as_secs_f64());
        }
    }

    /// What a former gate was telling, this one goes on with.
    fn tell_all(&self) {
        for release in self.gate.releases() {
            self.executors.tell.publish(release);
        }
    }

    fn event(&mut self, event: Event, now: Timestamp) {
        let reported = match &event {
            Event::AgentReport { connection, report } if !report.replayed => Some(*connection),
            _ => None,
        };
        let effects = self.gate.apply(event, now);
        if let Some(lag_ms) = reported.and_then(|connection| self.gate.lag_ms(connection)) {
            self.metrics.report_lag_seconds.observe(lag_ms as f64 / 1_000.0);
        }
        self.executors.carry_out(effects);
    }
}
