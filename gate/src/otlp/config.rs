//! Where telemetry goes: flags and environment of the gate, and of the embedded form.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};

use crate::tell::http::{Target, Trouble};

/// Shortest time between two pushes of metrics: each is a look at the loop.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest; Prometheus calls a series stale after five minutes.
const INTERVAL_MAX: Duration = Duration::from_secs(300);
/// Most headers of one's own.
const HEADERS_MAX: usize = 32;
/// Headers that are the transport's business.
const RESERVED: [HeaderName; 5] =
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::TRANSFER_ENCODING, header::CONNECTION];

/// Where telemetry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The receiver; `/v1/traces` and `/v1/metrics` follow its path.
    pub target: Target,
    /// File with headers of one's own.
    pub headers: Option<PathBuf>,
    /// Time between two pushes of metrics.
    pub interval: Duration,
}

/// Where telemetry goes.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct OtlpArgs {
    /// URL of an OTLP/HTTP receiver of metrics and traces, as http://collector:4318
    #[arg(long, env = "BLUEBACK_GATE_OTLP", value_name = "URL")]
    otlp: Option<String>,
    /// File with headers for it, as `Authorization: Bearer …`, one a line; read again for each request
    #[arg(long, env = "BLUEBACK_GATE_OTLP_HEADERS_FILE", value_name = "FILE")]
    otlp_headers_file: Option<PathBuf>,
    /// Time between two pushes of metrics, from 1s to 5m
    #[arg(long, env = "BLUEBACK_GATE_OTLP_INTERVAL", value_name = "DURATION", default_value = "15s")]
    otlp_interval: String,
}

impl OtlpArgs {
    /// Turns words into values; what is wrong is added to `wrong`.
    pub fn read(self, wrong: &mut Vec<String>) -> Option<OtlpConfig> {
        let interval = humantime::parse_duration(&self.otlp_interval).ok();
        let interval = interval.filter(|interval| (INTERVAL_MIN..=INTERVAL_MAX).contains(interval));
        if interval.is_none() {
            wrong.push(format!("--otlp-interval {:?}: a time from 1s to 5m is accepted, as 15s", self.otlp_interval));
        }
        if let Some(file) = &self.otlp_headers_file {
            let read = std::fs::read_to_string(file).map_err(|error| format!("{error}; a readable file is accepted"));
            if let Err(error) = read.and_then(|text| parse(&text)) {
                wrong.push(format!("--otlp-headers-file {}: {error}", file.display()));
            }
            if self.otlp.is_none() {
                wrong.push("--otlp-headers-file: is accepted only with --otlp".to_owned());
            }
        }
        let target = crate::tell::config::target("--otlp", &self.otlp?, wrong)?;
        Some(OtlpConfig { target, headers: self.otlp_headers_file, interval: interval? })
    }
}

/// What the machine is called.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// The headers in a file, read anew each time so that they can be changed.
pub(super) async fn headers(file: Option<&Path>) -> Result<Vec<(HeaderName, String)>, Trouble> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let text = tokio::fs::read_to_string(file).await.map_err(|error| error.to_string());
    text.and_then(|text| parse(&text)).map_err(|error| Trouble::Passing(format!("headers {}: {error}", file.display())))
}

/// Lines of `Name: value`; empty ones and those that begin with `#` are passed over. Values are secrets, so errors do not repeat them.
fn parse(text: &str) -> Result<Vec<(HeaderName, String)>, String> {
    let mut headers = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let wrong = |why: &str| format!("line {}: {why}; `Name: value` is accepted", number + 1);
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("no colon"))?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong("the name is none of a header"))?;
        if RESERVED.contains(&name) {
            return Err(wrong(&format!("{name} is not yours to set")));
        }
        let value = value.trim();
        if value.is_empty() || HeaderValue::from_str(value).is_err() || !value.is_ascii() {
            return Err(wrong(&format!("the value of {name} is empty, or not of visible ASCII characters")));
        }
        headers.push((name, value.to_owned()));
    }
    if headers.len() > HEADERS_MAX {
        return Err(format!("{} headers; up to {HEADERS_MAX} are accepted", headers.len()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines() {
        let text = "# who we are\nAuthorization: Bearer a:b\n\nx-scope-orgid: shop\n";
        let headers = parse(text).expect("they are well formed");
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [("authorization", "Bearer a:b"), ("x-scope-orgid", "shop")]);
        for (text, part) in [
            ("x: y\nsecret", "line 2"),
            ("a b: secret", "line 1"),
            ("Host: secret", "host"),
            ("x:", "the value of x"),
            ("x: \u{7f}secret", "visible"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_accepted() {
        let args = OtlpArgs {
            otlp: Some("collector:4318".to_owned()),
            otlp_headers_file: Some("/nowhere".into()),
            otlp_interval: "1ms".to_owned(),
        };
        let mut wrong = Vec::new();
        assert_eq!(args.read(&mut wrong), None);
        let text = wrong.join("\n");
        for part in ["--otlp: \"collector:4318\"", "--otlp-headers-file /nowhere", "--otlp-interval \"1ms\"", "5m"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
