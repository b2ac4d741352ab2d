//! An application to stand behind the agent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Collected, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

type Body = BoxBody<Bytes, Infallible>;

/// What the application speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Both,
    Http1,
}

/// Stops when dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Requests received.
    pub(crate) requests: AtomicUsize,
    /// Connections accepted.
    pub(crate) connections: AtomicUsize,
    /// Lets `/hang` answer.
    pub(crate) release: Notify,
    /// Bytes of request bodies received.
    pub(crate) received: AtomicUsize,
    /// Closes all connections that are idle.
    pub(crate) hang_up: Notify,
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl App {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::speaking(name, Speaks::Both).await
    }

    pub(crate) async fn speaking(name: &'static str, speaks: Speaks) -> Self {
        let listener = TcpListener::bind(super::any_port()).await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let task = tokio::spawn(serve(listener, name, state.clone(), speaks));
        Self { address, state, task }
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(SeqCst)
    }
}

async fn serve(listener: TcpListener, name: &'static str, state: Arc<State>, speaks: Speaks) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        state.connections.fetch_add(1, SeqCst);
        let state = state.clone();
        connections.spawn(async move {
            let hang_up = state.clone();
            let service = service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(answer(request, name, &state).await) }
            });
            let io = TokioIo::new(stream);
            let (http1, both) = (http1::Builder::new(), auto::Builder::new(TokioExecutor::new()));
            let connection = async move {
                // How a connection ends is not the application's concern.
                match speaks {
                    Speaks::Http1 => drop(http1.serve_connection(io, service).with_upgrades().await),
                    Speaks::Both => drop(both.serve_connection_with_upgrades(io, service).await),
                }
            };
            tokio::select! {
                () = connection => {}
                () = hang_up.hang_up.notified() => {}
            }
        });
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

fn frames(frames: Vec<Frame<Bytes>>) -> Body {
    BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames.into_iter().map(Ok))))
}

fn trailers(name: &'static str, value: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    Frame::trailers(trailers)
}

async fn answer(request: Request<Incoming>, name: &'static str, state: &Arc<State>) -> Response<Body> {
    state.requests.fetch_add(1, SeqCst);
    let path = request.uri().path().to_owned();
    let reply = Response::builder();
    let made = match path.as_str() {
        "/head" => {
            let host = request.uri().authority().map(ToString::to_string);
            let mut lines: Vec<String> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
                .collect();
            lines.extend(host.map(|host| format!(":authority: {host}")));
            lines.push(format!("{} {:?}", request.method(), request.version()));
            lines.sort();
            reply
                .header("connection", "x-hop")
                .header("x-hop", "1")
                .header("keep-alive", "timeout=9")
                .body(full(lines.join("\n")))
        }
        "/hang" => {
            state.release.notified().await;
            reply.body(full("released"))
        }
        "/stream" => {
            // One frame now, the last one when released.
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            let state = state.clone();
            tokio::spawn(async move {
                for text in [&b"first"[..], b"last"] {
                    if sender.send(Ok(Frame::data(Bytes::from_static(text)))).await.is_err() {
                        return;
                    }
                    if text == b"first" {
                        state.release.notified().await;
                    }
                }
            });
            reply.body(BodyExt::boxed(StreamBody::new(ReceiverStream::new(receiver))))
        }
        "/echo" => {
            let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
            state.received.fetch_add(body.len(), SeqCst);
            reply.body(full(body))
        }
        "/sink" => {
            let mut body = request.into_body();
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                state.received.store(bytes, SeqCst);
            }
            reply.body(full(bytes.to_string()))
        }
        "/large" => {
            let chunk = Bytes::from(vec![b'x'; 64 << 10]);
            let chunks = std::iter::repeat_n(chunk, 512).map(|chunk| Ok(Frame::data(chunk)));
            reply.body(BodyExt::boxed(StreamBody::new(tokio_stream::iter(chunks))))
        }
        "/trailers" => {
            let body = frames(vec![Frame::data(Bytes::from_static(b"data")), trailers("x-end", "1")]);
            reply.header(header::TRAILER, "x-end").body(body)
        }
        "/upgrade" => {
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(request).await.expect("the other side agrees");
                let mut upgraded = TokioIo::new(upgraded);
                let mut text = String::new();
                upgraded.read_to_string(&mut text).await.expect("text until the other side's end");
                upgraded.write_all(text.to_uppercase().as_bytes()).await.expect("the other side still reads");
                upgraded.shutdown().await.expect("it can be closed");
            });
            reply.status(101).header("connection", "upgrade").header("upgrade", "shout").body(full(""))
        }
        path if path.starts_with("/status/") => {
            let status: u16 = path["/status/".len()..].parse().expect("a number");
            reply.status(status).body(full(status.to_string()))
        }
        path if path.starts_with("/grpc/") => {
            let status: &'static str = path["/grpc/".len()..].to_owned().leak();
            let reply = reply.header(header::CONTENT_TYPE, "application/grpc");
            if request.headers().contains_key("only") {
                reply.header("grpc-status", status).body(full(""))
            } else if status == "none" {
                reply.body(full("data"))
            } else {
                reply.body(frames(vec![Frame::data(Bytes::from_static(b"data")), trailers("grpc-status", status)]))
            }
        }
        _ => reply.body(full(name)),
    };
    made.expect("a response")
}
