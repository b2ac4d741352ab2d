//! What rules can tell of a service's traffic, in tables.

use super::{Table, count, percent};
use crate::power::plan::{FalseAlarms, Power, Question, RulePower, WITHIN_MS};

/// All of it.
#[must_use]
pub fn power(question: &Question, power: &Power) -> String {
    let health = &question.health;
    let mut text = format!(
        "\nSimulated: {} requests a second; while nothing is wrong {} fail, half take {} ms, one in a hundred {} ms.\n\
         {} releases for each number, seed {}.\n\n",
        question.rps,
        percent(health.errors),
        health.p50_ms,
        health.p99_ms,
        count(question.runs),
        question.seed
    );
    text.push_str("Smallest share of bad requests that is found in time, in at least 95% of the releases:\n");
    text.push_str(&smallest(power).to_string());
    text.push_str("\n\nHow long it takes from when the harm begins, median (95%):\n");
    text.push_str(&delays(power).to_string());
    text.push_str("\n\nHow often a rule is wrong about a healthy release:\n");
    text.push_str(&wrong(power).to_string());
    let healthy = &power.healthy;
    text.push_str(&format!(
        "\n\nA healthy release under all rules: {} within {}{}; diverted for a while in {}.",
        match healthy.pass_ms {
            Some(ms) => format!("passes after {} (95%: {})", seconds(Some(ms)), seconds(healthy.pass_ms_p95)),
            None => format!("{} pass", percent(healthy.passed)),
        },
        seconds(Some(healthy.reverts.watched_ms)),
        match healthy.reverts.seen {
            0 => String::new(),
            seen => format!("; {seen} of {} were reverted", count(healthy.reverts.releases)),
        },
        alarms(&healthy.diverted)
    ));
    text
}

fn smallest(power: &Power) -> Table {
    let mut table = Table::new(["RULE", "BAD", "WITHIN 10 s", "WITHIN 1 min", "WITHIN 5 min"]);
    for rule in &power.rules {
        let share = |place: usize| {
            let found = rule.smallest.get(place).map(|smallest| smallest.share);
            found.map_or_else(|| "-".to_owned(), |share| share.map_or_else(|| "nothing".to_owned(), percent))
        };
        debug_assert_eq!(WITHIN_MS.len(), 3, "one column a time");
        table.row([words(rule), bad(rule), share(0), share(1), share(2)]);
    }
    table
}

fn delays(power: &Power) -> Table {
    let mut table = Table::new(["RULE", "HARM", "BEGINS", "DIVERTED", "ACTS", "BAD REQUESTS"]);
    for rule in &power.rules {
        for delay in &rule.delays {
            table.row([
                words(rule),
                format!("{} {}", percent(delay.share), bad(rule)),
                if delay.start_ms == 0 {
                    "at the switch".to_owned()
                } else {
                    format!("{} in", seconds(Some(delay.start_ms)))
                },
                seconds(delay.diverted_ms),
                match delay.acts_ms {
                    Some(_) => format!("{} ({})", seconds(delay.acts_ms), seconds(delay.acts_ms_p95)),
                    None => "never".to_owned(),
                },
                delay.failed.map_or_else(|| "-".to_owned(), count),
            ]);
        }
    }
    table
}

fn wrong(power: &Power) -> Table {
    let mut table = Table::new(["RULE", "WRONG", "BELOW (95% SURE)", "PROMISED"]);
    for rule in &power.rules {
        let row = match (&rule.false_alarms, &rule.note) {
            (Some(seen), _) => [
                words(rule),
                format!("{} of {} releases of {}", seen.seen, count(seen.releases), length(seen.watched_ms)),
                percent(seen.below),
                seen.promised.map_or_else(
                    || "-".to_owned(),
                    |promised| format!("1 in {}", count((1.0 / promised).round() as u64)),
                ),
            ],
            (None, note) => [words(rule), note.clone().unwrap_or_default(), "-".to_owned(), "-".to_owned()],
        };
        table.row(row);
    }
    table
}

fn alarms(alarms: &FalseAlarms) -> String {
    format!("{} of {}", alarms.seen, count(alarms.releases))
}

fn words(rule: &RulePower) -> String {
    if rule.list == "alert" { format!("(alert) {}", rule.rule) } else { rule.rule.clone() }
}

fn bad(rule: &RulePower) -> String {
    match rule.harm {
        Some("errors") => "failing".to_owned(),
        Some(_) => "too slow".to_owned(),
        None => "-".to_owned(),
    }
}

fn length(ms: u64) -> String {
    if ms >= 3_600_000 { format!("{} h", ms / 3_600_000) } else { format!("{} min", ms / 60_000) }
}

/// Short, as columns are many: `0.2 s`, `4.5 s`, `5 m 03 s`.
fn seconds(ms: Option<u64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        Some(ms) if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        Some(ms) => format!("{} m {:02} s", ms / 60_000, ms / 1_000 % 60),
    }
}
