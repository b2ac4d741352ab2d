//! Where requests go when the gate says so.

use std::sync::atomic::Ordering::SeqCst;

use blueback_report::wire::proto::to_agent;
use blueback_report::{PodShare, Route, Slot};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, front, metric, nobody, peer, requests, sidecar, start, until};

/// Five standard deviations: wrong once in two million seeds.
fn assert_binomial(seen: usize, of: usize, share: f64) {
    let (n, seen) = (of as f64, seen as f64);
    assert!((seen - n * share).abs() <= 5.0 * (n * share * (1.0 - share)).sqrt(), "{seen} of {n} at {share}");
}

#[tokio::test]
async fn a_front_agent_splits_by_share() {
    const REQUESTS: usize = 4_000;
    let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
    let mut config = front(blue.address, green.address);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    let mut sender = client::http1(agent.listen_addr()).await;
    for (epoch, share) in [(1, 0.1), (2, 0.5), (3, 0.0), (4, 1.0)] {
        gate.route(&agent, epoch, share, Some(0)).await;
        let mut to_green = 0;
        for _ in 0..REQUESTS {
            sender.ready().await.expect("the connection is kept");
            let answer = sender.send_request(client::request("/")).await.expect("an answer");
            to_green += usize::from(client::text(answer).await.1 == "green");
        }
        assert_binomial(to_green, REQUESTS, share);
    }
}

#[tokio::test]
async fn a_shielded_pod_keeps_its_share_and_the_other_slot_gets_the_rest() {
    const REQUESTS: usize = 2_000;
    let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
    let mut config = front(blue.address, green.address);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    let pod = format!("green-{}", green.address.port()).into();
    let pods = vec![PodShare { slot: Slot::Green, pod, share: 0.2 }];
    let route = Route { epoch: 1, green_share: 1.0, pods, let_go_ms: None, peers: Vec::new() };
    gate.say(to_agent::Message::Route((&route).into())).await;
    until("the route is in force", || async { agent.epoch() == 1 }).await;
    let mut sender = client::http2(agent.listen_addr()).await;
    for _ in 0..REQUESTS {
        client::text(sender.send_request(client::request_http2("/")).await.expect("an answer")).await;
    }
    assert_eq!(green.requests() + blue.requests(), REQUESTS);
    assert_binomial(green.requests(), REQUESTS, 0.2);
}

#[tokio::test]
async fn a_sidecar_diverts_and_comes_back() {
    let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
    let mut config = sidecar(green.address, Some(blue.address));
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.1, "green");
    gate.route(&agent, 1, 0.0, None).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.1, "blue");
    let head = client::get(agent.listen_addr(), "/head").await.1;
    assert!(head.contains("blueback-diverted: 1"), "{head}");
    gate.route(&agent, 2, 1.0, None).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.1, "green");
    assert_eq!((requests(&agent, "blue", "ok").await, requests(&agent, "green", "ok").await), (2.0, 2.0));
}

#[tokio::test]
async fn two_sidecars_that_divert_to_each_other_do_not_play_ball() {
    let (green, gate) = (App::start("green").await, Gate::start().await);
    // Its other slot is a sidecar whose other slot is again this one, and both divert.
    let second = {
        let mut config = sidecar(green.address, Some(nobody()));
        config.gate = Some(gate.uri());
        start(config).await
    };
    gate.route(&second, 1, 0.0, None).await;
    let other = Gate::start().await;
    let mut config = sidecar(nobody(), Some(second.listen_addr()));
    config.gate = Some(other.uri());
    let first = start(config).await;
    other.route(&first, 1, 0.0, None).await;
    assert_eq!(client::get(first.listen_addr(), "/").await.1, "green");
    assert_eq!(metric(&second, "blueback_agent_divert_failed_total").await, 0.0);
}

#[tokio::test]
async fn a_request_that_cannot_be_diverted_is_served_at_home() {
    let (green, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(green.address, Some(nobody()));
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.route(&agent, 1, 0.0, None).await;
    for _ in 0..5 {
        assert_eq!(client::get(agent.listen_addr(), "/").await.1, "green");
    }
    assert_eq!(metric(&agent, "blueback_agent_divert_failed_total").await, 5.0);
    assert_eq!(requests(&agent, "blue", "unreachable").await, 0.0);
    until("the gate hears of it", || async {
        gate.heard().reports.last().is_some_and(|report| report.health.divert_failed == 5)
    })
    .await;
}

/// Home gets nothing; the rest is for these.
fn all_away(epoch: u64, peers: &[std::net::SocketAddr]) -> to_agent::Message {
    let peers = peers.iter().map(|&address| peer(Slot::Blue, address)).collect();
    to_agent::Message::Route((&Route { peers, ..Route::all_to(Slot::Blue, epoch) }).into())
}

#[tokio::test]
async fn peers_take_turns_and_those_that_left_get_nothing() {
    let (green, gate) = (App::start("green").await, Gate::start().await);
    let (one, two) = (App::start("one").await, App::start("two").await);
    let mut config = sidecar(green.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.say(all_away(1, &[one.address, two.address])).await;
    until("the route is in force", || async { agent.epoch() == 1 }).await;
    let mut sender = client::http1(agent.listen_addr()).await;
    for _ in 0..20 {
        sender.ready().await.expect("the connection is kept");
        client::text(sender.send_request(client::request("/")).await.expect("an answer")).await;
    }
    assert_eq!((green.requests(), one.requests(), two.requests()), (0, 10, 10));
    assert_eq!(one.state.connections.load(SeqCst), 1, "its connection is kept");
    // Pods come and go without a new epoch.
    gate.say(all_away(1, &[two.address])).await;
    until("one is forgotten", || async {
        let before = one.requests();
        for _ in 0..4 {
            client::get(agent.listen_addr(), "/").await;
        }
        one.requests() == before
    })
    .await;
    gate.say(all_away(1, &[])).await;
    until("it is served at home", || async { client::get(agent.listen_addr(), "/").await.1 == "green" }).await;
    assert!(metric(&agent, "blueback_agent_divert_failed_total").await > 0.0);
    assert_eq!(requests(&agent, "blue", "unreachable").await, 0.0);
}

#[tokio::test]
async fn a_peer_that_vanished_costs_no_request() {
    let (green, gate, one) = (App::start("green").await, Gate::start().await, App::start("one").await);
    let mut config = sidecar(green.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.say(all_away(1, &[nobody(), one.address])).await;
    until("the route is in force", || async { agent.epoch() == 1 }).await;
    for _ in 0..20 {
        assert_eq!(client::get(agent.listen_addr(), "/").await.1, "one");
    }
    assert_eq!(metric(&agent, "blueback_agent_divert_failed_total").await, 0.0);
}

#[tokio::test]
async fn a_route_that_is_not_newer_changes_nothing() {
    let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
    let mut config = front(blue.address, green.address);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.route(&agent, 5, 1.0, None).await;
    for epoch in [5, 4] {
        let late = Route { epoch, green_share: 0.0, pods: Vec::new(), let_go_ms: None, peers: Vec::new() };
        gate.say(to_agent::Message::Route((&late).into())).await;
    }
    gate.watch(&[], &[]).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.1, "green");
}

#[tokio::test]
async fn routes_are_counted_apart() {
    let (green, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(green.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.watch(&[], &["/checkout", "/checkout/pay"]).await;
    for path in ["/", "/checkout", "/checkout/cart", "/checkout/pay/now", "/checkouts"] {
        client::get(agent.listen_addr(), path).await;
    }
    until("all are reported", || async { gate.totals().ended() == 5 }).await;
    let totals = gate.totals();
    let counts: Vec<_> = totals.series.iter().map(|(key, latency)| (&*key.route, latency.last_byte.total())).collect();
    assert_eq!(counts, [("", 2), ("/checkout", 2), ("/checkout/pay", 1)]);
}
