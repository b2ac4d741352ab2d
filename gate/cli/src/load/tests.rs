use super::*;
use crate::sample::{Config, Fault, Sample};

const RATE: f64 = 500.0;

async fn sample(name: &str) -> Sample {
    Sample::start(Config { latency_us: (0, 1_000), ..Config::new(name) }).await.expect("loopback has free ports")
}

fn plan(sample: &Sample, wire: Wire) -> Plan {
    Plan { wire, requests: Some(100), ..Plan::new(sample.addr(), RATE) }
}

#[tokio::test]
async fn every_wire_carries_every_request() {
    let sample = sample("green-1").await;
    for wire in [Wire::KeepAlive(4), Wire::Fresh, Wire::H2c(2)] {
        let (load, mut results) = Load::start(plan(&sample, wire));
        let summary = load.finish().await;
        assert_eq!((summary.requests, summary.failed(), summary.statuses.get(&200)), (100, 0, Some(&100)), "{wire:?}");
        assert_eq!(summary.backends.get("green-1"), Some(&(100, 0)), "{wire:?}");
        assert_eq!(summary.latency.total(), 100, "{wire:?}");
        let mut numbers = Vec::new();
        while let Some(ended) = results.recv().await {
            assert!(ended.scheduled <= ended.started && ended.started <= ended.ended, "{ended:?}");
            numbers.push(ended.number);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<u64>>(), "{wire:?}");
    }
}

#[tokio::test]
async fn arrivals_do_not_wait_for_answers() {
    let sample = sample("slow").await;
    sample.set_fault(Fault { latency_ms: 400, ..Fault::default() });
    for wire in [Wire::KeepAlive(1), Wire::H2c(1)] {
        let (load, mut results) = Load::start(Plan { requests: Some(50), ..plan(&sample, wire) });
        let began = load.began();
        assert_eq!(load.finish().await.failed(), 0, "{wire:?}");
        // One after the other would take 20 s.
        assert!(began.elapsed() < Duration::from_secs(5), "{wire:?}: {:?}", began.elapsed());
        while let Some(ended) = results.recv().await {
            assert!(ended.latency() >= Duration::from_millis(400), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn a_hang_ends_by_patience_and_never_exceeds_the_bound() {
    let sample = sample("hanging").await;
    sample.set_fault(Fault { hang: true, ..Fault::default() });
    let patience = Duration::from_millis(300);
    let (load, _) =
        Load::start(Plan { patience, in_flight_max: 20, requests: Some(60), ..plan(&sample, Wire::KeepAlive(2)) });
    let summary = load.finish().await;
    assert_eq!(summary.lost.get(&Lost::Timeout).copied().unwrap_or(0), summary.failed());
    assert!(summary.failed() >= 20, "{summary:?}");
    assert_eq!(summary.failed() + summary.lost.get(&Lost::Overloaded).copied().unwrap_or(0), 60);
}

#[tokio::test]
async fn a_crash_is_a_lost_connection_and_a_drain_is_not() {
    let crashing = sample("crashing").await;
    for wire in [Wire::KeepAlive(4), Wire::Fresh, Wire::H2c(2)] {
        let draining = sample("draining").await;
        let (load, mut results) = Load::start(Plan { requests: None, ..plan(&draining, wire) });
        results.recv().await.expect("the load runs");
        // What it has begun, it answers. A connection that it has not read from yet is cut with the port.
        let begun = draining.drain().await;
        let summary = load.stop().await;
        assert_eq!(summary.statuses.get(&200), Some(&begun), "{wire:?}: {summary:?}");
        assert!(summary.lost.keys().all(|lost| matches!(lost, Lost::Connect | Lost::Broken)), "{wire:?}: {summary:?}");
    }
    crashing.set_fault(Fault { crash: true, ..Fault::default() });
    crashing.crashed().await;
    let (load, _) = Load::start(Plan { requests: Some(20), ..plan(&crashing, Wire::KeepAlive(4)) });
    let summary = load.finish().await;
    assert_eq!(summary.failed(), 20, "{summary:?}");
}

#[tokio::test]
async fn results_without_a_reader_are_counted() {
    let sample = sample("any").await;
    let (load, results) = Load::start(Plan { requests: Some(10), ..plan(&sample, Wire::KeepAlive(1)) });
    drop(results);
    let summary = load.stop().await;
    assert_eq!(summary.unread, 0, "a dropped reader is no slow reader");
    assert!(summary.requests <= 10);
}
