//! A person asks the gate to wait, and later to go on.

use blueback_gate::api::types::Phase;
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, SOON};

const RULES: &str = "
revertWhen: ['error rate > 5%']
passWhen: ['error rate < 2%']
bake: 3s
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_release_does_not_pass_until_it_is_resumed() {
    let shop = Guarded::start(Plan { rules: Some(RULES), rate: 150.0, ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    let why = "waiting for the night's import";
    let ran = shop.command("hold", &["shop", "--why", why]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let held = story.in_phase(SOON, Phase::Held).await;
    assert!(held.verdict.text.contains(why), "{:?}", held.verdict);
    let awaited = story.awaited(LATER).await;
    assert_eq!(awaited.code, Some(11), "{awaited:#?}");

    // Beyond its bake time, with all the evidence a pass needs.
    shop.traffic.answered_by("green", 700).await;
    let release = story.release().await;
    assert_eq!(release.phase, Phase::Held, "{release:#?}");
    assert!(moment(&release, "passed").is_none(), "{:#?}", release.timeline);

    let ran = shop.command("resume", &["shop", "--why", "import is done"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let awaited = story.awaited(LATER).await;
    assert_eq!(awaited.code, Some(0), "{awaited:#?}");
    let release = story.release().await;
    assert!(moment(&release, "resumed").is_some_and(|moment| moment.text.contains("import is done")), "{release:#?}");
}
