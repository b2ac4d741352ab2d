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
        let ready = matches!(timeout(EVERY, self.answers(backend.address)).await, Ok(Some(())));
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
        let io = TokioIo::new(stream);
        let request = Request::get(format!("http://{address}{path}"));
        let status = if self.protocol == AppProtocol::Http2 {
            let request = request.version(Version::HTTP_2).body(Empty::<Bytes>::new()).ok()?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
            driven(sender.send_request(request), connection).await.ok()?.status()
        } else {
            let request = Request::get(&**path).header(header::HOST, address.to_string());
            let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new()).ok()?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
            driven(sender.send_request(request), connection).await.ok()?.status()
        };
        (status.is_success() || status.is_redirection() && status != StatusCode::NOT_MODIFIED).then_some(())
    }
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
