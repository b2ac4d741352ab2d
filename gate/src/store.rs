//! What outlives the gate: services, releases, and what the judge saw of each.
//!
//! redb, because it is one file, pure Rust, and keeps its promises when the process is killed. A gate without a folder
//! has the same store in memory.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::event::Stored;
use crate::gate::RELEASES_KEPT;
use crate::recording::{Recording, split_kept};
use crate::recording_file;
use crate::records::{ReleaseRecord, ServiceRecord};

/// Name of the file in the store's folder.
pub const FILE: &str = "blueback.redb";
/// Most bytes of one recording: a day of a busy release. What comes after is not kept, and counted.
pub const RECORDING_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of all recordings together; those of the oldest releases that are over go first.
pub const RECORDINGS_BYTES_MAX: u64 = 1 << 30;
/// The same of a store in memory: the bound of one recording.
pub const MEMORY_RECORDING_BYTES_MAX: u64 = 16 << 20;
/// And of all of them.
pub const MEMORY_RECORDINGS_BYTES_MAX: u64 = 64 << 20;

const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
const RELEASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("releases");
/// By release and number of the piece.
const RECORDINGS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("recordings");
/// Where each watched release was when it was kept last, and the number of the piece that follows.
const KEPT: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("kept");
/// Pieces before what was kept that are read all the same: a piece is a second at most, and the service's last ten minutes are
/// drawn from them.
const PIECES_BEFORE: u64 = 900;
/// Pieces and bytes of each recording.
const SIZES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("recording_sizes");

/// What is written together, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Services, newest state last.
    pub services: Vec<ServiceRecord>,
    /// Releases, newest state last.
    pub releases: Vec<ReleaseRecord>,
    /// Pieces of recordings, as [`crate::recording::encode`] writes them, by release. One that begins with what was kept
    /// replaces what was kept before.
    pub recordings: Vec<(Arc<str>, Vec<u8>)>,
}

impl Batch {
    /// Nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.releases.is_empty() && self.recordings.is_empty()
    }
}

/// What a gate needs of a store.
pub trait Store: Send + Sync {
    /// Everything that a gate needs to go on.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn load(&self) -> anyhow::Result<Stored>;

    /// Writes a batch; it is there when this returns. Returns the bytes of recordings that had no room.
    ///
    /// # Errors
    /// When the store cannot be written: then nothing of the batch is there.
    fn commit(&self, batch: &Batch) -> anyhow::Result<u64>;

    /// The recording of a release, as far as it is written. `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn recording(&self, release: &str) -> anyhow::Result<Option<Vec<u8>>>;

    /// What is kept of a release. `None` when nothing is.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn release(&self, release: &str) -> anyhow::Result<Option<ReleaseRecord>>;

    /// The recording of a release as a file of its own. `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn recording_file(&self, release: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let (Some(frames), Some(told)) = (self.recording(release)?, self.release(release)?) else { return Ok(None) };
        recording_file::write(&told, &frames).map(Some)
    }
}

/// A store in a file, or in memory.
#[derive(Debug)]
pub struct RedbStore {
    database: Database,
    /// Most bytes of one recording, and of all.
    room: (u64, u64),
}

impl RedbStore {
    /// Opens the store in a folder, and makes it when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be used, or another gate has the store open.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("store {}", folder.display()))?;
        let file = folder.join(FILE);
        let database = Database::create(&file).with_context(|| format!("store {}", file.display()))?;
        Self::with(database, (RECORDING_BYTES_MAX, RECORDINGS_BYTES_MAX))
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> anyhow::Result<Self> {
        let database = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new())?;
        Self::with(database, (MEMORY_RECORDING_BYTES_MAX, MEMORY_RECORDINGS_BYTES_MAX))
    }

    fn with(database: Database, room: (u64, u64)) -> anyhow::Result<Self> {
        let write = database.begin_write()?;
        write.open_table(SERVICES)?;
        write.open_table(RELEASES)?;
        write.open_table(RECORDINGS)?;
        write.open_table(SIZES)?;
        write.open_table(KEPT)?;
        write.commit()?;
        Ok(Self { database, room })
    }
}

impl Store for RedbStore {
    fn load(&self) -> anyhow::Result<Stored> {
        let read = self.database.begin_read()?;
        let mut stored = Stored::default();
        for row in read.open_table(SERVICES)?.iter()? {
            let (name, json) = row?;
            let record = serde_json::from_slice(json.value());
            stored.services.push(record.with_context(|| format!("service {}", name.value()))?);
        }
        for row in read.open_table(RELEASES)?.iter()? {
            let (id, json) = row?;
            let record: ReleaseRecord =
                serde_json::from_slice(json.value()).with_context(|| format!("release {}", id.value()))?;
            stored.releases.push(record);
        }
        stored.releases.sort_by_key(|record| record.release.started_ms);
        for record in stored.releases.iter().filter(|record| record.release.ended_ms.is_none()) {
            let id = record.release.id.as_str();
            if let Some(bytes) = self.to_go_on(id)? {
                match Recording::decode(&bytes) {
                    Ok(recording) => stored.recordings.push((id.into(), recording)),
                    // The gate goes on without it, and says so in the release's timeline.
                    Err(error) => tracing::error!(release = id, error = %format!("{error:#}"), "Recording unreadable"),
                }
            }
        }
        Ok(stored)
    }

    fn commit(&self, batch: &Batch) -> anyhow::Result<u64> {
        let write = self.database.begin_write()?;
        let mut without_room = 0;
        {
            let mut services = write.open_table(SERVICES)?;
            for record in &batch.services {
                services.insert(record.name.as_str(), serde_json::to_vec(record)?.as_slice())?;
            }
            let mut releases = write.open_table(RELEASES)?;
            for record in &batch.releases {
                releases.insert(record.release.id.as_str(), serde_json::to_vec(record)?.as_slice())?;
            }
            let mut recordings = write.open_table(RECORDINGS)?;
            let mut sizes = write.open_table(SIZES)?;
            let mut kept = write.open_table(KEPT)?;
            for (release, bytes) in &batch.recordings {
                let (pieces, size) = sizes.get(&**release)?.map_or((0, 0), |row| row.value());
                let mut bytes = bytes.as_slice();
                if let Some((frame, rest)) = split_kept(bytes) {
                    kept.insert(&**release, (pieces, frame))?;
                    bytes = rest;
                }
                if bytes.is_empty() {
                    continue;
                }
                if size + bytes.len() as u64 > self.room.0 {
                    without_room += bytes.len() as u64;
                    continue;
                }
                recordings.insert((&**release, pieces), bytes)?;
                sizes.insert(&**release, (pieces + 1, size + bytes.len() as u64))?;
            }
        }
        for record in batch.releases.iter().filter(|record| record.release.ended_ms.is_some()) {
            // Nobody goes on with it.
            write.open_table(KEPT)?.remove(record.release.id.as_str())?;
        }
        if batch.releases.iter().any(|record| record.release.ended_ms.is_some()) {
            prune(&write, self.room.1)?;
        }
        write.commit()?;
        Ok(without_room)
    }

    fn recording(&self, release: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let read = self.database.begin_read()?;
        let mut bytes = Vec::new();
        for row in read.open_table(RECORDINGS)?.range((release, 0)..=(release, u64::MAX))? {
            bytes.extend_from_slice(row?.1.value());
        }
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn release(&self, release: &str) -> anyhow::Result<Option<ReleaseRecord>> {
        let read = self.database.begin_read()?;
        let row = read.open_table(RELEASES)?.get(release)?;
        row.map(|row| serde_json::from_slice(row.value()).with_context(|| format!("release {release}"))).transpose()
    }
}

impl RedbStore {
    /// What a gate needs to go on with a release: how it began, where it was when it was kept last, and what came after. Where
    /// nothing was kept that this version understands, all of it.
    fn to_go_on(&self, release: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let read = self.database.begin_read()?;
        let kept = read.open_table(KEPT)?;
        let Some(row) = kept.get(release)? else { return self.recording(release) };
        let (next, frame) = row.value();
        let recordings = read.open_table(RECORDINGS)?;
        let piece = |number: u64| recordings.get((release, number));
        let mut bytes = Vec::new();
        if let Some(first) = piece(0)? {
            bytes.extend_from_slice(first.value());
        }
        for number in next.saturating_sub(PIECES_BEFORE).max(1)..next {
            if let Some(before) = piece(number)? {
                bytes.extend_from_slice(before.value());
            }
        }
        bytes.extend_from_slice(frame);
        for row in recordings.range((release, next.max(1))..=(release, u64::MAX))? {
            bytes.extend_from_slice(row?.1.value());
        }
        let is_understood = |recording: &Recording| recording.last_kept().0.is_some_and(|kept| kept.judge().is_ok());
        if Recording::decode(&bytes).is_ok_and(|recording| is_understood(&recording)) {
            return Ok(Some(bytes));
        }
        tracing::warn!(release, "What was kept is not understood, so all of the recording is read");
        self.recording(release)
    }
}

/// Removes releases beyond what is kept of each service, and recordings beyond what is kept of all; oldest first, and
/// never those of a release that is still watched.
fn prune(write: &WriteTransaction, bytes_max: u64) -> anyhow::Result<()> {
    let mut releases = write.open_table(RELEASES)?;
    let mut recordings = write.open_table(RECORDINGS)?;
    let mut sizes = write.open_table(SIZES)?;
    let mut ended = Vec::new();
    let mut total = 0;
    for row in releases.iter()? {
        let (id, json) = row?;
        let record: ReleaseRecord = serde_json::from_slice(json.value())?;
        let size = sizes.get(id.value())?.map_or(0, |row| row.value().1);
        total += size;
        if record.release.ended_ms.is_some() {
            ended.push((record.release.started_ms, record.release.service, id.value().to_owned(), size));
        }
    }
    // Newest first, so that a release's place among those of its service says whether it is kept.
    ended.sort_by(|a, b| b.cmp(a));
    let mut kept = std::collections::BTreeMap::<&str, usize>::new();
    let mut surplus = Vec::new();
    for (_, service, id, size) in &ended {
        let place = kept.entry(service).or_default();
        *place += 1;
        if *place > RELEASES_KEPT {
            surplus.push((id, true));
            total -= size;
        }
    }
    for (_, _, id, size) in ended.iter().rev() {
        if total <= bytes_max {
            break;
        }
        if !surplus.iter().any(|(gone, _)| *gone == id) {
            surplus.push((id, false));
            total -= size;
        }
    }
    for (id, whole) in surplus {
        if whole {
            releases.remove(id.as_str())?;
        }
        recordings.retain_in((id.as_str(), 0)..=(id.as_str(), u64::MAX), |_, _| false)?;
        sizes.remove(id.as_str())?;
    }
    Ok(())
}
