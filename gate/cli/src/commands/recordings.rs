//! `blueback recordings`: what judges saw, from gate to file and from file to store.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use blueback_gate::anonymise::anonymise;
use blueback_gate::recording::{Entry, Frame, Recording, encode};
use blueback_gate::recording_file;
use blueback_gate::store::{Batch, FILE, RedbStore, Store};

use super::{failed, replay};
use crate::args::{ExportArgs, ImportArgs, RecordingsArgs, RecordingsVerb};
use crate::exit::{Exit, Failure};
use crate::out;

pub(super) async fn run(args: RecordingsArgs) -> Result<Exit, Failure> {
    match args.verb {
        RecordingsVerb::Export(args) => export(&args).await,
        RecordingsVerb::Import(args) => import(&args),
    }
}

async fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let file = match &args.store {
        Some(folder) => from_store(folder, &args.release)?,
        None => args.gate.client()?.recording(&args.release).await.map_err(failed)?.to_vec(),
    };
    // Read it in any case: a file that cannot be replayed is found out now and not in an incident.
    let (record, recording) = recording_file::read(&file).context("what was exported")?;
    let file = if args.anonymise {
        let (record, recording) = anonymise(&record, &recording)?;
        recording_file::write(&record, &frames(recording))?
    } else {
        file
    };
    let told = args.output.display();
    let written = OpenOptions::new().write(true).create_new(true).open(&args.output);
    let mut output = written.map_err(|error| Failure::usage(format!("--output: {told}: {error}")))?;
    output.write_all(&file).with_context(|| told.to_string())?;
    out::story(&format!("{} bytes written to {told}; `blueback replay {told}` judges it again", file.len()));
    Ok(Exit::Passed)
}

fn frames(recording: Recording) -> Vec<u8> {
    let Recording { began, frames } = recording;
    encode(std::iter::once(Frame { at_ms: 0, entry: Entry::Began(Box::new(began)) }).chain(frames))
}

fn from_store(folder: &Path, release: &str) -> Result<Vec<u8>, Failure> {
    if !folder.join(FILE).is_file() {
        return Err(Failure::usage(format!(
            "--store: {} holds no store; accepted: the folder of a gate's --store",
            folder.display()
        )));
    }
    let found = RedbStore::open(folder)?.recording_file(release)?;
    found.ok_or_else(|| Failure::usage(format!("RELEASE: the store knows no recording of '{release}'")))
}

fn import(args: &ImportArgs) -> Result<Exit, Failure> {
    let (file, mut record, recording) = replay::read(&args.file)?;
    let (_, frames) = recording_file::parts(&file).context("it was read a moment ago")?;
    let store = RedbStore::open(&args.store)?;
    let id: Arc<str> = record.release.id.as_str().into();
    if store.release(&id)?.is_some() {
        return Err(Failure::usage(format!("FILE: the store has a release '{id}' already")));
    }
    // What is imported is over: a gate must not take it for one that it has to go on with.
    let lasted_ms = recording.frames.last().map_or(0, |frame| frame.at_ms);
    let ended_ms = record.release.started_ms.saturating_add(lasted_ms);
    record.release.ended_ms.get_or_insert(ended_ms);
    let batch =
        Batch { releases: vec![record], recordings: vec![(Arc::clone(&id), frames.to_vec())], ..Batch::default() };
    if store.commit(&batch)? > 0 {
        return Err(Failure::Failed(anyhow::anyhow!("the store has no room for the recording of '{id}'")));
    }
    out::story(&format!("release {id} is in the store {}", args.store.display()));
    Ok(Exit::Passed)
}
