//! A real Prometheus scrapes a gate through an incident: dashboards and rules find what they ask for, and latencies arrive as native
//! histograms.

use std::path::{Path, PathBuf};

use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, Prometheus, free_address};
use serde_json::Value;

use crate::{LATER, OUTAGE};

/// What a guard on loopback does not have: dependencies, cgroups, alerts that wait for minutes.
const ABSENT: [&str; 3] = ["blueback_gate_dependency_up", "blueback_gate_resource_ratio", "ALERTS"];
/// Variables of the dashboards, longest first, as Grafana sends them when all is chosen.
const VARIABLES: [(&str, &str); 6] = [
    ("$__rate_interval", "1m"),
    ("$__interval", "15s"),
    ("$__range", "1h"),
    ("$namespace", ".*"),
    ("$release", ".*"),
    ("$gate", ".*"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the panels of a dashboard ask, each with the panel's title.
fn panels(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(repository().join("dashboards").join(name)).expect("the dashboard is there");
    let dashboard: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().expect("a target asks something").to_owned();
            let expr = VARIABLES.iter().fold(expr, |expr, (name, value)| expr.replace(name, value));
            if !ABSENT.iter().any(|absent| expr.contains(absent)) {
                asked.push((format!("{name}: {title}"), expr));
            }
        }
    }
    asked
}

fn number(series: &Value) -> f64 {
    series["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboards_and_rules_find_an_incident_in_a_real_prometheus() {
    let Some(program) = Prometheus::program() else { return };
    let shop = Guarded::start(Plan { warm_up: 50, ..Plan::default() }).await;
    let rules = ["recording", "service", "release", "watcher"];
    let rules: Vec<_> = rules.iter().map(|name| repository().join(format!("alerts/rules/{name}.yaml"))).collect();
    let jobs = [("blueback-gate", shop.api)];
    let classic = Prometheus::start(&program, free_address(), &shop.folder, &jobs, &rules, false).await;
    let native = Prometheus::start(&program, free_address(), &shop.folder, &jobs, &[], true).await;
    for prometheus in [&classic, &native] {
        prometheus.answers(LATER, "up{job=\"blueback-gate\"} == 1", |_| true).await;
    }

    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 100).await;
    // While it is watched, and seen to be so.
    classic.answers(LATER, "blueback_gate_release_phase{phase=\"watching\"} == 1", |_| true).await;
    shop.green_does(OUTAGE);
    story.in_phase(LATER, Phase::Reverted).await;
    classic.answers(LATER, "blueback_gate_release_phase{phase=\"reverted\"} == 1", |_| true).await;
    let harmed = "sum(increase(blueback_gate_side_requests_total{side=\"green\", outcome=\"server_error\"}[1m]))";
    classic.answers(LATER, harmed, |series| number(series) > 0.0).await;

    let asked: Vec<_> = ["release.json", "fleet.json"].into_iter().flat_map(panels).collect();
    assert!(asked.len() > 30, "only {} queries were found", asked.len());
    let mut empty = Vec::new();
    for (panel, expr) in &asked {
        // At any moment since: what is said of rules ends with the release.
        let ever = format!("max_over_time(({expr})[5m:1s])");
        let series = classic.query(&ever).await.unwrap_or_else(|error| panic!("{panel}: {expr}: {error}"));
        if !series.iter().any(|series| number(series).is_finite()) {
            empty.push(format!("{panel}: {expr}"));
        }
    }
    assert!(empty.is_empty(), "no data:\n{}", empty.join("\n"));
    for recorded in ["gate_side:blueback_error_ratio:rate1m", "gate_side:blueback_latency_seconds:p99_rate5m"] {
        classic.answers(LATER, recorded, |series| number(series).is_finite()).await;
    }
    let fires = "ALERTS{alertname=\"BluebackReleaseReverted\", alertstate=\"firing\", gate=\"shop\"}";
    classic.answers(LATER, fires, |_| true).await;

    // The whole distribution, without the edges that somebody chose.
    let count = "histogram_count(blueback_gate_side_latency_seconds{side=\"blue\"})";
    native.answers(LATER, count, |series| number(series) > 50.0).await;
    let median = "histogram_quantile(0.5, sum by (gate) (rate(blueback_gate_side_latency_seconds[1m])))";
    let median = number(&native.answers(LATER, median, |series| number(series) > 0.0).await);
    assert!((0.000_01..5.0).contains(&median), "{median}");
}
