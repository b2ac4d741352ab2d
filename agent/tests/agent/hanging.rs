//! Requests that are not answered, seen while they are not.

use blueback_report::{Age, Measure, Totals};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, sidecar, start, until};

/// Crossed and settled of one measure, over all ages.
fn overdue(totals: &Totals, measure: Measure) -> (u64, u64) {
    let of = totals.overdue.iter().filter(|(key, _)| key.limit.measure == measure);
    of.fold((0, 0), |sum, (_, overdue)| (sum.0 + overdue.crossed, sum.1 + overdue.settled))
}

#[tokio::test]
async fn a_hang_crosses_its_limit_while_it_hangs_and_settles_when_it_ends() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.watch(&[30_000], &[]).await;
    let mut sender = client::http1(agent.listen_addr()).await;
    let hanging = tokio::spawn(async move { sender.send_request(client::request("/hang")).await });
    until("both limits are crossed", || async {
        let totals = gate.totals();
        overdue(&totals, Measure::LastByte) == (1, 0) && overdue(&totals, Measure::FirstByte) == (1, 0)
    })
    .await;
    assert_eq!(gate.totals().ended(), 0);
    let in_flight = gate.heard().reports.last().expect("reports come").in_flight.clone();
    assert_eq!(in_flight.values().sum::<u64>(), 1);
    // The share changes while it hangs: it ends as one of the epoch before.
    gate.route(&agent, 7, 1.0, None).await;
    app.state.release.notify_one();
    client::text(hanging.await.expect("no panic").expect("an answer")).await;
    until("both are settled", || async {
        let totals = gate.totals();
        overdue(&totals, Measure::LastByte) == (1, 1) && overdue(&totals, Measure::FirstByte) == (1, 1)
    })
    .await;
    let totals = gate.totals();
    let (key, latency) = totals.series.first_key_value().expect("it ended");
    assert_eq!((totals.series.len(), latency.last_byte.over(30_000), latency.first_byte.over(30_000)), (1, 1, 1));
    assert_eq!(key.age, Age::Older, "it was admitted under epoch 0 and ended under 7");
}

#[tokio::test]
async fn the_first_byte_is_timed_apart_from_the_last() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.watch(&[100_000], &[]).await;
    let mut sender = client::http1(agent.listen_addr()).await;
    let response = sender.send_request(client::request("/stream")).await.expect("a head");
    until("the last byte is overdue", || async { overdue(&gate.totals(), Measure::LastByte) == (1, 0) }).await;
    assert_eq!(overdue(&gate.totals(), Measure::FirstByte), (0, 0));
    app.state.release.notify_one();
    assert_eq!(client::text(response).await.1, "firstlast");
    until("it ended", || async { gate.totals().ended() == 1 }).await;
    let totals = gate.totals();
    let latency = totals.series.values().next().expect("it ended");
    assert_eq!(
        (latency.first_byte.total(), latency.first_byte.over(100_000), latency.last_byte.over(100_000)),
        (1, 0, 1)
    );
}
