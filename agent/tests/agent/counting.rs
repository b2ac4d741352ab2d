//! What is recorded of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use blueback_agent::clock::Clock;
use blueback_agent::recorder::{Recorder, Shared, Writer};
use blueback_agent::reporter::Reporter;
use blueback_agent::route::Router;
use blueback_report::{Age, Limit, Measure, Outcome, Protocol, Route, Slot, Totals, Watch};
use http::{Request, Version, header};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::app::App;
use crate::common::{any_port, client, nobody, requests, sidecar, start, target, until};

#[tokio::test]
async fn outcomes_are_told_apart() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    for (status, outcome) in
        [(200, "ok"), (302, "ok"), (404, "client_error"), (500, "server_error"), (503, "server_error")]
    {
        let before = requests(&agent, "green", outcome).await;
        assert_eq!(client::get(agent.listen_addr(), &format!("/status/{status}")).await.0, status);
        assert_eq!(requests(&agent, "green", outcome).await, before + 1.0, "{status}");
    }
    // The client leaves while it waits.
    let mut sender = client::http1(agent.listen_addr()).await;
    let waiting = tokio::spawn(async move { sender.send_request(client::request("/hang")).await });
    until("it hangs", || async { app.requests() == 6 }).await;
    waiting.abort();
    until("it is counted", || async { requests(&agent, "green", "client_gone").await == 1.0 }).await;
}

#[tokio::test]
async fn a_response_that_is_cut_off_is_the_applications_fault_whatever_its_head_said() {
    let listener = TcpListener::bind(any_port()).await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let beginning = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbeginning";
                stream.write_all(beginning).await.expect("the agent reads");
            }
        }
    });
    let agent = start(sidecar(address, None)).await;
    let mut sender = client::http1(agent.listen_addr()).await;
    let response = sender.send_request(client::request("/")).await.expect("a head");
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.expect_err("the rest does not come");
    until("it is counted", || async { requests(&agent, "green", "unreachable").await == 1.0 }).await;
    assert_eq!(requests(&agent, "green", "ok").await, 0.0);
}

#[tokio::test]
async fn an_application_that_is_away_is_unreachable() {
    let agent = start(sidecar(nobody(), None)).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.0, 502);
    assert_eq!(requests(&agent, "green", "unreachable").await, 1.0);
    assert_eq!(client::get(agent.admin_addr().expect("an admin port"), "/ready").await.0, 503);
    assert_eq!(client::get(agent.admin_addr().expect("an admin port"), "/live").await.0, 200);
}

#[tokio::test]
async fn an_application_that_is_late_is_unreachable_when_a_timeout_is_set() {
    let app = App::start("green").await;
    let mut config = sidecar(app.address, None);
    config.limits.request_timeout = Some(Duration::from_millis(50));
    let agent = start(config).await;
    assert_eq!(client::get(agent.listen_addr(), "/hang").await.0, 504);
    assert_eq!(requests(&agent, "green", "unreachable").await, 1.0);
}

#[tokio::test]
async fn grpc_is_judged_by_its_status_wherever_that_stands() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    let mut sender = client::http2(agent.listen_addr()).await;
    let cases =
        [("0", "ok"), ("5", "client_error"), ("13", "server_error"), ("14", "server_error"), ("12", "server_error")];
    for only in [false, true] {
        for (status, outcome) in cases {
            let before = requests(&agent, "green", outcome).await;
            let mut request = Request::post(format!("http://shop/grpc/{status}")).version(Version::HTTP_2);
            request = request.header(header::CONTENT_TYPE, "application/grpc+proto").header(header::TE, "trailers");
            if only {
                request = request.header("only", "1");
            }
            let request = request.body(Full::default()).expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            let body = response.into_body().collect().await.expect("a whole body");
            assert_eq!(
                body.trailers().map(|trailers| trailers["grpc-status"].to_str().expect("text")),
                (!only).then_some(status)
            );
            until("it is counted", || async { requests(&agent, "green", outcome).await == before + 1.0 }).await;
        }
    }
    let before = requests(&agent, "green", "server_error").await;
    let request = Request::post("http://shop/grpc/none").version(Version::HTTP_2);
    let request = request.header(header::CONTENT_TYPE, "application/grpc").body(Full::default()).expect("a request");
    client::text(sender.send_request(request).await.expect("an answer")).await;
    until("no status is a fault", || async { requests(&agent, "green", "server_error").await == before + 1.0 }).await;
}

/// One worker and one reporter, without sockets.
struct Bench {
    clock: Clock,
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    reporter: Reporter,
}

fn bench() -> Bench {
    let targets = [target(Slot::Blue, nobody()), target(Slot::Green, nobody())];
    let router = Arc::new(Router::new(&targets, Slot::Green));
    let shared = Arc::new(Shared::default());
    let recorder = Arc::new(Recorder::new(2, shared.clone()));
    let clock = Clock::start();
    let reporter = Reporter::new(clock, router.clone(), vec![recorder.clone()], shared);
    Bench { clock, router, recorder, reporter }
}

fn watch(measure: Measure, us: u64) -> Watch {
    Watch { cadence_ms: 20, limits: vec![Limit { measure, us }], routes: Vec::new() }
}

/// Requests over `us`: in the histograms, plus crossed in flight, minus those of them that ended.
fn over(totals: &Totals, us: u64) -> i64 {
    let ended: u64 = totals.series.values().map(|latency| latency.last_byte.over(us)).sum();
    let (crossed, settled) =
        totals.overdue.values().fold((0, 0), |sum, overdue| (sum.0 + overdue.crossed, sum.1 + overdue.settled));
    ended as i64 + crossed as i64 - settled as i64
}

#[test]
fn each_request_counts_against_a_limit_exactly_once_however_the_threads_run() {
    const REQUESTS: u64 = 200_000;
    const LIMIT_US: u64 = 50;
    let Bench { clock, router, recorder, mut reporter } = bench();
    reporter.watch(&watch(Measure::LastByte, LIMIT_US));
    let done = Arc::new(AtomicBool::new(false));
    let (finished, routes) = (done.clone(), router.clone());
    let worker = std::thread::spawn(move || {
        let writer = Writer::new(recorder);
        let mut open = std::collections::VecDeque::new();
        let mut slow = 0_i64;
        for number in 0..REQUESTS {
            let request = writer.admit(1, 0, Protocol::Http1, routes.epoch(), clock.now_us());
            open.push_back(request);
            if open.len() > (number % 97) as usize {
                let request = open.pop_front().expect("there is one");
                let now_us = clock.now_us();
                slow += i64::from(now_us - request.start_us > blueback_report::buckets::crossing_us(LIMIT_US));
                writer.end(&request, Outcome::Ok, now_us, routes.epoch());
            }
        }
        for request in open {
            let now_us = clock.now_us();
            slow += i64::from(now_us - request.start_us > blueback_report::buckets::crossing_us(LIMIT_US));
            writer.end(&request, Outcome::Ok, now_us, routes.epoch());
        }
        finished.store(true, SeqCst);
        slow
    });
    let mut epoch = 0;
    let mut before = Totals::default();
    let mut grown = Totals::default();
    while !done.load(SeqCst) {
        let totals = reporter.state().totals;
        let growth = before.merge(&totals);
        grown.merge(&totals);
        assert!(growth.ended() <= REQUESTS);
        epoch += 1;
        router.command(&Route { epoch, green_share: 1.0, pods: Vec::new(), let_go_ms: None, peers: Vec::new() });
    }
    let slow = worker.join().expect("no panic");
    let last = reporter.state();
    assert_eq!(last.totals.ended(), REQUESTS);
    assert_eq!(over(&last.totals, LIMIT_US), slow);
    assert!(last.in_flight.is_empty());
    let (crossed, settled) =
        last.totals.overdue.values().fold((0, 0), |sum, overdue| (sum.0 + overdue.crossed, sum.1 + overdue.settled));
    assert_eq!(crossed, settled, "all that crossed has ended");
}

#[test]
fn a_request_settles_under_the_age_it_ends_with() {
    let Bench { clock, router, recorder, mut reporter } = bench();
    reporter.watch(&watch(Measure::LastByte, 1_000));
    reporter.state();
    let writer = Writer::new(recorder);
    let request = writer.admit(1, 0, Protocol::Http1, 0, clock.now_us());
    while reporter.state().totals.overdue.is_empty() {
        std::thread::yield_now();
    }
    router.command(&Route { epoch: 1, green_share: 0.0, pods: Vec::new(), let_go_ms: None, peers: Vec::new() });
    writer.end(&request, Outcome::Ok, clock.now_us(), 1);
    let totals = reporter.state().totals;
    let lanes: Vec<_> =
        totals.overdue.iter().map(|(key, overdue)| (key.age, overdue.crossed, overdue.settled)).collect();
    assert_eq!(lanes, [(Age::Current, 1, 0), (Age::Previous, 0, 1)]);
    assert_eq!(over(&totals, 1_000), 1);
}

#[test]
fn a_limit_that_goes_and_comes_back_does_not_count_the_same_request_twice() {
    let Bench { clock, recorder, mut reporter, .. } = bench();
    let writer = Writer::new(recorder);
    let limit = watch(Measure::LastByte, 1_000);
    reporter.watch(&limit);
    reporter.state();
    let request = writer.admit(1, 0, Protocol::Http1, 0, clock.now_us());
    while over(&reporter.state().totals, 1_000) == 0 {
        std::thread::yield_now();
    }
    for _ in 0..3 {
        reporter.watch(&Watch { limits: Vec::new(), ..limit.clone() });
        reporter.state();
        reporter.watch(&limit);
        assert_eq!(over(&reporter.state().totals, 1_000), 1);
    }
    // Seventeen other limits take its number; the request crosses those, and still ends as one.
    for us in 2_000..2_020 {
        reporter.watch(&watch(Measure::LastByte, us));
        reporter.state();
    }
    while clock.now_us() - request.start_us < 3_000 {
        std::thread::yield_now();
    }
    reporter.watch(&watch(Measure::LastByte, 2_100));
    reporter.state();
    let totals = reporter.state().totals;
    let newest = totals.overdue.iter().find(|(key, _)| key.limit.us == 2_100).expect("it crossed");
    assert_eq!((newest.1.crossed, newest.1.settled), (1, 0));
    writer.end(&request, Outcome::Ok, clock.now_us(), 0);
    let totals = reporter.state().totals;
    let newest = totals.overdue.iter().find(|(key, _)| key.limit.us == 2_100).expect("it crossed");
    assert_eq!((newest.1.crossed, newest.1.settled), (1, 1));
}

#[test]
fn first_byte_limits_settle_with_the_first_byte() {
    let Bench { clock, recorder, mut reporter, .. } = bench();
    let writer = Writer::new(recorder);
    reporter.watch(&watch(Measure::FirstByte, 1_000));
    reporter.state();
    let requests: Vec<_> = (0..3).map(|_| writer.admit(1, 0, Protocol::Grpc, 0, clock.now_us())).collect();
    writer.first_byte(&requests[0], Outcome::Ok, clock.now_us(), 0);
    let overdue = |totals: &Totals| totals.overdue.values().next().map_or((0, 0), |one| (one.crossed, one.settled));
    while overdue(&reporter.state().totals) != (2, 0) {
        std::thread::yield_now();
    }
    writer.first_byte(&requests[1], Outcome::Ok, clock.now_us(), 0);
    assert_eq!(overdue(&reporter.state().totals), (2, 1));
    for request in &requests {
        writer.end(request, Outcome::Ok, clock.now_us(), 0);
    }
    // The third never had a first byte; it stays counted as one that waited too long.
    assert_eq!(overdue(&reporter.state().totals), (2, 1));
}

#[test]
fn admissions_say_what_is_in_flight_under_which_epoch() {
    let Bench { clock, recorder, mut reporter, .. } = bench();
    let writer = Writer::new(recorder);
    let held: Vec<_> = (1..=6).map(|epoch| writer.admit(1, 0, Protocol::Http1, epoch, clock.now_us())).collect();
    let report = reporter.state();
    let kept: Vec<_> = report.totals.admitted.iter().map(|(key, &admitted)| (key.epoch, admitted)).collect();
    assert_eq!(kept, [(3, 1), (4, 1), (5, 1), (6, 1)]);
    assert_eq!(report.in_flight.len(), 4);
    for request in &held {
        writer.end(request, Outcome::Ok, clock.now_us(), 6);
    }
    assert!(reporter.state().in_flight.is_empty());
}

#[test]
fn more_requests_than_the_table_holds_are_still_recorded() {
    let Bench { clock, recorder, mut reporter, .. } = bench();
    let writer = Writer::new(recorder);
    let held: Vec<_> = (0..blueback_agent::inflight::ENTRIES + 10)
        .map(|_| writer.admit(0, 0, Protocol::Http1, 0, clock.now_us()))
        .collect();
    assert_eq!(reporter.state().health.unrecorded, 10);
    for request in &held {
        writer.end(request, Outcome::Ok, clock.now_us(), 0);
    }
    assert_eq!(reporter.state().totals.ended(), held.len() as u64);
}
