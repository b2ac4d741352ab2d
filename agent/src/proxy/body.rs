//! Bodies on their way through, in both directions, frame by frame: a slow reader holds up the other side's writer and nothing
//! else, and nothing is collected.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use blueback_report::Outcome;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Ticket;
use super::client::Busy;
use super::outcome;
use super::upstream::Lease;

/// The body of a request to a backend.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// The client's.
    Client(Incoming),
    /// None: of a request that is sent again.
    Empty,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Client(body) => Pin::new(body).poll_frame(cx),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// The body of a response to a client. Records the request's end.
#[derive(Debug)]
pub(super) struct Answer {
    body: Source,
    /// Keeps the client's connection from counting as idle.
    _busy: Busy,
}

#[derive(Debug)]
enum Source {
    Text(Option<Bytes>),
    Backend(Passing),
}

/// A backend's response being passed on.
#[derive(Debug)]
pub(super) struct Passing {
    body: Incoming,
    /// Until the end was seen.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    ticket: Ticket,
    lease: Option<Lease>,
    outcome: Outcome,
    /// The outcome stands in trailers that have not come yet.
    trailers_decide: bool,
}

impl Answer {
    /// The agent's own words.
    pub(super) fn text(text: &'static str, busy: Busy) -> Self {
        let text = (!text.is_empty()).then(|| Bytes::from_static(text.as_bytes()));
        Self { body: Source::Text(text), _busy: busy }
    }

    /// The backend's response. `trailers_decide`: a gRPC response whose status is still to come; `outcome` is then what it
    /// is when none comes.
    pub(super) fn passing(
        body: Incoming,
        ticket: Ticket,
        lease: Option<Lease>,
        outcome: Outcome,
        trailers_decide: bool,
        busy: Busy,
    ) -> Self {
        let mut passing = Passing { body, open: Some(Open { ticket, lease, outcome, trailers_decide }) };
        if passing.body.is_end_stream() {
            passing.finish();
        }
        Self { body: Source::Backend(passing), _busy: busy }
    }
}

impl Passing {
    /// The last byte has been handed on.
    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            let now_us = open.ticket.end(open.outcome);
            if let Some(lease) = open.lease {
                lease.give_back(now_us);
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                if let (Some(open), Some(trailers)) = (&mut self.open, trailers)
                    && open.trailers_decide
                {
                    open.outcome = outcome::of_grpc(trailers).unwrap_or(open.outcome);
                }
                if trailers.is_some() || self.body.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_)) => {
                if let Some(open) = self.open.take() {
                    open.ticket.end(Outcome::Unreachable);
                }
            }
            None => self.finish(),
        }
        Poll::Ready(frame)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().body {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Backend(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Text(text) => text.is_none(),
            Source::Backend(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Backend(passing) => passing.body.size_hint(),
        }
    }
}
