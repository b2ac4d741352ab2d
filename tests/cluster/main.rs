//! Stories on a real Kubernetes cluster. One story a file; `tests/cluster/run` brings up what they need.

mod agent_killed;
mod api_server;
mod by_hand;
mod charts;
mod churn;
mod forbidden;
mod from_outside;
mod leader;
mod measure;
mod never_ready;
mod numeric_port;
mod outage;
mod restart;
mod route;
mod uninstalled;

use std::time::Duration;

use blueback::sample::Fault;
use blueback_tests::cluster::{App, LoadPod, Namespace, condition, service};

/// Longest wait for what takes seconds when all is well.
const SOON: Duration = Duration::from_secs(60);

/// Every request is answered 500.
fn outage() -> Fault {
    Fault { error_rate: 1.0, ..Fault::default() }
}

/// Figures for who reads the log of a run.
#[expect(clippy::print_stderr, reason = "a story says what it measured")]
fn tell(text: &str) {
    eprintln!("{text}");
}

/// Blue and green of the Service `shop`, two pods each with its agent; blue serves, and the gate knows it.
async fn served(shop: &Namespace) {
    shop.apply(&[App::new("blue").deployment(), App::new("green").deployment(), service("blue")]).await;
    shop.rolled_out("blue").await;
    shop.rolled_out("green").await;
    shop.gate_until(|status| condition(status, "AgentsConnected").0 == "True" && status["phase"] == "Idle").await;
}

/// 100 requests a second over a new connection each, from before the switch to after it: green serves them all, and is watched.
async fn switched(shop: &Namespace) -> LoadPod {
    let load = LoadPod::start(shop, "load", "http://shop/", &["--rps", "100", "--connections", "fresh"]).await;
    // What is normal must be known before it is left.
    load.answered_by("blue", 1_000).await;
    shop.select("green").await;
    shop.gate_until(|status| status["phase"] == "Watching").await;
    load.answered_by("green", 200).await;
    load
}
