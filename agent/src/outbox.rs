//! Messages on their way to the gate.
//!
//! What must be sent stands in a queue; of live reports only the newest is kept, for a cumulative report that was not sent
//! yet has nothing that the next one lacks. So a gate that reads slowly costs one report of memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use blueback_report::Report;
use blueback_report::wire::proto::{self, from_agent::Message};
use bytes::Bytes;
use prost::Message as _;
use tokio_stream::Stream;

#[derive(Debug, Default)]
struct Waiting {
    hello: Option<proto::Hello>,
    /// Encoded reports of the ring; decoded one by one as they are sent.
    replay: VecDeque<Bytes>,
    /// Blue and green are to be exchanged in them.
    mirrored: bool,
    live: Option<proto::Report>,
    sent: u64,
    replaced: u64,
    closed: bool,
    waker: Option<Waker>,
}

/// One stream's messages. Clones share them: one end fills, the other is the stream.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Waiting>>);

impl Outbox {
    /// Begins with a Hello.
    #[must_use]
    pub fn new(hello: proto::Hello) -> Self {
        Self(Arc::new(Mutex::new(Waiting { hello: Some(hello), ..Waiting::default() })))
    }

    /// Queues the replay, to be `mirrored` as it is sent.
    pub fn replay(&self, reports: Vec<Bytes>, mirrored: bool) {
        self.change(|waiting| {
            waiting.replay.extend(reports);
            waiting.mirrored = mirrored;
        });
    }

    /// Puts a live report in the place of one that was not sent yet.
    pub fn live(&self, report: proto::Report) {
        self.change(|waiting| {
            if waiting.live.replace(report).is_some() {
                waiting.replaced += 1;
            }
        });
    }

    /// Ends the stream after what is queued.
    pub fn close(&self) {
        self.change(|waiting| waiting.closed = true);
    }

    /// Reports sent, and reports replaced before they were.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.sent, waiting.replaced)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        change(&mut waiting);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mirrored(report: proto::Report) -> proto::Report {
    let report = Report::try_from(report).expect("what we count is within the bounds");
    (&report.mirrored()).into()
}

impl Stream for Outbox {
    type Item = proto::FromAgent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut waiting = self.lock();
        let message = if let Some(hello) = waiting.hello.take() {
            Message::Hello(hello)
        } else if let Some(encoded) = waiting.replay.pop_front() {
            waiting.sent += 1;
            let report = proto::Report::decode(encoded).expect("the ring encoded it");
            Message::Report(if waiting.mirrored { mirrored(report) } else { report })
        } else if let Some(report) = waiting.live.take() {
            waiting.sent += 1;
            Message::Report(report)
        } else if waiting.closed {
            return Poll::Ready(None);
        } else {
            waiting.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(Some(proto::FromAgent { message: Some(message) }))
    }
}
