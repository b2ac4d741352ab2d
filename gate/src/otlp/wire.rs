//! What OTLP says, made of what the gate knows: protobuf messages, and nothing that sends them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans};

use crate::trace::{Attributes, Span, Status, Value};

/// W3C's flag of a trace that was sampled: a release always is.
const SAMPLED: u32 = 1;

/// Nanoseconds of milliseconds.
pub(super) const fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

/// An attribute.
pub(super) fn attribute(name: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Int(number) => any_value::Value::IntValue(number),
        Value::Real(number) => any_value::Value::DoubleValue(number),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn attributes(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| attribute(name, value.clone())).collect()
}

/// Who says it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "blueback-gate".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Spans as a request.
pub(super) fn traces(resource: &Resource, spans: &[Span]) -> ExportTraceServiceRequest {
    let spans = ScopeSpans { scope: Some(scope()), spans: spans.iter().map(span).collect(), ..ScopeSpans::default() };
    let resource =
        ResourceSpans { resource: Some(resource.clone()), scope_spans: vec![spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

fn span(span: &Span) -> otlp::Span {
    let (code, message) = match &span.status {
        Status::Unset => (StatusCode::Unset, ""),
        Status::Ok => (StatusCode::Ok, ""),
        Status::Error(why) => (StatusCode::Error, why.as_str()),
    };
    let events = span.events.iter().map(|event| Event {
        time_unix_nano: nanos(event.at_ms),
        name: event.name.clone(),
        attributes: attributes(&event.attributes),
        dropped_attributes_count: 0,
    });
    let links = span.links.iter().map(|link| Link {
        trace_id: link.trace.0.to_vec(),
        span_id: link.span.0.to_vec(),
        attributes: attributes(&link.attributes),
        ..Link::default()
    });
    otlp::Span {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.clone(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(span.start_ms),
        end_time_unix_nano: nanos(span.end_ms),
        attributes: attributes(&span.attributes),
        events: events.collect(),
        links: links.collect(),
        status: Some(otlp::Status { code: code.into(), message: message.to_owned() }),
        ..otlp::Span::default()
    }
}
