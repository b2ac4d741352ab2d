//! A gate that writes down what it hears and says what it is told.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use blueback_report::wire::proto::{self, from_agent, to_agent};
use blueback_report::{Hello, Introduction, Limit, Measure, Report, Route, Slot, Totals, Watch, Welcome};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

#[expect(
    unused_qualifications,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes,
    reason = "generated"
)]
#[rustfmt::skip]
#[path = "../../../../gate/src/generated/blueback.report.v1.rs"]
mod generated;

use generated::intake_server::{Intake, IntakeServer};

/// What one stream brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The `authorization` it came with.
    pub(crate) authorization: Option<String>,
    pub(crate) hello: Option<Hello>,
    pub(crate) reports: Vec<Report>,
}

/// What a gate does with each stream, and what it heard.
#[derive(Default)]
pub(crate) struct Shared {
    /// One for each stream, in order.
    streams: Mutex<Vec<Heard>>,
    /// The newest stream's way back.
    back: Mutex<Option<mpsc::Sender<Result<proto::ToAgent, Status>>>>,
    /// What Welcome says.
    merged_ms: Mutex<u64>,
    /// The slot that sidecars are assigned.
    slot: Mutex<Option<Slot>>,
    /// Streams are sent on to this gate.
    leader: Mutex<Option<SocketAddr>>,
    /// Streams that were sent on.
    pub(crate) sent_on: Mutex<usize>,
    /// What certificate the next connection is shown; plain without one.
    pub(crate) tls: Mutex<Option<Arc<ServerConfig>>>,
    /// Whether reports are acknowledged.
    silent: Mutex<bool>,
    /// Everything merged, over all streams.
    pub(crate) totals: Mutex<Totals>,
}

pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    stop: watch::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

struct Service(Arc<Shared>, watch::Receiver<()>);

#[tonic::async_trait]
impl Intake for Service {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<proto::ToAgent, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<proto::FromAgent>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let shared = self.0.clone();
        if let Some(leader) = *shared.leader.lock().expect("no panic") {
            *shared.sent_on.lock().expect("no panic") += 1;
            let mut status = Status::unavailable("another gate leads");
            status.metadata_mut().insert("blueback-leader", leader.to_string().parse().expect("text"));
            return Err(status);
        }
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().expect("text").into());
        let mut stopped = self.1.clone();
        let (back, answers) = mpsc::channel(64);
        let number = {
            let mut streams = shared.streams.lock().expect("no panic");
            streams.push(Heard { authorization, ..Heard::default() });
            streams.len() - 1
        };
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    message = messages.message() => message,
                    _ = stopped.changed() => return,
                };
                let Ok(Some(proto::FromAgent { message: Some(message) })) = message else { return };
                match message {
                    from_agent::Message::Hello(hello) => {
                        let merged_ms = *shared.merged_ms.lock().expect("no panic");
                        let slot = *shared.slot.lock().expect("no panic");
                        let welcome = to_agent::Message::Welcome(Welcome { merged_ms, slot }.into());
                        let _ = back.send(Ok(proto::ToAgent { message: Some(welcome) })).await;
                        let hello = match hello.try_into().expect("a valid Hello") {
                            Introduction::Known(hello) => hello,
                            Introduction::Unassigned(hello) => hello.assigned(slot.expect("a gate that assigns slots")),
                        };
                        shared.streams.lock().expect("no panic")[number].hello = Some(hello);
                        *shared.back.lock().expect("no panic") = Some(back.clone());
                    }
                    from_agent::Message::Report(report) => {
                        let report = Report::try_from(report).expect("a valid report");
                        let at_ms = report.at_ms;
                        shared.totals.lock().expect("no panic").merge(&report.totals);
                        shared.streams.lock().expect("no panic")[number].reports.push(report);
                        if !*shared.silent.lock().expect("no panic") {
                            let ack = to_agent::Message::Ack(proto::Ack { at_ms });
                            let _ = back.send(Ok(proto::ToAgent { message: Some(ack) })).await;
                        }
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// A connection, plain or not.
enum Connection {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Connections whose handshake went well. Ends with the server that reads them.
fn incoming(listener: TcpListener, shared: Arc<Shared>) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.expect("connections can be accepted").0,
                () = sender.closed() => return,
            };
            let tls = shared.tls.lock().expect("no panic").clone();
            let connection = match tls {
                None => Connection::Plain(stream),
                Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                    Ok(stream) => Connection::Tls(Box::new(stream)),
                    // A client that does not trust us hangs up.
                    Err(_) => continue,
                },
            };
            if sender.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

impl Gate {
    pub(crate) async fn start() -> Self {
        Self::at(super::any_port(), Arc::default()).await
    }

    /// Listens on an address, and goes on with what another gate heard.
    pub(crate) async fn at(address: SocketAddr, shared: Arc<Shared>) -> Self {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // The gate before it is just going.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = watch::channel(());
        let service = IntakeServer::new(Service(shared.clone(), stopped.clone()));
        let accepting = shared.clone();
        let served = tokio::spawn(async move {
            let mut stopped = stopped;
            let connections = incoming(listener, accepting);
            let stop = async move {
                let _ = stopped.changed().await;
            };
            tokio::select! {
                _ = Server::builder().add_service(service).serve_with_incoming(connections) => {}
                () = stop => {}
            }
        });
        Self { address, shared, stop, served }
    }

    /// One that is reached by TLS.
    pub(crate) async fn secured(tls: ServerConfig) -> Self {
        let shared = Shared { tls: Mutex::new(Some(Arc::new(tls))), ..Shared::default() };
        Self::at(super::any_port(), Arc::new(shared)).await
    }

    /// By the name that its certificate is for.
    pub(crate) fn secured_uri(&self) -> http::Uri {
        format!("https://localhost:{}", self.address.port()).parse().expect("a URL")
    }

    pub(crate) fn assign(&self, slot: Slot) {
        *self.shared.slot.lock().expect("no panic") = Some(slot);
    }

    pub(crate) fn send_on_to(&self, leader: Option<SocketAddr>) {
        *self.shared.leader.lock().expect("no panic") = leader;
    }

    /// Ends the newest stream.
    pub(crate) async fn end_stream(&self) {
        let back = self.shared.back.lock().expect("no panic").take().expect("there is a stream");
        back.send(Err(Status::aborted("ended"))).await.expect("the agent listens");
    }

    pub(crate) fn uri(&self) -> http::Uri {
        format!("http://{}", self.address).parse().expect("a URL")
    }

    /// Gone without a word.
    pub(crate) async fn kill(self) -> Arc<Shared> {
        self.stop.send_replace(());
        self.served.abort();
        let _ = self.served.await;
        *self.shared.back.lock().expect("no panic") = None;
        self.shared
    }

    pub(crate) fn streams(&self) -> Vec<Heard> {
        self.shared.streams.lock().expect("no panic").clone()
    }

    /// What the newest stream brought.
    pub(crate) fn heard(&self) -> Heard {
        self.streams().pop().unwrap_or_default()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.shared.totals.lock().expect("no panic").clone()
    }

    pub(crate) fn welcome_with(&self, merged_ms: u64) {
        *self.shared.merged_ms.lock().expect("no panic") = merged_ms;
    }

    pub(crate) fn be_silent(&self, silent: bool) {
        *self.shared.silent.lock().expect("no panic") = silent;
    }

    pub(crate) async fn say(&self, message: to_agent::Message) {
        super::until("the agent connects", || async { self.shared.back.lock().expect("no panic").is_some() }).await;
        let back = self.shared.back.lock().expect("no panic").clone().expect("just seen");
        back.send(Ok(proto::ToAgent { message: Some(message) })).await.expect("the agent listens");
    }

    /// Commands a route and waits until it is in force.
    pub(crate) async fn route(
        &self,
        agent: &blueback_agent::Agent,
        epoch: u64,
        green_share: f64,
        let_go_ms: Option<u32>,
    ) {
        let route = Route { epoch, green_share, pods: Vec::new(), let_go_ms, peers: Vec::new() };
        self.say(to_agent::Message::Route((&route).into())).await;
        super::until("the route is in force", || async { agent.epoch() == epoch }).await;
    }

    /// Watches last-byte and first-byte limits in microseconds at a cadence of 20 ms, and waits until it reports so.
    pub(crate) async fn watch(&self, limits_us: &[u64], routes: &[&str]) {
        let limits = limits_us
            .iter()
            .flat_map(|&us| [Measure::LastByte, Measure::FirstByte].map(|measure| Limit { measure, us }));
        let routes = routes.iter().map(|&route| route.into()).collect();
        let watch = Watch { cadence_ms: 20, limits: limits.collect(), routes };
        self.say(to_agent::Message::Watch((&watch).into())).await;
        let before = self.heard().reports.len();
        super::until("reports come quickly", || async { self.heard().reports.len() > before + 3 }).await;
    }
}
