//! The reverse proxy: a worker accepts, serves and counts, all on one thread.

mod body;
mod client;
mod exchange;
mod headers;
mod outcome;
mod upgrade;
mod upstream;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use blueback_report::{Outcome, Role};
use http::StatusCode;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use self::client::{Connection, Due, Http};
use self::upstream::Upstream;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Orders;
use crate::limits::Limits;
use crate::recorder::{Admitted, Own, Recorder, Refused, Writer};
use crate::route::{Picker, Router};
use crate::spans::{Begun, Ended, Spans};

/// Time between looks at all connections for what is due. Timeouts are that coarse.
const SWEEP: Duration = Duration::from_millis(250);
/// A kept HTTP/1 connection that is let go gets this long to send one more request and be told `connection: close`; then it is
/// closed between requests. A client that is that quiet rarely sends in the same instant.
const LET_GO_IDLE: Duration = Duration::from_secs(1);
/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// One thread's part of the agent.
#[derive(Debug)]
pub struct Worker {
    clock: Clock,
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    writer: Writer,
    picker: Picker,
    upstream: Upstream,
    http: Http,
    limits: Limits,
    requests_max: usize,
    request_timeout: Option<Duration>,
    /// Where the agent's own spans go, if it is to make them.
    spans: Option<Spans>,
    /// A sidecar's own application.
    home: Option<usize>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    /// Milliseconds since the agent's start as of the last sweep: what timeouts of connections need.
    swept_ms: Arc<AtomicU64>,
    accepted: Cell<u64>,
    tunnels: Cell<usize>,
    draining: Cell<bool>,
    /// A connection or a tunnel ended.
    ended: Notify,
}

/// A request that was admitted. Ends as [`Outcome::ClientGone`] unless something else ends it: whoever waited for it left.
#[derive(Debug)]
struct Ticket {
    worker: Rc<Worker>,
    request: Option<Admitted>,
    /// The agent's own span of it, if there is to be one.
    span: Option<Begun>,
}

impl Ticket {
    fn first_byte(&self, outcome: Outcome) {
        let Some(request) = &self.request else { return };
        let now_us = self.worker.clock.now_us();
        self.worker.writer.first_byte(request, outcome, now_us, self.worker.router.epoch());
        if let Some(span) = &self.span {
            span.first_byte(now_us);
        }
    }

    /// The head of its response came.
    fn answered(&self, status: StatusCode) {
        if let Some(request) = &self.request {
            request.status.set(status.as_u16());
        }
    }

    /// Ends the request, and returns when that was.
    fn end(mut self, outcome: Outcome) -> u64 {
        self.finish(outcome)
    }

    fn finish(&mut self, outcome: Outcome) -> u64 {
        let now_us = self.worker.clock.now_us();
        if let Some(request) = self.request.take() {
            self.worker.writer.end(&request, outcome, now_us, self.worker.router.epoch());
            self.end_span(&request, outcome, now_us);
        }
        now_us
    }

    fn end_span(&mut self, request: &Admitted, outcome: Outcome, end_us: u64) {
        let (Some(spans), Some(begun), Some(trace)) = (&self.worker.spans, self.span.take(), request.trace) else {
            return;
        };
        spans.end(Ended {
            begun,
            trace,
            start_us: request.start_us,
            end_us,
            backend: usize::from(request.backend),
            class: request.class,
            status: request.status.get(),
            outcome,
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.request.is_some() {
            self.finish(Outcome::ClientGone);
        }
    }
}

impl Worker {
    /// Serves with `router`, counts in `recorder`, chooses by `seed`, and makes spans if there is somewhere to put them.
    #[must_use]
    pub fn new(
        config: &Config,
        clock: Clock,
        router: Arc<Router>,
        recorder: Arc<Recorder>,
        seed: u64,
        spans: Option<Spans>,
    ) -> Self {
        let limits = config.limits.clone();
        let upstream = Upstream::new(router.clone(), clock, &limits, config.app_protocol, recorder.clone());
        let home = match config.role {
            Role::Sidecar(slot) => router.of_slot(slot).first().copied(),
            Role::Front => None,
        };
        Self {
            clock,
            writer: Writer::new(recorder.clone()),
            recorder,
            picker: Picker::new(seed),
            upstream,
            http: Http::new(&limits),
            requests_max: limits.requests,
            request_timeout: limits.request_timeout,
            limits,
            spans,
            home,
            router,
            connections: RefCell::default(),
            swept_ms: Arc::default(),
            accepted: Cell::new(0),
            tunnels: Cell::new(0),
            draining: Cell::new(false),
            ended: Notify::new(),
        }
    }

    fn show_connections(&self) {
        self.recorder.own.connections.store(self.connections.borrow().len() as u64, Relaxed);
    }

    fn show_tunnels(&self) {
        self.recorder.own.tunnels.store(self.tunnels.get() as u64, Relaxed);
    }

    fn accept(self: &Rc<Self>, stream: TcpStream) {
        if self.connections.borrow().len() >= self.limits.connections {
            self.recorder.own.refuse(Refused::Connections);
            return;
        }
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        Own::count(&self.recorder.own.accepted);
        let now_ms = self.clock.now_ms();
        let connection = Rc::new(Connection::new(now_ms, self.swept_ms.clone()));
        if self.draining.get() {
            connection.let_go(now_ms);
        }
        self.connections.borrow_mut().insert(number, connection.clone());
        self.show_connections();
        let worker = self.clone();
        spawn_local(async move {
            if stream.set_nodelay(true).is_ok() {
                let service = service_fn(|request| exchange::exchange(worker.clone(), connection.clone(), request));
                worker.http.serve(stream, &connection, service).await;
            }
            worker.connections.borrow_mut().remove(&number);
            worker.show_connections();
            worker.ended.notify_one();
        });
    }

    /// Lets clients go, if the application beside us gets less than before (a sidecar), or the connections to the backends that
    /// do (a front agent, whose clients are where they should be).
    fn let_go(&self, orders: &Orders) {
        let Some(home) = self.home else {
            orders.lost.iter().for_each(|&backend| self.upstream.let_go(backend));
            return;
        };
        if !orders.lost.contains(&home) {
            return;
        }
        let now_ms = self.clock.now_ms();
        for connection in self.connections.borrow().values() {
            let delay_ms = (self.picker.coin() * f64::from(orders.let_go_ms)) as u64;
            match delay_ms {
                0 => connection.let_go(now_ms),
                _ => connection.let_go_at_ms.set(Some(now_ms + delay_ms)),
            }
        }
    }

    fn sweep(&self, ready: &mut [bool]) {
        let now_ms = self.clock.now_ms();
        self.swept_ms.store(now_ms, Relaxed);
        for connection in self.connections.borrow().values() {
            if connection.look(now_ms, &self.limits, LET_GO_IDLE) == Due::Slow {
                self.recorder.own.refuse(Refused::Slow);
            }
        }
        self.upstream.sweep();
        for (number, (backend, ready)) in self.router.backends().iter().zip(ready).enumerate() {
            let was_ready = std::mem::replace(ready, backend.is_ready());
            if backend.is_ready() && !was_ready {
                self.upstream.forget_protocol(number);
            }
        }
    }

    /// Finishes what is in flight, as long as it may.
    async fn drain(&self) {
        let now_ms = self.clock.now_ms();
        self.draining.set(true);
        for connection in self.connections.borrow().values() {
            connection.let_go(now_ms);
        }
        let all = async {
            while !self.connections.borrow().is_empty() || self.tunnels.get() > 0 {
                self.ended.notified().await;
            }
        };
        if timeout(self.limits.drain_timeout, all).await.is_err() {
            let left = self.connections.borrow().len();
            warn!(connections = left, tunnels = self.tunnels.get(), "Drain timed out; the rest is cut off");
        }
    }
}

/// Serves until told to drain, or until the orders' sender is gone.
pub async fn serve(worker: Rc<Worker>, listener: std::net::TcpListener, mut orders: watch::Receiver<Orders>) {
    let listener = TcpListener::from_std(listener).expect("the socket listens and does not block");
    let sweeping = worker.clone();
    spawn_local(async move {
        let mut turn = interval(SWEEP);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ready = vec![true; sweeping.router.backends().len()];
        loop {
            turn.tick().await;
            sweeping.sweep(&mut ready);
        }
    });
    let mut let_go = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => worker.accept(stream),
                Err(error) => {
                    warn!(%error, "Connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
                let orders = orders.borrow_and_update().clone();
                if orders.let_go > let_go {
                    let_go = orders.let_go;
                    worker.let_go(&orders);
                }
                if orders.drain {
                    break;
                }
            }
        }
    }
    worker.draining.set(true);
    // Clients that the kernel has connected already are served too.
    poll_fn(|cx| {
        while let Poll::Ready(Ok((stream, _))) = listener.poll_accept(cx) {
            worker.accept(stream);
        }
        Poll::Ready(())
    })
    .await;
    drop(listener);
    worker.drain().await;
    info!("Worker drained");
}
