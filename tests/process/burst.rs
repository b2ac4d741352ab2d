//! Green fails for one second and is well again. The shield spares requests meanwhile and is lifted; nothing is reverted.

use blueback::sample::Fault;
use blueback_gate::api::types::Phase;
use blueback_tests::{Asked as _, Guarded, Plan, moment};

use crate::{LATER, SOON, errors};

const RULES: &str = "
revertWhen: ['error rate > 5%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_one_second_lifts_the_shield_and_reverts_nothing() {
    let shop = Guarded::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 800).await;
    shop.green_does(errors(0.5));
    // A second of traffic.
    shop.traffic.pass(100).await;
    shop.green_does(Fault::default());

    story.happened(SOON, "shielded").await;
    let opened = story.happened(LATER, "opened").await;
    let release = story.release().await;
    assert_eq!(release.phase, Phase::Watching, "{release:#?}");
    assert_eq!(release.share, 1.0, "{release:#?}");
    let shielded = moment(&release, "shielded").expect("it has just been there");
    assert!(opened.after_ms > shielded.after_ms, "{:#?}", release.timeline);
    for wrong in ["proven", "reverted", "held"] {
        assert!(moment(&release, wrong).is_none(), "{wrong} in {:#?}", release.timeline);
    }
    let after = shop.traffic.pass(100).await;
    // Those on their way when the shield was lifted stay where they were sent.
    let lifted = after[0].ended;
    let mut later = after.iter().filter(|request| request.started > lifted);
    assert!(later.all(|request| request.is_answered_by("green")), "{after:#?}");
    let failed = shop.traffic.failed();
    assert!((4..=80).contains(&failed), "{failed} requests failed");
}
