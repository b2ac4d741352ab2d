//! Metrics as OTLP says them: the same families, under the same names, as they are scraped.
//!
//! All counts are cumulative, each with the time at which its counting began, so that one that begins again is seen to. A
//! distribution of the agents' own buckets becomes an exponential histogram, whose scale is what Prometheus calls the schema; one that
//! a registry has counted keeps its edges.

use blueback_exposition::{Distribution, Exemplar, Family, Kind, Native, Series, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::wire::{attribute, nanos, scope};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Families that began to count at one time.
pub(super) struct Part {
    pub(super) since_ms: u64,
    pub(super) families: Vec<Family>,
}

/// Families as a request.
pub(super) fn request(resource: &Resource, parts: &[Part], now_ms: u64) -> ExportMetricsServiceRequest {
    let metrics = parts.iter().flat_map(|part| {
        let told = part.families.iter().filter(|family| !family.series.is_empty());
        told.flat_map(|family| metrics(family, nanos(part.since_ms), nanos(now_ms)))
    });
    let metrics = ScopeMetrics { scope: Some(scope()), metrics: metrics.collect(), ..ScopeMetrics::default() };
    let resource = ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics: vec![metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

/// One metric, or two where some series have narrow buckets and others have none.
fn metrics(family: &Family, since: u64, now: u64) -> impl Iterator<Item = Metric> + '_ {
    let mut numbers = Vec::new();
    let (mut classic, mut exponential) = (Vec::new(), Vec::new());
    for series in &family.series {
        match &series.value {
            Value::Number(value) => numbers.push(number(series, *value, since, now)),
            Value::Distribution(seen) => match &seen.native {
                Some(native) => exponential.push(narrow(series, seen, native, since, now)),
                None => classic.push(edged(series, seen, since, now)),
            },
        }
    }
    let numbers = (!numbers.is_empty()).then_some(match family.kind {
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        Kind::Gauge | Kind::Histogram => Data::Gauge(Gauge { data_points: numbers }),
    });
    let classic = (!classic.is_empty())
        .then_some(Data::Histogram(Histogram { data_points: classic, aggregation_temporality: CUMULATIVE }));
    let exponential = (!exponential.is_empty()).then(|| {
        let points = ExponentialHistogram { data_points: exponential, aggregation_temporality: CUMULATIVE };
        Data::ExponentialHistogram(points)
    });
    [numbers, classic, exponential].into_iter().flatten().map(|data| Metric {
        name: family.name.clone(),
        description: family.help.clone(),
        unit: unit(&family.name).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// The unit in UCUM's letters, by the ending of the name.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        _ => "",
    }
}

fn labels(series: &Series) -> Vec<KeyValue> {
    series.labels.iter().map(|(name, value)| attribute(name, crate::trace::Value::from(&**value))).collect()
}

fn number(series: &Series, value: f64, since: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(series),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        exemplars: exemplars(series),
        ..NumberDataPoint::default()
    }
}

fn narrow(
    series: &Series,
    seen: &Distribution,
    native: &Native,
    since: u64,
    now: u64,
) -> ExponentialHistogramDataPoint {
    let counted: u64 = native.buckets.iter().map(|(_, count)| count).sum();
    ExponentialHistogramDataPoint {
        attributes: labels(series),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: seen.count,
        sum: Some(seen.sum),
        scale: native.schema,
        // Shorter than a microsecond.
        zero_count: seen.count.saturating_sub(counted),
        positive: Some(buckets(native)),
        exemplars: exemplars(series),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// All buckets from the first that is not empty to the last. Of 32 octaves at most, so they are a thousand and a few at most.
fn buckets(native: &Native) -> Buckets {
    let (Some((first, _)), Some((last, _))) = (native.buckets.first(), native.buckets.last()) else {
        return Buckets::default();
    };
    let mut bucket_counts = vec![0; usize::try_from(last - first + 1).unwrap_or_default()];
    for (index, count) in &native.buckets {
        if let Some(bucket) = usize::try_from(index - first).ok().and_then(|place| bucket_counts.get_mut(place)) {
            *bucket = *count;
        }
    }
    // Bucket i of Prometheus ends at base^i, that of OpenTelemetry begins there.
    Buckets { offset: first - 1, bucket_counts }
}

fn edged(series: &Series, seen: &Distribution, since: u64, now: u64) -> HistogramDataPoint {
    let below = seen.classic.iter().map(|(_, count)| *count).chain([seen.count]);
    let bucket_counts = below.scan(0, |before, count| {
        let counted = count.saturating_sub(*before);
        *before = count;
        Some(counted)
    });
    HistogramDataPoint {
        attributes: labels(series),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: seen.count,
        sum: Some(seen.sum),
        bucket_counts: bucket_counts.collect(),
        explicit_bounds: seen.classic.iter().map(|(edge, _)| *edge).collect(),
        exemplars: exemplars(series),
        ..HistogramDataPoint::default()
    }
}

fn exemplars(series: &Series) -> Vec<otlp::Exemplar> {
    let told = |exemplar: &Exemplar| {
        let status = exemplar.status.map(|status| attribute("status", crate::trace::Value::from(u64::from(status))));
        otlp::Exemplar {
            filtered_attributes: status.into_iter().collect(),
            time_unix_nano: nanos(exemplar.at_ms),
            span_id: exemplar.span.to_vec(),
            trace_id: exemplar.trace.to_vec(),
            value: Some(exemplar::Value::AsDouble(exemplar.value)),
        }
    };
    series.exemplars.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use blueback_report::Counts;

    use super::*;

    fn one(family: Family) -> Metric {
        let part = Part { since_ms: 5, families: vec![family] };
        let request = request(&Resource::default(), &[part], 9);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!(metrics.len(), 1, "{metrics:?}");
        metrics[0].clone()
    }

    #[test]
    fn a_counter_is_a_cumulative_sum_with_its_beginning() {
        let mut family = Family::new("x_total", "X.", Kind::Counter);
        family.series.push(Series::number(&[("gate", "shop")], 7.0));
        let metric = one(family);
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5_000_000, 9_000_000));
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(7.0)));
        assert_eq!(point.attributes, [attribute("gate", crate::trace::Value::from("shop"))]);
    }

    #[test]
    fn latencies_are_an_exponential_histogram_whose_buckets_hold_them() {
        let mut counts = Counts::default();
        let recorded = [(0, 1), (250, 3), (7_000, 2), (800_000, 4)];
        for (us, count) in recorded {
            counts.record_n(us, count);
        }
        let mut family = Family::new("latency_seconds", "Time.", Kind::Histogram);
        let exemplar = Exemplar { trace: [1; 16], span: [2; 8], value: 0.8, at_ms: 7, status: Some(500) };
        let series = Series::distribution(&[], Distribution::of_latency(&counts, &[0.1]));
        family.series.push(series.with_exemplars(vec![exemplar]));
        let metric = one(family);
        assert_eq!(metric.unit, "s");
        let Some(Data::ExponentialHistogram(histogram)) = metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        let buckets = point.positive.as_ref().expect("there are some");
        assert_eq!((point.count, point.zero_count), (10, 1));
        assert_eq!(buckets.bucket_counts.iter().sum::<u64>(), 9);
        let base = f64::from(-point.scale).exp2().exp2();
        for (us, count) in recorded.into_iter().skip(1) {
            let value = us as f64 / 1e6;
            // Within a bucket of ours, which is narrower, of its place.
            let near = buckets.bucket_counts.iter().enumerate().filter(|(place, _)| {
                let lower = base.powi(buckets.offset + *place as i32);
                value > lower * 0.98 && value <= lower * base * 1.02
            });
            assert_eq!(near.map(|(_, count)| *count).sum::<u64>(), count, "{value} in {point:?}");
        }
        assert_eq!(
            (point.exemplars[0].trace_id.as_slice(), point.exemplars[0].time_unix_nano),
            ([1; 16].as_slice(), 7_000_000)
        );
    }

    #[test]
    fn what_a_registry_counted_keeps_its_edges() {
        let seen = Distribution { count: 6, sum: 9.0, classic: vec![(0.5, 1), (1.0, 4)], native: None };
        let mut family = Family::new("x_seconds", "X.", Kind::Histogram);
        family.series.push(Series::distribution(&[], seen));
        let metric = one(family);
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!(
            (point.bucket_counts.as_slice(), point.explicit_bounds.as_slice()),
            ([1, 3, 2].as_slice(), [0.5, 1.0].as_slice())
        );
    }

    #[test]
    fn a_distribution_of_nothing_has_no_buckets() {
        assert_eq!(buckets(&Native::of(&[])), Buckets::default());
    }
}
