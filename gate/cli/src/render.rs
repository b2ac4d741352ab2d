//! Releases as text for people. Values in, text out; styles are dropped where they cannot be seen (see `out`).

mod explain;
mod sparkline;
mod table;

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use blueback_gate::api::types::{Moment, Phase, Release, Service, Slot};
use blueback_judge::Rules;
use owo_colors::OwoColorize as _;

pub use explain::explain;
pub use sparkline::sparkline;
pub use table::Table;

/// `blue` or `green`.
#[must_use]
pub const fn slot(slot: Slot) -> &'static str {
    match slot {
        Slot::Blue => "blue",
        Slot::Green => "green",
    }
}

/// A slot in its colour.
#[must_use]
pub fn slot_styled(of: Slot) -> String {
    match of {
        Slot::Blue => slot(of).blue().to_string(),
        Slot::Green => slot(of).green().to_string(),
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

/// A phase in the colour of its meaning.
#[must_use]
pub fn phase_styled(of: Phase) -> String {
    let word = phase(of);
    match of {
        Phase::Passed | Phase::Done => word.green().to_string(),
        Phase::Reverting | Phase::Reverted => word.red().to_string(),
        Phase::Held | Phase::Inconclusive => word.yellow().to_string(),
        Phase::Watching | Phase::Superseded => word.to_owned(),
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
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(253_402_300_799_000));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{} UTC", text.replace('T', " ").trim_end_matches('Z'))
}

/// One line of the timeline: when since the switch, what, and the story.
#[must_use]
pub fn moment(moment: &Moment) -> String {
    let what = format!("{:<12}", moment.what);
    let what = match moment.what.as_str() {
        "shielded" | "held" | "inconclusive" | "failed" => what.yellow().to_string(),
        "proven" | "diverted" | "reverted" => what.red().to_string(),
        "verified" | "passed" | "opened" => what.green().to_string(),
        _ => what,
    };
    format!("{:>12}  {what}  {}", format!("+{}", span(moment.after_ms)), moment.text)
}

/// All guarded services, one a line.
#[must_use]
pub fn status(services: &[Service]) -> String {
    let mut table = Table::new([
        "NAME",
        "SERVING",
        "GREEN",
        "PHASE",
        "RELEASE",
        "AGENTS",
        "BLUE READY",
        "GREEN READY",
        "REQUESTS/S",
    ]);
    for service in services {
        table.row([
            service.name.clone(),
            slot_styled(service.serving),
            percent(service.green_share),
            service.phase.map_or_else(|| "-".to_owned(), phase_styled),
            service.release.clone().unwrap_or_else(|| "-".to_owned()),
            service.agents.to_string(),
            ready(service, Slot::Blue),
            ready(service, Slot::Green),
            format!("{:.1}", service.requests_per_second),
        ]);
    }
    table.to_string()
}

fn ready(service: &Service, slot: Slot) -> String {
    let backends = service.backends.iter().filter(|backend| backend.slot == slot);
    let (all, ready) = backends.fold((0, 0), |(all, ready), backend| (all + 1, ready + u32::from(backend.ready)));
    let text = format!("{ready} of {all}");
    if ready < all { text.yellow().to_string() } else { text }
}

/// Releases, one a line.
#[must_use]
pub fn releases(releases: &[Release]) -> String {
    let mut table = Table::new(["RELEASE", "TO", "SHARE", "PHASE", "STARTED", "BY", "VERDICT"]);
    for release in releases {
        table.row([
            release.id.clone(),
            slot_styled(release.candidate),
            percent(release.share),
            phase_styled(release.phase),
            time(release.started_ms),
            release.by.clone().unwrap_or_else(|| "-".to_owned()),
            release.verdict.text.clone(),
        ]);
    }
    table.to_string()
}

/// Rules read back, each with the time it takes to act.
#[must_use]
pub fn rules(rules: &Rules) -> String {
    let mut text = String::new();
    let field = |list: &str| format!("{list}When:");
    let mut last = "";
    for rule in rules.explain() {
        if rule.list != last {
            let _ = writeln!(text, "{}", field(rule.list).bold());
            last = rule.list;
        }
        let _ = writeln!(text, "  {}\n      {}: {}", rule.words, rule.kind, rule.text);
    }
    let spec = rules.to_spec();
    for (name, value) in [
        ("bake", spec.bake),
        ("decideWithin", spec.decide_within),
        ("checkpoints", spec.checkpoints.map(|names| names.join(", "))),
        ("falseAlarms", spec.false_alarms),
        ("profile", spec.profile),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "{} {value}", format!("{name}:").bold());
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
pub(crate) mod tests;
