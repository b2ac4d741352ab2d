//! Metrics written down for Prometheus, in the form that it asks for.
//!
//! The `prometheus` crate holds the metrics and writes its text form. It knows neither OpenMetrics nor native histograms, so
//! those two forms are written here, from the same families. Native histograms need the protobuf form: the text forms in use
//! have no words for them.

mod native;
mod openmetrics;
mod protobuf;

use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use self::native::Native;

/// Metrics of one name.
#[derive(Debug)]
pub struct Family {
    family: MetricFamily,
    /// For a family of distributions: each as a native histogram, in the order of the family's metrics.
    natives: Vec<Native>,
    edges: &'static [f64],
}

/// How values are distributed, under one set of labels.
#[derive(Debug)]
pub struct Distribution {
    labels: Vec<LabelPair>,
    /// Values with how often each was seen, smallest first.
    values: Vec<(f64, u64)>,
}

impl Distribution {
    /// Values above zero, smallest first, each with how often it was seen. Labels in the order of their names.
    #[must_use]
    pub fn new(labels: &[(&str, &str)], values: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let pair = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Self { labels: labels.iter().map(pair).collect(), values: values.into_iter().collect() }
    }

    /// With counts up to each of these edges.
    fn classic(&self, edges: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(self.values.iter().map(|(_, count)| count).sum());
        histogram.set_sample_sum(self.values.iter().map(|&(value, count)| value * count as f64).sum());
        let buckets = edges.iter().map(|&edge| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(edge);
            let below = self.values.iter().take_while(|(value, _)| *value <= edge);
            bucket.set_cumulative_count(below.map(|(_, count)| count).sum());
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram
    }
}

impl From<MetricFamily> for Family {
    fn from(family: MetricFamily) -> Self {
        Self { family, natives: Vec::new(), edges: &[] }
    }
}

impl Family {
    /// A family of distributions, told with classic buckets up to these edges, and as native histograms.
    #[must_use]
    pub fn distributions(name: String, help: &str, edges: &'static [f64]) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name);
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        Self { family, natives: Vec::new(), edges }
    }

    /// Adds one.
    pub fn push(&mut self, distribution: Distribution) {
        self.natives.push(Native::of(&distribution.values));
        let classic = distribution.classic(self.edges);
        let mut metric = Metric::from_label(distribution.labels);
        metric.set_histogram(classic);
        self.family.mut_metric().push(metric);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.family.name()
    }
}

/// A form of writing metrics down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Delimited protobuf, `io.prometheus.client.MetricFamily`: the only form with native histograms.
    Protobuf,
}

impl Format {
    /// The form that an `Accept` header likes best (RFC 9110, 12.5.1); text when it names none of ours.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut best = (0.0, Self::Text);
        for wish in accept.unwrap_or_default().split(',') {
            let mut parts = wish.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let format = match (media, parameter("version"), parameter("encoding")) {
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1"), _) => Self::OpenMetrics,
                ("application/vnd.google.protobuf", _, Some("delimited")) => Self::Protobuf,
                ("text/plain" | "text/*" | "*/*", None | Some("0.0.4" | "1.0.0"), _) => Self::Text,
                _ => continue,
            };
            let weight = parameter("q").map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            // Of equals the first: Prometheus lists its favourite first.
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    /// Its media type, as it is answered.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Writes families that have metrics; others have nothing to say.
    #[must_use]
    pub fn write(self, families: &[Family]) -> Vec<u8> {
        let told = families.iter().filter(|family| !family.family.get_metric().is_empty());
        match self {
            Self::Text => {
                let families: Vec<_> = told.map(|family| family.family.clone()).collect();
                let mut text = Vec::new();
                TextEncoder::new().encode(&families, &mut text).expect("families without metrics are left out");
                text
            }
            Self::OpenMetrics => openmetrics::write(told.map(|family| &family.family)).into_bytes(),
            Self::Protobuf => protobuf::write(told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_form_is_taken() {
        let delimited = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html"), Format::Text),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (Some("application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.5"), Format::Text),
            (Some("application/vnd.google.protobuf;encoding=text,text/plain;q=0.1"), Format::Text),
            (Some("text/plain;q=x"), Format::Text),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept:?}");
        }
        let prometheus = format!("{delimited},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5");
        assert_eq!(Format::negotiate(Some(&prometheus)), Format::Protobuf);
        let reluctant = format!("{delimited};q=0.1,text/plain;version=0.0.4;q=0.5");
        assert_eq!(Format::negotiate(Some(&reluctant)), Format::Text);
    }

    #[test]
    fn classic_buckets_hold_all_values_up_to_their_edge() {
        let distribution = Distribution::new(&[("gate", "shop")], [(0.05, 2), (0.1, 3), (7.0, 1)]);
        let classic = distribution.classic(&[0.1, 1.0]);
        let counts: Vec<_> = classic.get_bucket().iter().map(Bucket::cumulative_count).collect();
        assert_eq!((counts, classic.get_sample_count()), (vec![5, 5], 6));
        assert!((classic.get_sample_sum() - 7.4).abs() < 1e-12);
    }
}
