//! The proof as a page: tables, and beside each number the bound or the published value it stands against.

use std::fmt::Write as _;

use blueback::power::alone::Manner;
use blueback::power::release::Harm;

use super::boundary::LEVELS;
use super::delays::{Delay, Spread};
use super::{Count, Proof};

/// Published medians (reference implementation): shield, durable with shield (seconds), failed requests with shield; in
/// the order of [`super::delays::cells`].
const PUBLISHED: [(f64, f64, f64); 36] = [
    (0.55, 5.25, 17.0),
    (0.55, 5.05, 16.0),
    (1.05, 10.0, 16.0),
    (1.0, 7.65, 14.0),
    (2.35, 15.0, 12.0),
    (2.65, 19.0, 14.0),
    (4.75, 22.0, 10.0),
    (7.55, 34.0, 15.0),
    (7.75, 32.0, 10.0),
    (15.0, 48.0, 17.0),
    (2.85, 17.0, 14.0),
    (4.1, 20.0, 17.0),
    (0.25, 1.25, 32.0),
    (0.25, 4.05, 57.0),
    (0.25, 1.5, 18.0),
    (0.25, 4.5, 33.0),
    (0.35, 2.75, 12.0),
    (0.5, 6.75, 22.0),
    (0.55, 6.0, 12.0),
    (1.0, 12.0, 22.0),
    (1.05, 11.0, 13.0),
    (2.0, 21.0, 24.0),
    (0.95, 4.25, 26.0),
    (1.05, 8.25, 35.0),
    (0.25, 1.25, 212.0),
    (0.25, 4.0, 229.0),
    (0.25, 1.5, 108.0),
    (0.25, 4.65, 111.0),
    (0.25, 3.0, 47.0),
    (0.25, 7.25, 49.0),
    (0.25, 7.0, 28.0),
    (0.25, 14.0, 37.0),
    (0.25, 14.0, 22.0),
    (0.35, 24.0, 34.0),
    (0.75, 4.75, 149.0),
    (0.75, 8.85, 152.0),
];

/// The whole page. `command` made it.
#[must_use]
pub fn page(proof: &Proof, command: &str) -> String {
    let mut page = String::new();
    head(&mut page, proof, command);
    promises(&mut page, proof);
    false_reverts(&mut page, proof);
    boundary(&mut page, proof);
    half_hours(&mut page, proof);
    delays(&mut page, proof);
    pollers(&mut page, proof);
    shields(&mut page, proof);
    shared(&mut page, proof);
    page
}

macro_rules! say {
    ($page:expr $(, $($text:tt)*)?) => {
        writeln!($page $(, $($text)*)?).expect("a String takes everything")
    };
}

fn head(page: &mut String, proof: &Proof, command: &str) {
    let size = &proof.size;
    say!(page, "# Proof");
    say!(page);
    say!(page, "What the judge promises, measured by running it on simulated traffic. Made by");
    say!(page);
    say!(page, "```sh\n{command}\n```");
    say!(page);
    say!(
        page,
        "with seed {}; the same seed gives the same page on any machine, whatever its number of cores.",
        super::SEED
    );
    say!(
        page,
        "Per cell: {} healthy days by the tests alone, {} days exactly at the limit, {} healthy half hours and {} healthy",
        size.releases,
        size.at_limit,
        size.half_hours,
        size.days
    );
    say!(
        page,
        "days under a whole judge, {} runs for each delay, {} for each fault of both sides.",
        size.delays,
        size.shared
    );
    say!(page);
    say!(
        page,
        "*Whole judge*: every default rule, blame, shield; a front agent that reports each 100 ms and follows a command after"
    );
    say!(
        page,
        "50 ms. *Tests alone*: each proven rule's own test on the same blocks, by the code that the judge calls, without blame and"
    );
    say!(
        page,
        "shield. Blame can only take false alarms away, and a whole judge for ten thousand days at three rates would take weeks."
    );
    say!(
        page,
        "Intervals are Clopper and Pearson's, 95 %. A promise counts as broken when so many would be seen with a probability"
    );
    say!(page, "below 1 in 10,000,000 if it were kept.");
    say!(page);
}

fn promises(page: &mut String, proof: &Proof) {
    let promises = proof.promises();
    let broken = promises.iter().filter(|promise| promise.is_broken()).count();
    say!(page, "## Promises");
    say!(page);
    say!(page, "{} promises, {} broken.", promises.len(), broken);
    say!(page);
    say!(page, "| promise | bound | measured | 95 % interval | verdict |");
    say!(page, "|---|---|---|---|---|");
    for promise in &promises {
        let verdict = if promise.is_broken() { "**broken**" } else { "kept" };
        say!(
            page,
            "| {} | {} | {} | {} | {verdict} |",
            promise.what,
            percent(promise.bound),
            counted(promise.count),
            open(promise.count)
        );
    }
    say!(page);
}

fn false_reverts(page: &mut String, proof: &Proof) {
    say!(page, "## Healthy releases of 24 hours");
    say!(page);
    say!(
        page,
        "0.1 % of the requests fail, 0.2 % take longer than 500 ms. Releases in which a proven default rule fired, by the tests"
    );
    say!(
        page,
        "alone. Bursts break what the bound supposes (in each block the mean share of bad requests is below the limit), so"
    );
    say!(
        page,
        "there is no promise for them; the published reference has 1.6 to 2.0 % with its four criteria at 1 in 5,000 each."
    );
    say!(page);
    say!(page, "![False reverts with their intervals, against the budget of 1 in 1,000](proof/false-reverts.svg)");
    say!(page);
    say!(page, "| traffic | requests/s | reverted | 95 % interval | by rule |");
    say!(page, "|---|---|---|---|---|");
    for cell in &proof.false_reverts {
        let rules: Vec<_> = cell.rules.iter().map(|(words, _, seen)| format!("{words}: {seen}")).collect();
        say!(
            page,
            "| {} | {} | {} | {} | {} |",
            cell.cell.words(),
            number(cell.cell.rps),
            counted(cell.any),
            open(cell.any),
            rules.join(", ")
        );
    }
    say!(page);
}

fn boundary(page: &mut String, proof: &Proof) {
    say!(page, "## Exactly at the limit");
    say!(page);
    say!(
        page,
        "The mean share of bad requests is the limit itself: the worst case that is still no reason to revert, where the bound"
    );
    say!(
        page,
        "is nearly attained. Evidence E may reach 1/α in at most the part α of the streams, however often it is looked at."
    );
    say!(page, "Published: 7.0 %, 0.77 %, 0.09 % over 21,000 streams at 100 requests a second.");
    say!(page);
    say!(page, "![Share of streams in which the evidence came to a level, against the bound](proof/at-the-limit.svg)");
    say!(page);
    say!(page, "| limit and rate | E ≥ 10 (bound 10 %) | E ≥ 100 (1 %) | E ≥ 1,000 (0.1 %) | fired at 1 in 5,000 |");
    say!(page, "|---|---|---|---|---|");
    for cell in &proof.boundary {
        let [ten, hundred, thousand] =
            cell.reached.map(|count| format!("{} ({})", percent(count.share()), open(count)));
        say!(page, "| {} | {ten} | {hundred} | {thousand} | {} |", cell.words(), counted(cell.fired));
    }
    let pooled = |level: usize| {
        let independent = proof.boundary.iter().filter(|cell| cell.cell.manner == Manner::Independent);
        independent.fold(Count::default(), |sum, cell| Count {
            seen: sum.seen + cell.reached[level].seen,
            of: sum.of + cell.reached[level].of,
        })
    };
    let all: Vec<_> = (0..LEVELS.len())
        .map(|level| format!("{} ({})", percent(pooled(level).share()), open(pooled(level))))
        .collect();
    say!(page, "| *all with independent requests* | {} | |", all.join(" | "));
    say!(page);
}

fn half_hours(page: &mut String, proof: &Proof) {
    say!(page, "## Healthy half hours under a whole judge");
    say!(page);
    say!(page, "Bursts are on green only, so blue is seen healthy and does not excuse them.");
    say!(page);
    say!(page, "| traffic | requests/s | reverted | 95 % interval | diverted for a while |");
    say!(page, "|---|---|---|---|---|");
    for cell in &proof.half_hours {
        say!(
            page,
            "| {} | {} | {} | {} | {} |",
            cell.cell.words(),
            number(cell.cell.rps),
            counted(cell.reverts),
            open(cell.reverts),
            counted(cell.diverted)
        );
    }
    say!(page);
}

fn delays(page: &mut String, proof: &Proof) {
    say!(page, "## How soon harm is found");
    say!(page);
    say!(
        page,
        "Seconds after the harm began, median (95 %). *Diverted*, *reverted* and *failed*: whole judge with its shield, blue idle and"
    );
    say!(
        page,
        "healthy; in square brackets the published median of the reference. *Alone*: the tests on all of the traffic, without a"
    );
    say!(
        page,
        "shield, for `error rate > 5%` (or `latency p99 > 500ms`) and for the limit of 0.5 % that a healthy blue gives. *Least*: no test"
    );
    say!(
        page,
        "with a false alarm in 1,000 can decide on fewer requests (ln 1000 / KL), against 5 % and against the 0.1 % of before."
    );
    say!(page, "`-`: not within 15 minutes.");
    say!(page);
    say!(page, "![Time to the revert at 100 requests a second, beside the tests alone and pollers](proof/delays.svg)");
    say!(page);
    say!(
        page,
        "| requests/s | harm | begins | diverted | reverted | failed requests | alone, 5 % | alone, 0.5 % | least, 5 % / 0.1 % |"
    );
    say!(page, "|---|---|---|---|---|---|---|---|---|");
    for (index, cell) in proof.delays.iter().enumerate() {
        let (shield, durable, failed) = PUBLISHED[index];
        let least = cell.least.map_or_else(String::new, |(limit, before)| {
            let of = |requests: f64| format!("{} s", digits((requests / cell.cell.rps) * 1_000.0));
            format!("{} / {}", of(limit), of(before))
        });
        say!(
            page,
            "| {} | {} | {} | {} [{shield}] | {} [{durable}] | {} [{failed}] | {} | {} | {least} |",
            number(cell.cell.rps),
            harm(cell),
            begins(cell),
            seconds(&cell.shield),
            seconds(&cell.durable),
            plain(&cell.failed),
            seconds(&cell.alone),
            cell.reference.map_or_else(String::new, |spread| seconds(&spread)),
        );
    }
    say!(page);
    say!(page, "{}", departures(proof));
    say!(page);
}

/// Where our numbers are not those of the reference.
fn departures(proof: &Proof) -> String {
    let (mut slower, mut quicker, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for (cell, (_, durable, failed)) in proof.delays.iter().zip(PUBLISHED) {
        let Some(ours) = cell.durable.p50.map(|ms| ms as f64 / 1_000.0) else { continue };
        let words = format!(
            "{} at {} rps, {}: {} s for {durable} s",
            harm(cell),
            number(cell.cell.rps),
            begins(cell),
            digits(ours * 1_000.0)
        );
        let lost = cell.failed.p50.unwrap_or(0);
        if lost as f64 > failed * 1.2 + 2.0 {
            more.push(format!(
                "{} at {} rps, {}: {lost} for {failed}",
                harm(cell),
                number(cell.cell.rps),
                begins(cell)
            ));
        }
        if ours > durable * 1.2 + 0.3 {
            slower.push(words);
        } else if ours < durable / 1.2 - 0.3 {
            quicker.push(words);
        }
    }
    let list = |what: &str, cells: &[String]| match cells {
        [] => format!("- {what}: none."),
        cells => format!("- {what}: {}.", cells.join("; ")),
    };
    format!(
        "Where this is not what the reference has, by more than a fifth. Its latency rules do not wait for a warm-up; the judge's\n\
         count from three seconds after the switch. Here harm begins just after a report, so two whole reports pass before the\n\
         shield can rise.\n\n{}\n{}\n{}",
        list("reverted later", &slower),
        list("reverted sooner", &quicker),
        list("more failed requests", &more)
    )
}

fn pollers(page: &mut String, proof: &Proof) {
    say!(page, "## Beside those who poll");
    say!(page);
    say!(
        page,
        "The same errors seen by pollers: a scrape every 15 s with a random phase, the ratio over the last minute, a limit of 5 %,"
    );
    say!(
        page,
        "no delay of queries and controllers. Seconds until the revert, median (95 %); failed requests, median."
    );
    say!(page);
    let Some(first) = proof.delays.iter().find(|cell| !cell.pollers.is_empty()) else { return };
    let heads: Vec<_> = first.pollers.iter().map(|(poller, _, _)| poller.words()).collect();
    say!(page, "| requests/s | harm | begins | Blueback | {} |", heads.join(" | "));
    say!(page, "|---|---|---|---|{}", "---|".repeat(heads.len()));
    for cell in proof.delays.iter().filter(|cell| !cell.pollers.is_empty()) {
        let ours = format!("{}; {}", seconds(&cell.durable), median(&cell.failed));
        let theirs: Vec<_> =
            cell.pollers.iter().map(|(_, at, failed)| format!("{}; {}", seconds(at), median(failed))).collect();
        say!(
            page,
            "| {} | {} | {} | **{ours}** | {} |",
            number(cell.cell.rps),
            harm(cell),
            begins(cell),
            theirs.join(" | ")
        );
    }
    say!(page);
}

fn shields(page: &mut String, proof: &Proof) {
    say!(page, "## False shields in 24 hours");
    say!(page);
    if proof.shields.is_empty() {
        say!(page, "Not measured in this size.");
        say!(page);
        return;
    }
    say!(
        page,
        "A false shield diverts for seconds and is undone. Published: 0 with independent requests, 3.2 / 4.3 / 4.3 a day with bursts"
    );
    say!(
        page,
        "on green, 0 / 1.2 / 2.0 with correlation (ICC 0.05) and without the calibration on blue, which the judge has."
    );
    say!(page);
    say!(page, "| traffic | requests/s | shields a day | seconds a day | held for a person | reverted |");
    say!(page, "|---|---|---|---|---|---|");
    for cell in &proof.shields {
        say!(
            page,
            "| {} | {} | {:.2} | {:.0} | {} | {} |",
            cell.cell.words(),
            number(cell.cell.rps),
            cell.a_day,
            cell.seconds,
            counted(cell.held),
            counted(cell.reverts)
        );
    }
    say!(page);
}

fn shared(page: &mut String, proof: &Proof) {
    say!(page, "## Faults of both sides");
    say!(page);
    say!(
        page,
        "Both sides fail from the same moment; five minutes are watched. Blaming green is promised in at most 1 %. Published: 0 of"
    );
    say!(
        page,
        "4,000 at 100 and 1,000 requests a second, 1 of 2,000 at 10; told shared after 0.4 to 0.75 s, at 10 after 0.9 to 5.1 s."
    );
    say!(page);
    say!(page, "| requests/s | fails | begins | reverted | told to be shared |");
    say!(page, "|---|---|---|---|---|");
    for cell in &proof.shared {
        let told = cell.told_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} s", digits(ms as f64)));
        say!(
            page,
            "| {} | {:.0} % | {} s | {} | {told} |",
            number(cell.cell.rps),
            cell.cell.share * 100.0,
            cell.cell.start_ms / 1_000,
            counted(cell.reverts)
        );
    }
}

fn harm(cell: &Delay) -> String {
    match cell.cell.harm {
        Harm::Errors(share) => format!("{:.0} % errors", share * 100.0),
        Harm::Slow(share) => format!("{:.0} % slow", share * 100.0),
    }
}

fn begins(cell: &Delay) -> &'static str {
    if cell.cell.start_ms == 0 { "at the switch" } else { "10 min in" }
}

/// With thousands set apart.
fn number(number: f64) -> String {
    if number >= 1_000_000.0 {
        let rest = number as u64 % 1_000_000;
        return format!("{},{:03},{:03}", (number / 1e6) as u64, rest / 1_000, rest % 1_000);
    }
    if number >= 1_000.0 {
        format!("{},{:03}", (number / 1e3) as u64, number as u64 % 1_000)
    } else {
        format!("{number}")
    }
}

/// Milliseconds as seconds, with as many digits as tell something.
fn digits(ms: f64) -> String {
    match ms / 1_000.0 {
        s if s < 0.095 => format!("{s:.3}"),
        s if s < 10.0 => format!("{s:.2}"),
        s if s < 100.0 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

fn seconds(spread: &Spread) -> String {
    let one = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| digits(ms as f64));
    if spread.p50 == spread.p95 { one(spread.p50) } else { format!("{} ({})", one(spread.p50), one(spread.p95)) }
}

fn plain(spread: &Spread) -> String {
    let one = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    if spread.p50 == spread.p95 { one(spread.p50) } else { format!("{} ({})", one(spread.p50), one(spread.p95)) }
}

fn median(spread: &Spread) -> String {
    spread.p50.map_or_else(|| "-".to_owned(), |count| number(count as f64))
}

fn counted(count: Count) -> String {
    format!("{} of {}", count.seen, number(count.of as f64))
}

/// The interval that the count leaves open.
fn open(count: Count) -> String {
    let (low, high) = count.interval();
    format!("{} – {}", percent(low), percent(high))
}

/// With two significant digits.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        p if p < 0.1 => format!("{p:.3} %"),
        p if p < 10.0 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}
