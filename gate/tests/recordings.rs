//! Recordings as files: judged again to the same verdict, without names to the same verdict, and refused when broken.

use std::sync::Arc;

use blueback_gate::anonymise::anonymise;
use blueback_gate::recording::{Entry, Frame, Recording, encode};
use blueback_gate::recording_file::{self, NoFile};
use blueback_gate::records::ReleaseRecord;
use blueback_gate::replay::replay;
use blueback_gate::{Command, RulesFile};
use blueback_report::{Outcome, Slot};
use proptest::prelude::*;

use crate::world::{World, green_fails};

fn rules() -> RulesFile {
    let revert_when = ["route \"/checkout\" error rate > 5%", "error rate > 5%", "service payroll down for 30s"];
    // What this version cannot judge yet has no place in a rules file.
    let known =
        |words: &String| RulesFile { revert_when: Some(vec![words.clone()]), ..RulesFile::default() }.rules().is_ok();
    let revert_when = revert_when.into_iter().map(str::to_owned).filter(known).collect();
    RulesFile {
        revert_when: Some(revert_when),
        alert_when: Some(vec!["signal carts".to_owned()]),
        signals: Some([("carts".to_owned(), vec![r#"alertname="BabbageCarts""#.to_owned()])].into()),
        ..RulesFile::default()
    }
}

/// A release that is reverted, with names and words that nobody else should see.
fn incident() -> (ReleaseRecord, Recording) {
    let mut world = World::with(rules());
    world.switch(Slot::Green);
    world.run(1_000);
    let why = "Ada Lovelace says that carts of Babbage Ltd are empty".to_owned();
    world.operate(Command::Signal { name: "carts".to_owned(), why }).expect("a release is watched");
    world.fate = |slot, number| {
        if slot == Slot::Green && number % 3 == 0 { Outcome::ServerError } else { Outcome::Ok }
    };
    assert!(world.run_until(30_000, |world| world.story().contains(&"reverted")), "{:#?}", world.release());
    let record = world.releases.values().next().expect("it is stored").clone();
    let frames = world.frames.values().next().expect("it is recorded").clone();
    (record, with_a_route(Recording::from_frames(frames).expect("it has a beginning")))
}

/// Every third frame's requests are of a route with a telling name.
fn with_a_route(mut recording: Recording) -> Recording {
    for Frame { entry, .. } in recording.frames.iter_mut().step_by(3) {
        if let Entry::Growth(growth) = entry {
            let series = std::mem::take(&mut growth.totals.series);
            growth.totals.series = series
                .into_iter()
                .map(|(mut key, latency)| {
                    key.route = Arc::from("/checkout");
                    (key, latency)
                })
                .collect();
        }
    }
    recording
}

fn frames(recording: &Recording) -> Vec<u8> {
    let began = Frame { at_ms: 0, entry: Entry::Began(Box::new(recording.began.clone())) };
    encode(std::iter::once(began).chain(recording.frames.iter().cloned()))
}

fn file() -> Vec<u8> {
    let (record, recording) = incident();
    recording_file::write(&record, &frames(&recording)).expect("a record fits")
}

#[test]
fn the_same_rules_give_the_same_verdict_at_the_same_moment() {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(2_000);
    world.fate = green_fails;
    assert!(world.run_until(20_000, |world| world.story().contains(&"proven")), "{:#?}", world.release());
    let frames = world.frames.values().next().expect("it is recorded").clone();
    let recording = Recording::from_frames(frames).expect("it has a beginning");
    let replayed = replay(&recording, RulesFile::default().rules().expect("they are the defaults"));
    assert_eq!(replayed.reverted_ms(), Some(world.moment("proven").after_ms));
    assert_eq!(replayed.last().text, world.moment("proven").text);
    assert!(replayed.turns.iter().any(|turn| turn.shield == "shielded"), "{:#?}", replayed.turns);
    // Other rules see the same requests and judge otherwise.
    let lenient = RulesFile { revert_when: Some(vec!["signal security".to_owned()]), ..RulesFile::default() };
    let other = replay(&recording, lenient.rules().expect("it is a rule"));
    assert_eq!((other.reverted_ms(), other.last().verdict), (None, "watching"));
    assert_eq!(other.shares.last().map(|share| share.0), Some(1.0), "it would have let everything through");
    assert!(other.shares.iter().any(|share| share.1 < 0.5), "but that is not what was recorded");
}

#[test]
fn a_file_gives_back_what_was_written() {
    let (record, recording) = incident();
    let file = recording_file::write(&record, &frames(&recording)).expect("a record fits");
    assert_eq!(recording_file::read(&file).expect("it was written by us"), (record, recording));
}

#[test]
fn without_names_the_verdict_is_the_same_bit_for_bit() {
    let (record, recording) = incident();
    let (told, new) = anonymise(&record, &recording).expect("its rules can be read");
    let evidence = |recording: &Recording| {
        let judge = recording.replay(recording.began.rules.rules().expect("they were written by us"));
        judge
            .criteria()
            .iter()
            .map(|rule| (rule.ln_e.map(f64::to_bits), rule.green.n, rule.fired_at_ms))
            .collect::<Vec<_>>()
    };
    assert_eq!(evidence(&new), evidence(&recording));
    let rules = |recording: &Recording| recording.began.rules.rules().expect("they were written by us");
    let (before, after) = (replay(&recording, rules(&recording)), replay(&new, rules(&new)));
    assert_eq!(after.reverted_ms(), before.reverted_ms());
    assert!(after.reverted_ms().is_some());
    assert_eq!(after.shares, before.shares);
    // And nothing is left that tells who it was.
    let bytes = recording_file::write(&told, &frames(&new)).expect("a record fits");
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    for name in ["shop", "checkout", "green-0", "blue-1", "front/1", "lovelace", "babbage", "payroll", "\"ann\""] {
        assert!(!text.contains(name), "{name} is still in it");
    }
    assert!(text.contains("service-1") && text.contains("route-1") && text.contains("pod-1"), "names have new names");
    // Twice is no more than once.
    assert_eq!(anonymise(&told, &new).expect("it is a recording"), (told, new));
}

#[test]
fn what_is_no_recording_is_said_to_be_none() {
    let file = file();
    let wrong = |bytes: &[u8]| recording_file::parts(bytes).expect_err("it is broken");
    assert_eq!(wrong(b""), NoFile::Other);
    assert_eq!(wrong(b"revertWhen: []\n"), NoFile::Other);
    assert_eq!(wrong(&file[..20]), NoFile::CutOff(12));
    assert_eq!(wrong(&file[..file.len() - 7]), NoFile::CutOff(7));
    assert_eq!(wrong(&[&file[..], b"more"].concat()), NoFile::TooLong(4));
    let mut newer = file.clone();
    newer[8] = 9;
    assert_eq!(wrong(&newer), NoFile::Version(9));
    assert!(
        NoFile::Version(9).to_string().contains("version 9")
            && NoFile::Version(9).to_string().contains("reads version 1")
    );
    let mut damaged = file.clone();
    let middle = file.len() / 2;
    damaged[middle] ^= 0x10;
    assert_eq!(wrong(&damaged), NoFile::Damaged);
    // A transfer that takes it for text breaks its first line.
    let as_text: Vec<u8> = file.iter().copied().filter(|&byte| byte != b'\r').collect();
    assert_eq!(wrong(&as_text), NoFile::Other);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(recording_file::read(&bytes).is_err());
        // Frames without a file around them, as the store has them.
        drop(Recording::decode(&bytes));
    }

    #[test]
    fn any_damage_is_refused(at in 0.0..1.0_f64, bit in 0_u8..8, cut in 0.0..1.0_f64) {
        thread_local!(static FILE: Vec<u8> = file());
        FILE.with(|file| -> Result<(), TestCaseError> {
            let mut damaged = file.clone();
            damaged[(at * file.len() as f64) as usize] ^= 1 << bit;
            prop_assert!(recording_file::read(&damaged).is_err());
            let cut = &file[..(cut * file.len() as f64) as usize];
            prop_assert!(recording_file::read(cut).is_err());
            // What the sum does not guard must not break the reader either.
            let (_, frames) = recording_file::parts(file).expect("it is whole");
            let mut frames = frames.to_vec();
            let place = (at * frames.len() as f64) as usize;
            frames[place] ^= 1 << bit;
            drop(Recording::decode(&frames));
            Ok(())
        })?;
    }
}
