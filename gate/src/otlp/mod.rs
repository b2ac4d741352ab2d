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
mod families;
#[cfg(test)]
mod tests;
mod tracer;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::types::Release;
use crate::clock::{Clock, Timestamp};
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::server;
use crate::tell::http::{Client, Message, Trouble};
use crate::tell::queue::{PAUSE_FIRST, PAUSE_MAX, TRIED_MAX};
use crate::trace::{self, Span, Value};
pub use config::{OtlpArgs, OtlpConfig};
use families::Part;
use tracer::Tracer;

/// Lists of spans that wait; each is what ended at one moment of a release. What finds no room is dropped and counted.
pub const LISTS_QUEUED_MAX: usize = 256;
/// Spans of one request: a release has a dozen, so this is what has gathered while the receiver was away.
const SPANS_SENT_MAX: usize = 512;
/// How long a gate that ends goes on sending what waits.
const LAST_MAX: Duration = Duration::from_secs(2);

/// What spans are called in metrics.
const TRACES: &str = "traces";
/// What metrics are.
const METRICS: &str = "metrics";

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
    /// The last push of metrics was given up.
    away: Arc<AtomicBool>,
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

    /// Sends until it succeeds, would only be refused again, or it is time to give up. Returns the answer of a receiver that took it.
    async fn deliver(&self, what: &'static str, path: &str, body: Bytes, give_up: Instant) -> Option<Bytes> {
        let mut pause = PAUSE_FIRST;
        loop {
            let trouble = match self.send(path, body.clone()).await {
                Ok(answer) => {
                    self.metrics.told(what, "sent");
                    if what == METRICS && self.away.swap(false, Ordering::Relaxed) {
                        tracing::info!(receiver = self.config.target.place(), "OTLP {what} taken again");
                    }
                    return Some(answer);
                }
                Err(trouble) => trouble,
            };
            self.metrics.told(what, "failed");
            let receiver = self.config.target.place();
            if matches!(trouble, Trouble::Lasting(_)) || Instant::now() + pause >= give_up {
                self.metrics.told(what, "dropped");
                // Metrics are pushed every few seconds; that nobody takes them is seen from the metric and said once.
                if what == TRACES || !self.away.swap(true, Ordering::Relaxed) {
                    tracing::error!(receiver, error = %trouble, "OTLP {what} not taken");
                }
                return None;
            }
            if what == TRACES {
                tracing::warn!(receiver, error = %trouble, "OTLP {what} not taken yet, trying again");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// What ended at one moment of a release.
struct List {
    release: String,
    spans: Vec<Span>,
}

/// Hands on the spans of what is over.
pub struct Traces {
    tracer: Tracer,
    queue: mpsc::Sender<List>,
    metrics: Arc<Metrics>,
}

impl Traces {
    /// A release is like this now. Never waits.
    pub(crate) fn see(&mut self, release: &Release, now_ms: u64) {
        let spans = self.tracer.read(release, now_ms);
        let list = List { release: release.id.clone(), spans };
        if !list.spans.is_empty() && self.queue.try_send(list).is_err() {
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
        Self { sender: Sender { client, config, resource, metrics, away: Arc::default() } }
    }

    /// Begins to send traces. Ends when nobody hands on spans any more and none wait.
    pub(crate) fn traces(&self, messages: mpsc::Sender<server::Message>) -> (Traces, JoinHandle<()>) {
        let (queue, spans) = mpsc::channel(LISTS_QUEUED_MAX);
        let traces = Traces { tracer: Tracer::default(), queue, metrics: Arc::clone(&self.sender.metrics) };
        (traces, tokio::spawn(send_spans(self.sender.clone(), spans, messages)))
    }

    /// Begins to push metrics, until the gate closes. Counts of the process begin now.
    pub(crate) fn metrics(
        self,
        messages: mpsc::Sender<server::Message>,
        clock: Clock,
        mut closed: watch::Receiver<bool>,
    ) {
        let since_ms = clock.now().unix_ms();
        tokio::spawn(async move {
            tokio::select! {
                () = push_metrics(self.sender, messages, since_ms) => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    }
}

/// Looks at the gate between two events. `None` when it has no time to be looked at.
async fn ask<T: Send + 'static>(
    messages: &mpsc::Sender<server::Message>,
    look: impl FnOnce(&Gate, Timestamp) -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let question: server::Question = Box::new(move |gate, now| drop(tell.send(look(gate, now))));
    messages.try_send(server::Message::Ask(question)).ok()?;
    told.await.ok()
}

async fn push_metrics(sender: Sender, messages: mpsc::Sender<server::Message>, since_ms: u64) {
    let interval = sender.config.interval;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looked = ask(&messages, |gate, now| (gate.figures(), gate.since().unix_ms(), now.unix_ms())).await;
        let Some((figures, leads_ms, now_ms)) = looked else { continue };
        let (own, guarded) = sender.metrics.gather_apart(&figures);
        let parts = [Part { since_ms, families: own }, Part { since_ms: leads_ms, families: guarded }];
        let body = families::request(&sender.resource, &parts, now_ms).encode_to_vec().into();
        // The next push says all that this one does.
        let answer = sender.deliver(METRICS, "/v1/metrics", body, Instant::now() + interval).await;
        let refused = answer.and_then(|answer| ExportMetricsServiceResponse::decode(answer).ok());
        let refused = refused.and_then(|answer| answer.partial_success).filter(|part| part.rejected_data_points > 0);
        if let Some(part) = refused {
            sender.metrics.told(METRICS, "dropped");
            tracing::error!(points = part.rejected_data_points, error = part.error_message, "OTLP metrics refused");
        }
    }
}

async fn send_spans(sender: Sender, mut queue: mpsc::Receiver<List>, messages: mpsc::Sender<server::Message>) {
    while let Some(list) = queue.recv().await {
        let mut spans = linked(list, &messages).await;
        while spans.len() < SPANS_SENT_MAX
            && let Ok(more) = queue.try_recv()
        {
            spans.extend(linked(more, &messages).await);
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

/// The spans of a list, those that are to lead to requests with their links. A gate that has no time, or ends, gives none.
async fn linked(list: List, messages: &mpsc::Sender<server::Message>) -> Vec<Span> {
    let List { release, mut spans } = list;
    if !spans.iter().any(trace::takes_links) {
        return spans;
    }
    let evidence = ask(messages, move |gate, now| gate.evidence(&release, now)).await.flatten();
    let links = trace::links(&evidence.unwrap_or_default().example_traces);
    for span in spans.iter_mut().filter(|span| trace::takes_links(span)) {
        span.links.clone_from(&links);
    }
    spans
}

/// Waits for the last spans, but not for long.
pub(crate) async fn last(sending: Option<JoinHandle<()>>) {
    let Some(mut sending) = sending else { return };
    if tokio::time::timeout(LAST_MAX, &mut sending).await.is_err() {
        sending.abort();
    }
}
