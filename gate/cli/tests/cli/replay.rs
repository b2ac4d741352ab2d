//! `recordings` and `replay`: from a store to a file, judged again, without names, and back into a store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use blueback_gate::RulesFile;
use blueback_gate::api::types::{Measured, Moment, Phase};
use blueback_gate::recording::{Began, Entry, Frame, Growth, Recording, encode};
use blueback_gate::records::{ReleaseRecord, Vantage};
use blueback_gate::replay::replay;
use blueback_gate::store::{Batch, RedbStore, Store as _};
use blueback_judge::PodState;
use blueback_report::{Age, Outcome, Protocol, Role, SeriesKey, Slot, Totals};

use crate::{blueback, gate};

/// A folder that is gone with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("blueback-replay-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is room");
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is plain").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It may be gone already.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Ten seconds in which all of green fails from the third one on.
fn frames() -> Vec<Frame> {
    let pod = |slot: Slot| PodState { slot, pod: format!("secret-{slot}").into(), ready: true };
    let began = Began {
        release: "shop-1".to_owned(),
        service: "shop".to_owned(),
        candidate: Slot::Green,
        target_share: 1.0,
        started_ms: 1_795_472_369_000,
        rules: RulesFile::default(),
        vantage: Vantage::Front,
        pods: vec![pod(Slot::Blue), pod(Slot::Green)],
        history: Vec::new(),
    };
    let mut frames = vec![Frame { at_ms: 0, entry: Entry::Began(Box::new(began)) }];
    frames.push(Frame { at_ms: 0, entry: Entry::Share { epoch: 1, candidate_share: 1.0 } });
    for step in 1..=100 {
        let at_ms = step * 100;
        let outcome = if at_ms > 3_000 { Outcome::ServerError } else { Outcome::Ok };
        let mut totals = Totals::default();
        let key = SeriesKey {
            slot: Slot::Green,
            pod: Arc::from("secret-green"),
            route: Arc::from(""),
            protocol: Protocol::Http1,
            age: Age::Current,
            outcome,
        };
        totals.series.entry(key).or_default().last_byte.record_n(2_000, 10);
        let growth =
            Growth { agent: 1, role: Role::Front, epoch: 1, agent_ms: at_ms, totals, in_flight: BTreeMap::new() };
        frames.push(Frame { at_ms, entry: Entry::Growth(Box::new(growth)) });
        frames.push(Frame { at_ms, entry: Entry::Deliberated });
    }
    frames
}

/// What its gate told.
fn record(frames: &[Frame]) -> ReleaseRecord {
    let recording = Recording::from_frames(frames.to_vec()).expect("it has a beginning");
    let replayed = replay(&recording, RulesFile::default().rules().expect("they are the defaults"));
    let after_ms = replayed.reverted_ms().expect("an outage is reverted");
    let mut release = gate::release(Phase::Reverted, 0, "all of it failed");
    release.ended_ms = Some(release.started_ms + 10_000);
    let at_ms = release.started_ms + after_ms;
    let measured = Some(Measured { rule: "route \"/secret\" error rate > 5%".to_owned(), ..Measured::default() });
    release.timeline =
        vec![Moment { at_ms, after_ms, what: "proven".to_owned(), text: "secret-green failed".to_owned(), measured }];
    ReleaseRecord {
        release,
        rules: RulesFile::default(),
        vantage: Vantage::Front,
        stepped_ms: 0,
        step: None,
        revert_text: None,
        revert_ms: None,
        evidence: None,
    }
}

fn store(folder: &Folder) -> String {
    let frames = frames();
    let batch = Batch {
        releases: vec![record(&frames)],
        recordings: vec![(Arc::from("shop-1"), encode(frames))],
        ..Batch::default()
    };
    let path = folder.path("store");
    let store = RedbStore::open(path.as_ref()).expect("the folder can be used");
    assert_eq!(store.commit(&batch).expect("it can be written"), 0);
    path
}

#[tokio::test]
async fn a_recording_goes_from_store_to_file_and_is_judged_again() {
    let folder = Folder::new("again");
    let (store, file) = (store(&folder), folder.path("shop-1.recording"));
    let export = ["recordings", "export", "shop-1", "--store", &store, "-o", &file];
    blueback(&export).await.check(0, &[], &["bytes written", "blueback replay"]);
    blueback(&export).await.check(2, &[], &["--output", &file]);
    let replayed = blueback(&["replay", &file]).await;
    replayed.check(0, &["shop-1", "suspect", "revert at +", "the same verdict at the same moment"], &[]);
    let json = blueback(&["replay", &file, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    let turns = json["recorded"]["turns"].as_array().expect("there are turns");
    let last = turns.last().expect("there is always one");
    assert_eq!((&json["agree"], &json["told"]["proven_ms"]), (&true.into(), &last["at_ms"]));
    // Rules that see nothing wrong.
    let rules = folder.path("lenient.yaml");
    std::fs::write(&rules, "revertWhen: [signal security]\n").expect("there is room");
    let other = blueback(&["replay", &file, "--rules", &rules]).await;
    other.check(14, &["RECORDED RULES", "signal security", "no such rule", "green's share", "differ"], &[]);
    std::fs::write(&rules, "revertWhen: [error rate > 50%]\n").expect("there is room");
    blueback(&["replay", &file, "--rules", &rules]).await.check(0, &["error rate > 50%", "agree"], &[]);
    std::fs::write(&rules, "revertWhen: [eror rate > 50%]\n").expect("there is room");
    blueback(&["replay", &file, "--rules", &rules]).await.check(2, &[], &["^^^^"]);
}

#[tokio::test]
async fn names_are_left_out_and_the_verdict_stays() {
    let folder = Folder::new("names");
    let (store, file, other) = (store(&folder), folder.path("nameless.recording"), folder.path("other"));
    let export = ["recordings", "export", "shop-1", "--store", &store, "-o", &file, "--anonymise"];
    blueback(&export).await.check(0, &[], &["bytes written"]);
    let bytes = std::fs::read(&file).expect("it was written");
    let text = String::from_utf8_lossy(&bytes);
    for name in ["secret", "shop", "ada"] {
        assert!(!text.contains(name), "{name} is still in it");
    }
    blueback(&["replay", &file]).await.check(0, &["service-1-1", "the same verdict at the same moment"], &[]);
    blueback(&["recordings", "import", &file, "--store", &other]).await.check(0, &[], &["service-1-1"]);
    blueback(&["recordings", "import", &file, "--store", &other]).await.check(2, &[], &["already"]);
    let back = folder.path("back.recording");
    blueback(&["recordings", "export", "service-1-1", "--store", &other, "-o", &back]).await.check(0, &[], &[]);
    assert_eq!(std::fs::read(&back).expect("it was written"), bytes);
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let folder = Folder::new("broken");
    let (store, file, broken) = (store(&folder), folder.path("whole.recording"), folder.path("broken.recording"));
    blueback(&["recordings", "export", "shop-1", "--store", &store, "-o", &file]).await.check(0, &[], &[]);
    let bytes = std::fs::read(&file).expect("it was written");
    let mut newer = bytes.clone();
    newer[8] = 7;
    let mut damaged = bytes.clone();
    damaged[bytes.len() - 3] ^= 1;
    for (bytes, words) in [
        (&bytes[..bytes.len() / 2], "cut off"),
        (&newer, "version 7"),
        (&damaged, "damaged"),
        (b"revertWhen: []", "not a recording"),
        (b"", "not a recording"),
    ] {
        std::fs::write(&broken, bytes).expect("there is room");
        blueback(&["replay", &broken]).await.check(2, &[], &[&broken, words]);
    }
    blueback(&["replay", "/nonexistent"]).await.check(2, &[], &["/nonexistent"]);
    let out = folder.path("out");
    let from = |store: String, release: &'static str| [release.to_owned(), store];
    for ([release, store], words) in
        [(from(store, "shop-9"), "shop-9"), (from(folder.path("nowhere"), "shop-1"), "holds no store")]
    {
        blueback(&["recordings", "export", &release, "--store", &store, "-o", &out]).await.check(2, &[], &[words]);
    }
    let nobody = ["recordings", "export", "shop-1", "--gate", "http://127.0.0.1:1", "-o", &out];
    blueback(&nobody).await.check(1, &[], &["could not be reached"]);
}
