//! A fifth of green's requests become slow. None fails, and yet it is a regression.

use blueback::sample::Fault;
use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, SOON};

const RULES: &str = "
revertWhen: ['error rate > 5%', 'latency p99 > 250ms']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_p99_latency_is_reverted() {
    let mut shop = Guarded::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    shop.green_does(Fault { latency_ms: 400, slow_share: Some(0.2), ..Fault::default() });
    let story = shop.switch(&[]).await;
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");

    let release = story.in_phase(SOON, Phase::Reverted).await;
    assert_eq!(release.verdict.rule.as_deref(), Some("latency p99 > 250ms"));
    assert_eq!(release.verdict.unit.as_deref(), Some("ms"));
    assert!(moment(&release, "proven").is_some_and(|proven| proven.after_ms <= 30_000), "{:#?}", release.timeline);

    shop.traffic.answered_by("blue", 50).await;
    let requests = shop.stage.traffic.stop().await;
    assert_eq!(requests.iter().filter(|request| request.is_failed()).count(), 0);
    let slow = requests.iter().filter(|request| request.latency().as_millis() > 250).count();
    assert!((4..=300).contains(&slow), "{slow} requests were slow");
}
