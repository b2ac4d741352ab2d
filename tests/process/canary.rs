//! A tenth of the requests first, then all.

use blueback_tests::{Asked as _, Guarded, Plan, moment};

use crate::{LATER, SOON};

const RULES: &str = "
revertWhen: ['error rate > 5%']
passWhen: ['error rate < 2%']
bake: 4s
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gets_its_share_and_then_everything() {
    let mut shop = Guarded::start(Plan { rules: Some(RULES), rate: 150.0, ..Plan::default() }).await;
    let story = shop.switch(&["--share", "10%"]).await;
    shop.traffic.answered_by("green", 1).await;
    let requests = shop.traffic.pass(600).await;
    let green = requests.iter().filter(|request| request.is_from("green")).count();
    // 60 are expected; outside of 25 to 110 once in a million runs.
    assert!((25..=110).contains(&green), "{green} of {} requests reached green", requests.len());
    let release = story.release().await;
    assert!((release.target_share - 0.1).abs() < 1e-9 && (release.share - 0.1).abs() < 1e-9, "{release:#?}");

    let whole = shop.switch(&["--share", "100%"]).await;
    assert_eq!(whole.id, story.id, "a further share is a step of the same release");
    story.happened(SOON, "stepped").await;
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let after = shop.traffic.pass(100).await;
    assert!(after.iter().all(|request| request.is_answered_by("green")), "{after:#?}");

    let release = story.release().await;
    assert_eq!((release.target_share, release.share), (1.0, 1.0));
    assert!(moment(&release, "shielded").is_none(), "{:#?}", release.timeline);
    let requests = shop.stage.traffic.stop().await;
    assert!(requests.iter().all(|request| request.answer == Ok(200)));
}
