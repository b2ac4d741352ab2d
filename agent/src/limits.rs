//! What the agent bounds, and by how much.
//!
//! Each bound has a name, a default that says why, and a counter that shows when it was met
//! (`blueback_agent_refused_total`).

use std::time::Duration;

/// Most header lines of an HTTP/1 request: hyper's own bound. A lower one would cost an allocation a request.
pub const HEADERS_MAX: usize = 100;
/// Most worker threads: beyond it the kernel's spreading of connections is no better.
pub const WORKERS_MAX: usize = 256;
/// HTTP/2 streams a client may have reset before we accepted them (the "rapid reset" attack); the connection is closed
/// beyond it. The number is h2's own.
pub const RESETS_PENDING_MAX: usize = 20;
/// HTTP/2 streams of one connection that we may have to reset for the client's protocol errors, then it is closed.
pub const RESETS_LOCAL_MAX: usize = 256;
/// HTTP/2 receive window of a stream, in bytes: what one slow reader can make us hold.
pub const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// HTTP/2 receive window of a connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Largest HTTP/1 read buffer of a connection, in bytes; a head must fit into it.
pub const BUFFER_BYTES: usize = 64 << 10;

/// Bounds that the operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head in bytes; larger ones are answered 431. 32 KiB holds the largest cookies that browsers send
    /// and is what other proxies allow.
    pub head_bytes: usize,
    /// Client connections a worker keeps open; further ones are closed at once. 8,192 of them cost about 100 MiB.
    pub connections: usize,
    /// Requests a worker has in flight; further ones are answered 503. As many as the in-flight table holds, so that each
    /// of them can be seen to hang.
    pub requests: usize,
    /// HTTP/2 streams a client may have open on one connection. 256: enough for a busy gRPC channel.
    pub streams: u32,
    /// A request's head must be complete this long after its first byte (10 s: a slow phone needs less, a slow-loris more).
    pub head_timeout: Duration,
    /// A kept-alive connection without a request is closed after this (75 s: longer than a load balancer's usual 60 s, so
    /// that the balancer closes first and no request is lost).
    pub idle_timeout: Duration,
    /// A connection to a backend must stand after this (1 s: a pod's network answers in milliseconds or not at all).
    pub connect_timeout: Duration,
    /// The head of a response must come within this. `None`: only the application and its client know.
    pub request_timeout: Option<Duration>,
    /// Idle connections kept to each backend, by each worker.
    pub upstream_idle: usize,
    /// An idle connection to a backend is closed after this (4 s: below the 5 s after which common servers close theirs, so
    /// that we seldom send into a closing one).
    pub upstream_idle_timeout: Duration,
    /// A stopping agent waits this long for requests in flight (30 s: Kubernetes' own grace period).
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 << 10,
            connections: 8_192,
            requests: crate::inflight::ENTRIES,
            streams: 256,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(1),
            request_timeout: None,
            upstream_idle: 128,
            upstream_idle_timeout: Duration::from_secs(4),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
