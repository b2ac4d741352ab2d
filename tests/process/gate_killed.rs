//! The gate dies in the middle of an incident. Traffic flows on; the gate that comes back on the same store knows what
//! the dead one knew, with the same budget for false alarms, and comes to the verdict.

use blueback_gate::api::types::Phase;
use blueback_tests::{Apart, Plan, criterion, moment, until};

use crate::{LATER, SOON, errors};

const RULE: &str = "error rate > 5%";
const RULES: &str = "
revertWhen: ['error rate > 5%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_killed_in_an_incident_comes_to_the_same_verdict() {
    let mut shop = Apart::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    shop.green_does(errors(0.15));
    let story = shop.switch(&[]).await;
    // Enough has been seen to raise the shield, not enough to revert.
    let shielded = story.happened(SOON, "shielded").await;
    let before = story.evidence().await;
    let before_release = story.release().await;
    assert!(moment(&before_release, "proven").is_none(), "too late for this story: {:#?}", before_release.timeline);
    shop.hub.kill().await;

    let meanwhile = shop.traffic.pass(150).await;
    assert!(meanwhile.iter().all(|request| request.answer.is_ok()), "requests are lost while the gate is gone");
    let bad = meanwhile.iter().filter(|request| request.is_failed()).count();
    assert!(bad <= 15, "{bad} of 150 requests failed: the shield did not stay up");

    shop.hub = shop.start_gate();
    let after = until(SOON, "the release to be known again", async || {
        shop.stage.gate.evidence(&story.id).await.map_err(|error| error.to_string())
    })
    .await;
    // What the dead gate had not written down yet, the agents still know; the rest is there at once.
    let (was, is) = (criterion(&before, "revert", RULE), criterion(&after, "revert", RULE));
    assert!(is.candidate.requests * 2 >= was.candidate.requests, "evidence is lost: {was:?}, then {is:?}");
    assert_eq!(is.threshold, was.threshold, "the budget for false alarms has changed");

    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");
    let release = story.in_phase(SOON, Phase::Reverted).await;
    assert_eq!(release.verdict.rule.as_deref(), Some(RULE));
    assert_eq!(release.started_ms, before_release.started_ms);
    assert_eq!(moment(&release, "shielded"), Some(&shielded), "{:#?}", release.timeline);
    let last = story.evidence().await;
    let end = criterion(&last, "revert", RULE);
    let answered_500 = shop.traffic.count(|request| request.answer == Ok(500));
    let counted = usize::try_from(end.candidate.bad).expect("a count");
    assert!(counted <= answered_500, "counted twice: {end:?}, {answered_500} were answered 500");
    // Few may have ended too late for their block; those of the time without a gate are among the counted.
    assert!(counted + 8 >= answered_500, "lost: {end:?}, {answered_500} were answered 500");
    shop.traffic.answered_by("blue", 100).await;
}
