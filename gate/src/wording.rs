//! How numbers, times and states are said, the same in the terminal, on the page and in documents.

use std::time::{Duration, UNIX_EPOCH};

use crate::api::types::{Criterion, Phase, Slot, Tally};

/// The last second that can be said: the end of the year 9999.
const UNIX_MS_MAX: u64 = 253_402_300_799_000;

/// `blue` or `green`.
#[must_use]
pub const fn slot(slot: Slot) -> &'static str {
    match slot {
        Slot::Blue => "blue",
        Slot::Green => "green",
    }
}

/// A phase in one word.
#[must_use]
pub const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Watching => "watching",
        Phase::Passed => "passed",
        Phase::Done => "done",
        Phase::Reverting => "reverting",
        Phase::Reverted => "reverted",
        Phase::Held => "held",
        Phase::Inconclusive => "inconclusive",
        Phase::Superseded => "superseded",
    }
}

/// A part as a percentage with as many digits as tell something: `12.3%`, `0.05%`, `100%`.
#[must_use]
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let digits = match percent.abs() {
        small if small > 0.0 && small < 1.0 => 2,
        other if (other - other.round()).abs() < 0.05 => 0,
        _ => 1,
    };
    format!("{percent:.digits$}%")
}

/// A measured value with its unit (`ratio`, `ms` or `count`).
#[must_use]
pub fn value(value: f64, unit: &str) -> String {
    match unit {
        "ratio" => percent(value),
        "ms" if value >= 10_000.0 => format!("{:.1} s", value / 1e3),
        "ms" if value < 10.0 => format!("{value:.1} ms"),
        "ms" => format!("{value:.0} ms"),
        "count" => count(value.round().max(0.0) as u64),
        _ => format!("{value}"),
    }
}

/// A number with thousands set apart: `12,345`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 request`, `2 requests`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A length of time, to the millisecond below a minute: `0.214 s`, `2 m 05 s`, `3 h 07 m`.
#[must_use]
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{:.3} s", ms as f64 / 1e3),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A time of day, in UTC: `2026-11-23 22:19:29 UTC`.
#[must_use]
pub fn time(unix_ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(UNIX_MS_MAX));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{} UTC", text.replace('T', " ").trim_end_matches('Z'))
}

/// What a rule has measured on one side: `52.5% (32 of 61 requests)`.
#[must_use]
pub fn tally(tally: &Tally, unit: &str) -> String {
    match tally.value {
        Some(measured) => {
            format!("{} ({} of {})", value(measured, unit), count(tally.bad), counted(tally.requests, "request"))
        }
        None => "no data".to_owned(),
    }
}

/// How a rule stands, in a few words.
#[must_use]
pub fn state(criterion: &Criterion) -> String {
    match (criterion.fired_ms, criterion.list.as_str()) {
        (Some(at), "pass") => format!("holds since +{}", span(at)),
        (Some(at), _) => format!("fired at +{}", span(at)),
        (None, _) if criterion.standing == "not applicable" => criterion.standing.clone(),
        (None, "pass") => "not yet".to_owned(),
        (None, _) => "quiet".to_owned(),
    }
}

/// A name as one segment of a path or as a value of a query (RFC 3986 §2.3).
#[must_use]
pub fn segment(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}
