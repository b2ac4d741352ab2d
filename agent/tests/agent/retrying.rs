//! When a request is sent twice, and when it is not.

use http::{Request, header};
use http_body_util::Full;

use crate::common::app::App;
use crate::common::{client, metric, requests, sidecar, start};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers the first request of each connection and hangs up on the second, having read it.
async fn impatient() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(crate::common::any_port()).await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = count.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4_096];
                if stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    seen.fetch_add(1, SeqCst);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.expect("the agent reads");
                    if stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        seen.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_repeatable_request_is_sent_again_when_its_kept_connection_had_closed() {
    let (address, seen) = impatient().await;
    let agent = start(sidecar(address, None)).await;
    for _ in 0..4 {
        assert_eq!(client::get(agent.listen_addr(), "/").await, (http::StatusCode::OK, "ok".to_owned()));
        // Long enough for the connection to count as possibly stale.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    assert_eq!(metric(&agent, "blueback_agent_retries_total").await, 3.0);
    assert_eq!(seen.load(SeqCst), 7, "four requests, and all but the first were sent twice");
    assert_eq!(requests(&agent, "green", "ok").await, 4.0);
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_not() {
    let (address, seen) = impatient().await;
    let agent = start(sidecar(address, None)).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    let request = Request::post("/").header(header::HOST, "shop").body(Full::from("order")).expect("a request");
    let mut sender = client::http1(agent.listen_addr()).await;
    assert_eq!(sender.send_request(request).await.expect("an answer").status(), 502);
    assert_eq!(seen.load(SeqCst), 2, "the order was sent once");
    assert_eq!(requests(&agent, "green", "unreachable").await, 1.0);
}

#[tokio::test]
async fn requests_survive_an_application_that_closes_idle_connections() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    for http2 in [false, true] {
        for _ in 0..20 {
            let status = if http2 {
                let mut sender = client::http2(agent.listen_addr()).await;
                client::text(sender.send_request(client::request_http2("/")).await.expect("an answer")).await.0
            } else {
                client::get(agent.listen_addr(), "/").await.0
            };
            assert_eq!(status, 200);
            app.state.hang_up.notify_waiters();
            // A connection that was busy just now is taken to be alive, and no copy of a request is kept for it.
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }
}
