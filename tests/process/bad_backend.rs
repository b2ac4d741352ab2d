//! One green backend of five fails. It is named and spared; the release is not reverted for it.

use blueback_gate::api::types::Phase;
use blueback_tests::{Asked as _, Guarded, Plan, moment};

use crate::{OUTAGE, SOON};

const RULES: &str = "
revertWhen: ['error rate > 5%']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_backend_of_five_is_named_and_the_release_goes_on() {
    let shop = Guarded::start(Plan { blue: 2, green: 5, rules: Some(RULES), ..Plan::default() }).await;
    shop.green[2].set_fault(OUTAGE);
    let bad = shop.green[2].addr().to_string();
    let story = shop.switch(&[]).await;
    let named = |pod: &Option<String>| pod.as_deref() == Some(bad.as_str());
    let release = story.until(SOON, "the bad backend to be named", |release| named(&release.verdict.pod)).await;
    assert_eq!(release.verdict.verdict, "suspect", "{:?}", release.verdict);
    assert!(release.verdict.text.contains(&bad), "{:?}", release.verdict);

    // The bad backend gets next to nothing, the other four go on serving.
    shop.traffic.pass(200).await;
    let later = shop.traffic.pass(600).await;
    let from = |name: &str| later.iter().filter(|request| request.is_from(name)).count();
    assert!(from("green-3") <= 40, "the bad backend still gets {} of 600 requests", from("green-3"));
    let well: Vec<usize> = ["green-1", "green-2", "green-4", "green-5"].map(from).into();
    assert!(well.iter().all(|&number| number >= 60), "{well:?}");

    let release = story.release().await;
    assert_eq!(release.phase, Phase::Watching, "{release:#?}");
    assert!(moment(&release, "reverted").is_none(), "{:#?}", release.timeline);
}
