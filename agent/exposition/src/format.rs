//! Which form a scraper gets.

use crate::{Family, protobuf, text};

/// A form of writing metrics down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text, version 0.0.4. It has no exemplars.
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
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Writes families that have series; others have nothing to say.
    #[must_use]
    pub fn write(self, families: &[Family]) -> Vec<u8> {
        let told = families.iter().filter(|family| !family.series.is_empty());
        match self {
            Self::Text => text::write(told, text::Dialect::Prometheus).into_bytes(),
            Self::OpenMetrics => text::write(told, text::Dialect::OpenMetrics).into_bytes(),
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
}
