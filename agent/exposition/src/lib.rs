//! Metrics as plain data, and written down in the form that a scraper asks for.
//!
//! The `prometheus` crate keeps what a process counts about itself. It knows neither OpenMetrics nor native histograms nor
//! exemplars, so the forms are written here, from [`Family`] values that any other writer can walk as well. Native histograms
//! need the protobuf form: the text forms in use have no words for them.

mod format;
pub mod native;
mod protobuf;
mod text;

use blueback_report::{Counts, buckets};
use prometheus::proto::{self, MetricFamily, MetricType};

pub use self::format::Format;
pub use self::native::Native;

/// All series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its full name: that of a counter ends with `_total`.
    pub name: String,
    /// What it says, in a sentence.
    pub help: String,
    /// What its values are.
    pub kind: Kind,
    /// One for each set of labels.
    pub series: Vec<Series>,
}

/// What the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from when the process started.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts how values are distributed; each count only grows.
    Histogram,
}

/// A value under one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// A number in counters and gauges, a distribution in histograms.
    pub value: Value,
    /// Examples of what was counted, oldest first. Gauges have none.
    pub exemplars: Vec<Exemplar>,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Distribution(Distribution),
}

/// How values are distributed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Finite upper edges, rising, each with how many values are not above it.
    pub classic: Vec<(f64, u64)>,
    /// The same values in narrow buckets; what was counted in classic ones only has none.
    pub native: Option<Native>,
}

/// A counted request that has a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace's id.
    pub trace: [u8; 16],
    /// The id of its span.
    pub span: [u8; 8],
    /// The value that was counted: of a counter 1, of a distribution one of its values.
    pub value: f64,
    /// When it was counted, in Unix milliseconds.
    pub at_ms: u64,
    /// HTTP status of the response, if there was one.
    pub status: Option<u16>,
}

impl Exemplar {
    /// Its labels, as writers tell them: well under the 128 characters that OpenMetrics allows.
    fn labels(&self) -> Vec<(&'static str, String)> {
        let mut labels = vec![("trace_id", hex(&self.trace)), ("span_id", hex(&self.span))];
        labels.extend(self.status.map(|status| ("status", status.to_string())));
        labels
    }
}

impl From<(&blueback_report::Exemplar, u64)> for Exemplar {
    /// Of a latency, in seconds, with the time of the request's end in Unix milliseconds.
    fn from((known, at_ms): (&blueback_report::Exemplar, u64)) -> Self {
        let value = known.latency_us as f64 / 1e6;
        Self { trace: known.trace, span: known.span, value, at_ms, status: known.status }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Family {
    /// Without series yet.
    #[must_use]
    pub fn new(name: impl Into<String>, help: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), help: help.into(), kind, series: Vec::new() }
    }
}

impl Series {
    /// Of a counter or a gauge.
    #[must_use]
    pub fn number(labels: &[(&str, &str)], value: f64) -> Self {
        Self::of(labels, Value::Number(value))
    }

    /// Of a histogram.
    #[must_use]
    pub fn distribution(labels: &[(&str, &str)], distribution: Distribution) -> Self {
        Self::of(labels, Value::Distribution(distribution))
    }

    /// With these examples, oldest first.
    #[must_use]
    pub fn with_exemplars(mut self, exemplars: Vec<Exemplar>) -> Self {
        self.exemplars = exemplars;
        self
    }

    /// The newest example above one value, up to another.
    fn between(&self, lower: f64, upper: f64) -> Option<&Exemplar> {
        self.exemplars.iter().rfind(|exemplar| exemplar.value > lower && exemplar.value <= upper)
    }

    fn of(labels: &[(&str, &str)], value: Value) -> Self {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { labels, value, exemplars: Vec::new() }
    }
}

impl Distribution {
    /// Of latencies, in seconds, with classic buckets up to these edges. A native bucket is counted by the middle of ours; the
    /// sum is exact.
    #[must_use]
    pub fn of_latency(counts: &Counts, edges: &[f64]) -> Self {
        let total = counts.total();
        let values: Vec<_> = counts.iter().map(|(index, count)| (middle_seconds(index), count)).collect();
        let below = |edge: f64| total - counts.over((edge * 1e6).round() as u64);
        Self {
            count: total,
            sum: counts.sum_us as f64 / 1e6,
            classic: edges.iter().map(|&edge| (edge, below(edge))).collect(),
            native: Some(Native::of(&values)),
        }
    }
}

fn middle_seconds(index: usize) -> f64 {
    (buckets::lowest_us(index) as f64 + buckets::highest_us(index) as f64) / 2e6
}

impl From<MetricFamily> for Family {
    /// Of a registry. Summaries and metrics without a type, which we register none of, come out without series.
    fn from(family: MetricFamily) -> Self {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => Kind::Counter,
            MetricType::HISTOGRAM => Kind::Histogram,
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => Kind::Gauge,
        };
        let value = |metric: &proto::Metric| match family.get_field_type() {
            MetricType::COUNTER => Some(Value::Number(metric.get_counter().get_value())),
            MetricType::GAUGE => Some(Value::Number(metric.get_gauge().get_value())),
            MetricType::HISTOGRAM => Some(Value::Distribution(metric.get_histogram().into())),
            MetricType::SUMMARY | MetricType::UNTYPED => None,
        };
        let series = family.get_metric().iter().filter_map(|metric| {
            let labels = metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
            Some(Series { labels: labels.collect(), value: value(metric)?, exemplars: Vec::new() })
        });
        let series = series.collect();
        Self { name: family.name().to_owned(), help: family.help().to_owned(), kind, series }
    }
}

impl From<&proto::Histogram> for Distribution {
    fn from(histogram: &proto::Histogram) -> Self {
        let buckets = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
        Self {
            count: histogram.get_sample_count(),
            sum: histogram.get_sample_sum(),
            classic: buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect(),
            native: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_buckets_hold_all_values_up_to_their_edge_and_the_sum_is_exact() {
        let mut counts = Counts::default();
        for (us, count) in [(50_000, 2), (100_000, 3), (7_000_003, 1)] {
            counts.record_n(us, count);
        }
        let told = Distribution::of_latency(&counts, &[0.05, 0.1, 1.0]);
        assert_eq!((told.classic, told.count), (vec![(0.05, 2), (0.1, 5), (1.0, 5)], 6));
        assert!((told.sum - 7.400_003).abs() < 1e-12);
        let native = told.native.expect("latencies have one");
        assert_eq!(native.buckets.iter().map(|(_, count)| count).sum::<u64>(), 6);
    }

    #[test]
    fn what_a_registry_counts_comes_out_as_it_is() {
        let registry = prometheus::Registry::new();
        let options = prometheus::HistogramOpts::new("took_seconds", "Time.").buckets(vec![0.5, 1.0]);
        let took = prometheus::Histogram::with_opts(options).expect("it is valid");
        took.observe(0.7);
        registry.register(Box::new(took)).expect("it is the first of its name");
        let family = Family::from(registry.gather().remove(0));
        let distribution = Distribution { count: 1, sum: 0.7, classic: vec![(0.5, 0), (1.0, 1)], native: None };
        let expected = Family {
            series: vec![Series::distribution(&[], distribution)],
            ..Family::new("took_seconds", "Time.", Kind::Histogram)
        };
        assert_eq!(family, expected);
    }
}
