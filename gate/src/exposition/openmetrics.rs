//! OpenMetrics 1.0 text (the specification is RFC-like, at prometheus/docs): counters lose `_total` in their family's name,
//! and the text ends with `# EOF`.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

/// Writes families.
pub(super) fn write<'a>(families: impl Iterator<Item = &'a MetricFamily>) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a string cannot fail.
        let _ = one(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

fn one(text: &mut String, family: &MetricFamily) -> std::fmt::Result {
    let (name, word) = match family.get_field_type() {
        MetricType::COUNTER => (family.name().strip_suffix("_total").unwrap_or(family.name()), "counter"),
        MetricType::GAUGE => (family.name(), "gauge"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        // The crate makes neither.
        MetricType::SUMMARY | MetricType::UNTYPED => return Ok(()),
    };
    writeln!(text, "# TYPE {name} {word}")?;
    writeln!(text, "# HELP {name} {}", escape(family.help()))?;
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match family.get_field_type() {
            MetricType::COUNTER => sample(text, name, "_total", labels, None, metric.get_counter().get_value())?,
            MetricType::GAUGE => sample(text, name, "", labels, None, metric.get_gauge().get_value())?,
            MetricType::SUMMARY | MetricType::UNTYPED => {}
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let count = histogram.get_sample_count() as f64;
                for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
                    let edge = Some(("le", bucket.upper_bound()));
                    sample(text, name, "_bucket", labels, edge, bucket.cumulative_count() as f64)?;
                }
                sample(text, name, "_bucket", labels, Some(("le", f64::INFINITY)), count)?;
                sample(text, name, "_sum", labels, None, histogram.get_sample_sum())?;
                sample(text, name, "_count", labels, None, count)?;
            }
        }
    }
    Ok(())
}

fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[LabelPair],
    edge: Option<(&str, f64)>,
    value: f64,
) -> std::fmt::Result {
    write!(text, "{name}{suffix}")?;
    let mut words: Vec<_> =
        labels.iter().map(|label| format!("{}=\"{}\"", label.name(), escape(label.value()))).collect();
    if let Some((name, edge)) = edge {
        // Canonical numbers have a point, so that 1 and 1.0 are the same series.
        words.push(if edge.is_infinite() { format!("{name}=\"+Inf\"") } else { format!("{name}=\"{edge:?}\"") });
    }
    if !words.is_empty() {
        write!(text, "{{{}}}", words.join(","))?;
    }
    writeln!(text, " {value}")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn counters_histograms_and_odd_labels_are_told_as_the_specification_says() {
        let registry = Registry::new();
        let counters = IntCounterVec::new(Opts::new("seen_total", "Things \"seen\"."), &["rule"]).expect("it is valid");
        counters.with_label_values(&["route \"/a\\b\"\n > 5%"]).inc_by(3);
        let histogram = Histogram::with_opts(HistogramOpts::new("took_seconds", "Time.").buckets(vec![0.5, 1.0]));
        let histogram = histogram.expect("it is valid");
        histogram.observe(0.7);
        registry.register(Box::new(counters)).expect("it is the first of its name");
        registry.register(Box::new(histogram)).expect("it is the first of its name");
        let told = write(registry.gather().iter());
        let expected = concat!(
            "# TYPE seen counter\n# HELP seen Things \\\"seen\\\".\n",
            "seen_total{rule=\"route \\\"/a\\\\b\\\"\\n > 5%\"} 3\n",
            "# TYPE took_seconds histogram\n# HELP took_seconds Time.\n",
            "took_seconds_bucket{le=\"0.5\"} 0\ntook_seconds_bucket{le=\"1.0\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 1\n",
            "took_seconds_sum 0.7\ntook_seconds_count 1\n# EOF\n",
        );
        assert_eq!(told, expected);
    }
}
