//! `check`: rules files, good and bad.

use std::path::PathBuf;

use crate::{Ran, blueback};

/// Checks a file with this text.
async fn check(name: &str, text: &str) -> Ran {
    let file: PathBuf = std::env::temp_dir().join(format!("blueback-cli-{}-{name}.yaml", std::process::id()));
    std::fs::write(&file, text).expect("there is room");
    let ran = blueback(&["check", file.to_str().expect("the path is plain")]).await;
    std::fs::remove_file(&file).expect("it is ours");
    ran
}

#[tokio::test]
async fn good_rules_are_read_back_with_their_time_to_detect() {
    let text =
        "revertWhen:\n  - error   rate>5%\n  - latency p99 > 500ms for 300s\npassWhen: [error rate < 1%]\nbake: 2m\n";
    let ran = check("good", text).await;
    ran.check(
        0,
        &["revertWhen:", "error rate > 5%\n", "proven: ", "latency p99 > 500ms for 5m\n", "passWhen:", "bake: 2m"],
        &[],
    );
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn an_empty_file_means_the_defaults() {
    check("empty", "").await.check(0, &["error rate > 5%", "falseAlarms: 1 in 1000"], &[]);
}

#[tokio::test]
async fn every_wrong_rule_gets_a_caret() {
    let ran = check("bad", "revertWhen:\n  - eror rate > 5%\n  - error rate > 5\nbake: soon\n").await;
    ran.check(2, &[], &["revertWhen[0]", "  eror rate > 5%\n  ^^^^\n", "revertWhen[1]", "bake"]);
    assert_eq!(ran.stdout, "");
}

#[tokio::test]
async fn what_is_no_rules_file_is_told() {
    check("field", "revertIf: []\n").await.check(2, &[], &["revertIf"]);
    check("yaml", "revertWhen: [\n").await.check(2, &[], &["blueback-cli-"]);
    blueback(&["check", "/nonexistent.yaml"]).await.check(2, &[], &["/nonexistent.yaml"]);
}
