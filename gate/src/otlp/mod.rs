//! Telemetry in OTLP over HTTP: the trace of each release, and every metric.
//!
//! OpenTelemetry's SDK builds what it sends from what it has measured itself, as it happens. Here both are made from what the gate knows
//! anyway: spans from the release's timeline (see [`crate::trace`]), and metrics from the same families that are scraped, with exponential
//! histograms out of the agents' own buckets. So the messages are made by hand, from the types of OpenTelemetry's `.proto`, and the
//! client that tells everybody else carries them.
//!
//! Nothing waits for the receiver. Spans wait in a queue of bounded length while they are tried again, and what finds no room, or
//! is given up, is counted as `dropped` in `notifications_total`. Metrics are cumulative, so that the next push says what a lost one did.

pub mod config;
#[cfg(test)]
mod tests;
mod tracer;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::types::Release;
use crate::metrics::Metrics;
use crate::tell::http::{Client, Message, Trouble};
use crate::tell::queue::{PAUSE_FIRST, PAUSE_MAX, TRIED_MAX};
use crate::trace::{Span, Value};
pub use config::{OtlpArgs, OtlpConfig};
use tracer::Tracer;

/// Lists of spans that wait; each is what ended at one moment of a release. What finds no room is dropped and counted.
pub const LISTS_QUEUED_MAX: usize = 256;
/// Spans of one request: a release has a dozen, so this is what has gathered while the receiver was away.
const SPANS_SENT_MAX: usize = 512;
/// How long a gate that ends goes on sending what waits.
const LAST_MAX: Duration = Duration::from_secs(2);

/// What spans are called in metrics.
const TRACES: &str = "traces";

/// Who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What tells this gate from others: the pod, or host and port.
    pub instance: String,
    /// Namespace and name of its pod, where it is one.
    pub pod: Option<(String, String)>,
}

impl Identity {
    fn resource(&self) -> Resource {
        let mut attributes = vec![
            ("service.name", "blueback-gate"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", &*self.instance),
        ];
        if let Some((namespace, name)) = &self.pod {
            attributes.extend([("k8s.namespace.name", &**namespace), ("k8s.pod.name", &**name)]);
        }
        let attributes = attributes.into_iter().map(|(name, value)| wire::attribute(name, Value::from(value)));
        Resource { attributes: attributes.collect(), ..Resource::default() }
    }
}

/// Sends requests.
#[derive(Clone)]
struct Sender {
    client: Client,
    config: OtlpConfig,
    resource: Resource,
    metrics: Arc<Metrics>,
}

impl Sender {
    /// Sends once.
    async fn send(&self, path: &str, body: Bytes) -> Result<Bytes, Trouble> {
        let kind = (header::CONTENT_TYPE, "application/x-protobuf".to_owned());
        let mut headers: Vec<(HeaderName, String)> = vec![kind];
        headers.extend(config::headers(self.config.headers.as_deref()).await?);
        let message = Message { method: Method::POST, path: path.to_owned(), headers, body };
        self.client.send(&self.config.target, &message).await
    }

    /// Sends until it succeeds, would only be refused again, or it is time to give up. Says whether it was taken.
    async fn deliver(&self, what: &'static str, path: &str, body: Bytes, give_up: Instant) -> Option<Bytes> {
        let mut pause = PAUSE_FIRST;
        loop {
            let trouble = match self.send(path, body.clone()).await {
                Ok(answer) => {
                    self.metrics.told(what, "sent");
                    return Some(answer);
                }
                Err(trouble) => trouble,
            };
            self.metrics.told(what, "failed");
            let receiver = self.config.target.place();
            if matches!(trouble, Trouble::Lasting(_)) || Instant::now() + pause >= give_up {
                self.metrics.told(what, "dropped");
                tracing::error!(receiver, error = %trouble, "OTLP {what} not taken");
                return None;
            }
            tracing::warn!(receiver, error = %trouble, "OTLP {what} not taken yet, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Hands on the spans of what is over.
pub struct Traces {
    tracer: Tracer,
    queue: mpsc::Sender<Vec<Span>>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// A release is like this now. Never waits.
    pub(crate) fn see(&mut self, release: &Release, now_ms: u64) {
        let spans = self.tracer.read(release, now_ms);
        if !spans.is_empty() && self.queue.try_send(spans).is_err() {
            self.metrics.told(TRACES, "dropped");
        }
    }

    /// Another gate leads.
    pub(crate) fn forget(&mut self) {
        self.tracer.forget();
    }
}

/// What sends telemetry, until the gate closes.
pub struct Otlp {
    sender: Sender,
}

impl Otlp {
    pub(crate) fn new(config: &OtlpConfig, client: Client, identity: &Identity, metrics: &Arc<Metrics>) -> Self {
        let (config, resource, metrics) = (config.clone(), identity.resource(), Arc::clone(metrics));
        Self { sender: Sender { client, config, resource, metrics } }
    }

    /// Begins to send traces.
    pub(crate) fn traces(&self) -> (Traces, tokio::task::JoinHandle<()>) {
        let (queue, spans) = mpsc::channel(LISTS_QUEUED_MAX);
        let traces = Traces { tracer: Tracer::default(), queue, metrics: Arc::clone(&self.sender.metrics) };
        (traces, tokio::spawn(send_spans(self.sender.clone(), spans)))
    }
}

/// Ends when nobody hands on spans any more and none wait.
async fn send_spans(sender: Sender, mut queue: mpsc::Receiver<Vec<Span>>) {
    while let Some(mut spans) = queue.recv().await {
        while spans.len() < SPANS_SENT_MAX
            && let Ok(more) = queue.try_recv()
        {
            spans.extend(more);
        }
        for spans in spans.chunks(SPANS_SENT_MAX) {
            let body = wire::traces(&sender.resource, spans).encode_to_vec().into();
            let answer = sender.deliver(TRACES, "/v1/traces", body, Instant::now() + TRIED_MAX).await;
            let refused = answer.and_then(|answer| ExportTraceServiceResponse::decode(answer).ok());
            let refused = refused.and_then(|answer| answer.partial_success).filter(|part| part.rejected_spans > 0);
            if let Some(part) = refused {
                sender.metrics.told(TRACES, "dropped");
                tracing::error!(spans = part.rejected_spans, error = part.error_message, "OTLP spans refused");
            }
        }
    }
}

/// Waits for the last spans, but not for long.
pub(crate) async fn last(sending: Option<tokio::task::JoinHandle<()>>) {
    let Some(mut sending) = sending else { return };
    if tokio::time::timeout(LAST_MAX, &mut sending).await.is_err() {
        sending.abort();
    }
}
