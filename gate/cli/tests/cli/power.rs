//! `check --rps`: what rules can tell of a service's traffic.

use std::path::PathBuf;

use crate::{Ran, blueback};

const RULES: &str = "revertWhen:\n  - error rate > 5%\n  - signal security\npassWhen: [error rate < 1%]\nbake: 1m\n\
                     decideWithin: 5m\n";

/// Simulates a file with these rules.
async fn check(name: &str, args: &[&str]) -> Ran {
    let file: PathBuf = std::env::temp_dir().join(format!("blueback-power-{}-{name}.yaml", std::process::id()));
    std::fs::write(&file, RULES).expect("there is room");
    let path = file.to_str().expect("the path is plain").to_owned();
    let ran = blueback(&[&["check", &path][..], args].concat()).await;
    std::fs::remove_file(&file).expect("it is ours");
    ran
}

#[tokio::test]
async fn rules_are_measured_on_traffic() {
    let args = ["--rps", "100", "--error-rate", "0.05%", "--harm", "100%", "--runs", "10"];
    let ran = check("measured", &args).await;
    ran.check(
        0,
        &[
            "error rate > 5%",
            "Simulated: 100 requests a second",
            "0.05% fail",
            "WITHIN 10 s",
            "at the switch",
            "1 in 8,000",
        ],
        &["simulating error rate > 5%"],
    );
    assert_eq!(check("again", &args).await.stdout, ran.stdout, "the same seed gives the same numbers");
}

#[tokio::test]
async fn numbers_are_json_and_as_published() {
    let ran = check("json", &["--rps", "100", "--harm", "100%", "--runs", "20", "--json"]).await;
    ran.check(0, &[], &[]);
    let power: serde_json::Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    let rule = &power["rules"][0];
    assert_eq!(rule["rule"], "error rate > 5%");
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {power:#}"));
    // The published table: reverted 1.25 s after an outage at the switch, with the shield 4.05 s ten minutes in.
    let acts = |place: usize| number(&rule["delays"][place]["acts_ms"]);
    assert!((1_250.0..=1_500.0).contains(&acts(0)), "{power:#}");
    assert!((3_500.0..=5_000.0).contains(&acts(1)), "{power:#}");
    let shares: Vec<f64> = (0..3).map(|place| number(&rule["smallest"][place]["share"])).collect();
    assert!(shares.windows(2).all(|pair| pair[0] >= pair[1]) && shares[2] > 0.05, "more time finds less: {shares:?}");
    let wrong = &rule["false_alarms"];
    assert_eq!((&wrong["seen"], &wrong["releases"]), (&0.into(), &100.into()));
    assert!(number(&wrong["below"]) < 0.05 && number(&wrong["promised"]) < 0.001, "{wrong}");
    assert_eq!(power["rules"][1]["harm"], serde_json::Value::Null, "a signal is not about requests");
    assert_eq!((&power["healthy"]["reverts"]["seen"], number(&power["healthy"]["passed"])), (&0.into(), 1.0));
}

#[tokio::test]
async fn traffic_is_asked_for_in_words() {
    check("alone", &["--error-rate", "1%"]).await.check(2, &[], &["--rps"]);
    check("rps", &["--rps", "many"]).await.check(2, &[], &["--rps", "accepted"]);
    check("rate", &["--rps", "10", "--error-rate", "100%"]).await.check(2, &[], &["--error-rate", "0.05%"]);
    check("latency", &["--rps", "10", "--latency", "p50=20"]).await.check(2, &[], &["--latency", "p50=20ms,p99=150ms"]);
    check("runs", &["--rps", "10", "--runs", "1"]).await.check(2, &[], &["--runs"]);
}
