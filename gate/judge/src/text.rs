//! Numbers as people read them.

/// `5,615`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12%`, `3.4%` or `0.08%` of a ratio.
pub(crate) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let rounded = if percent >= 10.0 {
        percent.round()
    } else if percent >= 1.0 {
        (percent * 10.0).round() / 10.0
    } else {
        (percent * 1_000.0).round() / 1_000.0
    };
    format!("{rounded}%")
}

/// `0.3 s`, `42 s`, `5 min`, `2 h`.
pub(crate) fn time(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// `1 pod`, `5 pods`.
pub(crate) fn count(number_of: u64, what: &str) -> String {
    let plural = if number_of == 1 { "" } else { "s" };
    format!("{} {what}{plural}", number(number_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1.0, 0.1234, 0.051, 0.0008].map(percent), ["100%", "12%", "5.1%", "0.08%"]);
        assert_eq!([300, 42_000, 300_000, 7_200_000].map(time), ["0.3 s", "42 s", "5 min", "2 h"]);
        assert_eq!(count(1, "pod"), "1 pod");
    }
}
