//! `blueback signal`: something happened that no request can show, or tests came to a result.

use std::path::PathBuf;

use blueback_gate::api::types::SignalRequest;

use super::{failed, find_service, json};
use crate::args::SignalArgs;
use crate::ci::tests_told::{FILE_BYTES_MAX, Told, read};
use crate::exit::{Exit, Failure};
use crate::out;

/// Longest reason that the gate takes, in bytes.
const WHY_BYTES_MAX: usize = 1_000;

pub(super) async fn run(args: SignalArgs) -> Result<Exit, Failure> {
    let told = tests(&args.junit)?;
    let passed = match &told {
        Some(told) => Some(told.failed.is_empty()),
        None if args.passed || args.failed => Some(args.passed),
        None => None,
    };
    let signal = match passed {
        Some(true) => format!("{}-passed", args.signal),
        Some(false) => format!("{}-failed", args.signal),
        None => args.signal,
    };
    let why = args.why.into_iter().chain(told.map(|told| told.text())).collect::<Vec<_>>().join(": ");
    let gate = args.gate.client()?;
    let service = find_service(&gate, args.name.as_deref()).await?;
    let request = SignalRequest { name: signal.clone(), why: Some(shortened(why)), by: Some(args.by.by) };
    let release = gate.signal(&service.name, &request).await.map_err(failed)?;
    if args.json {
        out::result(&json(&release)?);
    } else {
        out::result(&format!("{} heard {signal}", release.id));
    }
    Ok(Exit::Passed)
}

/// What the tests came to, in all files together.
fn tests(files: &[PathBuf]) -> Result<Option<Told>, Failure> {
    let (mut all, mut wrong) = (None::<Told>, Vec::new());
    for file in files {
        let told = std::fs::metadata(file).map_err(|error| error.to_string()).and_then(|about| {
            if about.len() > FILE_BYTES_MAX as u64 {
                return Err(format!("{} bytes; up to {FILE_BYTES_MAX} are accepted", about.len()));
            }
            read(&std::fs::read_to_string(file).map_err(|error| error.to_string())?)
        });
        match told {
            Ok(told) => all = Some(all.take().unwrap_or_default().and(told)),
            Err(error) => wrong.push(format!("--junit {}: {error}", file.display())),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(Failure::Usage(wrong)) }
}

fn shortened(mut why: String) -> String {
    if why.len() > WHY_BYTES_MAX {
        let room = WHY_BYTES_MAX - '…'.len_utf8();
        let end = (0..=room).rev().find(|end| why.is_char_boundary(*end)).unwrap_or_default();
        why.truncate(end);
        why.push('…');
    }
    why
}
