//! A person takes a release back, says why, and everybody can read it.

use blueback_gate::api::types::{Phase, Slot};
use blueback_tests::{Guarded, Plan, moment};

use crate::{LATER, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_reverts_and_the_reason_is_kept() {
    let mut shop = Guarded::start(Plan::default()).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 100).await;
    let why = "prices are shown without tax";

    let without = shop.command("revert", &["shop"]).await;
    assert_eq!(without.code, Some(2), "a revert without a reason: {without:#?}");
    assert!(without.stderr.contains("--why"), "{without:#?}");
    let ran = shop.command("revert", &["shop", "--why", why]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let awaited = story.awaited(LATER).await;
    assert_eq!(awaited.code, Some(10), "{awaited:#?}");

    let release = story.in_phase(SOON, Phase::Reverted).await;
    assert!(release.verdict.text.contains(why), "{:?}", release.verdict);
    for step in ["diverted", "reverted", "verified", "released", "announced"] {
        story.happened(SOON, step).await;
    }
    let explained = shop.command("explain", &[&release.id]).await;
    assert_eq!(explained.code, Some(0), "{explained:#?}");
    assert!(explained.stdout.contains(why), "{explained:#?}");
    let listed = shop.command("releases", &[]).await;
    assert!(listed.stdout.contains(&release.id), "{listed:#?}");
    let status = shop.command("status", &[]).await;
    assert!(status.stdout.contains("shop") && status.stdout.contains("blue"), "{status:#?}");

    assert_eq!(shop.serving().await, Slot::Blue);
    shop.traffic.answered_by("blue", 100).await;
    let requests = shop.stage.traffic.stop().await;
    let failed: Vec<_> = requests.iter().filter(|request| request.answer != Ok(200)).collect();
    assert!(failed.is_empty(), "the way there and back cost requests: {failed:#?}");
    assert!(moment(&release, "shielded").is_none(), "{:#?}", release.timeline);
}
