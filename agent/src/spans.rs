//! The agent's own spans, when it is asked for them: one for each request whose trace is recorded, between the caller's span and
//! the application's.
//!
//! A worker only notes what happened and hands it over without waiting. The control thread makes spans of it and OpenTelemetry's
//! exporter sends them, some at a time, over OTLP/HTTP. What finds no room, or is not taken, is counted and forgotten: no request
//! and no report waits for a Collector.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use blueback_report::Outcome;
use http::{Method, Uri};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanExporter as _, SpanLinks,
};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::control::Control;
use crate::traceparent::TraceParent;

/// Spans that wait to be sent; what finds no room is dropped.
pub const QUEUED_MAX: usize = 2_048;
/// Spans of one request to the Collector.
const SENT_MAX: usize = 512;
/// How long spans are gathered before they are sent.
const GATHERED: Duration = Duration::from_secs(1);
/// How long a Collector may take, with the attempts that follow a failed one.
const SENDING_MAX: Duration = Duration::from_secs(5);

/// What [`collector`] takes.
pub const COLLECTOR: &str =
    "http://HOST:PORT of a Collector, such as http://collector:4318; that one may go on by https";

/// The URL of a Collector. Plain, because the agent trusts no public authority.
#[must_use]
pub fn collector(text: &str) -> Option<Uri> {
    let known = |uri: &Uri| uri.scheme_str() == Some("http") && uri.authority().is_some() && uri.query().is_none();
    text.parse().ok().filter(known)
}

/// A span under way.
#[derive(Debug)]
pub struct Begun {
    /// The caller's span.
    parent: [u8; 8],
    method: Method,
    first_byte_us: Cell<Option<u64>>,
}

impl Begun {
    /// The first byte of the response came, in microseconds since the agent's start.
    pub fn first_byte(&self, at_us: u64) {
        self.first_byte_us.set(Some(at_us));
    }
}

/// A request that ended, as its span is to tell. Times are microseconds since the agent's start.
#[derive(Debug)]
pub struct Ended {
    /// What was under way.
    pub begun: Begun,
    /// The trace, and the agent's own span.
    pub trace: TraceParent,
    /// When the request came.
    pub start_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// Number of the backend that it was sent to.
    pub backend: usize,
    /// Number of its route class.
    pub class: u16,
    /// HTTP status of the response, zero when there was none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Fate {
    /// Taken by the Collector.
    pub sent: AtomicU64,
    /// Without room, or not taken.
    pub dropped: AtomicU64,
}

/// A worker's side.
#[derive(Clone, Debug)]
pub struct Spans {
    queue: mpsc::Sender<Ended>,
    fate: Arc<Fate>,
    ids: RandomIdGenerator,
}

/// The control thread's side.
#[derive(Debug)]
pub struct Sending {
    queue: mpsc::Receiver<Ended>,
    fate: Arc<Fate>,
    collector: Uri,
    clock: Clock,
}

/// Both sides of the way to a Collector, whose `/v1/traces` below `collector` is meant.
#[must_use]
pub fn to(collector: Uri, clock: Clock) -> (Spans, Sending) {
    let (sender, queue) = mpsc::channel(QUEUED_MAX);
    let fate = Arc::new(Fate::default());
    let spans = Spans { queue: sender, fate: fate.clone(), ids: RandomIdGenerator::default() };
    (spans, Sending { queue, fate, collector, clock })
}

impl Spans {
    /// A span of our own below the caller's: what the application is to be told, and what is under way.
    #[must_use]
    pub fn begin(&self, caller: TraceParent, method: &Method) -> (TraceParent, Begun) {
        let span = self.ids.new_span_id().to_bytes();
        let begun = Begun { parent: caller.span, method: method.clone(), first_byte_us: Cell::new(None) };
        (TraceParent { span, ..caller }, begun)
    }

    /// A request ended.
    pub fn end(&self, ended: Ended) {
        if self.queue.try_send(ended).is_err() {
            self.fate.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Sending {
    /// What becomes of the spans.
    #[must_use]
    pub fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }

    /// Sends until nobody hands over spans any more and none wait. What a Collector does not take in time is dropped.
    pub async fn run(mut self, control: Rc<Control>) {
        let exporter = match self.exporter(&control) {
            Ok(exporter) => exporter,
            Err(error) => {
                warn!(collector = %self.collector, %error, "Spans cannot be sent");
                return;
            }
        };
        let mut taken = true;
        let mut waiting = Vec::with_capacity(SENT_MAX);
        while self.queue.recv_many(&mut waiting, SENT_MAX).await > 0 {
            if waiting.len() < SENT_MAX && !control.finishing() {
                tokio::select! {
                    () = sleep(GATHERED) => {}
                    () = control.finish_asked() => {}
                }
                while waiting.len() < SENT_MAX
                    && let Ok(ended) = self.queue.try_recv()
                {
                    waiting.push(ended);
                }
            }
            let count = waiting.len() as u64;
            // Anew each time: the machine's clock may have been set.
            let epoch = SystemTime::now() - Duration::from_micros(self.clock.now_us());
            let spans = waiting.drain(..).map(|ended| span(ended, epoch, &control)).collect();
            let sent = exporter.export(spans).await;
            let counter = if sent.is_ok() { &self.fate.sent } else { &self.fate.dropped };
            counter.fetch_add(count, Relaxed);
            // Said once: what follows is seen from the metric.
            match (&sent, std::mem::replace(&mut taken, sent.is_ok())) {
                (Err(error), true) => warn!(collector = %self.collector, %error, "Spans not taken"),
                (Ok(()), false) => info!(collector = %self.collector, "Spans taken again"),
                _ => {}
            }
        }
    }

    fn exporter(&self, control: &Control) -> anyhow::Result<SpanExporter> {
        let base = self.collector.to_string();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')))
            .with_timeout(SENDING_MAX)
            .build()
            .context("exporter")?;
        let identity = &control.identity;
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", "blueback-agent"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", identity.agent.to_string()),
            KeyValue::new("blueback.service", identity.service.to_string()),
        ]);
        exporter.set_resource(&resource.build());
        Ok(exporter)
    }
}

/// The method as semantic conventions have it: a name that nobody knows is no dimension.
fn method(method: &Method) -> Cow<'static, str> {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if KNOWN.contains(method) { method.as_str().to_owned().into() } else { "_OTHER".into() }
}

/// A span by OpenTelemetry's semantic conventions for HTTP servers, with the slot and pod that answered. `epoch` is when the agent
/// started.
fn span(ended: Ended, epoch: SystemTime, control: &Control) -> SpanData {
    let at = |us| epoch + Duration::from_micros(us);
    let Ended { begun, trace, start_us, end_us, backend, class, status, outcome } = ended;
    let backend = &control.router.backends()[backend];
    let route = control.reporter.borrow().class(class);
    let method = method(&begun.method);
    let known = if &*method == "_OTHER" { "HTTP".into() } else { method.clone() };
    let name = if route.is_empty() { known } else { format!("{known} {route}").into() };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("blueback.pod", backend.pod.clone()),
        KeyValue::new("blueback.outcome", outcome.as_str()),
    ];
    // Until a gate has said which side an injected sidecar is on, nobody knows.
    attributes
        .extend(control.assignment.as_assigned(backend.slot).map(|slot| KeyValue::new("blueback.slot", slot.as_str())));
    if !route.is_empty() {
        attributes.push(KeyValue::new("http.route", route));
    }
    if status > 0 {
        attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    if outcome.is_fault() {
        let kind = if status >= 500 { status.to_string() } else { outcome.as_str().to_owned() };
        attributes.push(KeyValue::new("error.type", kind));
    }
    let mut events = SpanEvents::default();
    events.events.extend(begun.first_byte_us.get().map(|us| Event::new("first byte", at(us), Vec::new(), 0)));
    let context = SpanContext::new(
        TraceId::from_bytes(trace.trace),
        SpanId::from_bytes(trace.span),
        TraceFlags::new(trace.flags),
        false,
        TraceState::default(),
    );
    SpanData {
        span_context: context,
        parent_span_id: SpanId::from_bytes(begun.parent),
        parent_span_is_remote: true,
        span_kind: SpanKind::Server,
        name,
        start_time: at(start_us),
        end_time: at(end_us),
        attributes,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: if outcome.is_fault() { Status::error("") } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder("blueback-agent")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}
