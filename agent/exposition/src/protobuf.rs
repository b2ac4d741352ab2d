//! The protobuf form (`io/prometheus/client/metrics.proto` of prometheus/client_model), of which only the fields that we fill
//! are written here. Each family is preceded by its length.

use prost::Message as _;

use crate::{Distribution, Family, Kind, Series, Value};

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
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
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
#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
    /// Of counters only.
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
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
    /// Those of the native histogram, which need no bucket.
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
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
        let kind = match family.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Histogram => 4,
        };
        let metrics = family.series.iter().map(|series| {
            let label = series.labels.iter();
            let pair = |(name, value): &(String, String)| LabelPair { name: name.clone(), value: value.clone() };
            let mut told = Metric { label: label.map(pair).collect(), ..Metric::default() };
            match &series.value {
                &Value::Number(value) if family.kind == Kind::Counter => {
                    let exemplar = series.exemplars.last().map(Exemplar::from);
                    told.counter = Some(Number { value, exemplar });
                }
                &Value::Number(value) => told.gauge = Some(Number { value, exemplar: None }),
                Value::Distribution(distribution) => told.histogram = Some(histogram(series, distribution)),
            }
            told
        });
        Self { name: family.name.clone(), help: family.help.clone(), kind, metric: metrics.collect() }
    }
}

impl From<&crate::Exemplar> for Exemplar {
    fn from(exemplar: &crate::Exemplar) -> Self {
        let pair = |(name, value): (&str, String)| LabelPair { name: name.to_owned(), value };
        let timestamp = Timestamp {
            seconds: i64::try_from(exemplar.at_ms / 1_000).unwrap_or(i64::MAX),
            nanos: (exemplar.at_ms % 1_000) as i32 * 1_000_000,
        };
        Self {
            label: exemplar.labels().into_iter().map(pair).collect(),
            value: exemplar.value,
            timestamp: Some(timestamp),
        }
    }
}

fn histogram(series: &Series, distribution: &Distribution) -> Histogram {
    let mut lower = f64::NEG_INFINITY;
    // What is above the last edge is told by the count alone, unless there is an example of it.
    let beyond = (f64::INFINITY, distribution.count);
    let last = distribution.classic.last().map_or(f64::NEG_INFINITY, |&(edge, _)| edge);
    let beyond = series.between(last, f64::INFINITY).map(|_| &beyond);
    let buckets = distribution.classic.iter().chain(beyond).map(|&(upper_bound, cumulative_count)| {
        let exemplar = series.between(std::mem::replace(&mut lower, upper_bound), upper_bound);
        Bucket { cumulative_count, upper_bound, exemplar: exemplar.map(Exemplar::from) }
    });
    let mut told = Histogram {
        sample_count: distribution.count,
        sample_sum: distribution.sum,
        bucket: buckets.collect(),
        ..Histogram::default()
    };
    if let Some(native) = &distribution.native {
        told.schema = native.schema;
        told.positive_span = native.spans().into_iter().map(|(offset, length)| Span { offset, length }).collect();
        told.positive_delta = native.deltas();
        told.exemplars = series.exemplars.iter().map(Exemplar::from).collect();
        if told.positive_span.is_empty() {
            // Without a span that says nothing, an empty native histogram could not be told from a classic one.
            told.positive_span.push(Span { offset: 0, length: 0 });
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Native;

    #[test]
    fn a_distribution_is_told_both_ways_with_its_exemplars() {
        let mut family = Family::new("took_seconds", "Time.", Kind::Histogram);
        let busy = Distribution {
            count: 7,
            sum: 5.5,
            classic: vec![(0.5, 2)],
            native: Some(Native::of(&[(0.25, 2), (1.0, 5)])),
        };
        let slow = crate::Exemplar { trace: [7; 16], span: [8; 8], value: 1.0, at_ms: 2_500, status: Some(200) };
        let exemplars = vec![crate::Exemplar { value: 0.25, ..slow }, slow];
        family.series.push(Series::distribution(&[("gate", "shop")], busy).with_exemplars(exemplars));
        let idle = Distribution { native: Some(Native::of(&[])), ..Distribution::default() };
        family.series.push(Series::distribution(&[("gate", "idle")], idle));
        let bytes = write(std::iter::once(&family));
        let read = MetricFamily::decode_length_delimited(bytes.as_slice()).expect("it was just written");
        let told = read.metric[0].histogram.clone().expect("it is a histogram");
        assert_eq!((read.kind, told.sample_count, told.bucket[0].cumulative_count), (4, 7, 2));
        // With 2^5 buckets a power of two, 0.25 ends bucket -64 and 1 ends bucket 0.
        assert_eq!((told.schema, told.positive_delta), (5, vec![2, 3]));
        assert_eq!(told.positive_span, [Span { offset: -64, length: 1 }, Span { offset: 63, length: 1 }]);
        let slow = told.bucket[1].exemplar.clone().expect("there is one beyond the last edge");
        assert_eq!(slow.timestamp, Some(Timestamp { seconds: 2, nanos: 500_000_000 }));
        assert_eq!((slow.label.len(), &slow.label[0].value), (3, &"07".repeat(16)));
        assert_eq!(told.exemplars, [told.bucket[0].exemplar.clone().expect("there is one below it"), slow]);
        let idle = read.metric[1].histogram.clone().expect("it is a histogram");
        assert_eq!((idle.positive_span.len(), idle.sample_count, idle.bucket.len()), (1, 0, 0));
    }

    #[test]
    fn a_counter_has_its_newest_exemplar_and_a_gauge_none() {
        let exemplar = crate::Exemplar { trace: [7; 16], span: [8; 8], value: 1.0, at_ms: 2_500, status: None };
        for (kind, expected) in [(Kind::Counter, Some(Exemplar::from(&exemplar))), (Kind::Gauge, None)] {
            let mut family = Family::new("seen_total", "Seen.", kind);
            let older = crate::Exemplar { at_ms: 1, ..exemplar };
            family.series.push(Series::number(&[], 3.0).with_exemplars(vec![older, exemplar]));
            let told = MetricFamily::from(&family).metric.remove(0);
            assert_eq!(told.counter.or(told.gauge), Some(Number { value: 3.0, exemplar: expected }));
        }
    }
}
