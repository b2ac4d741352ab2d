//! A release without Blueback, and its outage, ended by hand: what a Service does by itself, and so what there is to improve on.

use blueback_tests::cluster::{App, LoadPod, Namespace, answered, service};

use crate::outage;

const TO_BLUE: &str = r#"{"spec":{"selector":{"color":"blue"}}}"#;
const TO_GREEN: &str = r#"{"spec":{"selector":{"color":"green"}}}"#;

#[tokio::test]
async fn a_selector_moves_new_connections_and_leaves_kept_ones() {
    let shop = Namespace::new("by-hand").await;
    shop.apply(&[App::new("blue").deployment(), App::new("green").deployment(), service("blue")]).await;
    shop.rolled_out("blue").await;
    shop.rolled_out("green").await;
    let kept = LoadPod::start(&shop, "kept", "http://shop/", &["--rps", "40"]).await;
    let fresh = LoadPod::start(&shop, "fresh", "http://shop/", &["--rps", "40", "--connections", "fresh"]).await;
    kept.answered_by("blue", 40).await;
    fresh.answered_by("blue", 40).await;

    shop.kubectl(&["patch", "service", "shop", "--patch", TO_GREEN]).await;
    fresh.answered_by("green", 80).await;
    // Clients from before the switch do not try green at all: they would vouch for it without having seen it.
    kept.answered_by("blue", 40).await;
    assert_eq!((kept.totals().failed, fresh.totals().failed), (0, 0), "a switch costs no request");

    shop.does("color=green", outage()).await;
    fresh.until("the outage", |totals| totals.failed >= 40).await;
    shop.kubectl(&["patch", "service", "shop", "--patch", TO_BLUE]).await;
    fresh.answered_by("blue", 80).await;

    let (kept, fresh) = (kept.stop(&shop).await, fresh.stop(&shop).await);
    assert_eq!(kept.failed, 0, "{kept:?}");
    let (blue, green) = (answered(&fresh, "blue"), answered(&fresh, "green"));
    assert_eq!((blue.failed, green.failed), (0, fresh.failed), "{fresh:?}");
    assert!(fresh.last_failed <= Some(green.last) && green.last < blue.last, "{fresh:?}");
}
