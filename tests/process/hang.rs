//! Green takes requests and never answers. They are seen while they hang: waiting for them to end would be too late.

use blueback::load::Lost;
use blueback::sample::Fault;
use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, SOON};

const RULES: &str = "
revertWhen: ['error rate > 5%', 'latency p99 > 300ms']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_never_answered_are_reverted_while_they_hang() {
    let mut shop = Guarded::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    shop.green_does(Fault { hang: true, ..Fault::default() });
    let story = shop.switch(&[]).await;
    let shielded = story.happened(SOON, "shielded").await;
    // The first request was given up after 2 s; the shield was up before any had ended.
    assert!(shielded.after_ms < 2_000, "{shielded:?}");

    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");
    let release = story.in_phase(SOON, Phase::Reverted).await;
    assert_eq!(release.verdict.rule.as_deref(), Some("latency p99 > 300ms"));
    assert!(moment(&release, "proven").is_some_and(|proven| proven.after_ms <= 12_000), "{:#?}", release.timeline);

    shop.traffic.answered_by("blue", 50).await;
    let requests = shop.stage.traffic.stop().await;
    let hung = requests.iter().filter(|request| request.answer == Err(Lost::Timeout)).count();
    assert!((4..=220).contains(&hung), "{hung} requests hung");
    let failed = requests.iter().filter(|request| request.is_failed()).count();
    assert_eq!(failed, hung, "requests failed that did not hang");
}
