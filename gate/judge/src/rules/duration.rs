//! Durations as people write them: `250us`, `500ms`, `30s`, `5m`, `2h`.

const UNITS: [(&str, u64); 5] = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Microseconds of `5m`, `1.5s` or `500ms`; `None` when it is none, negative, finer than a microsecond or longer than 1,000
/// hours.
pub(super) fn parse_us(text: &str) -> Option<u64> {
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, factor) = UNITS.into_iter().find(|&(name, _)| name == unit)?;
    let us = parse_number(number)? * factor as f64;
    (us.fract().abs() < 1e-6 && us <= 1_000.0 * 3_600e6).then_some(us.round() as u64)
}

/// A plain decimal number without a sign; nothing that only a float parser knows (`inf`, `1e3`).
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// The duration in the largest unit that holds it as a whole number.
pub(super) fn print_us(us: u64) -> String {
    let (name, factor) =
        UNITS.into_iter().find(|&(_, factor)| us >= factor && us.is_multiple_of(factor)).unwrap_or(("s", 1));
    format!("{}{name}", us / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        for (text, us, printed) in [
            ("5m", 300_000_000, "5m"),
            ("90s", 90_000_000, "90s"),
            ("60s", 60_000_000, "1m"),
            ("1.5s", 1_500_000, "1500ms"),
            ("500ms", 500_000, "500ms"),
            ("250us", 250, "250us"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(parse_us(text), Some(us), "{text}");
            assert_eq!(print_us(us), printed, "{text}");
        }
        for text in ["", "5", "m", "-5m", "5 m", "1e3s", "infs", "5d", "0.1us", "5000h", "1.2.3s"] {
            assert_eq!(parse_us(text), None, "{text}");
        }
    }
}
