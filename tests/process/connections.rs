//! Clients that keep their connections to green's agent: after a divert they are answered by blue on those very
//! connections, which are then let go without a failed request.

use std::net::SocketAddr;
use std::time::Duration;

use blueback::load::{Plan as Load, Wire};
use blueback_gate::api::types::Phase;
use blueback_tests::{Apart, Asked as _, Plan, Traffic};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::SOON;

/// Between the requests of a client that keeps its one connection.
const GAP: Duration = Duration::from_millis(20);

fn request(to: SocketAddr) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{to}/"))
        .header("host", to.to_string())
        .body(Empty::new())
        .expect("the parts are valid")
}

/// Who answered, whether the server closes the connection after it; panics unless all is well with the answer.
async fn read(response: Response<Incoming>) -> (String, bool) {
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (backend, is_last) = (header("x-backend").to_owned(), header("connection").eq_ignore_ascii_case("close"));
    response.into_body().collect().await.expect("the answer is whole");
    (backend, is_last)
}

/// Sends on one HTTP/1.1 connection until the server lets go of it; returns who answered.
async fn keep_http1(to: SocketAddr) -> Vec<String> {
    let stream = TcpStream::connect(to).await.expect("the agent listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("there is nothing to refuse");
    let connection = tokio::spawn(connection);
    let mut gap = interval(GAP);
    let mut answered = Vec::new();
    loop {
        gap.tick().await;
        let response = sender.send_request(request(to)).await.expect("no request fails before 'connection: close'");
        let (backend, is_last) = read(response).await;
        answered.push(backend);
        if is_last {
            connection.await.expect("the connection's task ends").expect("the connection ends in order");
            return answered;
        }
    }
}

/// Sends on one HTTP/2 connection until the server lets go of it; returns who answered.
async fn keep_http2(to: SocketAddr) -> Vec<String> {
    let stream = TcpStream::connect(to).await.expect("the agent listens");
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("the agent speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let mut gap = interval(GAP);
    let mut answered = Vec::new();
    loop {
        gap.tick().await;
        match sender.try_send_request(request(to)).await {
            Ok(response) => answered.push(read(response).await.0),
            // Given back unsent: the server said GOAWAY, and the client may send it elsewhere without a doubt.
            Err(mut unsent) => {
                assert!(unsent.take_message().is_some(), "a request was lost: {:?}", unsent.into_error());
                connection.await.expect("the connection's task ends").expect("the connection ends in order");
                return answered;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_leave_green_without_a_failed_request() {
    let shop = Apart::start_without_front(Plan { rate: 0.0, ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    let green = shop.beside[1];
    let mut loads =
        [Wire::KeepAlive(8), Wire::H2c(2)].map(|wire| Traffic::start(Load { wire, ..Load::new(green, 60.0) }));
    let watched = [tokio::spawn(keep_http1(green)), tokio::spawn(keep_http2(green))];
    for load in &loads {
        load.answered_by("green", 100).await;
    }

    let ran = shop.command("revert", &["shop", "--why", "kept connections must follow"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for kept in watched {
        let answered = timeout(SOON, kept).await.expect("the connection is let go").expect("no request failed");
        assert!(answered.iter().any(|backend| backend == "green-1"), "it was not on green: {answered:?}");
    }
    story.in_phase(SOON, Phase::Reverted).await;
    for load in &mut loads {
        let after = load.pass(60).await;
        assert!(after.iter().all(|request| request.is_answered_by("blue")), "{after:#?}");
        let requests = load.stop().await;
        let failed: Vec<_> = requests.iter().filter(|request| request.answer != Ok(200)).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
