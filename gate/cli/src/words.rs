//! Values as people type them. Each error says what would be accepted; the caller adds which flag it was.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// Longest accepted list of addresses: the agent's own bound on backends (`blueback_report::TARGETS_MAX`) for one slot.
pub const ADDRESSES_MAX: usize = 128;

/// A share of the requests, above 0 and up to 1: `10%` or `0.1`.
///
/// # Errors
/// In words, when it is neither, or outside of that range.
pub fn share(text: &str) -> Result<f64, String> {
    let accepted = "accepted: a percentage above 0% and up to 100% such as 10%, or a part such as 0.1";
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number <= scale => Ok(number / scale),
        _ => Err(accepted.to_owned()),
    }
}

/// A share of the requests from 0 and below 100%.
///
/// # Errors
/// In words, when it is none.
pub fn small_share(text: &str) -> Result<f64, String> {
    if matches!(text.trim(), "0" | "0%") {
        return Ok(0.0);
    }
    share(text).ok().filter(|&share| share < 1.0).ok_or_else(|| {
        "accepted: a percentage from 0% and below 100% such as 0.05%, or a part such as 0.0005".to_owned()
    })
}

/// A service's latency while nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Median in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
}

/// The 99th percentile of a service whose median alone is told, as a multiple of it: what web services usually have.
const P99_OF_P50: f64 = 6.0;

/// A latency: `p50=20ms,p99=150ms`, `p50=20ms` or `20ms`.
///
/// # Errors
/// In words, when it is none.
pub fn latency(text: &str) -> Result<Latency, String> {
    let accepted =
        || "accepted: a median and perhaps a 99th percentile above it, such as p50=20ms,p99=150ms".to_owned();
    let (mut p50_ms, mut p99_ms) = (None, None);
    for part in text.split(',') {
        let (name, time) = part.split_once('=').unwrap_or(("p50", part));
        let ms = duration(time.trim()).map_err(|_| accepted())?.as_secs_f64() * 1_000.0;
        match name.trim() {
            "p50" if p50_ms.is_none() => p50_ms = Some(ms),
            "p99" if p99_ms.is_none() => p99_ms = Some(ms),
            _ => return Err(accepted()),
        }
    }
    let p50_ms = p50_ms.ok_or_else(accepted)?;
    let p99_ms = p99_ms.unwrap_or(p50_ms * P99_OF_P50);
    if p99_ms > p50_ms { Ok(Latency { p50_ms, p99_ms }) } else { Err(accepted()) }
}

/// A length of time: `90s`, `40m`, `1h 30m`.
///
/// # Errors
/// In words, when it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "accepted: a length of time above zero with its unit, such as 90s, 40m or 1h 30m".to_owned())
}

/// A rate in requests a second, above 0 and up to 100,000.
///
/// # Errors
/// In words, when it is none.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err("accepted: requests a second above 0 and up to 100000, such as 100".to_owned()),
    }
}

/// A reason that is not empty.
///
/// # Errors
/// In words, when it is.
pub fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("accepted: a sentence; it is told to everybody and kept".to_owned());
    }
    Ok(text.to_owned())
}

/// A revision: one word of visible characters.
///
/// # Errors
/// In words, when it is none.
pub fn revision(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 200 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("accepted: up to 200 visible ASCII characters, such as a commit's hash or an image".to_owned());
    }
    Ok(text.to_owned())
}

/// A filter of logs: a level, or levels by module.
///
/// # Errors
/// In words, when it cannot be read.
pub fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; accepted: off, error, warn, info, debug, or such as blueback_gate=debug")),
    }
}

/// One address: `IP:port`, or `host:port` which is resolved to its first address.
///
/// # Errors
/// In words, naming the value.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("'{text}' has no port; accepted: IP:port or host:port, such as 127.0.0.1:9001"));
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(format!(
            "'{text}' is not an address; accepted: IP:port or host:port with a port from 0 to 65535, such as 127.0.0.1:9001"
        ));
    }
    match text.to_socket_addrs() {
        Ok(mut found) => found.next().ok_or_else(|| format!("'{text}': the host has no address")),
        Err(error) => Err(format!("'{text}': the host cannot be resolved: {error}")),
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// Whom to name.
    pub authority: http::uri::Authority,
    /// What to ask for: the path with its query.
    pub path: String,
}

/// A URL of plain HTTP; its host is resolved to its first address.
///
/// # Errors
/// In words, when it is none or its host is unknown.
pub fn target(text: &str) -> Result<Target, String> {
    let accepted = || "accepted: a URL of plain HTTP, such as http://127.0.0.1:8080/path".to_owned();
    let uri: http::Uri = text.parse().map_err(|_| accepted())?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(accepted()) };
    let address = address(&format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Target { address, authority: authority.clone(), path })
}

/// Addresses separated by commas: at least one, each once.
///
/// # Errors
/// In words, one for each address that is wrong.
pub fn addresses(text: &str) -> Result<Vec<SocketAddr>, Vec<String>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    let mut errors = Vec::new();
    for part in text.split(',') {
        match address(part) {
            Ok(address) if found.contains(&address) => {
                errors.push(format!("'{part}' is there twice; accepted: each once"));
            }
            Ok(address) if address.port() == 0 => {
                errors.push(format!("'{part}' has port 0; accepted: the port the backend listens on, 1 to 65535"));
            }
            Ok(address) => found.push(address),
            Err(error) => errors.push(error),
        }
    }
    if found.len() > ADDRESSES_MAX {
        errors.push(format!("{} addresses; accepted: at most {ADDRESSES_MAX}", found.len()));
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_or_parts() {
        let cases =
            [("10%", Some(0.1)), ("0.1", Some(0.1)), ("100%", Some(1.0)), ("1", Some(1.0)), ("0.5%", Some(0.005))];
        for (text, expected) in cases {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
        for text in ["0", "0%", "101%", "1.01", "-1%", "ten", "", "%", "NaN", "inf"] {
            assert!(share(text).is_err_and(|error| error.contains("10%")), "{text}");
        }
    }

    #[test]
    fn small_shares_may_be_nothing() {
        assert_eq!((small_share("0"), small_share("0%"), small_share("0.05%")), (Ok(0.0), Ok(0.0), Ok(0.0005)));
        for text in ["100%", "1", "-1%", ""] {
            assert!(small_share(text).is_err_and(|error| error.contains("0.05%")), "{text}");
        }
    }

    #[test]
    fn latencies_are_a_median_and_a_tail() {
        assert_eq!(latency("p50=20ms,p99=150ms"), Ok(Latency { p50_ms: 20.0, p99_ms: 150.0 }));
        assert_eq!(latency("p99=1s, p50=20ms"), Ok(Latency { p50_ms: 20.0, p99_ms: 1_000.0 }));
        assert_eq!(latency("20ms"), Ok(Latency { p50_ms: 20.0, p99_ms: 120.0 }));
        for text in ["", "20", "p99=150ms", "p50=20ms,p99=10ms", "p50=1s,p50=2s", "p75=20ms"] {
            assert!(latency(text).is_err_and(|error| error.contains("p50=20ms,p99=150ms")), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("40m"), Ok(Duration::from_secs(2_400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for text in ["40", "", "0s", "soon", "-1s"] {
            assert!(duration(text).is_err_and(|error| error.contains("40m")), "{text}");
        }
    }

    #[test]
    fn rates_are_positive_and_bounded() {
        assert_eq!(rate("100"), Ok(100.0));
        for text in ["0", "-1", "1e9", "fast", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_ip_or_host_with_port() {
        assert_eq!(address("127.0.0.1:9001").map(|a| a.to_string()), Ok("127.0.0.1:9001".to_owned()));
        assert_eq!(address("[::1]:9001").map(|a| a.to_string()), Ok("[::1]:9001".to_owned()));
        assert!(address("localhost:9001").is_ok_and(|a| a.ip().is_loopback() && a.port() == 9001));
        for text in ["localhost", "127.0.0.1", ":9001", "127.0.0.1:99999", "127.0.0.1:http", ""] {
            assert!(address(text).is_err_and(|error| error.contains("accepted")), "{text}");
        }
    }

    #[test]
    fn targets_are_urls_of_plain_http() {
        let told =
            |text| target(text).map(|target| (target.address.to_string(), target.authority.to_string(), target.path));
        let expected = |address: &str, authority: &str, path: &str| Ok((address.into(), authority.into(), path.into()));
        assert_eq!(told("http://127.0.0.1:81/a?b=c"), expected("127.0.0.1:81", "127.0.0.1:81", "/a?b=c"));
        assert_eq!(told("http://127.0.0.1"), expected("127.0.0.1:80", "127.0.0.1", "/"));
        for text in ["127.0.0.1:80", "https://127.0.0.1/", "/path", ""] {
            assert!(told(text).is_err_and(|error| error.contains("accepted")), "{text}");
        }
    }

    #[test]
    fn every_wrong_address_of_a_list_is_named() {
        let errors = addresses("127.0.0.1:1,nonsense,127.0.0.1:1,127.0.0.1:0").expect_err("three are wrong");
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("nonsense") && errors[1].contains("twice") && errors[2].contains("port 0"));
        assert_eq!(addresses("127.0.0.1:1, 127.0.0.1:2").map(|list| list.len()), Ok(2));
    }
}
