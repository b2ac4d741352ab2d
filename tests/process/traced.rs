//! From a histogram to the trace: requests that bring a trace are found as exemplars by a real Prometheus, and as example traces
//! of a release that failed.

use blueback_gate::api::types::{Evidence, Phase, Slot};
use blueback_tests::{Apart, Plan, Prometheus, free_address, get, get_with, until};

use crate::{LATER, OUTAGE, SOON};

const TRACE_URL: &str = "https://traces.example/trace/{trace_id}";
const SPAN: &str = "00f067aa0ba902b7";

fn trace(number: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{number:08x}")
}

/// A request of a client whose trace is recorded; returns the status.
async fn traced(shop: &Apart, number: u32) -> u16 {
    let parent = format!("00-{}-{SPAN}-01", trace(number));
    let answer = get_with(shop.listen, "/", &[("traceparent", &parent), ("tracestate", "congo=t61rcWkgMzE")]).await;
    answer.expect("the front agent answers").status
}

async fn evidence(shop: &Apart, release: &str) -> Evidence {
    let answer = get(shop.api, &format!("/v1/releases/{release}/evidence")).await.expect("the gate answers");
    serde_json::from_value(answer.json()).expect("it is evidence")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_requests_trace_is_found_from_the_histogram_and_from_the_release() {
    let Some(program) = Prometheus::program() else { return };
    let shop = Apart::start_with(Plan { warm_up: 50, ..Plan::default() }, &["--trace-url", TRACE_URL]).await;
    let jobs = [("gate", shop.api), ("agent", shop.admin)];
    let classic = Prometheus::start(&program, free_address(), &shop.folder, &jobs, &[], false).await;
    let native = Prometheus::start(&program, free_address(), &shop.folder, &jobs, &[], true).await;

    // Of agent and gate, in the text form and in the protobuf form with native histograms.
    assert_eq!(traced(&shop, 1).await, 200);
    for (prometheus, ending) in [(&classic, "_bucket"), (&native, "")] {
        for selector in [
            format!("blueback_agent_request_duration_seconds{ending}{{slot=\"blue\"}}"),
            format!("blueback_gate_side_latency_seconds{ending}{{side=\"blue\", gate=\"shop\"}}"),
        ] {
            let exemplar = prometheus.exemplar(LATER, &selector, &trace(1)).await;
            assert_eq!((&exemplar["labels"]["span_id"], &exemplar["labels"]["status"]), (&SPAN.into(), &"200".into()));
            let seconds: f64 = exemplar["value"].as_str().and_then(|text| text.parse().ok()).expect("it is a number");
            assert!(seconds > 0.0 && seconds < 20.0, "{exemplar}");
        }
    }

    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 50).await;
    shop.green_does(OUTAGE);
    let mut failed = 1;
    while failed < 200 {
        failed += 1;
        if traced(&shop, failed).await == 500 {
            break;
        }
    }
    let failed = trace(failed);
    story.in_phase(LATER, Phase::Reverted).await;
    let release = shop.gate.service("shop").await.expect("the gate answers").release.expect("there is one");
    let example = until(SOON, "the failed request among the example traces", async || {
        let examples = evidence(&shop, &release).await.example_traces;
        examples.iter().find(|example| example.trace_id == failed).cloned().ok_or_else(|| format!("{examples:#?}"))
    })
    .await;
    assert_eq!((example.slot, &*example.outcome, example.status), (Slot::Green, "server_error", Some(500)));
    let link = TRACE_URL.replace("{trace_id}", &failed);
    assert_eq!((example.url.as_deref(), &*example.span_id), (Some(&*link), SPAN));
    let of_before = evidence(&shop, &release).await.example_traces;
    assert!(of_before.iter().all(|example| example.trace_id != trace(1)), "it was before the switch: {of_before:#?}");
    let counted = "blueback_agent_requests_total{slot=\"green\", outcome=\"server_error\"}";
    classic.exemplar(LATER, counted, &failed).await;

    let told = shop.command("explain", &[&release]).await;
    assert!(told.stdout.contains(&link), "{}", told.stdout);
    for path in ["incident.md", "incident.html"] {
        let document = get(shop.api, &format!("/v1/releases/{release}/{path}")).await.expect("the gate answers");
        assert!(document.text.contains(&link), "{path}: {}", document.text);
    }
    let page = get(shop.api, &format!("/releases/{release}")).await.expect("the gate answers");
    assert!(page.text.contains(&format!("<a href=\"{link}\"")), "{}", page.text);
}
