//! Requests that bring a trace.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use blueback_agent::traceparent::TraceParent;
use blueback_report::{Exemplar, Outcome, Slot};
use http::{StatusCode, header};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, metric, nobody, sidecar, start, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-{flags}")
}

/// A request on a connection of its own, with these headers.
async fn get(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> (StatusCode, String) {
    let mut request = client::request(path);
    for &(name, value) in headers {
        request.headers_mut().append(name, value.parse().expect("it is a header's value"));
    }
    let mut sender = client::http1(address).await;
    client::text(sender.send_request(request).await.expect("an answer")).await
}

fn reported(gate: &Gate) -> Vec<Exemplar> {
    gate.heard().reports.into_iter().flat_map(|report| report.exemplars).collect()
}

#[tokio::test]
async fn the_application_sees_the_trace_as_it_was_sent() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    for (name, value) in [
        ("traceparent", parent(TRACE, "01")),
        ("traceparent", parent(TRACE, "00")),
        ("traceparent", "what this is nobody knows".to_owned()),
        ("tracestate", STATE.to_owned()),
    ] {
        let (_, head) = get(agent.listen_addr(), "/head", &[(name, &value)]).await;
        assert!(head.lines().any(|line| line == format!("{name}: {value}")), "{head}");
    }
    let (_, head) = get(agent.listen_addr(), "/head", &[]).await;
    assert!(!head.contains("trace"), "the agent begins no trace of its own: {head}");
}

#[tokio::test]
async fn an_agent_that_makes_spans_stands_between_caller_and_application_and_waits_for_no_collector() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    config.otlp = blueback_agent::spans::collector(&format!("http://{}", nobody()));
    let agent = start(config).await;
    let seen = async |flags: &str| {
        let (_, head) = get(agent.listen_addr(), "/head", &[("traceparent", &parent(TRACE, flags))]).await;
        let line = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
        line.expect("there is one").to_owned()
    };
    assert_eq!(seen("00").await, parent(TRACE, "00"), "of what is not recorded there is no span");
    let own = seen("01").await;
    let known = TraceParent::parse(own.as_bytes()).unwrap_or_else(|| panic!("{own} is none"));
    let caller = TraceParent::parse(parent(TRACE, "01").as_bytes()).expect("it is valid");
    assert_eq!(known, TraceParent { span: known.span, ..caller });
    assert_ne!(known.span, caller.span);
    // Examples lead to the spans that were measured. Not every request becomes one.
    let spans = RefCell::new(BTreeSet::from([known.span]));
    until("one is told", || async {
        let own = TraceParent::parse(seen("01").await.as_bytes()).expect("it is one");
        assert!(spans.borrow_mut().insert(own.span), "each request has a span of its own");
        reported(&gate).iter().any(|told| spans.borrow().contains(&told.span))
    })
    .await;
    assert!(reported(&gate).iter().all(|told| spans.borrow().contains(&told.span)), "{:?}", reported(&gate));
    // Nobody takes the spans: they are counted, and traffic flows.
    let made = spans.borrow().len() as f64;
    until("all are given up", || async {
        metric(&agent, "blueback_agent_spans_total{result=\"dropped\"}").await == made
    })
    .await;
    assert_eq!(metric(&agent, "blueback_agent_spans_total{result=\"sent\"}").await, 0.0);
    seen("01").await;
}

#[tokio::test]
async fn requests_with_a_recorded_trace_are_reported_once_as_examples() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, Some(nobody()));
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    gate.watch(&[], &["/status"]).await;
    let traces = ["11", "22", "33", "44", "55"].map(|pair| pair.repeat(16));
    let [fine, failed, unsampled, twice, none] = traces.each_ref();
    let listen = agent.listen_addr();
    get(listen, "/head", &[("traceparent", &parent(unsampled, "00"))]).await;
    get(listen, "/head", &[("traceparent", &parent(twice, "01")), ("traceparent", &parent(twice, "01"))]).await;
    get(listen, "/head", &[("traceparent", &format!("{}-01", parent(none, "01")))]).await;
    get(listen, "/head", &[("traceparent", &parent(fine, "01")), ("tracestate", STATE)]).await;
    let (status, _) = get(listen, "/status/503", &[("traceparent", &parent(failed, "01"))]).await;
    assert_eq!(status, 503);
    until("both are told", || async { reported(&gate).len() >= 2 }).await;
    // What is acknowledged is not told again: two more reports have nothing of it.
    let before = gate.heard().reports.len();
    until("two more come", || async { gate.heard().reports.len() > before + 2 }).await;
    let newest = gate.heard().reports.pop().expect("they came");
    assert_eq!(newest.exemplars, []);
    let heard = gate.heard();
    for (trace, outcome, status, route) in
        [(fine, Outcome::Ok, 200, ""), (failed, Outcome::ServerError, 503, "/status")]
    {
        let id: u128 = u128::from_str_radix(trace, 16).expect("it is hexadecimal");
        let told = reported(&gate).into_iter().find(|known| known.trace == id.to_be_bytes());
        let told = told.unwrap_or_else(|| panic!("{trace}: {:?}", reported(&gate)));
        assert_eq!((told.outcome, told.status, &*told.route), (outcome, Some(status), route));
        assert_eq!(
            (told.slot, &*told.pod),
            (Slot::Green, &*heard.hello.as_ref().expect("it came first").targets[0].pod)
        );
        assert_eq!(told.span, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert!(told.latency_us > 0 && told.latency_us < 20_000_000, "{told:?}");
    }
    let known: BTreeSet<_> = reported(&gate).iter().map(|known| known.trace).collect();
    assert_eq!(known.len(), 2, "neither one that is not recorded nor one that is not valid");
}

#[tokio::test]
async fn a_gate_that_comes_back_is_told_what_is_still_remembered() {
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    let agent = start(config).await;
    get(agent.listen_addr(), "/", &[("traceparent", &parent(TRACE, "01"))]).await;
    until("it is told", || async { !reported(&gate).is_empty() }).await;
    let address = gate.address;
    drop(gate.kill().await);
    let gate = Gate::at(address, std::sync::Arc::default()).await;
    until("it is told again", || async { !reported(&gate).is_empty() }).await;
    assert!(gate.heard().reports.iter().all(|report| !report.replayed || report.exemplars.is_empty()));
}

#[tokio::test]
async fn a_scraper_gets_the_form_it_asks_for_with_exemplars() {
    let app = App::start("green").await;
    let agent = start(sidecar(app.address, None)).await;
    get(agent.listen_addr(), "/status/500", &[("traceparent", &parent(TRACE, "01"))]).await;
    let admin = agent.admin_addr().expect("it has an admin port");
    let (status, text) = get(admin, "/metrics", &[(header::ACCEPT.as_str(), "application/openmetrics-text")]).await;
    assert_eq!(status, 200);
    let exemplar = format!(" # {{trace_id=\"{TRACE}\",span_id=\"00f067aa0ba902b7\",status=\"500\"}} ");
    let told = |series: &str| text.lines().any(|line| line.starts_with(series) && line.contains(&exemplar));
    assert!(told("blueback_agent_requests_total{slot=\"green\",route=\"\",outcome=\"server_error\"} 1"), "{text}");
    assert!(told("blueback_agent_request_duration_seconds_bucket{slot=\"green\",route=\"\",le="), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (_, plain) = get(admin, "/metrics", &[]).await;
    assert!(plain.contains("blueback_agent_request_duration_seconds_count") && !plain.contains(TRACE), "{plain}");
}
