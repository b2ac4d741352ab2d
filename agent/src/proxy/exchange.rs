//! One request: choose, send, answer.
//!
//! A request is sent twice in one case only: a kept connection turned out closed before any byte of the response, and either
//! hyper gave the request back unsent, or it has no body and a method that may be repeated (RFC 9110, 9.2.2). Anything else
//! that fails is the backend's failure, and evidence.

use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

use blueback_report::{Outcome, Protocol};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::timeout;

use super::body::{Answer, Outgoing};
use super::client::{Busy, Connection};
use super::headers::{self, Seen};
use super::upstream::{Lease, NoConnection, Upstreamed};
use super::{Ticket, Worker, outcome, upgrade};
use crate::recorder::{Own, Refused};
use crate::spans::Begun;
use crate::traceparent::TraceParent;

/// A kept connection that has been idle for longer may be closing just now; below it that is so unlikely that keeping a copy
/// of each request's head would be waste.
const STALE_US: u64 = 20_000;

/// An answer of the agent itself.
struct Local {
    status: StatusCode,
    text: &'static str,
    /// The connection is not to be trusted any more.
    close: bool,
}

impl Local {
    fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text, close: false }
    }
}

const REFUSED: (StatusCode, &str) = (StatusCode::BAD_GATEWAY, "the application could not be reached\n");
const BROKEN: (StatusCode, &str) = (StatusCode::BAD_GATEWAY, "the application broke off\n");
const SILENT: (StatusCode, &str) = (StatusCode::GATEWAY_TIMEOUT, "the application could not be reached in time\n");
const LATE: (StatusCode, &str) = (StatusCode::GATEWAY_TIMEOUT, "the application did not answer in time\n");
const FULL: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "too many requests in flight\n");
const LEFT: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "the request broke off\n");

/// Serves one request of a connection.
pub(super) async fn exchange(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, std::convert::Infallible> {
    let busy = Busy::begin(&connection);
    let version = request.version();
    let seen = Seen::of(request.headers());
    let forwarded = match headers::check(&request, seen, connection.is_ambiguous()) {
        Ok(()) if worker.writer.active.get() < worker.requests_max => forward(&worker, request, seen, busy).await,
        Ok(()) => {
            worker.writer.own().refuse(Refused::Requests);
            Err((Local::new(FULL.0, FULL.1), busy))
        }
        Err((status, text)) => {
            worker.writer.own().refuse(Refused::Malformed);
            Err((Local { status, text, close: true }, busy))
        }
    };
    let mut response = match forwarded {
        Ok(response) => response,
        Err((local, busy)) => {
            let mut response = Response::new(Answer::text(local.text, busy));
            *response.status_mut() = local.status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            if local.close && version != Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    if version != Version::HTTP_2 && connection.is_closing() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A request under way.
struct Way<'a> {
    worker: &'a Rc<Worker>,
    http2: bool,
    protocol: Protocol,
    class: u16,
    epoch: u64,
    start_us: u64,
    /// The trace that the request belongs to, if that is recorded; with the agent's own span where it makes one.
    trace: Option<TraceParent>,
    /// That span, until the request is admitted.
    span: Option<Begun>,
    /// The sidecar's own application, if the request was diverted from it.
    home: Option<usize>,
    /// It was to be diverted and could not be.
    came_home: bool,
    backend: usize,
}

type Failed = (StatusCode, &'static str);

impl Way<'_> {
    fn admit(&mut self) -> Ticket {
        let mut request = self.worker.writer.admit(self.backend, self.class, self.protocol, self.epoch, self.start_us);
        request.trace = self.trace;
        Ticket { worker: self.worker.clone(), request: Some(request), span: self.span.take() }
    }

    /// Sends the request again from the start, elsewhere: as far as its span goes it is still the same one.
    fn admit_again(&mut self, mut ticket: Ticket, outcome: Outcome) -> Ticket {
        self.span = ticket.span.take();
        ticket.end(outcome);
        self.admit()
    }

    async fn connection(&self, kept: bool) -> Result<Upstreamed, NoConnection> {
        self.worker.upstream.connection(self.backend, self.http2, kept.then_some(self.start_us)).await
    }

    /// Turns a diverted request back to the application beside us. Nothing of it must have been sent.
    fn turn_home(&mut self) -> bool {
        let Some(home) = self.home.take() else { return false };
        count(self.worker, |own| &own.divert_failed);
        self.backend = home;
        self.came_home = true;
        true
    }
}

fn count(worker: &Worker, which: impl Fn(&Own) -> &AtomicU64) {
    Own::count(which(worker.writer.own()));
}

fn no_connection(why: NoConnection) -> Failed {
    match why {
        NoConnection::Refused => REFUSED,
        NoConnection::TimedOut => SILENT,
    }
}

/// Sends the request to the backend that is due, and makes its response the client's.
async fn forward(
    worker: &Rc<Worker>,
    mut request: Request<Incoming>,
    seen: Seen,
    busy: Busy,
) -> Result<Response<Answer>, (Local, Busy)> {
    let start_us = worker.clock.now_us();
    let version = request.version();
    let protocol = headers::protocol(&request, seen);
    let caller = headers::trace(request.headers(), seen).filter(|trace| trace.is_sampled());
    let (trace, span) = match (&worker.spans, caller) {
        (Some(spans), Some(caller)) => {
            let (own, span) = spans.begin(caller, request.method());
            headers::set_trace(&mut request, own);
            (Some(own), Some(span))
        }
        _ => (caller, None),
    };
    let mut way = {
        let table = worker.router.table();
        let class = table.classify(request.uri().path());
        let epoch = table.route.epoch;
        let mut backend = worker.picker.pick(&worker.router, &table);
        if let Some(home) = worker.home.filter(|_| seen.is_diverted()) {
            backend = home;
        }
        let home = worker.home.filter(|&home| home != backend);
        Way {
            worker,
            http2: version == Version::HTTP_2,
            protocol,
            class,
            epoch,
            start_us,
            trace,
            span,
            home,
            came_home: false,
            backend,
        }
    };
    let upgrade = headers::wants_upgrade(&request, seen) && worker.upstream.can_upgrade();
    headers::to_backend(&mut request, seen, upgrade);
    let upgrade = upgrade.then(|| hyper::upgrade::on(&mut request));
    // A front agent has chosen for good: an agent beside the backend would toss the same coin again, and what is counted
    // as green's would be answered by blue.
    if way.home.is_some() || worker.home.is_none() {
        request.headers_mut().insert(headers::DIVERTED, HeaderValue::from_static("1"));
    }
    let (ticket, answered) = send(&mut way, request.map(Outgoing::Client), seen, upgrade.is_some()).await;
    match answered {
        Ok((response, lease)) => Ok(answer(&way, version, response, lease, ticket, upgrade, busy)),
        Err((outcome, (status, text))) => {
            ticket.end(outcome);
            Err((Local { status, text, close: outcome == Outcome::ClientGone }, busy))
        }
    }
}

type Answered = Result<(Response<Incoming>, Option<Lease>), (Outcome, Failed)>;

/// Gets the head of a response, over a kept connection or a fresh one, from the backend chosen or from home.
async fn send(way: &mut Way<'_>, mut request: Request<Outgoing>, seen: Seen, upgrade: bool) -> (Ticket, Answered) {
    // Whether a diverted request can go where it should is found out before it counts as sent there.
    let mut connected = match way.home {
        Some(_) => match way.connection(true).await {
            Ok(connection) => Some(connection),
            Err(_) => {
                way.turn_home();
                None
            }
        },
        None => None,
    };
    let mut ticket = way.admit();
    let mut kept = true;
    loop {
        let connection = match connected.take() {
            Some(connection) => Ok(connection),
            None => way.connection(kept).await,
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(why) => {
                if way.turn_home() {
                    ticket = way.admit_again(ticket, Outcome::Unreachable);
                    continue;
                }
                return (ticket, Err((Outcome::Unreachable, no_connection(why))));
            }
        };
        let address = connection.address();
        if way.came_home {
            request.headers_mut().remove(headers::DIVERTED);
        }
        if connection.is_http2() {
            headers::to_http2(&mut request, address);
        } else {
            headers::to_http1(&mut request, seen, address);
        }
        let reused = connection.idle_us.is_some();
        let spare =
            connection.idle_us.is_some_and(|idle_us| idle_us >= STALE_US && !upgrade).then(|| repeatable(&request));
        let sent = connection.send(request, way.worker.upstream.idle_max());
        let sent = match way.worker.request_timeout {
            None => sent.await,
            Some(limit) => match timeout(limit, sent).await {
                Ok(sent) => sent,
                Err(_) => return (ticket, Err((Outcome::Unreachable, LATE))),
            },
        };
        let failed = match sent {
            Ok(answered) => return (ticket, Ok(answered)),
            Err(failed) => failed,
        };
        match unsent(failed, spare.flatten()) {
            Ok(again) if reused && kept => {
                count(way.worker, |own| &own.retried);
                request = again;
                kept = false;
            }
            Ok(_) => return (ticket, Err((Outcome::Unreachable, BROKEN))),
            Err(error) if error.is_user() => return (ticket, Err((Outcome::ClientGone, LEFT))),
            Err(_) => return (ticket, Err((Outcome::Unreachable, BROKEN))),
        }
    }
}

/// A copy of a request that may be repeated; `None` of one that may not, or that has a body.
fn repeatable(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    (request.method().is_idempotent() && request.body().is_end_stream()).then(|| {
        let mut copy = Request::new(Outgoing::Empty);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}

/// The request to send again: what hyper gives back, or the copy if the connection had just closed.
fn unsent(
    mut failed: TrySendError<Request<Outgoing>>,
    spare: Option<Request<Outgoing>>,
) -> Result<Request<Outgoing>, hyper::Error> {
    if let Some(request) = failed.take_message() {
        return Ok(request);
    }
    let error = failed.into_error();
    match spare {
        Some(spare) if is_closed(&error) => Ok(spare),
        _ => Err(error),
    }
}

fn is_closed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let kind = source.map(io::Error::kind);
    error.is_incomplete_message()
        || error.is_closed()
        || error.is_canceled()
        || matches!(kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
}

fn answer(
    way: &Way<'_>,
    version: Version,
    mut response: Response<Incoming>,
    lease: Option<Lease>,
    ticket: Ticket,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    busy: Busy,
) -> Response<Answer> {
    let status = response.status();
    ticket.answered(status);
    let mut trailers_decide = false;
    let outcome = if way.protocol == Protocol::Grpc && status == StatusCode::OK {
        let said = outcome::of_grpc(response.headers());
        trailers_decide = said.is_none();
        said.unwrap_or(Outcome::ServerError)
    } else {
        outcome::of_status(status)
    };
    // What decides a gRPC request is still to come when its first byte is timed.
    ticket.first_byte(if trailers_decide { Outcome::Ok } else { outcome });
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            ticket.end(Outcome::ServerError);
            let mut response = Response::new(Answer::text(BROKEN.1, busy));
            *response.status_mut() = BROKEN.0;
            return response;
        };
        headers::to_client(&mut response, version, true);
        let backend = hyper::upgrade::on(&mut response);
        ticket.end(outcome);
        let tunnel_busy = busy.again();
        upgrade::spawn(way.worker.clone(), client, backend, tunnel_busy, lease);
        return response.map(|_| Answer::text("", busy));
    }
    headers::to_client(&mut response, version, false);
    response.map(|body| Answer::passing(body, ticket, lease, outcome, trailers_decide, busy))
}
