//! Both colours fail alike, as when the database behind them is gone. Reverting would not help: a person decides.

use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, SOON, errors};

const RULES: &str = "
revertWhen: ['error rate > 5%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_both_colours_is_held_not_reverted() {
    let shop = Guarded::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 200).await;
    shop.blue_does(errors(0.5));
    shop.green_does(errors(0.5));
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(11), "{ran:#?}");

    let release = story.in_phase(SOON, Phase::Held).await;
    assert_eq!(release.verdict.verdict, "hold", "{:?}", release.verdict);
    for wrong in ["reverted", "diverted", "passed"] {
        assert!(moment(&release, wrong).is_none(), "{wrong} in {:#?}", release.timeline);
    }
}
