//! How clients are let go, and how an agent stops, without a failed request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::header;
use tokio::task::JoinHandle;

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, front, metric, sidecar, start, until};

/// Clients that send one request after another on kept connections, opening a new one when they are told to.
struct Load {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

const CLIENTS: usize = 8;

impl Load {
    fn start(address: std::net::SocketAddr, http2: bool) -> Self {
        let (stop, opened, answered) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let clients = (0..CLIENTS).map(|number| {
            let (stop, opened, answered) = (stop.clone(), opened.clone(), answered.clone());
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    opened.fetch_add(1, SeqCst);
                    if http2 {
                        many_http2(address, &stop, &answered).await;
                    } else {
                        many(address, number, &stop, &answered).await;
                    }
                }
            })
        });
        let clients = clients.collect();
        Self { stop, opened, answered, clients }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            client.await.expect("no request failed");
        }
        self.answered.load(SeqCst)
    }
}

async fn many(address: std::net::SocketAddr, number: usize, stop: &AtomicBool, answered: &AtomicUsize) {
    let mut sender = client::http1(address).await;
    while !stop.load(SeqCst) {
        let response = sender.send_request(client::request("/")).await.expect("a request failed");
        let close = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        assert_eq!(client::text(response).await.0, 200);
        answered.fetch_add(1, SeqCst);
        if close {
            return;
        }
        tokio::time::sleep(Duration::from_millis(number as u64)).await;
        sender.ready().await.expect("closed without a word");
    }
}

async fn many_http2(address: std::net::SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) {
    let mut sender = client::http2(address).await;
    while !stop.load(SeqCst) {
        if sender.ready().await.is_err() {
            return;
        }
        match sender.try_send_request(client::request_http2("/")).await {
            Ok(response) => {
                assert_eq!(client::text(response).await.0, 200);
                answered.fetch_add(1, SeqCst);
            }
            // Refused by the library itself, which has seen our GOAWAY; that none of these was served is checked below.
            Err(mut failed) => {
                let unsent = failed.take_message().is_some() || failed.error().is_canceled();
                let told = format!("{failed:?}");
                assert!(unsent || told.contains("GoAway(b\"\", NO_ERROR, Remote)"), "{told}");
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_leave_after_a_divert_and_no_request_fails() {
    for http2 in [false, true] {
        let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
        let mut config = sidecar(green.address, Some(blue.address));
        config.gate = Some(gate.uri());
        let agent = start(config).await;
        let load = Load::start(agent.listen_addr(), http2);
        until("all clients are busy", || async { load.answered.load(SeqCst) > 200 }).await;
        for (epoch, share, ms) in [(1, 0.5, 0), (2, 0.0, 300)] {
            let before = load.opened.load(SeqCst);
            gate.route(&agent, epoch, share, Some(ms)).await;
            until("every client has gone", || async { load.opened.load(SeqCst) >= before + CLIENTS }).await;
        }
        let answered = load.stop().await;
        assert_eq!(
            blue.requests() + green.requests(),
            answered,
            "what was served was answered, and nothing else failed"
        );
        assert!(blue.requests() > 0, "requests were diverted");
    }
}

/// The platform moved the traffic, and the share that this agent keeps at home is what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_let_go_is_spread_over_its_window_even_if_no_share_changes() {
    const WINDOW: Duration = Duration::from_secs(4);
    for http2 in [false, true] {
        let (green, gate) = (App::start("green").await, Gate::start().await);
        let mut config = sidecar(green.address, None);
        config.gate = Some(gate.uri());
        let agent = start(config).await;
        gate.route(&agent, 1, 1.0, None).await;
        let load = Load::start(agent.listen_addr(), http2);
        until("all clients are busy", || async { load.answered.load(SeqCst) > 200 }).await;
        assert_eq!(load.opened.load(SeqCst), CLIENTS, "nobody has been let go yet");
        let begun = std::time::Instant::now();
        gate.route(&agent, 2, 1.0, Some(WINDOW.as_millis() as u32)).await;
        let gone = |count| load.opened.load(SeqCst) >= CLIENTS + count;
        until("half of them have gone", || async { gone(CLIENTS / 2) }).await;
        // Eight independent places in the window: four in its first tenth is one in 3,000.
        assert!(begun.elapsed() > WINDOW / 10, "{:?}", begun.elapsed());
        until("all of them have gone", || async { gone(CLIENTS) }).await;
        let answered = load.stop().await;
        assert_eq!(green.requests(), answered, "what was served was answered, and nothing else failed");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_when_they_are_let_go() {
    let (green, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(green.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    let mut http1 = client::http1(agent.listen_addr()).await;
    client::text(http1.send_request(client::request("/")).await.expect("an answer")).await;
    let mut http2 = client::http2(agent.listen_addr()).await;
    client::text(http2.send_request(client::request_http2("/")).await.expect("an answer")).await;
    gate.route(&agent, 1, 0.5, Some(0)).await;
    until("both are closed", || async { http1.is_closed() && http2.is_closed() }).await;
    until("none is left", || async { metric(&agent, "blueback_agent_connections ").await == 0.0 }).await;
}

#[tokio::test]
async fn a_front_agent_keeps_its_clients() {
    let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
    let mut config = front(blue.address, green.address);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    let mut sender = client::http1(agent.listen_addr()).await;
    for (epoch, share, name) in [(1, 1.0, "green"), (2, 0.0, "blue"), (3, 1.0, "green")] {
        gate.route(&agent, epoch, share, Some(0)).await;
        sender.ready().await.expect("the connection is kept");
        assert_eq!(client::text(sender.send_request(client::request("/")).await.expect("an answer")).await.1, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_agent_finishes_what_is_in_flight_and_sends_its_last_report() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    let (address, admin) = (agent.listen_addr(), agent.admin_addr().expect("an admin port"));
    let mut hanging = client::http1(address).await;
    let hanging = tokio::spawn(async move { hanging.send_request(client::request("/hang")).await });
    until("it hangs", || async { app.requests() == 1 }).await;
    assert_eq!(client::get(admin, "/ready").await.0, 200);
    let draining = tokio::spawn(agent.drain());
    until("it is not ready", || async { client::get(admin, "/ready").await.0 == 503 }).await;
    until("it does not accept", || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    assert!(!draining.is_finished());
    app.state.release.notify_one();
    let response = hanging.await.expect("no panic").expect("an answer");
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(client::text(response).await.1, "released");
    draining.await.expect("no panic");
    assert_eq!(gate.totals().ended(), 1, "the last report has arrived");
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_over() {
    let app = App::start("green").await;
    let mut config = sidecar(app.address, None);
    config.limits.drain_timeout = Duration::from_millis(200);
    let agent = start(config).await;
    let mut hanging = client::http1(agent.listen_addr()).await;
    let hanging = tokio::spawn(async move { hanging.send_request(client::request("/hang")).await });
    until("it hangs", || async { app.requests() == 1 }).await;
    agent.drain().await;
    hanging.await.expect("no panic").expect_err("cut off");
}
