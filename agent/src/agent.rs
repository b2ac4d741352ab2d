//! The agent as a whole: its threads, and how they start and stop.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use blueback_report::{DEPENDENCIES_MAX, Role, Slot, TARGETS_MAX};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::timeout;
use tracing::{error, info};

use crate::cgroup::Cgroup;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Control, Identity, Orders};
use crate::dependency;
use crate::link::Link;
use crate::probe::Probe;
use crate::proxy::{self, Worker};
use crate::recorder::{Recorder, Shared};
use crate::reporter::Reporter;
use crate::route::Router;
use crate::spans::{self, Sending};
use crate::{admin, stream};

/// How long an agent that ends waits for a Collector to take its last spans.
const SPANS_LAST_MAX: Duration = Duration::from_secs(2);

/// A running agent. Dropping it stops it at once; [`Agent::drain`] stops it gently.
#[derive(Debug)]
pub struct Agent {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    router: Arc<Router>,
    draining: Arc<AtomicBool>,
    orders: watch::Sender<Orders>,
    /// Gives up its threads when dropped.
    alive: watch::Sender<()>,
    workers: Vec<oneshot::Receiver<()>>,
    finish: watch::Sender<bool>,
    control: oneshot::Receiver<()>,
}

fn random(what: &str) -> u64 {
    // RandomState is seeded by the operating system.
    RandomState::new().hash_one(what)
}

/// The slot whose agents the gate is to name: a sidecar's other one, where the configuration says nothing of it.
fn away(config: &Config) -> Option<Slot> {
    let Role::Sidecar(own) = config.role else { return None };
    let told = config.targets.iter().any(|target| target.slot != own);
    (!told).then(|| own.other())
}

/// A socket that listens on `address`; with `shared`, further ones may listen there too.
fn listen(address: SocketAddr, shared: bool) -> anyhow::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    /// Connections that wait to be accepted; the kernel caps it at net.core.somaxconn.
    const BACKLOG: i32 = 4_096;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A thread with its own single-threaded runtime. The receiver resolves when it ended.
fn thread_of<F>(name: &str, run: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<oneshot::Receiver<()>>
where
    F: Future<Output = ()> + 'static,
{
    let (ended, end) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("runtime")?;
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // As a task of its own: what is given to `block_on` itself is polled whenever any task is woken.
            let ended_well = LocalSet::new().block_on(&runtime, async move { spawn_local(run()).await });
            if let Err(error) = ended_well {
                error!(%error, "Thread failed");
            }
            // Nobody may be waiting any more.
            let _ = ended.send(());
        })
        .with_context(|| format!("thread {name}"))?;
    Ok(end)
}

impl Agent {
    /// Listens, probes each backend once, and starts serving.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on, a thread cannot start, or there is no backend or more than
    /// [`TARGETS_MAX`] of them.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        anyhow::ensure!(!config.targets.is_empty(), "no backend to send requests to");
        anyhow::ensure!(config.dependencies.len() <= DEPENDENCIES_MAX, "more than {DEPENDENCIES_MAX} dependencies");
        anyhow::ensure!(config.targets.len() <= TARGETS_MAX, "more than {TARGETS_MAX} backends");
        anyhow::ensure!(config.workers > 0, "no worker to serve requests");
        let clock = Clock::start();
        let router = Arc::new(Router::with_peers(&config.targets, config.serving, away(&config)));
        let shared = Arc::new(Shared::default());
        let probe = Probe { path: config.probe.as_deref().map(Arc::from), protocol: config.app_protocol };
        let mut first: JoinSet<()> = JoinSet::new();
        for backend in 0..router.backends().len() {
            let (router, probe) = (router.clone(), probe.clone());
            first.spawn(async move { probe.once(&router, backend).await });
        }
        first.join_all().await;

        let many = config.workers > 1;
        let mut listeners = vec![listen(config.listen, many).with_context(|| format!("listen on {}", config.listen))?];
        let address = listeners[0].local_addr()?;
        for _ in 1..config.workers {
            listeners.push(listen(address, many).with_context(|| format!("listen on {address} again"))?);
        }
        let admin_listener = match config.admin {
            Some(address) => Some(listen(address, false).with_context(|| format!("admin: listen on {address}"))?),
            None => None,
        };
        let admin = admin_listener.as_ref().map(std::net::TcpListener::local_addr).transpose()?;

        let seed = config.seed.unwrap_or_else(|| random("coin"));
        let (orders, _) = watch::channel(Orders::default());
        let (alive, _) = watch::channel(());
        let (finish, finish_asked) = watch::channel(false);
        let draining = Arc::new(AtomicBool::new(false));
        let (spans, sending) = config.otlp.clone().map(|collector| spans::to(collector, clock)).unzip();
        let mut recorders = Vec::new();
        let mut workers = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let recorder = Arc::new(Recorder::new(router.backends().len(), shared.clone()));
            recorders.push(recorder.clone());
            let (config, router, orders) = (config.clone(), router.clone(), orders.subscribe());
            let mut alive = alive.subscribe();
            let seed = seed.wrapping_add(number as u64);
            let spans = spans.clone();
            workers.push(thread_of(&format!("worker-{number}"), move || async move {
                let worker = Rc::new(Worker::new(&config, clock, router, recorder, seed, spans));
                tokio::select! {
                    () = proxy::serve(worker, listener, orders) => {}
                    _ = alive.changed() => {}
                }
            })?);
        }

        let identity = Identity {
            agent: format!("{}/{:016x}", config.pod_uid.as_ref().unwrap_or(&config.pod), random("instance")).into(),
            service: config.service.as_str().into(),
            role: config.role,
            unassigned: config.unassigned,
        };
        info!(agent = %identity.agent, listen = %address, workers = config.workers, "Serving");
        let names = config.dependencies.iter().map(|target| target.name.clone());
        let cgroup = config.cgroup.map(Cgroup::new);
        let reporter = Reporter::new(clock, router.clone(), recorders, shared).beside(names, cgroup);
        let (routes, stopping, commands) = (router.clone(), draining.clone(), orders.clone());
        let link = config.gate.map(|gate| Link::new(gate, config.gate_authority, config.token_file));
        let dependencies = config.dependencies;
        let control = thread_of("control", move || async move {
            let control = Control::new(reporter, routes, identity, stopping, commands, finish_asked, random("jitter"));
            let control = Rc::new(control.with_spans(sending.as_ref().map(Sending::fate)));
            let sending = sending.map(|sending| spawn_local(sending.run(control.clone())));
            for (number, target) in dependencies.into_iter().enumerate() {
                spawn_local(dependency::watch(control.clone(), number, target));
            }
            run_control(control.clone(), link, admin_listener, probe).await;
            if let Some(sending) = sending.filter(|_| control.finishing()) {
                // Late spans are lost, and nothing else.
                let _ = timeout(SPANS_LAST_MAX, sending).await;
            }
        })?;
        Ok(Self { listen: address, admin, router, draining, orders, alive, workers, finish, control })
    }

    /// Where clients connect.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Where the admin port is, if there is one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Epoch of the route in force.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.router.epoch()
    }

    /// Not ready any more; accepts nothing, finishes what is in flight (as long as `drain_timeout` allows), delivers the last
    /// report to the gate if there is one, and returns when all threads have ended.
    pub async fn drain(self) {
        self.draining.store(true, Relaxed);
        self.orders.send_modify(|orders| orders.drain = true);
        for worker in self.workers {
            // An error says that the thread is gone: the same.
            let _ = worker.await;
        }
        self.finish.send_replace(true);
        let _ = self.control.await;
        drop(self.alive);
    }
}

async fn run_control(
    control: Rc<Control>,
    link: Option<Link>,
    admin_listener: Option<std::net::TcpListener>,
    probe: Probe,
) {
    for backend in 0..control.router.backends().len() {
        spawn_local(probe.clone().forever(control.router.clone(), backend));
    }
    spawn_local(control::slices(control.clone()));
    if let Some(listener) = admin_listener {
        let listener = TcpListener::from_std(listener).expect("the socket listens and does not block");
        spawn_local(admin::serve(listener, control.clone()));
    }
    match link {
        Some(link) => {
            let stream = stream::run(control.clone(), link);
            tokio::pin!(stream);
            tokio::select! {
                () = &mut stream => {}
                () = control.finish_asked() => {
                    // Asked by `drain`, the stream says farewell; a dropped agent just goes.
                    if control.finishing() {
                        stream.await;
                    }
                }
            }
        }
        None => control.finish_asked().await,
    }
}
