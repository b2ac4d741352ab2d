//! A guard that is asked to end answers what it was asked before.

use blueback::load::{self, Wire};
use blueback::sample::Fault;
use blueback_tests::{Guarded, Plan, Traffic, until};

use crate::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_answered_when_the_guard_is_asked_to_end() {
    let mut shop = Guarded::start(Plan { warm_up: 50, ..Plan::default() }).await;
    shop.stage.traffic.stop().await;
    shop.blue_does(Fault { latency_ms: 1_000, ..Fault::default() });
    let asked_before = shop.blue[0].requests();
    let mut loads = [Wire::KeepAlive(30), Wire::Fresh, Wire::H2c(2)]
        .map(|wire| Traffic::start(load::Plan { wire, requests: Some(20), ..load::Plan::new(shop.listen, 400.0) }));
    until(SOON, "all requests to be at blue", async || match shop.blue[0].requests() - asked_before {
        60 => Ok(()),
        asked => Err(format!("{asked} of 60")),
    })
    .await;
    shop.guard.terminate();
    for load in &mut loads {
        let requests = load.stop().await;
        assert_eq!(requests.len(), 20);
        assert!(requests.iter().all(|request| request.answer == Ok(200)), "{requests:#?}");
    }
    let status = shop.guard.end(SOON).await;
    assert!(status.success(), "{status}");
}
