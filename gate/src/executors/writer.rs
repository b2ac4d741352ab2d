//! The one thread that writes to the store.
//!
//! Frames of recordings wait for company up to a second; what was decided does not wait. Both end in the same
//! transaction, so a release in the store never knows more or less than its recording.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::recording::{Entry, Frame, encode};
use crate::records::{ReleaseRecord, ServiceRecord};
use crate::store::{Batch, Store};

/// Writes that wait. When a disk stands still for so long that there is no room, they are lost and counted: the gate
/// goes on, but a restart would know less.
pub const WRITES_QUEUED_MAX: usize = 65_536;
/// How long frames wait for company.
const COMPANY: Duration = Duration::from_secs(1);
/// Most frames in one transaction.
const FRAMES_MAX: usize = 16_384;

/// Most bytes of recordings that wait for a store that fails; beyond it they are lost and counted.
const FAILED_BYTES_MAX: usize = 64 << 20;

/// Called when what was written before is kept, or with why it is not.
pub type Then = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Something to write.
pub enum Write {
    /// A frame of a release's recording.
    Frame(Arc<str>, Frame),
    /// A service.
    Service(ServiceRecord),
    /// A release.
    Release(Box<ReleaseRecord>),
    /// Keep everything before this now, and say so.
    Then(Then),
    /// Keep everything, and end.
    End,
}

/// The way to the thread.
#[derive(Clone)]
pub struct Writer {
    writes: SyncSender<Write>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    metrics: Arc<Metrics>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (writes, queue) = sync_channel(WRITES_QUEUED_MAX);
        let counted = Arc::clone(&metrics);
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let (pending, failed) = (Pending::default(), Batch::default());
            Desk { store, metrics: counted, pending, failed }.serve(&queue);
        })?;
        Ok(Self { writes, thread: Arc::new(Mutex::new(Some(thread))), metrics })
    }

    /// Hands something over. Never waits.
    pub fn write(&self, write: Write) {
        if self.writes.try_send(write).is_err() {
            self.metrics.writes_lost.inc();
        }
    }

    /// Keeps everything, and ends the thread.
    pub fn end(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that is gone needs not be told.
            drop(self.writes.send(Write::End));
            drop(thread.join());
        }
    }
}

#[derive(Default)]
struct Pending {
    services: BTreeMap<String, ServiceRecord>,
    releases: BTreeMap<String, ReleaseRecord>,
    /// Pieces that are complete, in order.
    pieces: Vec<(Arc<str>, Vec<u8>)>,
    frames: BTreeMap<Arc<str>, Vec<Frame>>,
    count: usize,
    then: Vec<Then>,
    since: Option<Instant>,
}

impl Pending {
    fn add(&mut self, write: Write) {
        self.since.get_or_insert_with(Instant::now);
        match write {
            Write::Frame(release, frame) => {
                self.count += 1;
                let frames = self.frames.entry(Arc::clone(&release)).or_default();
                // What is kept begins a piece, so that the store can tell.
                if matches!(frame.entry, Entry::Kept(_)) && !frames.is_empty() {
                    self.pieces.push((release, encode(std::mem::take(frames))));
                }
                frames.push(frame);
            }
            Write::Service(record) => drop(self.services.insert(record.name.clone(), record)),
            Write::Release(record) => drop(self.releases.insert(record.release.id.clone(), *record)),
            Write::Then(then) => self.then.push(then),
            Write::End => {}
        }
    }

    fn due_in(&self) -> Duration {
        match self.since {
            Some(_) if !self.then.is_empty() || self.count >= FRAMES_MAX => Duration::ZERO,
            Some(since) => COMPANY.saturating_sub(since.elapsed()),
            None => COMPANY,
        }
    }
}

struct Desk {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    pending: Pending,
    /// What the store did not take; it comes first in the next transaction.
    failed: Batch,
}

impl Desk {
    fn serve(mut self, queue: &Receiver<Write>) {
        loop {
            let end = match queue.recv_timeout(self.pending.due_in()) {
                Ok(Write::End) | Err(RecvTimeoutError::Disconnected) => true,
                Ok(write) => {
                    self.pending.add(write);
                    // What is there already goes into the same transaction.
                    self.pending.count < FRAMES_MAX && self.take_waiting(queue)
                }
                Err(RecvTimeoutError::Timeout) => false,
            };
            if end || self.pending.due_in().is_zero() {
                self.commit();
            }
            if end {
                return;
            }
        }
    }

    fn take_waiting(&mut self, queue: &Receiver<Write>) -> bool {
        while self.pending.count < FRAMES_MAX {
            match queue.try_recv() {
                Ok(Write::End) => return true,
                Ok(write) => self.pending.add(write),
                Err(_) => return false,
            }
        }
        false
    }

    fn commit(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut batch = std::mem::take(&mut self.failed);
        batch.services.extend(pending.services.into_values());
        batch.releases.extend(pending.releases.into_values());
        batch.recordings.extend(pending.pieces);
        batch.recordings.extend(pending.frames.into_iter().map(|(release, frames)| (release, encode(frames))));
        let result = if batch.is_empty() {
            Ok(())
        } else {
            let began = Instant::now();
            let result = self.store.commit(&batch);
            self.metrics.store_seconds.observe(began.elapsed().as_secs_f64());
            match result {
                Ok(0) => Ok(()),
                Ok(bytes) => {
                    self.metrics.recording_bytes_refused.inc_by(bytes);
                    Ok(())
                }
                Err(error) => {
                    self.metrics.store_failures.inc();
                    let error = format!("{error:#}");
                    tracing::error!(%error, "Store failed: what was decided is not kept, trying again");
                    let bytes: usize = batch.recordings.iter().map(|(_, bytes)| bytes.len()).sum();
                    if bytes > FAILED_BYTES_MAX {
                        self.metrics.recording_bytes_refused.inc_by(bytes as u64);
                        batch.recordings.clear();
                    }
                    self.failed = batch;
                    Err(error)
                }
            }
        };
        for then in pending.then {
            then(result.clone());
        }
    }
}
