//! `await`, `switch` and `revert` against a gate that plays a script.

use blueback_gate::api::types::Phase;
use http::Method;

use crate::blueback;
use crate::gate::{ScriptedGate, Stream, release, service};

/// `await` on a release that goes from watching to `end`.
async fn awaited(end: Phase, text: &str) -> crate::Ran {
    let watching = release(Phase::Watching, 1, "812 of 2,995 requests needed");
    let gate = ScriptedGate::start(watching.clone(), [Stream::Pieces(7, vec![watching, release(end, 3, text)])]).await;
    blueback(&["await", "--gate", &gate.url(), "--timeout", "20s"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verdict_has_its_exit_code() {
    let cases = [
        (Phase::Passed, 0, "shop-1 passed: "),
        (Phase::Reverted, 10, "shop-1 reverted: "),
        (Phase::Held, 11, "shop-1 held: "),
        (Phase::Inconclusive, 12, "shop-1 inconclusive: "),
    ];
    for (phase, code, result) in cases {
        let ran = awaited(phase, "the story").await;
        ran.check(code, &[&format!("{result}the story\n")], &["moment 1", "moment 2", "moment 3", "blue to green"]);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        assert_eq!(ran.stderr.matches("moment 1").count(), 1, "{}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b') && !ran.stdout.contains('\x1b'), "colours belong to terminals");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verdict_in_time_is_13() {
    let watching = release(Phase::Watching, 1, "812 of 2,995 requests needed");
    let gate = ScriptedGate::start(watching.clone(), [Stream::Stays(vec![watching])]).await;
    let ran = blueback(&["await", "shop", "--gate", &gate.url(), "--timeout", "300ms"]).await;
    ran.check(13, &["shop-1 no-verdict: bake was not reached in time; 812 of 2,995 requests needed"], &["300ms"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_never_answers_is_1() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback");
    let url = format!("http://{port}");
    blueback(&["status", "--gate", &url]).await.check(1, &[], &["the gate could not be reached", &url]);
    let ran = blueback(&["await", "--gate", &url]).await;
    ran.check(1, &[], &["the gate could not be reached", &url]);
    assert_eq!(ran.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_taken_up_where_it_broke() {
    let state = |phase, revision| release(phase, revision, "story");
    let gate = ScriptedGate::start(
        state(Phase::Watching, 1),
        [
            Stream::Breaks(vec![state(Phase::Watching, 1), state(Phase::Watching, 2)]),
            Stream::Unavailable,
            Stream::Unavailable,
            Stream::Breaks(vec![]),
            Stream::Stays(vec![state(Phase::Watching, 2), state(Phase::Reverting, 3), state(Phase::Reverted, 4)]),
        ],
    )
    .await;
    let ran = blueback(&["await", "--gate", &gate.url(), "--timeout", "20s"]).await;
    ran.check(10, &["shop-1 reverted: story"], &["moment 4"]);
    assert_eq!(ran.stderr.matches("moment 2").count(), 1, "{}", ran.stderr);
    let ids: Vec<Option<String>> = gate
        .asked()
        .into_iter()
        .filter(|asked| asked.path.ends_with("/events"))
        .map(|asked| asked.last_event_id)
        .collect();
    let two = Some("2".to_owned());
    assert_eq!(ids, [None, two.clone(), two.clone(), two.clone(), two]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_revert_is_told() {
    let mut reverted = release(Phase::Reverted, 2, "reverted by ada: wrong prices");
    reverted.verdict.rule = None;
    let gate = ScriptedGate::start(reverted.clone(), []).await;
    let ran = blueback(&["await", "--gate", &gate.url(), "--release", "shop-1"]).await;
    ran.check(10, &["shop-1 reverted: by a person: reverted by ada: wrong prices"], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_document() {
    let gate = ScriptedGate::start(release(Phase::Held, 1, "blue fails the same way"), []).await;
    let ran = blueback(&["await", "--gate", &gate.url(), "--json"]).await;
    ran.check(11, &[], &["moment 1"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("stdout is JSON");
    assert_eq!(document["outcome"], "held");
    assert_eq!(document["exit_code"], 11);
    assert_eq!(document["release"]["id"], "shop-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_there_are_told() {
    let state = release(Phase::Watching, 1, "story");
    let gate = ScriptedGate::start(state.clone(), []).await;
    let url = gate.url();
    blueback(&["await", "cart", "--gate", &url]).await.check(2, &[], &["'cart' is not guarded", "accepted: shop"]);
    blueback(&["await", "--release", "shop-9", "--gate", &url]).await.check(2, &[], &["/v1/releases/shop-9"]);
    blueback(&["explain", "nothing", "--gate", &url]).await.check(
        2,
        &[],
        &["neither a release nor a service 'nothing'"],
    );
    let gate = ScriptedGate::start(state, []).await.guards(vec![service("shop", None), service("cart", None)]);
    let url = gate.url();
    blueback(&["await", "--gate", &url]).await.check(2, &[], &["guards 2 services", "shop, cart"]);
    blueback(&["await", "cart", "--gate", &url]).await.check(2, &[], &["'cart' has no release yet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_says_who_and_can_wait() {
    let done = release(Phase::Passed, 2, "all is well");
    let gate = ScriptedGate::start(release(Phase::Watching, 1, "story"), [Stream::Stays(vec![done])]).await;
    let url = gate.url();
    let ran = blueback(&["switch", "--gate", &url, "--to", "green", "--share", "10%"]).await;
    ran.check(0, &["shop-1\n"], &["green gets 100%"]);
    let asked = gate.asked().pop().expect("it was asked");
    assert_eq!((asked.method, asked.path.as_str()), (Method::POST, "/v1/services/shop/switch"));
    assert_eq!(asked.body, r#"{"to":"green","share":0.1,"by":"ada"}"#);
    let ran = blueback(&["switch", "--gate", &url, "--to", "green", "--await", "--by", "ci"]).await;
    ran.check(0, &["shop-1 passed: all is well"], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_carries_its_reason_and_the_token() {
    let folder = std::env::temp_dir().join(format!("blueback-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    let token = folder.join("token");
    std::fs::write(&token, "s3cret\n").expect("there is room");
    let token = token.to_str().expect("the path is plain").to_owned();
    let reverting = release(Phase::Reverting, 1, "reverted by ada: wrong prices");
    let reverted = release(Phase::Reverted, 2, "reverted by ada: wrong prices");
    let gate = ScriptedGate::start(reverting, [Stream::Stays(vec![reverted])]).await;
    let ran =
        blueback(&["revert", "--gate", &gate.url(), "--token-file", &token, "--why", "wrong prices", "--by", "ada"])
            .await;
    ran.check(0, &["shop-1 reverted: "], &["moment 2"]);
    let asked = gate.asked().into_iter().find(|asked| asked.method == Method::POST).expect("it was asked");
    assert_eq!(asked.path, "/v1/services/shop/revert");
    assert_eq!(asked.body, r#"{"why":"wrong prices","by":"ada"}"#);
    assert_eq!(asked.authorization.as_deref(), Some("Bearer s3cret"));
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_text_or_json() {
    let gate = ScriptedGate::start(release(Phase::Watching, 1, "story"), []).await;
    let url = gate.url();
    blueback(&["status", "--gate", &url]).await.check(0, &["NAME", "shop", "watching", "shop-1"], &[]);
    let ran = blueback(&["status", "--gate", &url, "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("stdout is JSON");
    assert_eq!(document[0]["name"], "shop");
}
