//! A real OpenTelemetry Collector is sent the trace of a release, every metric, and agents' spans; one that is away holds up nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blueback_gate::api::types::Phase;
use blueback_gate::trace::{SpanId, TraceId};
use blueback_tests::{Apart, Collector, Guarded, Plan, attribute, free_address, get_with, moment, until};
use serde_json::Value;

use crate::{LATER, OUTAGE, SOON};

/// Longest wait for a Collector that was away: the pause between two attempts grows to half a minute.
const BACK: Duration = Duration::from_secs(60);

const RULE: &str = "error rate > 5%";
const RULES: &str = "revertWhen: ['error rate > 5%']\n";
const STEPS: [&str; 5] = ["divert", "change traffic", "verify baseline", "release candidate", "announce"];

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
}

/// OTLP's JSON writes 64 bits as text.
fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or(value.as_u64()).unwrap_or_else(|| panic!("{value} is none"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_trace_of_a_revert_and_every_request_in_a_histogram() {
    let Some(program) = Collector::program() else { return };
    let addr = free_address();
    let flags = ["--otlp", &format!("http://{addr}"), "--otlp-interval", "1s"].map(str::to_owned).to_vec();
    let mut shop = Guarded::start_with(Plan { rules: Some(RULES), ..Plan::default() }, |_| flags).await;
    let collector = Collector::start(&program, addr, &shop.folder).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 50).await;
    shop.green_does(OUTAGE);
    let release = story.in_phase(LATER, Phase::Reverted).await;
    let requests = shop.stage.traffic.stop().await;

    let spans = collector.span(BACK, "release shop").await;
    let trace = TraceId::of(&release);
    assert!(spans.iter().all(|span| span["traceId"] == trace.to_string()), "{spans:#?}");
    let whole = named(&spans, "release shop");
    assert_eq!(whole["spanId"], SpanId::root(trace).to_string());
    assert_eq!(whole["parentSpanId"].as_str().unwrap_or_default(), "");
    assert_eq!(number(&whole["startTimeUnixNano"]), release.started_ms * 1_000_000);
    assert_eq!(Some(number(&whole["endTimeUnixNano"]) / 1_000_000), release.ended_ms);
    // 2 is an error, 1 is well.
    assert_eq!(
        (&whole["status"]["code"], &whole["status"]["message"]),
        (&Value::from(2), &Value::from(&*release.verdict.text))
    );
    for phase in ["watching", "shielded", "reverting"] {
        assert_eq!(named(&spans, phase)["parentSpanId"], whole["spanId"], "{phase}");
    }
    let back = named(&spans, "reverting");
    for step in STEPS {
        let span = named(&spans, step);
        assert_eq!((&span["parentSpanId"], &span["status"]["code"]), (&back["spanId"], &Value::from(1)), "{step}");
        let (begins, ends) = (number(&span["startTimeUnixNano"]), number(&span["endTimeUnixNano"]));
        assert!(begins <= ends && ends <= number(&whole["endTimeUnixNano"]), "{span:#}");
    }
    let events = back["events"].as_array().cloned().unwrap_or_default();
    let proven = events.iter().find(|event| event["name"] == "proven").expect("what decided is there");
    assert_eq!(attribute(proven, "blueback.rule").as_deref(), Some(RULE));
    let real = |name| attribute(proven, name).and_then(|text| text.parse::<f64>().ok()).expect("it is a number");
    assert!(real("blueback.value") > real("blueback.limit"), "{proven:#}");
    assert!(real("blueback.evidence") >= real("blueback.evidence.threshold"), "{proven:#}");

    // Every request that was answered is in a bucket, once.
    let counted = until(LATER, "a push with all requests", async || {
        let pushes = collector.metric("blueback_gate_side_latency_seconds");
        let points = pushes.last().map(|push| push["exponentialHistogram"]["dataPoints"].clone()).unwrap_or_default();
        let points = points.as_array().cloned().unwrap_or_default();
        let sum: u64 = points.iter().map(|point| number(&point["count"])).sum();
        if sum == requests.len() as u64 { Ok(points) } else { Err(format!("{sum} of {}: {points:#?}", requests.len())) }
    })
    .await;
    for point in &counted {
        let buckets = point["positive"]["bucketCounts"].as_array().cloned().unwrap_or_default();
        let zero = point.get("zeroCount").map_or(0, number);
        assert_eq!(buckets.iter().map(number).sum::<u64>() + zero, number(&point["count"]), "{point:#}");
        assert!(number(&point["startTimeUnixNano"]) < release.started_ms * 1_000_000, "{point:#}");
    }
    let pushes = collector.metric("blueback_gate_side_requests_total");
    let sums = &pushes.last().expect("it was pushed")["sum"];
    assert_eq!((&sums["isMonotonic"], &sums["aggregationTemporality"]), (&Value::from(true), &Value::from(2)));
    let failed = |point: &&Value| {
        attribute(point, "side").as_deref() == Some("green")
            && attribute(point, "outcome").as_deref() == Some("server_error")
    };
    let failed = sums["dataPoints"].as_array().into_iter().flatten().find(failed).expect("there is a point");
    let answered = requests.iter().filter(|request| request.answer == Ok(500)).count();
    assert_eq!(failed["asDouble"].as_f64(), Some(answered as f64), "{failed:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_up_no_revert_and_gets_the_trace_later() {
    let Some(program) = Collector::program() else { return };
    let addr = free_address();
    let url = format!("http://{addr}");
    let flags = ["--otlp", &url, "--log-format", "json"];
    let shop = Apart::start_with(Plan { rules: Some(RULES), ..Plan::default() }, &flags).await;
    shop.green_does(OUTAGE);
    let story = shop.switch(&[]).await;
    let release = story.in_phase(LATER, Phase::Reverted).await;
    let after = |what| moment(&release, what).unwrap_or_else(|| panic!("no {what}: {:#?}", release.timeline)).after_ms;
    assert!(after("reverted") - after("proven") < 2_000, "{:#?}", release.timeline);

    // Each moment is a line of the log that leads to the trace.
    let trace = TraceId::of(&release).to_string();
    let said = until(SOON, "the moments in the log", async || {
        let text = shop.hub.stderr();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let moments = lines.iter().filter(|line| line["what"].is_string());
        let said: BTreeMap<_, _> = moments.map(|line| (line["what"].to_string(), line.clone())).collect();
        if said.len() >= release.timeline.len() { Ok(said) } else { Err(text) }
    })
    .await;
    assert!(said.values().all(|line| line["trace_id"] == *trace && line["release"] == *story.id), "{said:#?}");
    assert_eq!(said["\"proven\""]["rule"], RULE);

    let collector = Collector::start(&program, addr, &shop.folder).await;
    let spans = collector.span(BACK, "release shop").await;
    let expected = STEPS.len() + ["release shop", "reverting", "shielded", "watching"].len();
    assert!(spans.len() >= expected && spans.iter().all(|span| span["traceId"] == *trace), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_puts_its_own_span_into_a_recorded_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CALLER: &str = "00f067aa0ba902b7";
    let Some(program) = Collector::program() else { return };
    let addr = free_address();
    let flags = ["--agent-otlp", &format!("http://{addr}")].map(str::to_owned).to_vec();
    let shop = Guarded::start_with(Plan::default(), |_| flags).await;
    let collector = Collector::start(&program, addr, &shop.folder).await;
    let recorded = format!("00-{TRACE}-{CALLER}-01");
    let answer = get_with(shop.listen, "/", &[("traceparent", &recorded)]).await.expect("the agent answers");
    assert_eq!(answer.status, 200);
    get_with(shop.listen, "/", &[("traceparent", &recorded.replace("-01", "-00"))]).await.expect("the agent answers");

    // Of all requests, also those of the load beside it, one was in a recorded trace.
    let spans = collector.span(LATER, "GET").await;
    let [span] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &CALLER.into()));
    // A server's.
    assert_eq!(span["kind"], 2);
    let told = |name| attribute(span, name);
    assert_eq!(told("http.response.status_code").as_deref(), Some("200"));
    assert_eq!((told("blueback.slot").as_deref(), told("blueback.outcome").as_deref()), (Some("blue"), Some("ok")));
    assert_eq!(told("blueback.pod"), Some(shop.blue[0].addr().to_string()));
    let (begins, ends) = (number(&span["startTimeUnixNano"]), number(&span["endTimeUnixNano"]));
    let events = span["events"].as_array().cloned().unwrap_or_default();
    let [event] = events.as_slice() else { panic!("{span:#}") };
    let first_byte = number(&event["timeUnixNano"]);
    assert!(event["name"] == "first byte" && begins < first_byte && first_byte <= ends, "{span:#}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    assert!(Duration::from_nanos(ends) < now && now - Duration::from_nanos(begins) < LATER, "{span:#}");
}
