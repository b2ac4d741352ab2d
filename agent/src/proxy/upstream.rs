//! Connections to backends, kept by each worker for itself.
//!
//! A backend is one address or, away from a sidecar that the gate tells where to divert, several taken in turn; each address
//! has a pool of its own, which goes when the gate does not name it any more.
//!
//! HTTP/1: a stack of idle ones, the newest taken first so that the rest can age and go. HTTP/2: one a backend, shared. A kept
//! connection may close in the instant a request is given to it; what hyper gives back unsent goes out again on a fresh one,
//! and what it does not only if repeating it is safe (see [`super::exchange`]).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::body::Outgoing;
use super::client::LocalExecutor;
use crate::clock::Clock;
use crate::config::AppProtocol;
use crate::limits::{BUFFER_BYTES, CONNECTION_WINDOW_BYTES, Limits, RESETS_LOCAL_MAX, STREAM_WINDOW_BYTES};
use crate::recorder::{Own, Recorder};
use crate::route::{Backend, Place, Router};

/// The client's preface and an empty SETTINGS frame (RFC 9113, 3.4).
const HELLO_HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Type of the frame that a server speaking HTTP/2 must send first.
const SETTINGS: u8 = 4;
const FRAME_HEAD_BYTES: usize = 9;
/// Peers tried for one request before it is served at home. A third one would hardly know more than two.
const PEERS_TRIED: usize = 2;
/// A peer that could not be connected to is left aside for this long, in microseconds: so an agent that vanished without a word
/// costs few requests the time of a connection that fails, until the gate stops naming it.
const PEER_REST_US: u64 = 1_000_000;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// Refused, reset, or no way to the host.
    Refused,
    /// Nothing in time.
    TimedOut,
}

impl From<io::Error> for NoConnection {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::TimedOut } else { Self::Refused }
    }
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Outgoing>,
    since_us: u64,
}

/// One backend's connections.
#[derive(Debug)]
struct Pool {
    address: SocketAddr,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Option<http2::SendRequest<Outgoing>>>,
    /// Held while the shared connection is being opened, so that a burst opens one.
    opening: Mutex<()>,
    /// Whether the backend speaks HTTP/2, once that was asked.
    speaks_http2: Cell<Option<bool>>,
    /// When the last connection to it failed.
    failed_us: Cell<Option<u64>>,
}

/// Where a backend's pools are.
#[derive(Debug)]
enum Pools {
    One(Rc<Pool>),
    Peers {
        /// By address; never more than the gate may name.
        pools: RefCell<HashMap<SocketAddr, Rc<Pool>>>,
        turn: Cell<usize>,
    },
}

/// All backends' connections of one worker.
#[derive(Debug)]
pub(super) struct Upstream {
    router: std::sync::Arc<Router>,
    /// By number of the backend.
    pools: Box<[Pools]>,
    clock: Clock,
    connect_timeout: Duration,
    idle_max: usize,
    idle_timeout: Duration,
    protocol: AppProtocol,
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
    recorder: std::sync::Arc<Recorder>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// A connection for one request.
#[derive(Debug)]
pub(super) struct Upstreamed {
    sender: Sender,
    pool: Rc<Pool>,
    /// How long it was idle, if it was used before. A shared one counts as just used.
    pub(super) idle_us: Option<u64>,
}

/// Gives an HTTP/1 connection back when its response has been read to the end.
#[derive(Debug)]
pub(super) struct Lease {
    sender: http1::SendRequest<Outgoing>,
    pool: Rc<Pool>,
    idle_max: usize,
}

impl Lease {
    /// The response was read to its end.
    pub(super) fn give_back(self, now_us: u64) {
        let mut idle = self.pool.idle.borrow_mut();
        if !self.sender.is_closed() && idle.len() < self.idle_max {
            idle.push(Idle { sender: self.sender, since_us: now_us });
        }
    }
}

impl Upstreamed {
    /// Where it goes to.
    pub(super) fn address(&self) -> SocketAddr {
        self.pool.address
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Sends the request. The error holds the request again if nothing of it was sent.
    pub(super) async fn send(
        self,
        request: Request<Outgoing>,
        idle_max: usize,
    ) -> Result<(Response<Incoming>, Option<Lease>), TrySendError<Request<Outgoing>>> {
        match self.sender {
            Sender::Http1(mut sender) => {
                let response = sender.try_send_request(request).await?;
                Ok((response, Some(Lease { sender, pool: self.pool, idle_max })))
            }
            Sender::Http2(mut sender) => {
                let sent = sender.try_send_request(request).await;
                if sent.is_err() && sender.is_closed() {
                    self.pool.forget_shared();
                }
                Ok((sent?, None))
            }
        }
    }
}

impl Pool {
    fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            address,
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Mutex::default(),
            speaks_http2: Cell::new(None),
            failed_us: Cell::new(None),
        })
    }

    fn let_go(&self) {
        self.idle.borrow_mut().clear();
        *self.shared.borrow_mut() = None;
    }

    fn forget_shared(&self) {
        if self.shared.borrow().as_ref().is_some_and(http2::SendRequest::is_closed) {
            *self.shared.borrow_mut() = None;
        }
    }

    fn take_idle(&self, now_us: u64) -> Option<(http1::SendRequest<Outgoing>, u64)> {
        let mut idle = self.idle.borrow_mut();
        // One that has not noticed the end of its last exchange yet is left for later; the sweep takes the closed ones.
        let at = idle.iter().rposition(|idle| idle.sender.is_ready() && !idle.sender.is_closed())?;
        let taken = idle.remove(at);
        Some((taken.sender, now_us.saturating_sub(taken.since_us)))
    }

    fn take_shared(&self) -> Option<http2::SendRequest<Outgoing>> {
        self.shared.borrow().clone().filter(http2::SendRequest::is_ready)
    }
}

impl Upstream {
    pub(super) fn new(
        router: std::sync::Arc<Router>,
        clock: Clock,
        limits: &Limits,
        protocol: AppProtocol,
        recorder: std::sync::Arc<Recorder>,
    ) -> Self {
        let pools = |backend: &Backend| match backend.place {
            Place::Fixed(address) => Pools::One(Pool::new(address)),
            Place::Peers(_) => Pools::Peers { pools: RefCell::default(), turn: Cell::new(0) },
        };
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(BUFFER_BYTES.max(limits.head_bytes));
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX);
        Self {
            pools: router.backends().iter().map(pools).collect(),
            router,
            clock,
            connect_timeout: limits.connect_timeout,
            idle_max: limits.upstream_idle,
            idle_timeout: limits.upstream_idle_timeout,
            protocol,
            http1,
            http2,
            recorder,
        }
    }

    /// HTTP/2 has no `Upgrade`.
    pub(super) fn can_upgrade(&self) -> bool {
        self.protocol != AppProtocol::Http2
    }

    pub(super) fn idle_max(&self) -> usize {
        self.idle_max
    }

    /// A connection to the backend: a kept one if there is one and that will do.
    ///
    /// `kept` is the present in microseconds when a kept connection will do, `None` when it must be a fresh one.
    pub(super) async fn connection(
        &self,
        backend: usize,
        http2: bool,
        kept: Option<u64>,
    ) -> Result<Upstreamed, NoConnection> {
        if let Pools::One(pool) = &self.pools[backend] {
            return self.connection_of(pool, http2, kept).await;
        }
        let mut failed = NoConnection::Refused;
        for _ in 0..PEERS_TRIED {
            let Some(pool) = self.pool(backend) else { break };
            match self.connection_of(&pool, http2, kept).await {
                Ok(connection) => {
                    pool.failed_us.set(None);
                    return Ok(connection);
                }
                Err(why) => {
                    failed = why;
                    pool.failed_us.set(Some(self.clock.now_us()));
                }
            }
        }
        Err(failed)
    }

    async fn connection_of(&self, pool: &Rc<Pool>, http2: bool, kept: Option<u64>) -> Result<Upstreamed, NoConnection> {
        let http2 = match self.protocol {
            AppProtocol::Http1 => false,
            AppProtocol::Http2 => true,
            AppProtocol::Auto => http2 && self.speaks_http2(pool).await?,
        };
        if http2 { self.shared(pool, kept.is_some()).await } else { self.own(pool, kept).await }
    }

    /// The backend's pool; of peers the next one, such as failed just now only if all did. `None` when there is no peer.
    fn pool(&self, backend: usize) -> Option<Rc<Pool>> {
        let (pools, turn) = match &self.pools[backend] {
            Pools::One(pool) => return Some(pool.clone()),
            Pools::Peers { pools, turn } => (pools, turn),
        };
        let Place::Peers(addresses) = &self.router.backends()[backend].place else { return None };
        let addresses = addresses.load();
        let first = turn.get();
        let now_us = self.clock.now_us();
        let mut pools = pools.borrow_mut();
        let mut at = |step: usize| {
            let address = addresses[(first + step) % addresses.len()];
            pools.entry(address).or_insert_with(|| Pool::new(address)).clone()
        };
        let resting =
            |pool: &Pool| pool.failed_us.get().is_some_and(|failed_us| now_us.saturating_sub(failed_us) < PEER_REST_US);
        let step = (0..addresses.len()).find(|&step| !resting(&at(step))).unwrap_or(0);
        (!addresses.is_empty()).then(|| {
            turn.set((first + step + 1) % addresses.len());
            at(step)
        })
    }

    fn all_pools(&self, mut visit: impl FnMut(&Pool)) {
        for pools in &self.pools {
            match pools {
                Pools::One(pool) => visit(pool),
                Pools::Peers { pools, .. } => pools.borrow().values().for_each(|pool| visit(pool)),
            }
        }
    }

    /// Drops the pools of addresses that the gate does not name any more. Their connections in use end with their request.
    fn forget_peers(&self) {
        for (backend, pools) in self.router.backends().iter().zip(&self.pools) {
            if let (Place::Peers(addresses), Pools::Peers { pools, .. }) = (&backend.place, pools) {
                let addresses = addresses.load();
                pools.borrow_mut().retain(|address, _| addresses.contains(address));
            }
        }
    }

    async fn own(&self, pool: &Rc<Pool>, kept: Option<u64>) -> Result<Upstreamed, NoConnection> {
        if let Some((sender, idle_us)) = kept.and_then(|now_us| pool.take_idle(now_us)) {
            return Ok(Upstreamed { sender: Sender::Http1(sender), pool: pool.clone(), idle_us: Some(idle_us) });
        }
        let stream = self.connect(pool.address).await?;
        let (sender, connection) =
            self.http1.handshake(TokioIo::new(stream)).await.map_err(|_| NoConnection::Refused)?;
        spawn_local(async move {
            // What an error meant for a request is told to that request.
            let _ = connection.with_upgrades().await;
        });
        Ok(Upstreamed { sender: Sender::Http1(sender), pool: pool.clone(), idle_us: None })
    }

    async fn shared(&self, pool: &Rc<Pool>, kept: bool) -> Result<Upstreamed, NoConnection> {
        let known = |sender| Upstreamed { sender: Sender::Http2(sender), pool: pool.clone(), idle_us: Some(0) };
        if let Some(sender) = kept.then(|| pool.take_shared()).flatten() {
            return Ok(known(sender));
        }
        let _opening = pool.opening.lock().await;
        if let Some(sender) = kept.then(|| pool.take_shared()).flatten() {
            return Ok(known(sender));
        }
        let stream = self.connect(pool.address).await?;
        let (sender, connection) =
            self.http2.handshake(TokioIo::new(stream)).await.map_err(|_| NoConnection::Refused)?;
        spawn_local(async move {
            let _ = connection.await;
        });
        *pool.shared.borrow_mut() = Some(sender.clone());
        Ok(Upstreamed { sender: Sender::Http2(sender), pool: pool.clone(), idle_us: None })
    }

    /// Asks the backend once, on a connection of its own, whether it speaks HTTP/2 without being asked to upgrade.
    async fn speaks_http2(&self, pool: &Pool) -> Result<bool, NoConnection> {
        if let Some(known) = pool.speaks_http2.get() {
            return Ok(known);
        }
        let _opening = pool.opening.lock().await;
        if let Some(known) = pool.speaks_http2.get() {
            return Ok(known);
        }
        let mut stream = self.connect(pool.address).await?;
        let asked = timeout(self.connect_timeout, async {
            stream.write_all(HELLO_HTTP2).await?;
            let mut head = [0; FRAME_HEAD_BYTES];
            stream.read_exact(&mut head).await?;
            Ok::<_, io::Error>(!head.starts_with(b"HTTP/") && head[3] == SETTINGS)
        });
        // A server that hangs up or keeps silent on the preface does not speak HTTP/2.
        let speaks = matches!(asked.await, Ok(Ok(true)));
        pool.speaks_http2.set(Some(speaks));
        Ok(speaks)
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, NoConnection> {
        let stream = timeout(self.connect_timeout, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| NoConnection::TimedOut)??;
        stream.set_nodelay(true)?;
        self.count(|own| &own.connected);
        Ok(stream)
    }

    fn count(&self, which: impl Fn(&Own) -> &AtomicU64) {
        Own::count(which(&self.recorder.own));
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let oldest_us = self.clock.now_us().saturating_sub(self.idle_timeout.as_micros() as u64);
        self.all_pools(|pool| {
            pool.idle.borrow_mut().retain(|idle| idle.since_us >= oldest_us && !idle.sender.is_closed());
            pool.forget_shared();
        });
        self.forget_peers();
    }

    /// Closes a backend's idle connections. Those in use end with their request; a shared one with its last.
    pub(super) fn let_go(&self, backend: usize) {
        match &self.pools[backend] {
            Pools::One(pool) => pool.let_go(),
            Pools::Peers { pools, .. } => pools.borrow_mut().clear(),
        }
    }

    /// The backend came back, and may be another program now.
    pub(super) fn forget_protocol(&self, backend: usize) {
        if let Pools::One(pool) = &self.pools[backend] {
            pool.speaks_http2.set(None);
        }
    }
}
