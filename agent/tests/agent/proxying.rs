//! What goes through, and how it is changed on its way.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::app::{App, Speaks};
use crate::common::{client, sidecar, start, until};

#[tokio::test]
async fn http1_and_http2_are_served_on_one_port() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await, (StatusCode::OK, "green".to_owned()));
    let mut http2 = client::http2(agent.listen_addr()).await;
    let head = client::text(http2.send_request(client::request_http2("/head")).await.expect("an answer")).await.1;
    assert!(head.contains("GET HTTP/2.0") && head.contains(":authority: shop"), "{head}");
}

#[tokio::test]
async fn http2_clients_are_served_by_an_application_that_speaks_http1_only() {
    let app = App::speaking("green", Speaks::Http1).await;
    let agent = start(sidecar(app.address, None)).await;
    let mut http2 = client::http2(agent.listen_addr()).await;
    for _ in 0..3 {
        let head = client::text(http2.send_request(client::request_http2("/head")).await.expect("an answer")).await.1;
        assert!(head.contains("GET HTTP/1.1") && head.contains("host: shop"), "{head}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let answer = client::raw(
        agent.listen_addr(),
        "GET /head HTTP/1.1\r\nHost: shop\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
         X-Stays: 1\r\nUpgrade: h2c\r\n\r\n",
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(body, "GET HTTP/1.1\nhost: shop\nx-stays: 1");
    assert!(head.contains("connection: close") && !head.contains("x-hop") && !head.contains("keep-alive"), "{head}");
}

#[tokio::test]
async fn the_trace_that_a_request_belongs_to_passes_untouched() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let trace = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=t61rcWkgMzE,other=1"),
        ("baggage", "user=ann"),
    ];
    let lines: String = trace.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET /head HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{lines}\r\n");
    let first = client::raw(agent.listen_addr(), &request).await;
    let mut http2 = client::http2(agent.listen_addr()).await;
    let mut request = client::request_http2("/head");
    for (name, value) in trace {
        request.headers_mut().insert(name, value.parse().expect("it is a header"));
    }
    let second = client::text(http2.send_request(request).await.expect("an answer")).await.1;
    for (name, value) in trace {
        let line = format!("{name}: {value}");
        assert!(first.contains(&line) && second.contains(&line), "{line} is not in {first} or not in {second}");
        assert_eq!(first.matches(name).count(), 1, "{first}");
    }
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body_comes() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let mut stream = TcpStream::connect(agent.listen_addr()).await.expect("it listens");
    let head =
        "POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nbody"), "{answer}");
}

#[tokio::test]
async fn trailers_pass_in_both_protocols() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let mut http2 = client::http2(agent.listen_addr()).await;
    let response = http2.send_request(client::request_http2("/trailers")).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a whole body");
    assert_eq!(body.trailers().expect("trailers")["x-end"], "1");
    let request = "GET /trailers HTTP/1.1\r\nHost: shop\r\nTE: trailers\r\nConnection: te, close\r\n\r\n";
    let answer = client::raw(agent.listen_addr(), request).await;
    assert!(answer.ends_with("4\r\ndata\r\n0\r\nx-end: 1\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_and_closes_by_halves() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let mut stream = TcpStream::connect(agent.listen_addr()).await.expect("it listens");
    let head = "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a head"));
    }
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: shout"), "{answer}");
    stream.write_all(b"quiet").await.expect("it reads");
    // The application answers only when it has seen our end.
    stream.shutdown().await.expect("half a connection");
    let mut shouted = String::new();
    stream.read_to_string(&mut shouted).await.expect("the other half");
    assert_eq!(shouted, "QUIET");
}

#[tokio::test]
async fn a_large_response_waits_for_a_slow_reader() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    for http2 in [false, true] {
        let mut body = if http2 {
            let mut sender = client::http2(agent.listen_addr()).await;
            sender.send_request(client::request_http2("/large")).await.expect("an answer").into_body()
        } else {
            let mut sender = client::http1(agent.listen_addr()).await;
            sender.send_request(client::request("/large")).await.expect("an answer").into_body()
        };
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("a whole body");
            let data = frame.data_ref().expect("data");
            assert!(data.iter().all(|&byte| byte == b'x'));
            bytes += data.len();
        }
        assert_eq!(bytes, 32 << 20);
    }
}

#[tokio::test]
async fn a_large_request_is_read_no_faster_than_the_application_reads() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let mut stream = TcpStream::connect(agent.listen_addr()).await.expect("it listens");
    // The application hangs without reading: what can be written is what buffers hold, and that is bounded.
    stream
        .write_all(b"POST /hang HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000000\r\n\r\n")
        .await
        .expect("it reads");
    let chunk = vec![b'y'; 1 << 20];
    let mut written = 0;
    while let Ok(Ok(bytes)) = tokio::time::timeout(std::time::Duration::from_millis(500), stream.write(&chunk)).await {
        written += bytes;
        assert!(written < 64 << 20, "nothing holds the client back");
    }
    drop(stream);
    // And one that is read arrives whole.
    let mut http1 = client::http1(agent.listen_addr()).await;
    let body = Full::new(Bytes::from(vec![b'z'; 32 << 20]));
    let request = Request::post("/sink").header(header::HOST, "shop").body(body).expect("a request");
    let (_, text) = client::text(http1.send_request(request).await.expect("an answer")).await;
    assert_eq!(text, (32 << 20).to_string());
}

#[tokio::test]
async fn pipelined_and_chunked_requests_arrive_as_sent() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let answer = client::raw(
        agent.listen_addr(),
        "POST /echo HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert!(answer.contains("\r\n\r\nabcHTTP/1.1") && answer.ends_with("\r\n\r\ngreen"), "{answer}");
}

#[tokio::test]
async fn connections_to_the_application_are_kept_and_used_again() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let before = app.state.connections.load(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(client::get(agent.listen_addr(), "/").await.0, StatusCode::OK);
    }
    // Health probes connect too, once a second.
    let opened = app.state.connections.load(std::sync::atomic::Ordering::SeqCst) - before;
    assert!(opened < 10, "{opened} connections for 20 requests");
    until("all are counted", || async { app.requests() == 20 }).await;
}
