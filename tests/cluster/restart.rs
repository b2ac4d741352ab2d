//! The sample application can do what stories need of it: leave the endpoints and come back, crash and be restarted.

use blueback::sample::Fault;
use blueback_tests::cluster::{App, Namespace, service};
use serde_json::Value;

use crate::SOON;

/// Addresses that a Service sends requests to.
fn ready(slices: &Value) -> usize {
    let slices = slices["items"].as_array().into_iter().flatten();
    let endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
}

#[tokio::test]
async fn an_unready_pod_leaves_the_endpoints_and_a_crashed_one_is_restarted() {
    let shop = Namespace::new("restart").await;
    shop.apply(&[App::new("blue").deployment(), service("blue")]).await;
    shop.rolled_out("blue").await;
    shop.until(SOON, "endpointslices", |slices| ready(slices) == 2).await;

    shop.does("color=blue", Fault { unready: true, ..Fault::default() }).await;
    shop.until(SOON, "endpointslices", |slices| ready(slices) == 0).await;
    shop.does("color=blue", Fault::default()).await;
    shop.until(SOON, "endpointslices", |slices| ready(slices) == 2).await;

    shop.does("color=blue", Fault { crash: true, ..Fault::default() }).await;
    shop.until(SOON, "pods", |pods| {
        let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(1);
        pods.len() == 2 && pods.iter().all(restarted)
    })
    .await;
    shop.rolled_out("blue").await;
}
