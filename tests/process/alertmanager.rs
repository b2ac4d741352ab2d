//! A real Alertmanager is told what becomes of a release, and what it says takes one back.

use std::time::{Duration, SystemTime};

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Alertmanager, Guarded, Plan, free_address, post};

use crate::{LATER, SOON};

/// Longest wait for an Alertmanager that was away: the pause between two attempts grows to half a minute.
const BACK: Duration = Duration::from_secs(60);

/// Tells nobody; what it knows is asked of its API.
const SILENT: &str =
    "route: {receiver: nobody, group_by: [gate, component], group_wait: 0s}\nreceivers: [{name: nobody}]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alertmanager_is_told_even_one_that_was_down() {
    let Some(program) = Alertmanager::program() else { return };
    let (first, second) = (free_address(), free_address());
    let flags = vec![
        "--alertmanager".to_owned(),
        format!("http://{first},http://{second}"),
        "--external-url".to_owned(),
        "https://gate.example.com".to_owned(),
    ];
    let shop = Guarded::start_with(Plan { warm_up: 50, ..Plan::default() }, |_| flags).await;
    let up = Alertmanager::start(&program, first, &shop.folder, SILENT).await;

    let story = shop.switch(&[]).await;
    let ran = shop.command("hold", &["shop", "--why", "the ledger is being moved"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let named = |name: &'static str| move |alert: &serde_json::Value| alert["labels"]["alertname"] == name;
    let held = up.alert(BACK, "the alert of a held release", named("BluebackReleaseHeld")).await;
    for (label, value) in [
        ("gate", "shop"),
        ("release", &*story.id),
        ("severity", "critical"),
        ("component", "release"),
        ("side", "green"),
    ] {
        assert_eq!(held["labels"][label], value, "{held:#}");
    }
    assert!(held["annotations"]["description"].as_str().is_some_and(|text| text.contains("the ledger")), "{held:#}");
    assert!(held["annotations"]["runbook_url"].as_str().is_some_and(|url| url.ends_with("RB-009.md")), "{held:#}");
    assert_eq!(held["generatorURL"], format!("https://gate.example.com/releases/{}", story.id));

    // It ends, and the next one begins, in the same group.
    let ran = shop.command("revert", &["shop", "--why", "totals differ"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    story.in_phase(LATER, Phase::Reverted).await;
    up.resolved(BACK, "BluebackReleaseHeld").await;
    let reverted = up.alert(BACK, "the alert of a revert", named("BluebackReleaseReverted")).await;
    let groups = up.get("/api/v2/alerts/groups").await.expect("it has groups");
    let group = groups.as_array().into_iter().flatten().find(|group| group["labels"]["gate"] == "shop");
    assert!(group.is_some_and(|group| group["labels"]["component"] == "release"), "{groups:#}");

    // The other one was never there; it is told what still matters as soon as it is.
    let late = Alertmanager::start(&program, second, &shop.folder, SILENT).await;
    let told = late.alert(BACK, "the alert at the second", named("BluebackReleaseReverted")).await;
    assert_eq!((&told["startsAt"], &told["labels"]), (&reverted["startsAt"], &reverted["labels"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_reverts_a_live_release() {
    let Some(program) = Alertmanager::program() else { return };
    let rules = "revertWhen: [signal data-corruption]\nsignals:\n  data-corruption: ['alertname = OrdersDiffer, severity = page']\n";
    let token = "a token that only two know".replace(' ', "-");
    let mut file = String::new();
    let plan = Plan { warm_up: 50, rules: Some(rules), ..Plan::default() };
    let shop = Guarded::start_with(plan, |stage| {
        file = stage.folder.write("token", &token).display().to_string();
        vec!["--token-file".to_owned(), file.clone()]
    })
    .await;
    let config = format!(
        "route: {{receiver: gate, group_by: [service], group_wait: 0s, group_interval: 1s}}\nreceivers:\n  - name: gate\n    webhook_configs:\n      - url: http://{}/v1/alertmanager\n        max_alerts: 1000\n        http_config: {{authorization: {{credentials_file: {file}}}}}\n",
        shop.api
    );
    let alertmanager = Alertmanager::start(&program, free_address(), &shop.folder, &config).await;
    let story = shop.switch(&["--token-file", &file]).await;
    shop.traffic.answered_by("green", 50).await;

    // Not everybody may say so.
    let message = r#"{"version":"4","alerts":[{"status":"firing","labels":{"gate":"shop","blueback_signal":"data-corruption"}}]}"#;
    let stranger = post(shop.api, "/v1/alertmanager", message).await.expect("an answer");
    assert_eq!(stranger.status, 401, "{stranger:?}");

    let now = rfc3339(SystemTime::now());
    let alert = |severity: &str| {
        serde_json::json!([{
            "labels": {"alertname": "OrdersDiffer", "service": "shop", "severity": severity},
            "annotations": {"summary": "41 orders have no payment"},
            "startsAt": now,
        }])
        .to_string()
    };
    // What the rules do not name changes nothing, and the one that they name does.
    for severity in ["info", "page"] {
        let posted = post(alertmanager.addr, "/api/v2/alerts", &alert(severity)).await.expect("an answer");
        assert_eq!(posted.status, 200, "{posted:?}");
    }
    let release = story.in_phase(LATER, Phase::Reverted).await;
    assert!(release.verdict.text.contains("41 orders have no payment"), "{:?}", release.verdict);
    assert_eq!(release.verdict.rule.as_deref(), Some("signal data-corruption"));
    let raised = release.timeline.iter().filter(|moment| moment.what == "signal").count();
    assert_eq!(raised, 1, "{:#?}", release.timeline);
    let signal = story.happened(SOON, "signal").await;
    assert!(signal.text.contains("by alertmanager"), "{signal:?}");
    assert_eq!(shop.serving().await, Slot::Blue);
}

/// RFC 3339, as JSON has times.
fn rfc3339(time: SystemTime) -> String {
    let ms = time.duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_millis();
    blueback_gate::tell::alertmanager::time(u64::try_from(ms).expect("it is before the year 500 million"))
}
