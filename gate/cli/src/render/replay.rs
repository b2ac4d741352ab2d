//! A recording that was judged again, as text.

use blueback_gate::replay::{Replayed, Turn};
use owo_colors::OwoColorize as _;

use super::{Table, span, sparkline};

/// Columns of a curve.
const CURVE_COLUMNS: usize = 60;

fn at(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("+{}", span(ms)))
}

fn verdict(word: &str) -> String {
    match word {
        "revert" => word.red().to_string(),
        "pass" => word.green().to_string(),
        "suspect" | "hold" | "inconclusive" => word.yellow().to_string(),
        _ => word.to_owned(),
    }
}

/// By its own rules.
#[must_use]
pub fn replayed(release: &str, told: &str, proven_ms: Option<u64>, replayed: &Replayed, agree: bool) -> String {
    let last = replayed.last();
    let mut turns = Table::new(["AT", "VERDICT", "SHIELD", "WHY"]);
    for turn in &replayed.turns {
        turns.row([at(Some(turn.at_ms)), verdict(turn.verdict), turn.shield.to_owned(), turn.text.clone()]);
    }
    let moment = |word: &str, ms: Option<u64>| match ms {
        Some(ms) => format!("{word} at +{}", span(ms)),
        None => word.to_owned(),
    };
    let agreement = if agree {
        "the same verdict at the same moment".green().to_string()
    } else {
        "NOT the same".red().to_string()
    };
    format!(
        "{release}, {} recorded\n{turns}\n\nthe gate told: {}; the replay: {}: {agreement}",
        span(replayed.ends_ms),
        moment(told, proven_ms),
        moment(last.verdict, replayed.reverted_ms()),
    )
}

/// By its own rules and by others, side by side.
#[must_use]
pub fn compared(release: &str, recorded: &Replayed, other: &Replayed, file: &str, agree: bool) -> String {
    let mut table = Table::new(["", "RECORDED RULES", file]);
    let first = |replayed: &Replayed, is: &dyn Fn(&Turn) -> bool| {
        at(replayed.turns.iter().find(|turn| is(turn)).map(|turn| turn.at_ms))
    };
    let mut row = |name: &str, of: &dyn Fn(&Replayed) -> String| table.row([name.to_owned(), of(recorded), of(other)]);
    row("verdict", &|replayed| verdict(replayed.last().verdict));
    row("since", &|replayed| at(Some(replayed.last().at_ms)));
    row("rule", &|replayed| replayed.last().rule.clone().unwrap_or_else(|| "-".to_owned()));
    row("diverted", &|replayed| first(replayed, &|turn| turn.shield != "open"));
    row("reverted", &|replayed| at(replayed.reverted_ms()));
    row("passed", &|replayed| first(replayed, &|turn| turn.verdict == "pass"));
    let mut rules = Table::new(["LIST", "RULE", "RECORDED RULES", file]);
    let of = |replayed: &Replayed, list: &str, rule: &str| {
        let found = replayed.rules.iter().find(|fired| fired.list == list && fired.rule == rule);
        found.map_or_else(|| "no such rule".to_owned(), |fired| at(fired.at_ms))
    };
    let new =
        other.rules.iter().filter(|rule| !recorded.rules.iter().any(|r| (r.list, &r.rule) == (rule.list, &rule.rule)));
    for rule in recorded.rules.iter().chain(new) {
        let (ours, theirs) = (of(recorded, rule.list, &rule.rule), of(other, rule.list, &rule.rule));
        rules.row([rule.list.to_owned(), rule.rule.clone(), ours, theirs]);
    }
    let curve =
        |shares: &mut dyn Iterator<Item = f64>| sparkline(&shares.map(Some).collect::<Vec<_>>(), 1.0, CURVE_COLUMNS);
    let agreement = if agree { "the verdicts agree".to_owned() } else { "the verdicts differ".yellow().to_string() };
    format!(
        "{release}, {} recorded\n{table}\n\nwhen each rule first held:\n{rules}\n\ngreen's share over time:\n  \
         as it was       {}\n  recorded rules  {}\n  {file:<14}  {}\n\n{agreement}. The traffic is as it was recorded: a share \
         that other rules ask for was not given.",
        span(recorded.ends_ms),
        curve(&mut recorded.shares.iter().map(|share| share.1)),
        curve(&mut recorded.shares.iter().map(|share| share.0)),
        curve(&mut other.shares.iter().map(|share| share.0)),
    )
}
