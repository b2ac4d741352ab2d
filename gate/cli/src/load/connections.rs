//! The connections of a load: opened when needed, kept as the plan says, replaced when the server lets go of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Lost, Plan, Wire};

type Message = Request<Empty<Bytes>>;
type Sent = Result<http::Response<Incoming>, TrySendError<Message>>;

/// New connections tried for one request, when each closes before the request went out.
const TRIES_MAX: usize = 3;

/// What is known of an answer, even if it is cut off.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Who answered.
    pub(super) backend: Option<Arc<str>>,
}

/// All connections of a load.
#[derive(Debug)]
pub(super) struct Connections {
    target: SocketAddr,
    wire: Wire,
    uri: http::Uri,
    host: http::HeaderValue,
    idle: Mutex<Pool>,
    shared: Vec<tokio::sync::Mutex<Option<http2::SendRequest<Empty<Bytes>>>>>,
    resent: AtomicU64,
}

/// HTTP/1 connections that are kept.
#[derive(Debug, Default)]
struct Pool {
    idle: VecDeque<http1::SendRequest<Empty<Bytes>>>,
    /// Kept connections, idle and busy.
    kept: usize,
}

/// A place among the kept connections; given up on drop unless the connection went back.
struct Place<'a>(Option<&'a Connections>);

impl Connections {
    pub(super) fn new(plan: &Plan) -> Self {
        let &Plan { target, wire, ref path, .. } = plan;
        let authority = plan.authority.as_ref().map_or_else(|| target.to_string(), ToString::to_string);
        let uri = match wire {
            // HTTP/2 carries scheme and authority in the request itself.
            Wire::H2c(_) => format!("http://{authority}{path}").parse(),
            Wire::KeepAlive(_) | Wire::Fresh => path.parse(),
        };
        let shared = if let Wire::H2c(connections) = wire { connections.max(1) } else { 0 };
        Self {
            target,
            wire,
            uri: uri.unwrap_or_default(),
            host: authority.parse().expect("an address or an authority is a header value"),
            idle: Mutex::default(),
            shared: (0..shared).map(|_| tokio::sync::Mutex::default()).collect(),
            resent: AtomicU64::new(0),
        }
    }

    pub(super) fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    /// Sends one request and reads the whole answer.
    pub(super) async fn request(&self, number: u64, answer: &mut Answer) -> Result<u16, Lost> {
        for _ in 0..TRIES_MAX {
            let sent = match self.wire {
                Wire::KeepAlive(kept) => self.send_kept(kept, answer).await?,
                Wire::Fresh => {
                    let mut sender = self.connect_http1().await?;
                    read(sender.try_send_request(self.message(true)).await, answer).await
                }
                Wire::H2c(_) => self.send_shared(number, answer).await?,
            };
            match sent {
                Some(status) => return status,
                None => self.resent.fetch_add(1, Ordering::Relaxed),
            };
        }
        Err(Lost::Broken)
    }

    async fn send_kept(&self, kept_max: usize, answer: &mut Answer) -> Result<Option<Result<u16, Lost>>, Lost> {
        let (mut sender, mut place) = match self.take(kept_max) {
            (Some(sender), place) => (sender, place),
            (None, place) => (self.connect_http1().await?, place),
        };
        let is_extra = place.0.is_none();
        let status = read(sender.try_send_request(self.message(is_extra)).await, answer).await;
        // Ready again means that the connection stays; otherwise the server has let go of it.
        if let (Some(Ok(_)), Some(_), Ok(())) = (&status, place.0, sender.ready().await) {
            place.0 = None;
            self.pool().idle.push_back(sender);
        }
        Ok(status)
    }

    /// A kept connection that is idle, or the place for a new one; neither when all are busy.
    fn take(&self, kept_max: usize) -> (Option<http1::SendRequest<Empty<Bytes>>>, Place<'_>) {
        let mut pool = self.pool();
        let before = pool.idle.len();
        pool.idle.retain(|sender| !sender.is_closed());
        pool.kept -= before - pool.idle.len();
        if pool.kept < kept_max {
            pool.kept += 1;
            return (None, Place(Some(self)));
        }
        let sender = pool.idle.pop_front();
        let place = Place(sender.is_some().then_some(self));
        (sender, place)
    }

    async fn send_shared(&self, number: u64, answer: &mut Answer) -> Result<Option<Result<u16, Lost>>, Lost> {
        let slot = &self.shared[usize::try_from(number % self.shared.len() as u64).unwrap_or(0)];
        let mut sender = {
            let mut slot = slot.lock().await;
            if slot.as_ref().is_none_or(http2::SendRequest::is_closed) {
                *slot = Some(self.connect_http2().await?);
            }
            slot.clone().expect("it was just filled")
        };
        let sent = sender.try_send_request(self.message(false)).await;
        let was_not_sent = matches!(&sent, Err(error) if error.message().is_some());
        let status = read(sent, answer).await;
        if was_not_sent {
            // The server said goodbye: the next one needs a new connection. Another request may have made it already.
            let mut slot = slot.lock().await;
            if slot.as_mut().is_some_and(|sender| !sender.is_ready()) {
                *slot = None;
            }
        }
        Ok(status)
    }

    fn message(&self, is_last: bool) -> Message {
        let mut message = Request::new(Empty::new());
        message.uri_mut().clone_from(&self.uri);
        if !matches!(self.wire, Wire::H2c(_)) {
            message.headers_mut().insert(header::HOST, self.host.clone());
            if is_last {
                message.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
            }
        }
        message
    }

    async fn connect(&self) -> Result<TokioIo<TcpStream>, Lost> {
        let stream = TcpStream::connect(self.target).await.map_err(|_| Lost::Connect)?;
        stream.set_nodelay(true).map_err(|_| Lost::Connect)?;
        Ok(TokioIo::new(stream))
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<Empty<Bytes>>, Lost> {
        let (sender, connection) = http1::handshake(self.connect().await?).await.map_err(|_| Lost::Connect)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn connect_http2(&self) -> Result<http2::SendRequest<Empty<Bytes>>, Lost> {
        let io = self.connect().await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(|_| Lost::Connect)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(connections) = self.0 {
            connections.pool().kept -= 1;
        }
    }
}

/// Reads the whole answer. `None`: the request never went out, and another connection may take it.
async fn read(sent: Sent, answer: &mut Answer) -> Option<Result<u16, Lost>> {
    let response = match sent {
        Ok(response) => response,
        Err(mut error) => return error.take_message().is_none().then_some(Err(Lost::Broken)),
    };
    answer.backend = response.headers().get("x-backend").and_then(|name| name.to_str().ok()).map(Arc::from);
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Some(Err(Lost::Broken));
        }
    }
    Some(Ok(status))
}
