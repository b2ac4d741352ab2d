//! A sidecar whose slot the gate says.

use blueback_report::wire::proto::to_agent;
use blueback_report::{Role, Route, Slot};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, metric, peer, start, unassigned, until};

#[tokio::test]
async fn a_sidecar_speaks_of_the_slot_it_was_assigned() {
    let (app, other, gate) = (App::start("home").await, App::start("other").await, Gate::start().await);
    gate.assign(Slot::Green);
    let mut config = unassigned(app.address);
    config.gate = Some(gate.uri());
    config.pod_uid = Some("uid-1".to_owned());
    let agent = start(config).await;
    until("it reports", || async { gate.heard().reports.iter().any(|report| !report.replayed) }).await;
    let hello = gate.heard().hello.expect("it came first");
    assert!(hello.agent.starts_with("uid-1/"), "{}", hello.agent);
    assert_eq!((hello.role, hello.route.green_share), (Role::Sidecar(Slot::Green), 1.0));
    let targets: Vec<_> = hello.targets.iter().map(|target| (target.slot, &*target.pod, target.ready)).collect();
    assert_eq!(targets, [(Slot::Green, "shop-1", true), (Slot::Blue, "away", false)]);
    client::get(agent.listen_addr(), "/").await;
    let peers = vec![peer(Slot::Blue, other.address)];
    let route = Route { peers, ..Route::all_to(Slot::Blue, 1) };
    gate.say(to_agent::Message::Route((&route).into())).await;
    until("the route is in force", || async { agent.epoch() == 1 }).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.1, "other");
    until("both are reported", || async { gate.totals().ended() == 2 }).await;
    let totals = gate.totals();
    let series: Vec<_> = totals.series.keys().map(|key| (key.slot, &*key.pod)).collect();
    assert_eq!(series, [(Slot::Blue, "away"), (Slot::Green, "shop-1")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_changes_sides_begins_to_count_anew_as_another_instance() {
    let (app, gate) = (App::start("home").await, Gate::start().await);
    gate.assign(Slot::Green);
    let mut config = unassigned(app.address);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    for _ in 0..3 {
        client::get(agent.listen_addr(), "/").await;
    }
    until("they are reported", || async { gate.totals().ended() == 3 }).await;
    let before = gate.heard().hello.expect("it came first").agent;
    gate.end_stream().await;
    until("the same slot is the same instance", || async {
        gate.streams().len() == 2 && gate.heard().hello.is_some_and(|hello| hello.agent == before)
    })
    .await;
    until("it reports", || async { !gate.heard().reports.is_empty() }).await;
    gate.assign(Slot::Blue);
    gate.end_stream().await;
    let renamed = format!("{before}-1");
    until("another slot is another instance", || async {
        gate.heard().hello.is_some_and(|hello| *hello.agent == *renamed)
    })
    .await;
    client::get(agent.listen_addr(), "/").await;
    let ended = || gate.heard().reports.iter().map(|report| report.totals.ended()).max();
    until("it is reported", || async { ended() == Some(1) }).await;
    let heard = gate.heard();
    assert_eq!(heard.hello.expect("it came first").role, Role::Sidecar(Slot::Blue));
    let slots = heard.reports.iter().flat_map(|report| report.totals.series.keys()).map(|key| key.slot);
    assert!(slots.clone().all(|slot| slot == Slot::Blue), "{:?}", slots.collect::<Vec<_>>());
    assert_eq!(metric(&agent, "blueback_agent_gate_connected").await, 1.0);
}
