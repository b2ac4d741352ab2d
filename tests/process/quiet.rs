//! Too little traffic to say anything. Silence is not health, and "not enough" comes with a number.

use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::LATER;

const RULES: &str = "
revertWhen: ['error rate > 5%']
passWhen: ['error rate < 1%']
bake: 2s
decideWithin: 6s
";

async fn inconclusive(rate: f64) {
    let shop = Guarded::start(Plan { rules: Some(RULES), rate, warm_up: 0, ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    let ran = story.awaited(LATER).await;
    assert_eq!(ran.code, Some(12), "{ran:#?}");

    let release = story.release().await;
    assert_eq!(release.phase, Phase::Inconclusive);
    let verdict = &release.verdict;
    assert!(!verdict.pass && !verdict.fail, "{verdict:?}");
    assert!(verdict.requests as f64 <= rate * 20.0, "{verdict:?}");
    // Zero bad requests in 299 are the least that can prove a rate below 1 % (mathematics of "rule of three").
    let needed = verdict.requests_needed.expect("what is missing is a number");
    assert!((250..=1_500).contains(&needed), "{verdict:?}");
    assert!(verdict.text.chars().any(|letter| letter.is_ascii_digit()), "{verdict:?}");
    assert!(moment(&release, "inconclusive").is_some_and(|moment| moment.after_ms >= 6_000), "{:#?}", release.timeline);
    assert!(moment(&release, "passed").is_none(), "{:#?}", release.timeline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_traffic_is_inconclusive() {
    inconclusive(0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_a_second_is_inconclusive() {
    inconclusive(1.0).await;
}
