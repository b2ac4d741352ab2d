//! A client that asks for what is not there gets 404s by the dozen. That is not green's fault.

use blueback::sample::Fault;
use blueback_tests::{Guarded, Plan, criterion, moment};

use crate::LATER;

const RULES: &str = "
revertWhen: ['error rate > 5%']
passWhen: ['error rate < 2%']
bake: 4s
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_client_errors_is_not_held_against_green() {
    let shop = Guarded::start(Plan { rules: Some(RULES), rate: 150.0, ..Plan::default() }).await;
    shop.green_does(Fault { client_error_rate: 0.8, ..Fault::default() });
    let story = shop.switch(&[]).await;
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");

    let release = story.release().await;
    for trouble in ["shielded", "proven", "reverted", "held"] {
        assert!(moment(&release, trouble).is_none(), "{trouble} in {:#?}", release.timeline);
    }
    let evidence = story.evidence().await;
    let errors = criterion(&evidence, "revert", "error rate > 5%");
    assert_eq!(errors.candidate.bad, 0, "{errors:?}");
    let stormed = shop.traffic.count(|request| request.answer == Ok(404));
    assert!(stormed > 300, "only {stormed} requests were answered 404");
    assert!(errors.candidate.requests > 300, "client errors are requests too: {errors:?}");
}
