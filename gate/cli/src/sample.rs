//! A small application to try things on: it answers, and can be told to misbehave in the ways that matter.
//!
//! What it does to its k-th request depends on the seed and on k alone, so a run can be repeated. `/healthz` always
//! answers: that a health check sees nothing wrong is the point. `/readyz` answers 503 while it is told to be unready.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Longest wait for requests in flight when drained.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Largest accepted body of a control request, in bytes.
const CONTROL_BYTES_MAX: usize = 4_096;

/// How it misbehaves. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fault {
    /// Share of the requests answered 500.
    pub error_rate: f64,
    /// Share of the requests answered 404.
    pub client_error_rate: f64,
    /// Added to the latency of slow requests, in milliseconds.
    pub latency_ms: u64,
    /// Share of the requests that are slow; all of them when absent.
    pub slow_share: Option<f64>,
    /// Requests are taken and not answered until this is lifted.
    pub hang: bool,
    /// `/readyz` says that it wants no requests; those that come are answered all the same.
    pub unready: bool,
    /// Gone: connections are cut, new ones refused. Not lifted by anything but a new start.
    pub crash: bool,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(json: &str) -> Result<Self, String> {
        serde_json::from_str::<Self>(json).map_err(|error| error.to_string())?.check()
    }
}

impl Fault {
    fn check(self) -> Result<Self, String> {
        let shares = [
            ("errorRate", self.error_rate),
            ("clientErrorRate", self.client_error_rate),
            ("slowShare", self.slow_share.unwrap_or(1.0)),
        ];
        match shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((field, share)) => Err(format!("{field}: {share}; accepted: 0 to 1")),
            None => Ok(self),
        }
    }
}

/// Where and who it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it serves; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it can be told to misbehave: `POST /fault`, `GET /fault`.
    pub control: Option<SocketAddr>,
    /// Its name, in the header `x-backend` of each answer.
    pub name: String,
    /// What all chance comes from.
    pub seed: u64,
    /// Shortest and longest time it takes to answer when nothing is wrong, in microseconds; each as likely.
    pub latency_us: (u64, u64),
    /// How it misbehaves from its start.
    pub fault: Fault,
}

impl Config {
    /// Serves as `name` on a free port of loopback, controlled by another, in 2 to 8 ms: a quick service behind a proxy.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let (name, latency_us, fault) = (name.to_owned(), (2_000, 8_000), Fault::default());
        Self { listen: free, control: Some(free), name, seed: 1, latency_us, fault }
    }
}

/// A running application.
#[derive(Debug)]
pub struct Sample {
    addr: SocketAddr,
    control_addr: Option<SocketAddr>,
    app: Arc<App>,
    drain: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    control: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct App {
    name: http::HeaderValue,
    body: Bytes,
    seed: u64,
    latency_us: (u64, u64),
    requests: AtomicU64,
    fault: watch::Sender<Fault>,
}

impl Sample {
    /// Binds and serves.
    ///
    /// # Errors
    /// When an address cannot be bound or the name is no header value.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
        let addr = listener.local_addr()?;
        let app = Arc::new(App {
            name: config.name.parse().context("name of the application")?,
            body: format!("hello from {}\n", config.name).into(),
            seed: config.seed,
            latency_us: config.latency_us,
            requests: AtomicU64::new(0),
            fault: watch::channel(config.fault).0,
        });
        let (mut control_addr, mut control) = (None, None);
        if let Some(listen) = config.control {
            let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
            control_addr = Some(listener.local_addr()?);
            control = Some(tokio::spawn(serve_control(listener, app.clone())));
        }
        let (drain, drained) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, app.clone(), drained));
        Ok(Self { addr, control_addr, app, drain, serving, control })
    }

    /// Where it serves.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it can be told to misbehave.
    #[must_use]
    pub const fn control_addr(&self) -> Option<SocketAddr> {
        self.control_addr
    }

    /// Requests that it was asked.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.app.requests.load(Ordering::Relaxed)
    }

    /// Misbehaves like this from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.app.fault.send_replace(fault);
    }

    /// Waits until it has crashed because it was told to.
    pub async fn crashed(&self) {
        let _ = self.app.fault.subscribe().wait_for(|fault| fault.crash).await;
    }

    /// Stops accepting, finishes what is in flight (at most 5 s), and ends. Returns how many requests it was asked in all.
    pub async fn drain(self) -> u64 {
        let _ = self.drain.send(());
        let _ = self.serving.await;
        if let Some(control) = self.control {
            control.abort();
        }
        self.app.requests.load(Ordering::Relaxed)
    }
}

/// Accepts until drained or crashed; dropping the set of connections cuts them.
async fn serve(listener: TcpListener, app: Arc<App>, mut drained: oneshot::Receiver<()>) {
    let mut fault = app.fault.subscribe();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            _ = fault.wait_for(|fault| fault.crash) => return,
            _ = &mut drained => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok(stream) = stream.and_then(no_delay) else { continue };
        let app = app.clone();
        let service = service_fn(move |request| app.clone().answer(request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        connections.spawn(graceful.watch(connection));
    }
    drop(listener);
    let _ = timeout(DRAIN_MAX, graceful.shutdown()).await;
}

fn no_delay(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl App {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let status = match request.uri().path() {
            "/healthz" => StatusCode::OK,
            "/readyz" if self.fault.borrow().unready => StatusCode::SERVICE_UNAVAILABLE,
            "/readyz" => StatusCode::OK,
            _ => self.work(request).await,
        };
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.status_mut() = status;
        response.headers_mut().insert("x-backend", self.name.clone());
        Ok(response)
    }

    async fn work(&self, request: Request<Incoming>) -> StatusCode {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let chance = |salt| chance(self.seed, number, salt);
        // A body is read to its end, as an application would.
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}

        let mut faults = self.fault.subscribe();
        let _ = faults.wait_for(|fault| !fault.hang).await;
        let fault = *faults.borrow();
        let (shortest, longest) = self.latency_us;
        let mut wait = shortest as f64 + chance(0) * longest.saturating_sub(shortest) as f64;
        if chance(1) < fault.slow_share.unwrap_or(1.0) {
            wait += fault.latency_ms as f64 * 1e3;
        }
        sleep(Duration::from_secs_f64(wait / 1e6)).await;
        if chance(2) < fault.error_rate {
            StatusCode::INTERNAL_SERVER_ERROR
        } else if chance(3) < fault.client_error_rate {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        }
    }
}

async fn serve_control(listener: TcpListener, app: Arc<App>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let app = app.clone();
        let service = service_fn(move |request| control(app.clone(), request));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn control(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let say = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        Ok(response)
    };
    if request.uri().path() != "/fault" {
        return say(StatusCode::NOT_FOUND, "accepted: GET /fault, POST /fault\n".to_owned());
    }
    if request.method() == Method::POST {
        let body = match Limited::new(request.into_body(), CONTROL_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return say(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        match str::from_utf8(&body).map_err(|error| error.to_string()).and_then(str::parse) {
            Ok(fault) => app.fault.send_replace(fault),
            Err(error) => return say(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
    }
    let fault = *app.fault.borrow();
    say(StatusCode::OK, serde_json::to_string(&fault).unwrap_or_default() + "\n")
}

/// A number from 0 to 1 that depends on nothing but its arguments (SplitMix64, Steele et al. 2014).
fn chance(seed: u64, number: u64, salt: u64) -> f64 {
    let mut z = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (((z ^ (z >> 31)) >> 11) as f64) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
