//! Green fails, and blue is not there to go back to: no shield, no revert, a person is called.

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Guarded, Plan, moment};

use crate::{CRASH, LATER, SOON, errors};

const RULES: &str = "
revertWhen: ['error rate > 5%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reverted_to_a_blue_that_is_down() {
    let shop = Guarded::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 200).await;
    shop.blue_does(CRASH);
    shop.service_until("blue to be seen as not ready", |service| {
        service.backends.iter().all(|backend| backend.ready == (backend.slot == Slot::Green))
    })
    .await;
    shop.green_does(errors(0.5));
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(11), "{ran:#?}");

    let release = story.in_phase(SOON, Phase::Held).await;
    for wrong in ["shielded", "diverted", "reverted", "passed"] {
        assert!(moment(&release, wrong).is_none(), "{wrong} in {:#?}", release.timeline);
    }
    // Half of green's requests are answered, which is more than blue could do.
    shop.traffic.answered_by("green", 50).await;
    assert_eq!(release.share, 1.0, "{release:#?}");
}
