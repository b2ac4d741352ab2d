//! `blueback check`: rules, read back, wherever they are written; and what they can tell of a service's traffic.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use blueback_judge::Rules;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::json;
use crate::args::CheckArgs;
use crate::checked;
use crate::exit::{Exit, Failure};
use crate::power::plan::{Question, answer, pieces};
use crate::power::release::Health;
use crate::{out, render};

/// Rules that were read, and the ReleaseGate they are of, where they are of one.
type Read = (Option<String>, Rules);

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for file in &args.files {
        match check(file) {
            Ok(rules) => read.extend(rules),
            Err(errors) => wrong.extend(errors.into_iter().map(|error| format!("{}: {error}", file.display()))),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Usage(wrong));
    }
    let Some(rps) = args.rps else {
        out::result(&read.iter().map(told).collect::<Vec<_>>().join("\n\n"));
        return Ok(Exit::Passed);
    };
    let [one] = &*read else {
        return Err(Failure::usage(format!("--rps simulates one set of rules; {} were given", read.len())));
    };
    if !args.json {
        out::result(&told(one));
    }
    simulate(args, one.1.clone(), rps)?;
    Ok(Exit::Passed)
}

fn told((gate, rules): &Read) -> String {
    match gate {
        Some(gate) => format!("ReleaseGate {gate}\n{}", render::rules(rules)),
        None => render::rules(rules),
    }
}

fn check(file: &Path) -> Result<Vec<Read>, Vec<String>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let found = checked::read(&text.map_err(|error| vec![error.to_string()])?)?;
    let (mut read, mut wrong) = (Vec::new(), Vec::new());
    for found in found {
        let of = found.gate.as_ref().map(|gate| format!("ReleaseGate {gate}: ")).unwrap_or_default();
        wrong.extend(found.rules.wrong_sources().into_iter().map(|error| format!("{of}{error}")));
        match found.rules.rules() {
            Ok(rules) => read.push((found.gate, rules)),
            Err(errors) => wrong.extend(errors.iter().map(|error| format!("{of}{error}"))),
        }
    }
    if wrong.is_empty() { Ok(read) } else { Err(wrong) }
}

fn simulate(args: &CheckArgs, rules: Rules, rps: f64) -> Result<(), Failure> {
    let question = Question {
        rules,
        rps,
        health: Health { errors: args.error_rate, icc: 0.0, p50_ms: args.latency.p50_ms, p99_ms: args.latency.p99_ms },
        harms: args.harms.clone(),
        runs: args.runs.into(),
        seed: args.seed,
    };
    let bar = ProgressBar::with_draw_target(Some(pieces(&question)), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}").context("the progress bar")?;
    bar.set_style(style);
    let is_plain = !std::io::stderr().is_terminal();
    let last = Mutex::new(String::new());
    let power = answer(&question, &|what| {
        bar.set_message(what.to_owned());
        bar.inc(1);
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if is_plain && *last != what {
            out::story(&format!("simulating {what}"));
            what.clone_into(&mut last);
        }
    });
    bar.finish_and_clear();
    out::result(&if args.json { json(&power)? } else { render::power(&question, &power) });
    Ok(())
}
