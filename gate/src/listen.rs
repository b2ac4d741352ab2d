//! Listening: connections in, requests to a router; plain or over TLS.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Most connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 8_192;
/// How long a client may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long a client may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How often a silent HTTP/2 connection is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long connections have to end when the gate closes.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Serves what comes to `listener`, until `closed`; then lets connections end, within bounds.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: axum::Router,
    mut closed: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
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
        // Acknowledgements and routes are small, and each of them is waited for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "No TCP_NODELAY");
        }
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let ended = match tls {
                None => watcher.watch(connection(stream, router)).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                    Ok(Ok(stream)) => watcher.watch(connection(stream, router)).await,
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err("no TLS within its time".into()),
                },
            };
            if let Err(error) = ended {
                tracing::debug!(error, "Connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(CLOSE_MAX, graceful.shutdown()).await.is_err() {
        tracing::info!("Connections cut: they did not end in time");
    }
}

fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: axum::Router,
) -> auto::Connection<'static, TokioIo<S>, TowerToHyperService<axum::Router>, TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_EVERY);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).into_owned()
}
