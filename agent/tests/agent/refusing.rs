//! What does not go through.

use crate::common::app::App;
use crate::common::{client, metric, sidecar, start};

async fn refused(request: &str) -> String {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let answer = client::raw(agent.listen_addr(), request).await;
    assert_eq!(app.requests(), 0, "{request:?} reached the application");
    answer
}

#[tokio::test]
async fn requests_that_could_smuggle_another_are_refused() {
    let ambiguous = [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ];
    for request in ambiguous {
        let answer = refused(request).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 501"), "{request:?}: {answer:?}");
    }
}

#[tokio::test]
async fn connect_is_refused() {
    let answer = refused("CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn heads_over_the_bound_are_refused() {
    let large = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Large: {}\r\n\r\n", "x".repeat(40 << 10));
    let answer = refused(&large).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = (0..200).fold("GET / HTTP/1.1\r\nHost: h\r\n".to_owned(), |head, at| head + &format!("x-{at}: 1\r\n"));
    let answer = refused(&(many + "\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_given_up() {
    let app = App::start("green").await;
    let mut config = sidecar(app.address, None);
    config.limits.head_timeout = std::time::Duration::from_millis(300);
    let agent = start(config).await;
    for head in ["", "GET / HTTP/1.1\r\nHos", "PRI * HT"] {
        // `raw` returns only because the agent closes.
        assert_eq!(client::raw(agent.listen_addr(), head).await, "", "{head:?}");
    }
    assert!(metric(&agent, "blueback_agent_refused_total{why=\"slow\"}").await >= 1.0);
}

#[tokio::test]
async fn requests_over_the_bound_are_answered_503_and_do_not_count_against_the_application() {
    let app = App::start("green").await;
    let mut config = sidecar(app.address, None);
    config.limits.requests = 1;
    let agent = start(config).await;
    let mut first = client::http1(agent.listen_addr()).await;
    let hanging = tokio::spawn(async move { first.send_request(client::request("/hang")).await });
    crate::common::until("it hangs", || async { app.requests() == 1 }).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.0, 503);
    app.state.release.notify_one();
    assert_eq!(hanging.await.expect("no panic").expect("an answer").status(), 200);
    assert_eq!(crate::common::requests(&agent, "green", "server_error").await, 0.0);
    assert_eq!(metric(&agent, "blueback_agent_refused_total{why=\"requests\"}").await, 1.0);
}

#[tokio::test]
async fn connections_over_the_bound_are_closed_at_once() {
    let app = App::start("green").await;
    let mut config = sidecar(app.address, None);
    config.limits.connections = 1;
    let agent = start(config).await;
    let mut kept = client::http1(agent.listen_addr()).await;
    assert_eq!(kept.send_request(client::request("/")).await.expect("an answer").status(), 200);
    assert_eq!(client::raw(agent.listen_addr(), "").await, "");
    assert_eq!(metric(&agent, "blueback_agent_refused_total{why=\"connections\"}").await, 1.0);
}
