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
    fn every_wrong_address_of_a_list_is_named() {
        let errors = addresses("127.0.0.1:1,nonsense,127.0.0.1:1,127.0.0.1:0").expect_err("three are wrong");
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("nonsense") && errors[1].contains("twice") && errors[2].contains("port 0"));
        assert_eq!(addresses("127.0.0.1:1, 127.0.0.1:2").map(|list| list.len()), Ok(2));
    }
}
