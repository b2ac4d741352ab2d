//! Backends, clients and a gate on loopback for the tests.

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod gate;

use std::net::SocketAddr;
use std::time::Duration;

use blueback_agent::{Agent, Config, Target};
use blueback_report::{Peer, Role, Slot};

/// Nothing in these tests takes this long unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn target(slot: Slot, address: SocketAddr) -> Target {
    Target { slot, address, pod: format!("{slot}-{}", address.port()) }
}

/// A sidecar of green's `app` that can divert to `other`.
pub(crate) fn sidecar(app: SocketAddr, other: Option<SocketAddr>) -> Config {
    let targets = std::iter::once(target(Slot::Green, app)).chain(other.map(|other| target(Slot::Blue, other)));
    let mut config = Config::new("shop", Role::Sidecar(Slot::Green), any_port(), targets.collect());
    config.admin = Some(any_port());
    config.seed = Some(1);
    config
}

/// A sidecar that has to be told its slot, and diverts where the gate says.
pub(crate) fn unassigned(app: SocketAddr) -> Config {
    let own = Target { slot: Slot::Blue, address: app, pod: "shop-1".to_owned() };
    let mut config = Config::new("shop", Role::Sidecar(Slot::Blue), any_port(), vec![own]);
    config.unassigned = true;
    config.admin = Some(any_port());
    config.seed = Some(1);
    config
}

/// An agent that a sidecar may divert to.
pub(crate) fn peer(slot: Slot, address: SocketAddr) -> Peer {
    Peer { slot, pod: format!("{slot}-{}", address.port()).into(), address }
}

/// A front agent before one backend of each slot.
pub(crate) fn front(blue: SocketAddr, green: SocketAddr) -> Config {
    let targets = vec![target(Slot::Blue, blue), target(Slot::Green, green)];
    let mut config = Config::new("shop", Role::Front, any_port(), targets);
    config.admin = Some(any_port());
    config.seed = Some(1);
    config
}

pub(crate) async fn start(config: Config) -> Agent {
    Agent::start(config).await.expect("the agent starts")
}

/// An address where nothing listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind(any_port()).expect("there is a free port");
    listener.local_addr().expect("it is bound")
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut question: impl FnMut() -> F) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !question().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(asked.await.is_ok(), "never: {what}");
}

/// The value of a metric line that begins with `name`, as the agent's admin port shows it; zero when it is absent.
pub(crate) async fn metric(agent: &Agent, name: &str) -> f64 {
    let text = client::get(agent.admin_addr().expect("it has an admin port"), "/metrics").await.1;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().expect("a number ends the line"))
}

/// How many requests ended in a slot with an outcome, on the default route.
pub(crate) async fn requests(agent: &Agent, slot: &str, outcome: &str) -> f64 {
    let name = format!("blueback_agent_requests_total{{outcome=\"{outcome}\",route=\"\",slot=\"{slot}\"}}");
    let other = format!("blueback_agent_requests_total{{slot=\"{slot}\",route=\"\",outcome=\"{outcome}\"}}");
    metric(agent, &name).await + metric(agent, &other).await
}
