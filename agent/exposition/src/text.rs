//! The two forms of text: Prometheus' own, and OpenMetrics 1.0 (prometheus/OpenMetrics, `specification/OpenMetrics.md`), in
//! which counters lose `_total` in their family's name, buckets and counters have exemplars, and the text ends with `# EOF`.

use std::fmt::Write as _;

use crate::{Exemplar, Family, Kind, Series, Value};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Prometheus,
    OpenMetrics,
}

/// Writes families.
pub(super) fn write<'a>(families: impl Iterator<Item = &'a Family>, dialect: Dialect) -> String {
    let mut writer = Writer { text: String::new(), dialect };
    for family in families {
        // Writing to a string cannot fail.
        let _ = writer.family(family);
    }
    if dialect == Dialect::OpenMetrics {
        writer.text.push_str("# EOF\n");
    }
    writer.text
}

struct Writer {
    text: String,
    dialect: Dialect,
}

impl Writer {
    fn family(&mut self, family: &Family) -> std::fmt::Result {
        let full = family.name.as_str();
        let word = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        match self.dialect {
            Dialect::OpenMetrics => {
                let base =
                    if family.kind == Kind::Counter { full.strip_suffix("_total").unwrap_or(full) } else { full };
                writeln!(self.text, "# TYPE {base} {word}\n# HELP {base} {}", escape(&family.help))?;
            }
            Dialect::Prometheus => {
                let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
                writeln!(self.text, "# HELP {full} {help}\n# TYPE {full} {word}")?;
            }
        }
        for series in &family.series {
            match &series.value {
                Value::Number(value) if family.kind == Kind::Counter && self.dialect == Dialect::OpenMetrics => {
                    let base = full.strip_suffix("_total").unwrap_or(full);
                    self.sample(base, "_total", series, None, *value, series.exemplars.last())?;
                }
                Value::Number(value) => self.sample(full, "", series, None, *value, None)?,
                Value::Distribution(distribution) => {
                    let mut lower = f64::NEG_INFINITY;
                    let all = (f64::INFINITY, distribution.count);
                    for &(edge, count) in distribution.classic.iter().chain([&all]) {
                        let exemplar = series.between(lower, edge);
                        self.sample(full, "_bucket", series, Some(edge), count as f64, exemplar)?;
                        lower = edge;
                    }
                    self.sample(full, "_sum", series, None, distribution.sum, None)?;
                    self.sample(full, "_count", series, None, distribution.count as f64, None)?;
                }
            }
        }
        Ok(())
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        series: &Series,
        edge: Option<f64>,
        value: f64,
        exemplar: Option<&Exemplar>,
    ) -> std::fmt::Result {
        write!(self.text, "{name}{suffix}")?;
        let mut words: Vec<_> =
            series.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        words.extend(edge.map(|edge| match self.dialect {
            _ if edge.is_infinite() => "le=\"+Inf\"".to_owned(),
            // Canonical numbers have a point, so that 1 and 1.0 are the same series.
            Dialect::OpenMetrics => format!("le=\"{edge:?}\""),
            Dialect::Prometheus => format!("le=\"{edge}\""),
        }));
        if !words.is_empty() {
            write!(self.text, "{{{}}}", words.join(","))?;
        }
        write!(self.text, " {value}")?;
        if let Some(exemplar) = exemplar.filter(|_| self.dialect == Dialect::OpenMetrics) {
            let labels: Vec<_> = exemplar.labels().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let (seconds, rest) = (exemplar.at_ms / 1_000, exemplar.at_ms % 1_000);
            write!(self.text, " # {{{}}} {} {seconds}.{rest:03}", labels.join(","), exemplar.value)?;
        }
        writeln!(self.text)
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Distribution;

    fn families() -> [Family; 3] {
        let mut seen = Family::new("seen_total", "Things \"seen\".", Kind::Counter);
        let exemplar = Exemplar { trace: [0xab; 16], span: [1; 8], value: 0.7, at_ms: 1_700_000_000_042, status: None };
        let odd = Series::number(&[("rule", "route \"/a\\b\"\n > 5%")], 3.0);
        seen.series.push(odd.with_exemplars(vec![Exemplar { value: 1.0, status: Some(503), ..exemplar }]));
        let mut up = Family::new("up", "Whether it is up.", Kind::Gauge);
        up.series.push(Series::number(&[], 1.0));
        let mut took = Family::new("took_seconds", "Time.", Kind::Histogram);
        let distribution = Distribution { count: 1, sum: 0.7, classic: vec![(0.5, 0), (1.0, 1)], native: None };
        let earlier = Exemplar { value: 0.6, at_ms: 1, ..exemplar };
        took.series.push(Series::distribution(&[], distribution).with_exemplars(vec![earlier, exemplar]));
        [seen, up, took]
    }

    #[test]
    fn openmetrics_is_told_as_the_specification_says() {
        let ids = "trace_id=\"abababababababababababababababab\",span_id=\"0101010101010101\"";
        let expected = [
            "# TYPE seen counter\n# HELP seen Things \\\"seen\\\".\n",
            "seen_total{rule=\"route \\\"/a\\\\b\\\"\\n > 5%\"} 3 # {",
            ids,
            ",status=\"503\"} 1 1700000000.042\n# TYPE up gauge\n# HELP up Whether it is up.\nup 1\n",
            "# TYPE took_seconds histogram\n# HELP took_seconds Time.\n",
            "took_seconds_bucket{le=\"0.5\"} 0\ntook_seconds_bucket{le=\"1.0\"} 1 # {",
            ids,
            "} 0.7 1700000000.042\ntook_seconds_bucket{le=\"+Inf\"} 1\n",
            "took_seconds_sum 0.7\ntook_seconds_count 1\n# EOF\n",
        ];
        assert_eq!(write(families().iter(), Dialect::OpenMetrics), expected.concat());
    }

    #[test]
    fn plain_text_is_told_as_prometheus_reads_it_without_exemplars() {
        let expected = [
            "# HELP seen_total Things \"seen\".\n# TYPE seen_total counter\n",
            "seen_total{rule=\"route \\\"/a\\\\b\\\"\\n > 5%\"} 3\n",
            "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n",
            "# HELP took_seconds Time.\n# TYPE took_seconds histogram\n",
            "took_seconds_bucket{le=\"0.5\"} 0\ntook_seconds_bucket{le=\"1\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 1\n",
            "took_seconds_sum 0.7\ntook_seconds_count 1\n",
        ];
        assert_eq!(write(families().iter(), Dialect::Prometheus), expected.concat());
    }
}
