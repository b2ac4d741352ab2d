//! Whether backends answer: a TCP connection a second, or a GET that must be answered 2xx or 3xx.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version, header};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::config::AppProtocol;
use crate::route::Router;

/// Time between probes, and the time an answer may take.
pub const EVERY: Duration = Duration::from_secs(1);

/// What to ask.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Path of a GET; only a connection when absent.
    pub path: Option<Arc<str>>,
    /// How to speak.
    pub protocol: AppProtocol,
}

impl Probe {
    /// Asks once and notes the answer.
    pub async fn once(&self, router: &Router, backend: usize) {
        let backend = &router.backends()[backend];
        // Peers are probed where they are, and the gate names only those that are ready.
        let Some(address) = backend.address() else { return };
        let ready = matches!(timeout(EVERY, self.answers(address)).await, Ok(Some(())));
        if backend.set_ready(ready) != ready {
            info!(pod = %backend.pod, slot = %backend.slot, ready, "Backend changed");
        }
    }

    /// Asks for ever.
    pub async fn forever(self, router: Arc<Router>, backend: usize) {
        loop {
            sleep(EVERY).await;
            self.once(&router, backend).await;
        }
    }

    async fn answers(&self, address: SocketAddr) -> Option<()> {
        let stream = TcpStream::connect(address).await.ok()?;
        let Some(path) = &self.path else { return Some(()) };
        let status = if self.protocol == AppProtocol::Http2 {
            let io = TokioIo::new(stream);
            let request = Request::get(format!("http://{address}{path}"));
            let request = request.version(Version::HTTP_2).body(Empty::<Bytes>::new()).ok()?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
            driven(sender.send_request(request), connection).await.ok()?.status()
        } else {
            get(stream, &address.to_string(), path).await.ok()?
        };
        is_good(status).then_some(())
    }
}

/// The status of a GET by HTTP/1.1, on a connection of its own.
///
/// # Errors
///
/// When it is not answered.
pub async fn get(stream: TcpStream, host: &str, path: &str) -> anyhow::Result<StatusCode> {
    let request = Request::get(path).header(header::HOST, host);
    let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    Ok(driven(sender.send_request(request), connection).await?.status())
}

/// 2xx or 3xx. That nothing was modified is no answer to a GET without a condition.
#[must_use]
pub fn is_good(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection() && status != StatusCode::NOT_MODIFIED
}

/// The answer, while the connection it comes over is driven. The connection may end with the answer already delivered.
async fn driven<A>(answer: impl Future<Output = A>, connection: impl Future) -> A {
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}
