//! Green serves well for two minutes, and then fails every request.

use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, OUTAGE, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_two_minutes_in_is_shielded_then_reverted() {
    let mut shop = Guarded::start(Plan::default()).await;
    let story = shop.switch(&[]).await;
    // At a hundred requests a second.
    for _half_a_minute in 0..4 {
        shop.traffic.answered_by("green", 3_000).await;
    }
    assert_eq!(shop.traffic.failed(), 0);
    let began_ms = blueback::load::unix_ms();
    shop.green_does(OUTAGE);

    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");
    let release = story.in_phase(SOON, Phase::Reverted).await;
    let after = |what| {
        let moment = moment(&release, what).unwrap_or_else(|| panic!("no {what}: {:#?}", release.timeline));
        i64::try_from(moment.at_ms).expect("a time") - i64::try_from(began_ms).expect("a time")
    };
    assert!((0..=2_000).contains(&after("shielded")), "{:#?}", release.timeline);
    assert!((0..=12_000).contains(&after("proven")), "{:#?}", release.timeline);

    shop.traffic.answered_by("blue", 50).await;
    let failed = shop.stage.traffic.stop().await.iter().filter(|request| request.is_failed()).count();
    assert!((4..=260).contains(&failed), "{failed} requests failed");
}
