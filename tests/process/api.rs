//! The HTTP API as scripts use it: long poll, events, evidence, its own description, and metrics.

use std::time::{Duration, Instant};

use blueback_gate::api::types::{Phase, Release};
use blueback_tests::{Guarded, Plan, get, post};
use tokio::time::timeout;

use crate::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_can_be_followed_by_long_poll_and_by_events() {
    let shop = Guarded::start(Plan { warm_up: 50, ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 200).await;

    // Held first: nothing changes any more by itself.
    let ran = shop.command("hold", &["shop", "--why", "a quiet place"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let held = story.in_phase(SOON, Phase::Held).await;

    let mut events = shop.gate.events(&story.id, None).await.expect("events are served");
    let first = timeout(SOON, events.next()).await.expect("the state comes first").expect("the stream lives");
    let first: Release = serde_json::from_str(&first.data).expect("an event holds a release");
    assert_eq!((first.id.as_str(), first.phase), (story.id.as_str(), Phase::Held));

    let begin = Instant::now();
    let path = format!("/v1/releases/{}/verdict", story.id);
    let now = get(shop.api, &path).await.expect("the verdict is served");
    assert_eq!((now.status, &now.json()["verdict"]), (200, &"hold".into()), "{now:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "a plain request does not wait");

    let (api, waiting) = (shop.api, format!("{path}?wait=20s&after={}", first.revision.max(held.revision)));
    let poll = tokio::spawn(async move { get(api, &waiting).await });
    let ran = shop.command("resume", &["shop", "--why", "go on"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let answer = timeout(SOON, poll).await.expect("a change ends the wait").expect("no panic").expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(answer.json()["verdict"], "hold", "{answer:?}");

    let resumed = async {
        loop {
            let event = events.next().await.expect("the stream lives");
            let release: Release = serde_json::from_str(&event.data).expect("an event holds a release");
            assert_eq!(event.id.as_deref(), Some(release.revision.to_string().as_str()));
            assert!(release.revision >= first.revision);
            if release.phase == Phase::Watching {
                return release;
            }
        }
    };
    timeout(SOON, resumed).await.expect("the change comes as an event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_description_and_metrics_are_served() {
    let shop = Guarded::start(Plan { warm_up: 300, ..Plan::default() }).await;
    let early = post(shop.api, "/v1/services/shop/hold", r#"{"why":"there is no release"}"#).await.expect("an answer");
    assert_eq!(early.status, 409, "{early:?}");
    let story = shop.switch(&[]).await;
    shop.traffic.answered_by("green", 300).await;

    let evidence = story.evidence().await;
    assert!(evidence.criteria.iter().any(|criterion| criterion.list == "revert"), "{evidence:#?}");
    assert!(evidence.criteria.iter().any(|criterion| criterion.candidate.requests > 100), "{evidence:#?}");
    let side = |after: bool| evidence.series.iter().filter(move |point| (point.after_ms > 0) == after);
    assert!(side(false).map(|point| point.baseline.requests).sum::<u64>() > 50, "{:#?}", evidence.series);
    assert!(side(true).map(|point| point.candidate.requests).sum::<u64>() > 100, "{:#?}", evidence.series);
    assert!(evidence.series.iter().any(|point| point.candidate.p99_ms.is_some_and(|p99| p99 >= 2.0)));

    let description = get(shop.api, "/openapi.json").await.expect("it is served");
    let json = description.json();
    assert!(json["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{json:#}");
    for path in ["/v1/services/{name}/switch", "/v1/releases/{id}/verdict", "/v1/releases/{id}/events"] {
        assert!(json["paths"].get(path).is_some(), "{path} is not described");
    }

    let metrics = get(shop.api, "/metrics").await.expect("they are served");
    assert!(metrics.content_type.starts_with("text/plain"), "{}", metrics.content_type);
    let mut samples = 0;
    for line in metrics.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let family = name.split('{').next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| family.strip_suffix(ending));
        let typed = |family: &str| metrics.text.contains(&format!("# TYPE {family} "));
        assert!(typed(family) || base.is_some_and(typed), "{family} has no type");
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
        samples += usize::from(family.starts_with("blueback_gate_"));
    }
    assert!(samples >= 5, "{}", metrics.text);

    for (path, status) in [("/live", 200), ("/ready", 200), ("/v1/releases/nothing-1", 404), ("/nothing", 404)] {
        let answer = get(shop.api, path).await.expect("an answer");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    for (verb, body, status, word) in [
        ("switch", r#"{"to":"red"}"#, 400, "red"),
        ("switch", r#"{"to":"green","share":7}"#, 400, "share"),
        ("switch", r#"{"to":"green","shar":1}"#, 400, "shar"),
        ("revert", r#"{"why":" "}"#, 400, "why"),
        ("hold", "not json", 400, ""),
    ] {
        let answer = post(shop.api, &format!("/v1/services/shop/{verb}"), body).await.expect("an answer");
        assert_eq!(answer.status, status, "{verb} {body}: {answer:?}");
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        let field = answer.json()["field"].as_str().unwrap_or_default().to_owned();
        assert!(!error.is_empty() && (error.contains(word) || field == word), "{verb} {body}: {answer:?}");
    }
    let none = post(shop.api, "/v1/services/nobody/hold", r#"{"why":"a test"}"#).await.expect("an answer");
    assert_eq!(none.status, 404, "{none:?}");
}
