//! Green fails 6 % of its requests from the switch on.

use std::time::Duration;

use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::{SOON, errors};

/// Six in a hundred where two are allowed, on a trickle of ten a second, is proven in half a minute or in two, as chance has it.
/// How long it takes is the simulation's business.
const PROVEN_MAX: Duration = Duration::from_secs(240);

const RULES: &str = "
revertWhen: ['error rate > 2%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_in_6_percent_are_shielded_then_reverted() {
    let mut shop = Guarded::start(Plan { rules: Some(RULES), ..Plan::default() }).await;
    shop.green_does(errors(0.06));
    let story = shop.switch(&[]).await;
    let ran = story.awaited(PROVEN_MAX).await;
    assert_eq!(ran.code, Some(10), "{ran:#?}");
    assert!(
        ran.stderr.contains("error rate > 2%") || ran.stdout.contains("error rate > 2%"),
        "the rule is not named: {ran:#?}"
    );

    let release = story.in_phase(SOON, Phase::Reverted).await;
    assert_eq!(release.verdict.rule.as_deref(), Some("error rate > 2%"));
    let limit = release.verdict.limit.expect("the rule has a limit");
    assert!(release.verdict.value.is_some_and(|value| value > limit), "{:?}", release.verdict);
    let after = |what| moment(&release, what).map(|moment| moment.after_ms);
    assert!(after("shielded").is_some() && after("shielded") < after("proven"), "{:#?}", release.timeline);

    shop.traffic.answered_by("blue", 50).await;
    let failed = shop.stage.traffic.stop().await.iter().filter(|request| request.is_failed()).count();
    assert!((4..=260).contains(&failed), "{failed} requests failed");
}
