//! The agents' streams, from the gate's side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use blueback_report::wire::proto;
use tokio::sync::mpsc;
use tonic::Status;

use crate::effect::ToAgent;
use crate::event::Connection;
use crate::metrics::Metrics;

/// Messages that wait for an agent. An acknowledgement that finds no room is left out, as the next one says the same
/// and more; anything else that finds none ends the stream: the agent comes back and is told everything.
pub const MESSAGES_QUEUED_MAX: usize = 64;

/// What is sent to an agent.
pub type Outbound = Result<proto::ToAgent, Status>;

/// All open streams.
#[derive(Clone)]
pub struct Streams {
    open: Arc<Mutex<HashMap<Connection, mpsc::Sender<Outbound>>>>,
    metrics: Arc<Metrics>,
}

impl Streams {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { open: Arc::default(), metrics }
    }

    /// Opens one, and gives its end towards the agent.
    #[must_use]
    pub fn open(&self, connection: Connection) -> mpsc::Receiver<Outbound> {
        let (sender, receiver) = mpsc::channel(MESSAGES_QUEUED_MAX);
        self.lock().insert(connection, sender);
        receiver
    }

    /// Sends, or ends the stream when the agent does not listen.
    pub fn send(&self, connection: Connection, message: &ToAgent) {
        let mut open = self.lock();
        let Some(sender) = open.get(&connection) else { return };
        if sender.try_send(Ok(message.into())).is_err() && !matches!(message, ToAgent::Ack { .. }) {
            self.metrics.agent_overrun.inc();
            open.remove(&connection);
        }
    }

    /// Ends a stream.
    pub fn close(&self, connection: Connection, why: &str) {
        self.end(connection, Status::aborted(why));
    }

    /// Ends a stream with this status.
    pub fn end(&self, connection: Connection, status: Status) {
        if let Some(sender) = self.lock().remove(&connection) {
            // Without room the agent learns from the end of the stream alone.
            drop(sender.try_send(Err(status)));
        }
    }

    /// Ends all of them: agents are to go elsewhere.
    pub fn close_all(&self, why: &str) {
        for (_, sender) in self.lock().drain() {
            drop(sender.try_send(Err(Status::unavailable(why))));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Connection, mpsc::Sender<Outbound>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
