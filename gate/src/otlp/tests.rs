use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

use super::tracer::{AGAIN_MS, Tracer};
use super::*;
use crate::api::types::{Phase, Release};
use crate::figures::Figures;
use crate::tell::tests::{BEGAN, REVERT, Scripted, Seen, client, release};
use crate::trace::{SpanId, TraceId};

/// Names of spans.
fn names<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<&'a str> {
    spans.into_iter().map(|span| &*span.name).collect()
}

fn reverted() -> Release {
    let mut reverted = Release::clone(&release("shop-1", Phase::Reverted, &REVERT));
    reverted.ended_ms = Some(BEGAN + 1_900);
    reverted
}

#[test]
fn a_span_is_handed_on_once_when_it_is_over() {
    let mut tracer = Tracer::default();
    let now_ms = BEGAN + 2_000;
    let begun = release("shop-1", Phase::Watching, &REVERT[..2]);
    assert_eq!(names(&tracer.read(&begun, now_ms)), ["watching"]);
    assert!(tracer.read(&begun, now_ms).is_empty(), "nothing is new");
    let rest = tracer.read(&reverted(), now_ms);
    let steps = ["divert", "change traffic", "verify baseline", "release candidate", "announce"];
    let expected: Vec<_> = ["shielded"].into_iter().chain(steps).chain(["reverting", "release shop"]).collect();
    assert_eq!(names(&rest), expected);
    assert!(tracer.read(&reverted(), now_ms).is_empty(), "nothing is new");
}

#[test]
fn a_gate_that_begins_to_lead_sends_the_last_minutes_again_with_the_same_ids() {
    let whole = reverted();
    let before = Tracer::default().read(&whole, BEGAN + 2_000);
    let mut next = Tracer::default();
    assert_eq!(next.read(&whole, BEGAN + 1_900 + AGAIN_MS), before[before.len() - 3..], "what ended just then");
    assert_eq!(names(&before[before.len() - 3..]), ["announce", "reverting", "release shop"]);
    next.forget();
    assert_eq!(next.read(&whole, BEGAN + 1_901 + AGAIN_MS), [], "what was before is told by somebody else");
}

#[test]
fn a_release_with_the_number_of_a_lost_one_is_another() {
    let mut tracer = Tracer::default();
    let first = tracer.read(&reverted(), BEGAN + 2_000);
    let mut again = reverted();
    again.started_ms += 1;
    assert_eq!(tracer.read(&again, BEGAN + 2_000).len(), first.len());
}

fn otlp(server: &Scripted, headers: Option<std::path::PathBuf>, metrics: &Arc<Metrics>) -> Otlp {
    let config = OtlpConfig { target: server.root(), headers, interval: Duration::from_secs(1) };
    let identity =
        Identity { instance: "gates.gate-0".to_owned(), pod: Some(("gates".to_owned(), "gate-0".to_owned())) };
    Otlp::new(&config, client(), &identity, metrics)
}

/// A loop that is gone.
fn nobody() -> mpsc::Sender<server::Message> {
    mpsc::channel(1).0
}

fn spans_of(seen: &Seen) -> Vec<otlp::Span> {
    let request = ExportTraceServiceRequest::decode(seen.body.clone()).expect("it is one");
    request.resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
}

#[tokio::test]
async fn a_receiver_that_was_away_is_sent_the_whole_trace() {
    let server = Scripted::start(&[(503, ""), (429, "")]).await;
    let headers = std::env::temp_dir().join(format!("blueback-otlp-{}", std::process::id()));
    std::fs::write(&headers, "authorization: Bearer x\n").expect("it can be written");
    let metrics = Arc::new(Metrics::new());
    let (mut traces, sending) = otlp(&server, Some(headers.clone()), &metrics).traces(nobody());
    traces.see(&release("shop-1", Phase::Watching, &REVERT[..2]), BEGAN + 950);
    traces.see(&reverted(), BEGAN + 2_000);
    let seen = server.until("the third attempt", |seen| seen.len() >= 3).await;
    assert!(seen.iter().all(|seen| seen.path == "/v1/traces"), "{seen:?}");
    assert_eq!(seen[0].header("content-type"), "application/x-protobuf");
    assert_eq!(seen[0].header("authorization"), "Bearer x");
    assert_eq!(seen[0].body, seen[2].body, "the same is tried again");
    let spans = spans_of(&seen[2]);
    let trace = TraceId::of(&reverted());
    assert!(spans.iter().all(|span| span.trace_id == trace.0 && span.span_id.len() == 8), "{spans:?}");
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), 9);
    let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].span_id, SpanId::root(trace).0);
    assert_eq!(roots[0].end_time_unix_nano - roots[0].start_time_unix_nano, 1_900_000_000);
    assert_eq!(roots[0].status.as_ref().map(otlp::Status::code), Some(StatusCode::Error));
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty() || ids.contains(&span.parent_span_id)));
    let request = ExportTraceServiceRequest::decode(seen[2].body.clone()).expect("it is one");
    let resource = request.resource_spans[0].resource.clone().expect("it is known");
    let keys: Vec<_> = resource.attributes.iter().map(|attribute| &*attribute.key).collect();
    let known = ["service.name", "service.version", "service.instance.id", "k8s.namespace.name", "k8s.pod.name"];
    assert_eq!(keys, known);
    drop(traces);
    sending.await.expect("it ends when nobody hands on spans");
    let told = metrics.text(&Figures::default());
    for line in ["\"traces\",result=\"sent\"} 1", "\"traces\",result=\"failed\"} 2", "\"traces\",result=\"dropped\"} 0"]
    {
        assert!(told.lines().any(|told| told.ends_with(line)), "{line} is not in\n{told}");
    }
    drop(std::fs::remove_file(headers));
}

#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted_and_nobody_waits() {
    let metrics = Arc::new(Metrics::new());
    let config = OtlpConfig {
        target: crate::tell::http::Target::parse("http://127.0.0.1:1").expect("it is a URL"),
        headers: None,
        interval: Duration::from_secs(1),
    };
    let identity = Identity { instance: "here".to_owned(), pod: None };
    let (mut traces, sending) = Otlp::new(&config, client(), &identity, &metrics).traces(nobody());
    for number in 0..LISTS_QUEUED_MAX as u64 + 10 {
        let mut next = Release::clone(&release("shop-1", Phase::Watching, &REVERT[..2]));
        next.id = format!("shop-{number}");
        traces.see(&next, BEGAN + 950);
    }
    let told = metrics.text(&Figures::default());
    assert!(told.contains("{receiver=\"traces\",result=\"dropped\"} 10"), "{told}");
    drop(traces);
    tokio::time::timeout(LAST_MAX * 2, last(Some(sending))).await.expect("a gate that ends does not wait for it");
}
