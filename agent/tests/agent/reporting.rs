//! The stream to the gate.

use blueback_report::{Role, Slot};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, front, metric, nobody, sidecar, start, until};

#[tokio::test]
async fn an_agent_introduces_itself_replays_and_then_reports() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, Some(nobody()));
    config.gate = Some(gate.uri());
    config.pod = "pod-1".to_owned();
    let agent = start(config).await;
    until("live reports come", || async { gate.heard().reports.iter().any(|report| !report.replayed) }).await;
    let heard = gate.heard();
    let hello = heard.hello.expect("it came first");
    assert!(hello.agent.starts_with("pod-1/") && hello.agent.len() == "pod-1/".len() + 16, "{}", hello.agent);
    assert_eq!((&*hello.service, hello.role), ("shop", Role::Sidecar(Slot::Green)));
    assert_eq!((hello.route.epoch, hello.route.green_share), (0, 1.0));
    let ready: Vec<_> = hello.targets.iter().map(|target| (target.slot, target.ready)).collect();
    assert_eq!(ready, [(Slot::Green, true), (Slot::Blue, false)]);
    assert!(heard.reports[0].replayed, "the baseline comes first, for the gate knew nothing");
    let live = heard.reports.iter().find(|report| !report.replayed).expect("just seen");
    assert!(live.at_ms > heard.reports[0].at_ms);
    drop(agent);
}

#[tokio::test]
async fn only_what_was_not_acknowledged_is_sent_again() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.watch(&[], &[]).await;
    client::get(agent.listen_addr(), "/").await;
    until("it is reported", || async { gate.totals().ended() == 1 }).await;
    until("then nothing is left to say", || async {
        gate.heard().reports.last().is_some_and(|report| report.totals.is_empty())
    })
    .await;
    gate.be_silent(true);
    client::get(agent.listen_addr(), "/").await;
    until("it is reported", || async { gate.totals().ended() == 2 }).await;
    let before = gate.heard().reports.len();
    until("more come", || async { gate.heard().reports.len() > before + 5 }).await;
    let heard = gate.heard();
    assert!(
        heard.reports[before + 1..].iter().all(|report| !report.totals.is_empty()),
        "it is said until acknowledged"
    );
    gate.be_silent(false);
    until("then nothing is left to say", || async {
        gate.heard().reports.last().is_some_and(|report| report.totals.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_flows_without_a_gate_and_a_new_one_hears_everything() {
    let (blue, green, gate) = (App::start("blue").await, App::start("green").await, Gate::start().await);
    let mut config = front(blue.address, green.address);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.route(&agent, 3, 1.0, None).await;
    client::get(agent.listen_addr(), "/").await;
    until("it is reported", || async { gate.totals().ended() == 1 }).await;
    let address = gate.address;
    gate.kill().await;
    until("the agent notices", || async { metric(&agent, "blueback_agent_gate_connected").await == 0.0 }).await;
    for _ in 0..10 {
        assert_eq!(client::get(agent.listen_addr(), "/").await.1, "green", "the last command stands");
    }
    assert_eq!(client::get(agent.admin_addr().expect("an admin port"), "/ready").await.0, 200);
    // A slice of the ring is cut in this time.
    let before = agent.epoch();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let gate = Gate::at(address, std::sync::Arc::default()).await;
    until("all eleven are known", || async { gate.totals().ended() == 11 }).await;
    let heard = gate.heard();
    assert_eq!(heard.hello.expect("it came first").route.epoch, before);
    let (replayed, live): (Vec<_>, Vec<_>) = heard.reports.iter().partition(|report| report.replayed);
    assert!(replayed.len() >= 2, "a baseline and slices");
    assert!(live.is_empty() || live[0].at_ms > replayed.last().expect("some").at_ms);
    assert!(replayed.is_sorted_by_key(|report| report.at_ms));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_remembers_gets_only_newer_slices() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    client::get(agent.listen_addr(), "/").await;
    until("it is reported", || async { gate.totals().ended() == 1 }).await;
    until("two slices are cut", || async { gate.heard().reports.last().is_some_and(|report| report.at_ms > 2_100) })
        .await;
    let merged_ms = gate.heard().reports.last().expect("some").at_ms;
    let agent_name = gate.heard().hello.expect("it came first").agent;
    let address = gate.address;
    let shared = gate.kill().await;
    let gate = Gate::at(address, shared).await;
    gate.welcome_with(merged_ms);
    until("it is back", || async {
        gate.streams().len() >= 2 && gate.heard().reports.iter().any(|report| !report.replayed)
    })
    .await;
    let heard = gate.heard();
    assert_eq!(heard.hello.expect("it came first").agent, agent_name, "the same instance");
    assert!(heard.reports.iter().all(|report| report.at_ms > merged_ms));
    let live = heard.reports.iter().find(|report| !report.replayed).expect("just seen");
    assert_eq!(live.totals.ended(), 1, "the first live report of a stream holds everything");
    assert_eq!(gate.totals().ended(), 1);
}

#[tokio::test]
async fn probes_notice_when_a_backend_goes_and_returns() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    config.probe = Some("/status/200".to_owned());
    let agent = start(config).await;
    let admin = agent.admin_addr().expect("an admin port");
    assert_eq!(client::get(admin, "/ready").await.0, 200);
    drop(app);
    until("it is not ready", || async { client::get(admin, "/ready").await.0 == 503 }).await;
    until("the gate hears of it", || async {
        gate.heard().reports.last().is_some_and(|report| !report.targets[0].ready)
    })
    .await;
}

#[tokio::test]
async fn a_probe_that_is_answered_with_an_error_is_not_ready() {
    let app = App::start("green").await;
    let mut config = sidecar(app.address, None);
    config.probe = Some("/status/500".to_owned());
    let agent = start(config).await;
    assert_eq!(client::get(agent.admin_addr().expect("an admin port"), "/ready").await.0, 503);
    assert_eq!(client::get(agent.listen_addr(), "/").await.0, 200, "traffic flows first");
}
