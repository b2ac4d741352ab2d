//! The gate as a running thing: one port, one loop, and what stands around them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::api;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::event::{Event, Stored};
use crate::executors::Executors;
use crate::executors::writer::Writer;
use crate::gate::{Gate, Settings, TICK_MS};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::store::{RedbStore, Store};

/// Events and questions that wait for the loop. When it is full, streams wait (agents then send only their newest
/// state) and operators are told to come again; both are counted.
pub const EVENTS_QUEUED_MAX: usize = 1_024;
/// Events of one turn, after which ticks and the clock get their turn again.
const EVENTS_A_TURN_MAX: usize = 256;
/// Most connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 8_192;
/// How long a client may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How often a silent HTTP/2 connection is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long connections have to end when the gate closes.
const CLOSE_MAX: Duration = Duration::from_secs(2);

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
}

/// A look at the gate, between two events.
pub type Question = Box<dyn FnOnce(&Gate, Timestamp) + Send>;

/// A running gate. Dropping it leaves it running until the runtime ends; [`Server::shutdown`] ends it well.
pub struct Server {
    addr: SocketAddr,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    turning: JoinHandle<()>,
    writer: Writer,
}

impl Server {
    /// Opens the store, goes on where a former gate was, and serves.
    ///
    /// # Errors
    /// When the address cannot be had, the store cannot be opened or read, or the rules are not accepted.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        config.check()?;
        let listener =
            TcpListener::bind(config.api).await.with_context(|| format!("api: cannot listen on {}", config.api))?;
        let addr = listener.local_addr()?;
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
        let executors = Executors::new(writer.clone(), messages.clone(), Arc::clone(&metrics));
        let clock = Clock::start(newest(&stored));
        let gate = Gate::new(Settings { rules: config.rules, services: config.services }, clock.now());
        let mut turns = Loop { gate, clock, executors: executors.clone(), metrics: Arc::clone(&metrics) };
        executors.tell.start(&config.tell, clock, &metrics, &closed).context("telling people")?;
        turns.event(Event::Restore(Box::new(stored)), clock.now());
        turns.tell_all();
        let turning = tokio::spawn(turns.run(queue, closed.clone()));
        let intake = Intake {
            messages: messages.clone(),
            streams: executors.streams.clone(),
            metrics: Arc::clone(&metrics),
            closing: closed.clone(),
            next: Arc::new(AtomicU64::new(1)),
        };
        let state = api::State::new(messages, executors, metrics, store, config.token, closed.clone());
        let router = api::router(state).route_service(Intake::PATH, intake.service());
        let accepting = tokio::spawn(accept(listener, router, closed));
        tracing::info!(api = %addr, "Gate listens");
        Ok(Self { addr, closing, accepting, turning, writer })
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
        drop(self.accepting.await);
        drop(self.turning.await);
        let writer = self.writer;
        drop(tokio::task::spawn_blocking(move || writer.end()).await);
    }
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
    clock: Clock,
    executors: Executors,
    metrics: Arc<Metrics>,
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
                    Message::Event(event) => self.event(event, now),
                    Message::Ask(ask) => ask(&self.gate, now),
                }
            }
            if ticked {
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

async fn accept(listener: TcpListener, router: axum::Router, mut closed: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
            _ = closed.wait_for(|closed| *closed) => break,
        };
        let (stream, place) = match accepted {
            (Ok((stream, _)), Ok(place)) => (stream, place),
            (Err(error), _) => {
                tracing::warn!(%error, "Connection not accepted");
                // Out of file descriptors, most likely: trying at once would only burn the processor.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            (_, Err(_)) => break,
        };
        let connection = graceful.watch(serve(stream, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "Connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(CLOSE_MAX, graceful.shutdown()).await.is_err() {
        tracing::info!("Connections cut: they did not end in time");
    }
}

fn serve(
    stream: TcpStream,
    router: axum::Router,
) -> auto::Connection<'static, TokioIo<TcpStream>, TowerToHyperService<axum::Router>, TokioExecutor> {
    // Acknowledgements and routes are small, and each of them is waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "No TCP_NODELAY");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_EVERY);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).into_owned()
}
