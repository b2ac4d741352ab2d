//! `blueback replay`: a recording, judged again.

use std::path::Path;

use blueback_gate::RulesFile;
use blueback_gate::recording::Recording;
use blueback_gate::recording_file::{self, FILE_BYTES_MAX};
use blueback_gate::records::ReleaseRecord;
use blueback_gate::replay::{Replayed, replay};
use serde::Serialize;

use super::json;
use crate::args::ReplayArgs;
use crate::exit::{Exit, Failure};
use crate::{out, render};

/// The gate looks at its judge so often; what it told may be so much later.
const LOOK_MS: u64 = 50;

/// All of it as JSON.
#[derive(Debug, Serialize)]
struct Story<'a> {
    release: &'a str,
    /// What the gate told: its verdict, and when it was proven.
    told: Told,
    /// By the recorded rules.
    recorded: &'a Replayed,
    /// By the rules of `--rules`.
    other: Option<&'a Replayed>,
    agree: bool,
}

/// What a gate told of a release.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Told {
    /// The judge's last verdict in one word.
    pub verdict: String,
    /// When harm was proven, in milliseconds since the switch.
    pub proven_ms: Option<u64>,
    /// A person decided.
    pub by_hand: bool,
}

impl Told {
    fn of(record: &ReleaseRecord) -> Self {
        let release = &record.release;
        let proven = release.timeline.iter().find(|moment| moment.what == "proven");
        let proven_ms = proven.map(|moment| moment.after_ms);
        let verdict = release.verdict.verdict.clone();
        Self { by_hand: verdict == "revert" && proven_ms.is_none(), verdict, proven_ms }
    }

    /// The replay says the same at the same moment.
    fn agrees(&self, replayed: &Replayed) -> bool {
        match (self.proven_ms, replayed.reverted_ms()) {
            (Some(told), Some(replayed)) => told.abs_diff(replayed) <= LOOK_MS,
            (None, None) => self.by_hand || self.verdict == replayed.last().verdict,
            _ => false,
        }
    }
}

/// Reads a recording.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, ReleaseRecord, Recording), Failure> {
    let told = path.display();
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{told}: {error}"));
    let length = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(&format!("{length} bytes; accepted: recordings up to {FILE_BYTES_MAX}")));
    }
    let file = std::fs::read(path).map_err(|error| wrong(&error))?;
    let (record, recording) = recording_file::read(&file).map_err(|error| wrong(&format!("{error:#}")))?;
    Ok((file, record, recording))
}

pub(super) fn run(args: &ReplayArgs) -> Result<Exit, Failure> {
    let (_, record, recording) = read(&args.recording)?;
    let other = match &args.rules {
        Some(file) => Some(RulesFile::read(file).map_err(|error| Failure::usage(format!("{error:#}")))?),
        None => None,
    };
    let rules_of = |file: &RulesFile, whose: &str| {
        file.rules().map_err(|errors| Failure::Usage(errors.iter().map(|error| format!("{whose}: {error}")).collect()))
    };
    let recorded = replay(&recording, rules_of(&recording.began.rules, "the recording's rules")?);
    let other = match &other {
        Some(file) => Some(replay(&recording, rules_of(file, "--rules")?)),
        None => None,
    };
    let told = Told::of(&record);
    let agree = match &other {
        Some(other) => recorded.last().verdict == other.last().verdict,
        None => told.agrees(&recorded),
    };
    let release = record.release.id.as_str();
    if args.json {
        out::result(&json(&Story { release, told, recorded: &recorded, other: other.as_ref(), agree })?);
    } else if let (Some(other), Some(file)) = (&other, &args.rules) {
        out::result(&render::compared(release, &recorded, other, &file.display().to_string(), agree));
    } else {
        out::result(&render::replayed(release, &told.verdict, told.proven_ms, &recorded, agree));
    }
    Ok(if agree { Exit::Passed } else { Exit::Differs })
}
