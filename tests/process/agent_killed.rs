//! The agent in front dies and is started again. Its counts start at zero, which is no loss and no jump.

use blueback_gate::api::types::Phase;
use blueback_tests::{Apart, Plan, criterion, moment, until};

use crate::SOON;

const RULE: &str = "error rate > 5%";
const RULES: &str = "
revertWhen: ['error rate > 5%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_do_not_jump_when_an_agent_starts_again() {
    let mut shop = Apart::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 300).await;
    let before = criterion(&story.evidence().await, "revert", RULE).candidate.clone();

    let mut front = shop.front.take().expect("it was started with a front agent");
    front.kill().await;
    drop(front);
    shop.front = Some(shop.start_front());
    shop.traffic.answered_by("green", 300).await;

    let after = until(SOON, "the new agent's counts", async || {
        let now = criterion(&story.evidence().await, "revert", RULE).candidate.clone();
        if now.requests >= before.requests + 250 { Ok(now) } else { Err(format!("{before:?}, then {now:?}")) }
    })
    .await;
    let asked = shop.green[0].requests();
    assert!(after.requests <= asked, "{} requests are counted, {asked} were asked", after.requests);
    assert_eq!(after.bad, 0, "{after:?}");
    let release = story.release().await;
    assert_eq!(release.phase, Phase::Watching, "{release:#?}");
    for wrong in ["shielded", "proven", "reverted", "held"] {
        assert!(moment(&release, wrong).is_none(), "{wrong} in {:#?}", release.timeline);
    }
    assert_eq!(release.share, 1.0);
}
