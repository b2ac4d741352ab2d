//! Where effects become deeds: agents told, steps of a revert carried out, records kept, waiting people answered.
//!
//! Nothing here decides. A step that fails is tried again until it succeeds, with a growing pause; each failure goes
//! back to the loop as an event, so that it stands in the release's timeline.

pub mod assignments;
pub mod steps;
pub mod streams;
pub mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::api::types as api;
use crate::effect::{Effect, Refusal};
use crate::event::Ticket;
use crate::kubernetes::board::Board;
use crate::metrics::Metrics;
use crate::records::ReleaseRecord;
use crate::server::Message;
use crate::tell::Tell;
use assignments::Assignments;
use steps::{Steps, Traffic};
use streams::Streams;
use writer::{Write, Writer};

/// Changes of releases that a slow listener may be behind; one that is further behind is given the newest state.
const CHANGES_QUEUED_MAX: usize = 256;

/// Answers that people wait for.
type Answers = HashMap<Ticket, oneshot::Sender<Result<Arc<api::Release>, Refusal>>>;

/// Carries out effects.
#[derive(Clone)]
pub struct Executors {
    /// To the agents.
    pub streams: Streams,
    /// To the store.
    pub writer: Writer,
    /// To those who want to be told.
    pub tell: Tell,
    /// To agents that do not know their slot.
    pub assignments: Assignments,
    board: Option<Board>,
    steps: Steps,
    answers: Arc<Mutex<Answers>>,
    changes: broadcast::Sender<Arc<api::Release>>,
}

impl Executors {
    /// Executors that come back through `messages`, move traffic like this, and leave news on this board.
    #[must_use]
    pub fn new(
        writer: Writer,
        traffic: Traffic,
        board: Option<Board>,
        messages: mpsc::Sender<Message>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            assignments: Assignments::default(),
            board,
            streams: Streams::new(Arc::clone(&metrics)),
            steps: Steps::new(traffic, messages, metrics),
            writer,
            tell: Tell::default(),
            answers: Arc::default(),
            changes: broadcast::channel(CHANGES_QUEUED_MAX).0,
        }
    }

    /// Hears of every change of a release from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<api::Release>> {
        self.changes.subscribe()
    }

    /// Waits for the answer to a question that is about to be asked.
    #[must_use]
    pub fn expect_answer(&self, ticket: Ticket) -> oneshot::Receiver<Result<Arc<api::Release>, Refusal>> {
        let (sender, receiver) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, sender);
        receiver
    }

    /// Nobody waits any more.
    pub fn forget_answer(&self, ticket: Ticket) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
    }

    /// Carries out what one turn of the loop wants. Never waits.
    pub fn carry_out(&self, effects: Vec<Effect>) {
        let mut save = false;
        let mut answers = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { connection, message } => self.streams.send(connection, &message),
                Effect::Close { connection, why } => self.streams.close(connection, &why),
                Effect::ChangeTraffic(job)
                | Effect::ShiftTraffic(job)
                | Effect::VerifyBaseline(job)
                | Effect::ReleaseCandidate(job)
                | Effect::Announce(job) => self.steps.begin(job),
                Effect::Record { release, frame } => {
                    if let Some(board) = &self.board {
                        board.recorded(&release, &frame);
                    }
                    self.writer.write(Write::Frame(release, frame));
                }
                Effect::SaveService(record) => {
                    save = true;
                    if let Some(board) = &self.board {
                        board.service(record.clone());
                    }
                    self.writer.write(Write::Service(record));
                }
                Effect::SaveRelease(record) => {
                    save = true;
                    if let Some(board) = &self.board {
                        board.release(ReleaseRecord::clone(&record));
                    }
                    self.writer.write(Write::Release(record));
                }
                Effect::Assign { service, slots } => self.assignments.assign(&service, slots),
                Effect::Forget { service } => {
                    if let Some(board) = &self.board {
                        board.forget(&service);
                    }
                }
                Effect::Publish(release) => {
                    self.tell.publish(&release);
                    // Nobody may listen, and that is no fault.
                    drop(self.changes.send(release));
                }
                Effect::Answer { ticket, answer } => answers.push((ticket, answer)),
            }
        }
        if !save && answers.is_empty() {
            return;
        }
        // Who asked is answered when what was decided is kept. A store that fails is told by its metric and the log;
        // traffic does not wait for it.
        let waiting = Arc::clone(&self.answers);
        self.writer.write(Write::Then(Box::new(move |_| {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (ticket, answer) in answers {
                if let Some(sender) = waiting.remove(&ticket) {
                    drop(sender.send(answer));
                }
            }
        })));
    }
}
