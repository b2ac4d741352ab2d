//! The HTTP API.
//!
//! One table says which paths there are, and a test holds it against the OpenAPI document, which is made from the same
//! handlers.

mod caller;
pub(crate) mod handlers;
mod hooks;
mod incident;
pub mod openapi;
pub(crate) mod problem;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
pub mod types;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Timestamp;
use crate::door::Door;
use crate::event::{Command, Event};
use crate::executors::Executors;
use crate::gate::Gate;
use crate::hear::alertmanager::MESSAGE_BYTES_MAX;
use crate::kubernetes::Shared;
use crate::metrics::Metrics;
use crate::page;
use crate::server::Message;
use crate::store::Store;
use crate::tls::Certificates;
use problem::{Failure, failure};

/// Longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a call may take that waits for nothing.
pub const CALL_MAX: Duration = Duration::from_secs(10);

/// What handlers need.
#[derive(Clone)]
pub struct State {
    messages: mpsc::Sender<Message>,
    executors: Executors,
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    pub(crate) door: Arc<dyn Door>,
    certificates: Option<Certificates>,
    cluster: Option<Shared>,
    closing: watch::Receiver<bool>,
    tickets: Arc<AtomicU64>,
    heard: hooks::Heard,
    pub(crate) page: Arc<page::Cache>,
}

impl State {
    pub(crate) fn new(
        messages: mpsc::Sender<Message>,
        executors: Executors,
        metrics: Arc<Metrics>,
        store: Arc<dyn Store>,
        door: Arc<dyn Door>,
        certificates: Option<Certificates>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let tickets = Arc::new(AtomicU64::new(1));
        let (heard, page) = (hooks::Heard::default(), Arc::default());
        Self { messages, executors, metrics, store, door, certificates, cluster: None, closing, tickets, heard, page }
    }

    /// Of a gate that is ready when it knows its cluster.
    pub(crate) fn of_cluster(self, cluster: Option<Shared>) -> Self {
        Self { cluster, ..self }
    }

    /// Says when the gate closes.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    /// Who changes something must bring a token.
    pub(crate) fn has_token(&self) -> bool {
        self.door.asks()
    }

    /// It makes sense to offer to who sends these to change something.
    pub(crate) fn may_change(&self, headers: &HeaderMap) -> bool {
        self.door.offers(page::session::token_of(headers).as_deref())
    }

    fn send(&self, message: Message) -> Result<(), Failure> {
        self.messages.try_send(message).map_err(|_| {
            self.metrics.queue_full.inc();
            failure(StatusCode::SERVICE_UNAVAILABLE, "the gate has more to do than it can; come again")
        })
    }

    /// Looks at the gate, between two events.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Gate, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, receiver) = oneshot::channel();
        // Who asked may be gone by then.
        self.send(Message::Ask(Box::new(move |gate, now| drop(sender.send(question(gate, now))))))?;
        receiver.await.map_err(|_| failure(StatusCode::SERVICE_UNAVAILABLE, "the gate is closing"))
    }

    /// Asks for something to be done.
    pub(crate) async fn operate(
        &self,
        service: &str,
        command: Command,
        by: Option<String>,
    ) -> Result<Arc<types::Release>, Failure> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let answer = self.executors.expect_answer(ticket);
        let event = Event::Operator { ticket, service: service.into(), command, by };
        if let Err(failure) = self.send(Message::Event(event)) {
            self.executors.forget_answer(ticket);
            return Err(failure);
        }
        let answer = answer.await.map_err(|_| failure(StatusCode::SERVICE_UNAVAILABLE, "the gate is closing"))?;
        answer.map_err(Failure::from)
    }
}

/// Every path, and what answers it.
fn routes() -> Vec<(&'static str, &'static str, MethodRouter<State>)> {
    vec![
        ("get", "/v1/services", get(handlers::services)),
        ("get", "/v1/services/{name}", get(handlers::service)),
        ("post", "/v1/services/{name}/switch", post(handlers::switch)),
        ("post", "/v1/services/{name}/revert", post(handlers::revert)),
        ("post", "/v1/services/{name}/hold", post(handlers::hold)),
        ("post", "/v1/services/{name}/resume", post(handlers::resume)),
        ("post", "/v1/services/{name}/signals", post(handlers::signals)),
        ("post", "/v1/alertmanager", post(hooks::alertmanager).layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX))),
        ("get", "/v1/argo/{service}", get(hooks::argo)),
        ("post", "/v1/flagger/confirm", post(hooks::flagger_confirm)),
        ("post", "/v1/flagger/rollback", post(hooks::flagger_rollback)),
        ("get", "/v1/releases", get(handlers::releases)),
        ("get", "/v1/releases/{id}", get(handlers::release)),
        ("get", "/v1/releases/{id}/evidence", get(handlers::evidence)),
        ("get", "/v1/releases/{id}/recording", get(handlers::recording)),
        ("get", "/v1/releases/{id}/incident.md", get(incident::markdown)),
        ("get", "/v1/releases/{id}/incident.html", get(incident::html)),
        ("get", "/openapi.json", get(openapi::serve)),
        ("get", "/metrics", get(handlers::metrics)),
        ("get", "/live", get(handlers::live)),
        ("get", "/ready", get(handlers::ready)),
    ]
}

/// Paths that may wait longer than [`CALL_MAX`], as long as their callers want.
fn waiting_routes() -> Vec<(&'static str, &'static str, MethodRouter<State>)> {
    vec![
        ("get", "/v1/releases/{id}/verdict", get(stream::verdict)),
        ("get", "/v1/releases/{id}/events", get(stream::events)),
    ]
}

/// The whole API.
pub(crate) fn router(state: State) -> Router {
    let add = |router: Router<State>, (_, path, handler): (_, _, MethodRouter<State>)| router.route(path, handler);
    let quick = routes().into_iter().fold(page::router(), add).layer(middleware::from_fn(in_time));
    waiting_routes()
        .into_iter()
        .fold(quick, add)
        .merge(page::streams())
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "there is no such path; see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            failure(StatusCode::METHOD_NOT_ALLOWED, "the path has no such method; see /openapi.json")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.clone(), caller::authorized))
        .with_state(state)
}

/// What probes and scrapers ask, for a port without TLS that tells nothing else.
pub(crate) fn plain_router(state: State) -> Router {
    Router::new()
        .route("/metrics", get(handlers::metrics))
        .route("/live", get(handlers::live))
        .route("/ready", get(handlers::ready))
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "here are /metrics, /live and /ready") })
        .layer(middleware::from_fn(in_time))
        .with_state(state)
}

/// Ends calls that take too long: a client that sends its body a byte a minute holds a place.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(CALL_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => failure(StatusCode::REQUEST_TIMEOUT, "the call took longer than 10 s").into_response(),
    }
}
