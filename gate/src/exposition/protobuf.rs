//! The protobuf form (`io/prometheus/client/metrics.proto` of prometheus/client_model), of which only the fields that we fill
//! are written here. Each family is preceded by its length.

use prometheus::proto;
use prost::Message as _;

use super::{Family, Native};

#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Value>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Value>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// A counter or a gauge: the same on the wire.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Value {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Writes families.
pub(super) fn write<'a>(families: impl Iterator<Item = &'a Family>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for family in families {
        bytes.extend(MetricFamily::from(family).encode_length_delimited_to_vec());
    }
    bytes
}

impl From<&Family> for MetricFamily {
    fn from(family: &Family) -> Self {
        let Family { family, natives, .. } = family;
        let kind = match family.get_field_type() {
            proto::MetricType::COUNTER => 0,
            proto::MetricType::GAUGE => 1,
            // The crate makes neither.
            proto::MetricType::UNTYPED | proto::MetricType::SUMMARY => 3,
            proto::MetricType::HISTOGRAM => 4,
        };
        let metrics = family.get_metric().iter().enumerate().map(|(place, metric)| {
            let label = metric.get_label().iter();
            let pair = |pair: &proto::LabelPair| LabelPair { name: pair.name().into(), value: pair.value().into() };
            let value = |value| Some(Value { value });
            let mut told = Metric { label: label.map(pair).collect(), ..Metric::default() };
            match family.get_field_type() {
                proto::MetricType::COUNTER => told.counter = value(metric.get_counter().get_value()),
                proto::MetricType::GAUGE => told.gauge = value(metric.get_gauge().get_value()),
                proto::MetricType::UNTYPED | proto::MetricType::SUMMARY => {}
                proto::MetricType::HISTOGRAM => {
                    told.histogram = Some(histogram(metric.get_histogram(), natives.get(place)));
                }
            }
            told
        });
        Self { name: family.name().to_owned(), help: family.help().to_owned(), kind, metric: metrics.collect() }
    }
}

fn histogram(classic: &proto::Histogram, native: Option<&Native>) -> Histogram {
    let bucket = |bucket: &proto::Bucket| Bucket {
        cumulative_count: bucket.cumulative_count(),
        upper_bound: bucket.upper_bound(),
    };
    let mut told = Histogram {
        sample_count: classic.get_sample_count(),
        sample_sum: classic.get_sample_sum(),
        bucket: classic.get_bucket().iter().map(bucket).collect(),
        ..Histogram::default()
    };
    if let Some(native) = native {
        told.schema = native.schema;
        told.positive_span = native.spans().into_iter().map(|(offset, length)| Span { offset, length }).collect();
        told.positive_delta = native.deltas();
        if told.positive_span.is_empty() {
            // Without a span that says nothing, an empty native histogram could not be told from a classic one.
            told.positive_span.push(Span { offset: 0, length: 0 });
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::Distribution;
    use super::*;

    #[test]
    fn a_distribution_is_told_both_ways() {
        let mut family = Family::distributions("took_seconds".to_owned(), "Time.", &[0.5]);
        family.push(Distribution::new(&[("gate", "shop")], [(0.25, 2), (1.0, 5)]));
        family.push(Distribution::new(&[("gate", "idle")], []));
        let bytes = write(std::iter::once(&family));
        let read = MetricFamily::decode_length_delimited(bytes.as_slice()).expect("it was just written");
        let told = read.metric[0].histogram.clone().expect("it is a histogram");
        assert_eq!((read.kind, told.sample_count, told.bucket[0].cumulative_count), (4, 7, 2));
        // With 2^5 buckets a power of two, 0.25 ends bucket -64 and 1 ends bucket 0.
        assert_eq!((told.schema, told.positive_delta), (5, vec![2, 3]));
        assert_eq!(told.positive_span, [Span { offset: -64, length: 1 }, Span { offset: 63, length: 1 }]);
        let idle = read.metric[1].histogram.clone().expect("it is a histogram");
        assert_eq!((idle.positive_span.len(), idle.sample_count), (1, 0));
    }
}
