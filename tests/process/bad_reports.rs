//! Reports that cannot be true are counted and dropped, and nothing else is lost by them.

use std::time::Instant;

use blueback::client::Gate;
use blueback_gate::api::types::{self, SwitchRequest};
use blueback_report::wire::proto;
use blueback_report::{
    Age, Latency, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Outcome, Protocol, Report, SERIES_MAX, SeriesKey, Slot, Totals,
};
use blueback_tests::{Folder, Process, Scripted, free_address, get, targets, until};

use crate::SOON;

/// A report of this many requests that green has answered well.
fn report(agent: &Scripted, answered: u64) -> Report {
    let key = SeriesKey {
        slot: Slot::Green,
        pod: "green-1".into(),
        route: "".into(),
        protocol: Protocol::Http1,
        age: Age::Current,
        outcome: Outcome::Ok,
    };
    let mut latency = Latency::default();
    latency.last_byte.record_n(3_000, answered);
    latency.first_byte.record_n(2_000, answered);
    let mut totals = Totals::default();
    if answered > 0 {
        totals.series.insert(key, latency);
    }
    Report { at_ms: agent.now_ms(), epoch: agent.route.epoch, totals, targets: targets(), ..Report::default() }
}

/// Reports that the gate says it has dropped, for whatever reason.
async fn dropped(api: std::net::SocketAddr) -> f64 {
    let metrics = get(api, "/metrics").await.expect("metrics are served").text;
    let lines = metrics.lines().filter(|line| line.starts_with("blueback_gate_") && line.contains("dropped"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// What is wrong with a report.
type Wrong = (&'static str, fn(&mut proto::Report));

const WRONG: [Wrong; 8] = [
    ("a slot that does not exist", |report| report.series[0].slot = 7),
    ("a histogram with more gaps than counts", |report| {
        report.series[0].last_byte.as_mut().expect("it was recorded").gap.push(1);
    }),
    ("a bucket beyond the last", |report| {
        report.series[0].last_byte.as_mut().expect("it was recorded").gap[0] = u32::MAX;
    }),
    ("a backend without a name", |report| report.series[0].pod = String::new()),
    ("a name that is too long", |report| report.series[0].route = "r".repeat(NAME_BYTES_MAX + 1)),
    ("a backend that nobody has named", |report| report.series[0].pod = "green-9".to_owned()),
    ("a time in the future", |report| report.at_ms += 3_600_000),
    ("too many series", |report| report.series = vec![report.series[0].clone(); SERIES_MAX + 1]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_reports_are_counted_and_dropped_and_nothing_else_is_lost() {
    let folder = Folder::new();
    let api = free_address();
    let store = folder.path().join("store").display().to_string();
    let mut process = Process::start("blueback-gate", ["--api", &api.to_string(), "--store", &store]);
    let gate = Gate::new(&format!("http://{api}"), None).expect("an address makes a URL");
    until(SOON, "the gate to be up", async || gate.services().await.map_err(|error| error.to_string())).await;

    let started = Instant::now();
    let mut agent = Scripted::connect(api, "front/1", "shop", started).await.expect("it is welcome");
    assert_eq!(agent.merged_ms, 0);
    // The report that says what was before.
    agent.send((&Report { replayed: true, at_ms: 0, ..report(&agent, 0) }).into()).await.expect("the stream lives");
    agent.deliver(&report(&agent, 0)).await.expect("a report is acknowledged");
    let switch = SwitchRequest { to: types::Slot::Green, share: None, by: None, revision: None };
    let id = gate.switch("shop", &switch).await.expect("green is ready").id;
    while agent.route.epoch == 0 {
        agent.answer().await.expect("a route is commanded");
    }

    let counted = async |requests: u64| {
        until(SOON, &format!("{requests} requests to be counted"), async || {
            let evidence = gate.evidence(&id).await.map_err(|error| error.to_string())?;
            match evidence.criteria.iter().map(|criterion| criterion.candidate.requests).max() {
                Some(seen) if seen == requests => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    };
    let mut answered = 100;
    agent.deliver(&report(&agent, answered)).await.expect("a good report is acknowledged");
    counted(answered).await;

    for (what, spoil) in WRONG {
        let before = dropped(api).await;
        // Were it counted, it would be seen.
        let mut wrong = proto::Report::from(&report(&agent, answered + 1_000));
        spoil(&mut wrong);
        agent.send(wrong).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        answered += 10;
        let good = report(&agent, answered);
        agent.deliver(&good).await.unwrap_or_else(|error| panic!("after {what}: {error:#}"));
        counted(answered).await;
        let after = dropped(api).await;
        assert!(after - before >= 1.0, "{what}: {before} dropped before, {after} after");
    }

    // A message beyond the bound ends its stream: its end cannot be found. Agent and counts survive it.
    let mut huge = proto::Report::from(&report(&agent, answered + 1_000));
    huge.series[0].route = "r".repeat(MESSAGE_BYTES_MAX + 1);
    agent.send(huge).await.expect("the stream lives until then");
    while agent.answer().await.is_ok() {}
    let mut agent = until(SOON, "the agent to be welcome again", async || {
        Scripted::connect(api, "front/1", "shop", started).await.map_err(|error| format!("{error:#}"))
    })
    .await;
    assert!(agent.merged_ms > 0, "what was merged is forgotten");
    answered += 10;
    agent.send((&report(&agent, answered)).into()).await.expect("the stream lives");
    counted(answered).await;
    until(SOON, "the verdict to say so", async || match gate.release(&id).await {
        Ok(release) if release.verdict.requests == answered => Ok(()),
        Ok(release) => Err(format!("{release:#?}")),
        Err(error) => Err(error.to_string()),
    })
    .await;
    assert!(process.ended().is_none());
}
