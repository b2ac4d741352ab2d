//! Green fails every request from the switch on: the shield is up before people notice, and the revert follows.

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, OUTAGE, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_outage_at_the_switch_is_shielded_then_reverted() {
    let mut shop = Guarded::start(Plan::default()).await;
    shop.green_does(OUTAGE);
    let story = shop.switch(&[]).await;
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");

    let release = story.in_phase(SOON, Phase::Reverted).await;
    let after = |what| moment(&release, what).unwrap_or_else(|| panic!("no {what}: {:#?}", release.timeline)).after_ms;
    // Without the shield, and with a poller instead of evidence by request, these would be tens of seconds.
    assert!(after("shielded") <= 1_500, "{:#?}", release.timeline);
    assert!(after("proven") <= 6_000, "{:#?}", release.timeline);
    assert!(after("shielded") <= after("proven") && after("proven") <= after("reverted"), "{:#?}", release.timeline);
    assert!(release.verdict.fail && !release.verdict.pass, "{:?}", release.verdict);
    assert_eq!(release.share, 0.0);
    assert_eq!(shop.serving().await, Slot::Blue);

    shop.traffic.answered_by("blue", 100).await;
    let failed_then = shop.traffic.failed();
    shop.traffic.answered_by("blue", 100).await;
    let requests = shop.stage.traffic.stop().await;
    let failed = requests.iter().filter(|request| request.is_failed()).count();
    assert_eq!(failed, failed_then, "requests fail after the revert");
    assert!((4..=160).contains(&failed), "{failed} requests failed");
}
