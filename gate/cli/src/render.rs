//! Releases as text for people. Values in, text out; styles are dropped where they cannot be seen (see `out`).

mod explain;
mod power;
mod replay;
mod sparkline;
mod table;

use std::fmt::Write as _;

use blueback_gate::api::types::{Moment, Phase, Release, Service, Slot};
use blueback_judge::Rules;
use owo_colors::OwoColorize as _;

pub use blueback_gate::wording::{count, counted, percent, phase, slot, span, state, tally, time, value};
pub use explain::explain;
pub use power::power;
pub use replay::{compared, replayed};
pub use sparkline::sparkline;
pub use table::Table;

/// A slot in its colour.
#[must_use]
pub fn slot_styled(of: Slot) -> String {
    match of {
        Slot::Blue => slot(of).blue().to_string(),
        Slot::Green => slot(of).green().to_string(),
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
