//! The demo is the product on real traffic: it must end as it should.

use crate::blueback;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_reverts_a_crashed_green() {
    let ran = blueback(&["demo", "--fault", "crash"]).await;
    ran.check(
        0,
        &["shield up", "proven", "reverted", "blue verified", "polling every 10 s", "polling every 60 s"],
        &["switched", "shielded", "proven", "diverted", "reverted", "verified"],
    );
}
