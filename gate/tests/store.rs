//! What is written is there again.

use std::sync::Arc;

use blueback_gate::RulesFile;
use blueback_gate::api::types::{Phase, Release};
use blueback_gate::gate::RELEASES_KEPT;
use blueback_gate::recording::{Recording, encode};
use blueback_gate::records::ReleaseRecord;
use blueback_gate::store::{Batch, RedbStore, Store};
use blueback_report::Slot;

use crate::script::folder;
use crate::world::{World, green_fails};

/// A world that has something to store: pods, growth, shares and signals.
fn eventful() -> World {
    let mut world = World::new();
    world.switch(Slot::Green);
    world.run(1_000);
    let signal = blueback_gate::Command::Signal { name: "carts".to_owned(), why: "they are empty".to_owned() };
    world.operate(signal).expect("a release is watched");
    world.fate = green_fails;
    world.run(500);
    world
}

fn batch(world: &World) -> Batch {
    Batch {
        services: world.services.values().cloned().collect(),
        releases: world.releases.values().cloned().collect(),
        recordings: world.frames.iter().map(|(id, frames)| (Arc::clone(id), encode(frames.clone()))).collect(),
    }
}

#[test]
fn a_file_keeps_everything() {
    let (folder, world) = (folder("keeps"), eventful());
    let store = RedbStore::open(&folder).expect("the folder can be used");
    assert_eq!(store.commit(&batch(&world)).expect("it can be written"), 0);
    drop(store);
    let stored = RedbStore::open(&folder).expect("it is there").load().expect("it can be read");
    let wanted = world.stored();
    assert_eq!(stored.services, wanted.services);
    assert_eq!(stored.releases, wanted.releases);
    assert_eq!(stored.recordings, wanted.recordings);
    std::fs::remove_dir_all(&folder).expect("the store can go");
}

#[test]
fn pieces_of_a_recording_are_read_as_one() {
    let world = eventful();
    let (id, frames) = world.frames.first_key_value().expect("it is recorded");
    let store = RedbStore::in_memory().expect("there is memory");
    for piece in frames.chunks(7) {
        let recordings = vec![(Arc::clone(id), encode(piece.to_vec()))];
        store.commit(&Batch { recordings, ..Batch::default() }).expect("it can be written");
    }
    let bytes = store.recording(id).expect("it can be read").expect("it is there");
    let read = Recording::decode(&bytes).expect("it was written by us");
    assert_eq!(Some(read), Recording::from_frames(frames.clone()));
}

#[test]
fn a_recording_that_was_cut_off_is_read_as_far_as_it_goes() {
    let world = eventful();
    let frames = world.frames.values().next().expect("it is recorded");
    let bytes = encode(frames.clone());
    let whole = Recording::decode(&bytes).expect("it was written by us");
    for cut in (0..bytes.len()).step_by(97) {
        // Too short for a beginning is an error, never a panic.
        if let Ok(part) = Recording::decode(&bytes[..cut]) {
            assert_eq!(part.frames, whole.frames[..part.frames.len()]);
        }
    }
    Recording::decode(b"not a recording").expect_err("it has no beginning");
}

#[test]
fn old_releases_go_with_their_recordings() {
    let world = eventful();
    let (record, recording) = (world.releases.values().next(), world.frames.values().next());
    let (record, bytes) = (record.expect("it is stored"), encode(recording.expect("it is recorded").clone()));
    let store = RedbStore::in_memory().expect("there is memory");
    let id = |number: usize| format!("shop-{number}");
    for number in 0..RELEASES_KEPT + 3 {
        let ended_ms = (number > 0).then_some(number as u64);
        let release = Release {
            id: id(number),
            started_ms: number as u64,
            ended_ms,
            phase: if number > 0 { Phase::Reverted } else { Phase::Watching },
            ..record.release.clone()
        };
        let releases = vec![ReleaseRecord { release, rules: RulesFile::default(), ..record.clone() }];
        let recordings = vec![(Arc::from(id(number)), bytes.clone())];
        store.commit(&Batch { releases, recordings, ..Batch::default() }).expect("it can be written");
    }
    let kept = store.load().expect("it can be read").releases;
    assert_eq!(kept.len(), RELEASES_KEPT + 1);
    assert_eq!(kept[0].release.id, id(0), "what is watched stays");
    assert_eq!(kept[1].release.id, id(3));
    assert_eq!(store.recording(&id(2)).expect("it can be read"), None);
    assert!(store.recording(&id(0)).expect("it can be read").is_some());
}
