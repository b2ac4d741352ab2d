//! A client's connection: which protocol it speaks, what it is doing, and how it is let go.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, BufRead};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::body::Answer;
use crate::limits::{
    BUFFER_BYTES, CONNECTION_WINDOW_BYTES, Limits, RESETS_LOCAL_MAX, RESETS_PENDING_MAX, STREAM_WINDOW_BYTES,
};

/// What a client that speaks HTTP/2 sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause before looking again for the rest of a preface that came in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// Spawns on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// What a connection is doing. Shared with its I/O, which hyper wants to be `Send`; one thread uses it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Requests being served, and tunnels.
    active: AtomicU32,
    /// When the head now expected was begun (or the connection, for its first one); zero when none is due.
    head_since_ms: AtomicU64,
    /// Part of a head has been read.
    reading: AtomicBool,
    /// The head last read had both a length and a coding.
    ambiguous: AtomicBool,
    /// When the last request ended.
    idle_since_ms: AtomicU64,
    /// The worker's coarse clock.
    swept_ms: Arc<AtomicU64>,
}

impl Marks {
    fn now_ms(&self) -> u64 {
        // Zero says "none" elsewhere.
        self.swept_ms.load(Relaxed).max(1)
    }
}

/// A client's connection as the worker knows it.
#[derive(Debug)]
pub(super) struct Connection {
    marks: Arc<Marks>,
    http2: Cell<bool>,
    /// Since when it is to be closed at the next request boundary.
    closing_since_ms: Cell<Option<u64>>,
    /// When it is to be let go.
    pub(super) let_go_at_ms: Cell<Option<u64>>,
    shut_down: Cell<bool>,
    aborted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A request, or a tunnel, of a connection. The connection is not idle while there is one.
#[derive(Debug)]
pub(super) struct Busy {
    connection: Rc<Connection>,
}

impl Busy {
    pub(super) fn begin(connection: &Rc<Connection>) -> Self {
        let marks = &connection.marks;
        marks.active.store(marks.active.load(Relaxed) + 1, Relaxed);
        marks.head_since_ms.store(0, Relaxed);
        marks.reading.store(false, Relaxed);
        Self { connection: connection.clone() }
    }

    /// Another one of the same connection.
    pub(super) fn again(&self) -> Self {
        Self::begin(&self.connection)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let marks = &self.connection.marks;
        let left = marks.active.load(Relaxed) - 1;
        marks.active.store(left, Relaxed);
        if left == 0 {
            marks.idle_since_ms.store(marks.now_ms(), Relaxed);
        }
    }
}

/// What is to be done with a connection that the worker looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Its head did not come in time.
    Slow,
}

impl Connection {
    pub(super) fn new(now_ms: u64, swept_ms: Arc<AtomicU64>) -> Self {
        let marks = Marks { swept_ms, ..Marks::default() };
        marks.head_since_ms.store(now_ms.max(1), Relaxed);
        marks.idle_since_ms.store(now_ms, Relaxed);
        Self {
            marks: Arc::new(marks),
            http2: Cell::new(false),
            closing_since_ms: Cell::new(None),
            let_go_at_ms: Cell::new(None),
            shut_down: Cell::new(false),
            aborted: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// The client is to be told that this answer is the last one on its connection.
    pub(super) fn is_closing(&self) -> bool {
        self.closing_since_ms.get().is_some()
    }

    pub(super) fn is_ambiguous(&self) -> bool {
        self.marks.ambiguous.load(Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.marks.active.load(Relaxed) == 0 && !self.marks.reading.load(Relaxed)
    }

    /// Lets the client go: an HTTP/2 one by GOAWAY, an HTTP/1 one with its next answer, so that no request is lost.
    pub(super) fn let_go(&self, now_ms: u64) {
        if self.closing_since_ms.get().is_none() {
            self.closing_since_ms.set(Some(now_ms));
            if self.http2.get() || self.marks.active.load(Relaxed) > 0 {
                self.shut_down();
            }
        }
    }

    fn shut_down(&self) {
        self.shut_down.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Looks what is due. `let_go_idle`: how long an HTTP/1 connection that was let go may wait for its next request.
    pub(super) fn look(&self, now_ms: u64, limits: &Limits, let_go_idle: Duration) -> Due {
        let over = |since_ms: u64, limit: Duration| u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis();
        if self.let_go_at_ms.get().is_some_and(|at_ms| at_ms <= now_ms) {
            self.let_go_at_ms.set(None);
            self.let_go(now_ms);
        }
        let head_since_ms = self.marks.head_since_ms.load(Relaxed);
        if head_since_ms > 0 && over(head_since_ms, limits.head_timeout) && !self.aborted.get() {
            self.aborted.set(true);
            self.wake();
            return Due::Slow;
        }
        if self.is_idle() {
            let idle_since_ms = self.marks.idle_since_ms.load(Relaxed);
            let let_go = self.closing_since_ms.get();
            let let_go = let_go.is_some_and(|since_ms| over(since_ms.max(idle_since_ms), let_go_idle));
            if let_go || over(idle_since_ms, limits.idle_timeout) {
                self.shut_down();
            }
        }
        Due::Nothing
    }

    /// Drives hyper's connection to its end, shutting it down gently when told.
    async fn drive(&self, mut http: Pin<&mut impl Graceful>) {
        poll_fn(|cx| {
            if self.aborted.get() {
                return Poll::Ready(());
            }
            let mut waker = self.waker.borrow_mut();
            if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            drop(waker);
            if self.shut_down.take() {
                http.as_mut().shut_down();
            }
            http.as_mut().poll_end(cx)
        })
        .await;
    }
}

/// A connection of hyper that can be shut down between requests.
trait Graceful {
    fn shut_down(self: Pin<&mut Self>);
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

impl<S> Graceful for hyper::server::conn::http1::UpgradeableConnection<TokioIo<ClientIo>, S>
where
    S: Service<Request<Incoming>, Response = Response<Answer>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Clients break off and send nonsense all day; what it meant for a request is recorded there.
        self.poll(cx).map(drop)
    }
}

impl<S> Graceful for hyper::server::conn::http2::Connection<TokioIo<ClientIo>, S, LocalExecutor>
where
    S: Service<Request<Incoming>, Response = Response<Answer>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx).map(drop)
    }
}

/// How clients are served; the same for all connections of a worker.
#[derive(Debug)]
pub(super) struct Http {
    http1: hyper::server::conn::http1::Builder,
    http2: hyper::server::conn::http2::Builder<LocalExecutor>,
    head_timeout: Duration,
}

impl Http {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        // Timeouts are kept by the worker's sweep: hyper's timer would cost six percent of a request.
        http1.max_header_size(limits.head_bytes).max_buf_size(BUFFER_BYTES.max(limits.head_bytes));
        let mut http2 = hyper::server::conn::http2::Builder::new(LocalExecutor);
        http2
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Self { http1, http2, head_timeout: limits.head_timeout }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve<S>(&self, stream: TcpStream, connection: &Rc<Connection>, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<Answer>>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: 'static,
    {
        // Dropped connections are clients' everyday life.
        let Ok(Ok(http2)) = tokio::time::timeout(self.head_timeout, speaks_http2(&stream, connection)).await else {
            return;
        };
        connection.http2.set(http2);
        let io = ClientIo { stream, marks: connection.marks.clone(), scan: HeadScan::default(), http2 };
        if http2 {
            if connection.is_closing() {
                connection.shut_down();
            }
            connection.marks.head_since_ms.store(0, Relaxed);
            connection.drive(std::pin::pin!(self.http2.serve_connection(TokioIo::new(io), service))).await;
        } else {
            let http = self.http1.serve_connection(TokioIo::new(io), service).with_upgrades();
            connection.drive(std::pin::pin!(http)).await;
        }
    }
}

/// Whether the client's first bytes are HTTP/2's preface. They stay in the socket.
async fn speaks_http2(stream: &TcpStream, connection: &Connection) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let peeked = poll_fn(|cx| {
            *connection.waker.borrow_mut() = Some(cx.waker().clone());
            if connection.aborted.get() || connection.shut_down.get() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stream.poll_peek(cx, &mut ReadBuf::new(&mut first))
        })
        .await?;
        if first[..peeked] != PREFACE[..peeked] || peeked == 0 {
            return Ok(false);
        }
        if peeked == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

/// A client's socket that notes when a head is being read.
#[derive(Debug)]
pub(super) struct ClientIo {
    stream: TcpStream,
    marks: Arc<Marks>,
    scan: HeadScan,
    http2: bool,
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        if !self.http2 && !read.is_empty() && self.marks.active.load(Relaxed) == 0 {
            if !self.marks.reading.load(Relaxed) {
                self.marks.reading.store(true, Relaxed);
                self.marks.head_since_ms.store(self.marks.now_ms(), Relaxed);
                self.scan = HeadScan::default();
            }
            self.scan.feed(read);
            self.marks.ambiguous.store(self.scan.is_ambiguous(), Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Looks in the bytes of an HTTP/1 head for both `Content-Length` and `Transfer-Encoding`.
///
/// hyper resolves that pair as RFC 9112 allows, but drops the length before we see it, and such a request is an attempt at
/// smuggling or a broken client. Only names at the beginning of lines are looked at. Of several heads in one read (pipelined)
/// the first is; for the others hyper's resolution stands, which sends the backend one length only.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Beginning of a line that is not complete yet.
    line: [u8; 18],
    length: usize,
    begun: bool,
    complete: bool,
    content_length: bool,
    transfer_encoding: bool,
}

impl HeadScan {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !self.complete && !bytes.is_empty() {
            let mut rest = bytes;
            let length = rest.skip_until(b'\n').unwrap_or(bytes.len());
            let line = &bytes[..length];
            let ended = line.ends_with(b"\n");
            if self.length == 0 && ended {
                self.judge(line);
            } else {
                let room = self.line.len() - self.length;
                let taken = room.min(line.len());
                self.line[self.length..self.length + taken].copy_from_slice(&line[..taken]);
                self.length += taken;
                if ended {
                    let (line, length) = (self.line, self.length);
                    self.length = 0;
                    self.judge(&line[..length]);
                }
            }
            bytes = rest;
        }
    }

    fn judge(&mut self, line: &[u8]) {
        let is = |name: &[u8]| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name);
        if matches!(line, b"\r\n" | b"\n") {
            // Empty lines before a request are skipped by parsers.
            self.complete = self.begun;
        } else {
            self.begun = true;
            match line[0] | 0x20 {
                b'c' if is(b"content-length:") => self.content_length = true,
                b't' if is(b"transfer-encoding:") => self.transfer_encoding = true,
                _ => {}
            }
        }
    }

    fn is_ambiguous(&self) -> bool {
        self.content_length && self.transfer_encoding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lengths_are_found_however_the_head_is_cut() {
        let both = b"\r\nPOST / HTTP/1.1\r\nHost: h\r\nCONTENT-length: 5\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let one = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 5\r\n\r\ncontent-length: 5\r\n";
        for step in 1..both.len() {
            for (head, ambiguous) in [(&both[..], true), (&one[..], false)] {
                let mut scan = HeadScan::default();
                for piece in head.chunks(step) {
                    scan.feed(piece);
                }
                assert_eq!(scan.is_ambiguous(), ambiguous, "in pieces of {step}");
            }
        }
    }
}
