//! A rule about what a real Prometheus says of green takes a release back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Guarded, Plan, Prometheus, free_address, get};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{LATER, SOON};

/// An application's own metrics: how many orders could not be paid, in percent.
async fn exporter(addr: SocketAddr) -> Arc<AtomicU64> {
    let unpaid = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind(addr).await.expect("a free port can be bound");
    let told = Arc::clone(&unpaid);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            let service = service_fn(move |_: Request<hyper::body::Incoming>| {
                let text = format!("orders_unpaid_percent{{slot=\"green\"}} {}\n", told.load(Ordering::Relaxed));
                // Without it Prometheus 3 does not read on.
                let response = Response::builder().header("content-type", "text/plain; version=0.0.4");
                async move { response.body(Full::new(Bytes::from(text))) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    unpaid
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prometheus_says_reverts_a_release_and_no_answer_does_not() {
    let Some(program) = Prometheus::program() else { return };
    let rules = r#"
revertWhen:
  - query "unpaid orders" > 0.5
  - query "never scraped" > 0
queries:
  unpaid orders: {prometheus: 'orders_unpaid_percent{slot="green"} / 100'}
  never scraped: {prometheus: 'nobody_exports_this'}
"#;
    let (shop_metrics, prometheus_addr) = (free_address(), free_address());
    let unpaid = exporter(shop_metrics).await;
    let plan = Plan { warm_up: 50, rules: Some(rules), ..Plan::default() };
    let flags = vec!["--prometheus".to_owned(), format!("http://{prometheus_addr}")];
    let shop = Guarded::start_with(plan, |_| flags).await;
    let prometheus =
        Prometheus::start(&program, prometheus_addr, &shop.folder, &[("orders", shop_metrics)], &[], false).await;
    prometheus.answers(SOON, "orders_unpaid_percent", |_| true).await;

    let story = shop.switch(&[]).await;
    story.criterion_until(SOON, "query \"unpaid orders\" > 0.5", |seen| seen.candidate.value == Some(0.0)).await;
    let never = story.criterion_until(SOON, "query \"never scraped\" > 0", |_| true).await;
    assert_eq!(never.standing, "not applicable", "{never:?}");
    assert_eq!(story.release().await.phase, Phase::Watching);

    unpaid.store(80, Ordering::Relaxed);
    let release = story.in_phase(LATER, Phase::Reverted).await;
    assert_eq!(release.verdict.rule.as_deref(), Some("query \"unpaid orders\" > 0.5"), "{:?}", release.verdict);
    assert!(release.verdict.text.contains("unpaid orders says 0.8"), "{:?}", release.verdict);
    assert_eq!(shop.serving().await, Slot::Blue);

    let told = get(shop.api, "/metrics").await.expect("an answer").text;
    let count = |result: &str| {
        let name = format!("blueback_gate_queries_total{{backend=\"prometheus\",result=\"{result}\"}} ");
        let line = told.lines().find_map(|line| line.strip_prefix(&*name)).unwrap_or_else(|| panic!("{name}: {told}"));
        line.parse::<u64>().expect("a counter is a number")
    };
    assert!(count("answered") >= 2 && count("no_data") >= 2, "{told}");
    assert_eq!(count("failed"), 0, "{told}");
}
