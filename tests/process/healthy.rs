//! A healthy release passes as soon as its bake time is over and its pass rules hold.

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Asked as _, Guarded, Plan, moment};

use crate::{LATER, SOON};

const RULES: &str = "
revertWhen: ['error rate > 5%', 'latency p99 > 1s']
passWhen: ['error rate < 2%']
bake: 4s
checkpoints: [5s]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_release_passes() {
    let mut shop = Guarded::start(Plan { rules: Some(RULES), rate: 150.0, ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");

    let release = story.release().await;
    let passed = moment(&release, "passed").expect("a pass is in the timeline");
    assert!(passed.after_ms >= 4_000, "passed before its bake time: {passed:?}");
    assert!(release.verdict.pass && !release.verdict.fail, "{:?}", release.verdict);
    assert_eq!(release.passed[0], "bake");
    for trouble in ["shielded", "proven", "reverted", "held", "inconclusive", "failed"] {
        assert!(moment(&release, trouble).is_none(), "{trouble} in {:#?}", release.timeline);
    }

    let done = story.in_phase(SOON, Phase::Done).await;
    assert_eq!(done.passed, ["bake", "5s"]);
    assert_eq!(shop.serving().await, Slot::Green);
    let requests = shop.stage.traffic.stop().await;
    let failed: Vec<_> = requests.iter().filter(|request| request.answer != Ok(200)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let last = requests.last().expect("there was traffic");
    assert!(last.is_answered_by("green"), "{last:?}");
}
