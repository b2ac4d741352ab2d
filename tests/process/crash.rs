//! Green's process is gone: its connections are cut and new ones refused. No application is left that could say so.

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Asked as _, Guarded, Plan, moment};

use crate::{CRASH, LATER, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn green_that_crashes_is_reverted() {
    let mut shop = Guarded::start(Plan::default()).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 300).await;
    shop.green_does(CRASH);
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");

    let release = story.in_phase(SOON, Phase::Reverted).await;
    assert!(moment(&release, "reverted").is_some(), "{:#?}", release.timeline);
    assert_eq!(shop.serving().await, Slot::Blue);
    shop.service_until("green to be seen as not ready", |service| {
        service.backends.iter().all(|backend| backend.ready == (backend.slot == Slot::Blue))
    })
    .await;

    let after = shop.traffic.pass(100).await;
    assert!(after.iter().all(|request| request.is_answered_by("blue")), "{after:#?}");
    let failed = shop.stage.traffic.stop().await.iter().filter(|request| request.is_failed()).count();
    assert!(failed <= 200, "{failed} requests failed");
}
