//! The admin port: `/metrics`, `/live`, `/ready`.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use blueback_exposition::Format;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tracing::warn;

use crate::control::Control;
use crate::metrics::Metrics;

/// A request of a scraper or a kubelet is complete within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the admin port for ever.
pub async fn serve(listener: TcpListener, control: Rc<Control>) {
    let metrics = Rc::new(Metrics::new(control.clone()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "Admin connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (control, metrics) = (control.clone(), metrics.clone());
        spawn_local(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&request, &control, &metrics);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // A scraper that breaks off is no event.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, control: &Control, metrics: &Metrics) -> Response<Full<Bytes>> {
    let answered = |status, kind: &'static str, body: Vec<u8>| {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        response
    };
    let text = |status, text: &str| answered(status, "text/plain; charset=utf-8", text.into());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::negotiate(accept);
            answered(StatusCode::OK, format.content_type(), format.write(&metrics.gather()))
        }
        "/live" => text(StatusCode::OK, "live\n"),
        "/ready" if control.is_ready() => text(StatusCode::OK, "ready\n"),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => text(StatusCode::NOT_FOUND, "here are /metrics, /live and /ready\n"),
    }
}
