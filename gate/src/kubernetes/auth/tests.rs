//! An API server that answers from a script.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use blueback_report::{Route, Slot, TargetState};
use serde_json::{Value, json};

use super::*;
use crate::kubernetes::gates::GateFacts;

#[derive(Default)]
struct Script {
    away: AtomicBool,
    reviews: AtomicUsize,
    accesses: AtomicUsize,
}

impl Script {
    fn answer(&self, body: &Value, status: &Value) -> (StatusCode, Json<Value>) {
        if self.away.load(Ordering::Relaxed) {
            let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503, "message": "away",
                "reason": "ServiceUnavailable", "metadata": {}});
            return (StatusCode::SERVICE_UNAVAILABLE, Json(failure));
        }
        let mut answer = body.clone();
        answer["status"] = status.clone();
        (StatusCode::CREATED, Json(answer))
    }
}

/// As API servers since 1.21 tell it.
fn pod_status() -> Value {
    json!({
        "authenticated": true,
        "user": {
            "username": "system:serviceaccount:shop:default", "uid": "a-1",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
            "extra": {
                "authentication.kubernetes.io/credential-id": ["JTI=1"],
                "authentication.kubernetes.io/node-name": ["node-1"],
                "authentication.kubernetes.io/pod-name": ["cart-1"],
                "authentication.kubernetes.io/pod-uid": ["uid-1"],
            },
        },
        "audiences": ["blueback-gate"],
    })
}

async fn token_review(Shared(script): Shared<Arc<Script>>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    script.reviews.fetch_add(1, Ordering::Relaxed);
    let status = match (body["spec"]["token"].as_str(), &body["spec"]["audiences"]) {
        (Some("pod"), audiences) if *audiences == json!(["blueback-gate"]) => pod_status(),
        (Some("ann"), Value::Null) => json!({"authenticated": true, "user": {"username": "ann", "groups": ["team"]}}),
        _ => json!({"authenticated": false, "error": "token is no good"}),
    };
    script.answer(&body, &status)
}

async fn access_review(Shared(script): Shared<Arc<Script>>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    script.accesses.fetch_add(1, Ordering::Relaxed);
    let (spec, asked) = (&body["spec"], &body["spec"]["resourceAttributes"]);
    assert_eq!((&asked["group"], &asked["resource"]), (&json!("blueback.dev"), &json!("releasegates")));
    let team = spec["groups"] == json!(["team"]) && spec["user"] == "ann" && asked["namespace"] == "shop";
    let allowed = team && (asked["verb"] == "get" || asked["subresource"] == "revert");
    script.answer(&body, &json!({"allowed": allowed}))
}

struct Known(Guards);

impl Gates for Known {
    fn of_pod(&self, _: &str, _: &BTreeMap<String, String>) -> Option<GateFacts> {
        None
    }

    fn lacks_service(&self, _: &str) -> bool {
        false
    }

    fn guards(&self, name: &str, pod: &PodIdentity) -> Guards {
        if name == "cart" && pod.name == "cart-1" { self.0 } else { Guards::No }
    }
}

fn door(guards: Guards) -> (Arc<Script>, KubernetesDoor) {
    door_with(guards, TokenDoor::default())
}

fn door_with(guards: Guards, own: TokenDoor) -> (Arc<Script>, KubernetesDoor) {
    let script = Arc::new(Script::default());
    let router = Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access_review))
        .with_state(Arc::clone(&script));
    let client = Client::new(router, "blueback");
    (script, KubernetesDoor::new(client, Arc::new(Known(guards)), own, Arc::new(Metrics::new())))
}

fn cart() -> PodIdentity {
    PodIdentity { namespace: "shop".to_owned(), name: "cart-1".to_owned(), uid: "uid-1".to_owned() }
}

#[tokio::test]
async fn a_token_says_which_pod_it_is_and_is_asked_about_once() {
    let (script, door) = door(Guards::Yes);
    for _ in 0..3 {
        assert_eq!(door.agent(Some("pod")).await, Ok(Some(cart())));
    }
    assert_eq!(script.reviews.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_a_good_token_no_agent_comes_in() {
    let (script, door) = door(Guards::Yes);
    assert!(matches!(door.agent(None).await, Err(Denied::Unauthenticated(_))));
    for _ in 0..3 {
        let denied = door.agent(Some("bad")).await.expect_err("the token is bad");
        assert_eq!(denied, Denied::Unauthenticated("the token is not accepted: token is no good".to_owned()));
    }
    assert_eq!(script.reviews.load(Ordering::Relaxed), 1, "a refusal is remembered as well");
}

#[tokio::test]
async fn a_known_agent_comes_in_while_the_api_server_is_away() {
    let (script, door) = door(Guards::Yes);
    assert_eq!(door.agent(Some("pod")).await, Ok(Some(cart())));
    script.away.store(true, Ordering::Relaxed);
    // As if a minute had passed.
    let aged = Instant::now().checked_sub(TOKEN_AGE_MAX).expect("the machine has been up for a minute");
    lock(&door.agents).put(cache::hash(b"pod"), Ok(cart()), aged);
    assert_eq!(door.agent(Some("pod")).await, Ok(Some(cart())));
    assert!(script.reviews.load(Ordering::Relaxed) > 1, "it was asked");
    assert!(matches!(door.agent(Some("other")).await, Err(Denied::Unavailable(_))), "it was never known");
}

#[test]
fn a_token_must_be_of_a_pod_and_for_the_gate() {
    let read = |change: &dyn Fn(&mut Value)| {
        let mut status = pod_status();
        change(&mut status);
        pod_identity(serde_json::from_value(status).expect("it is a status"))
    };
    assert_eq!(read(&|_| ()), Ok(cart()));
    for (number, change) in [
        (&|status: &mut Value| status["authenticated"] = json!(false)) as &dyn Fn(&mut Value),
        &|status| status["audiences"] = json!(["https://kubernetes.default.svc"]),
        &|status| status["audiences"] = Value::Null,
        &|status| status["user"]["username"] = json!("ann"),
        &|status| status["user"]["extra"] = Value::Null,
        &|status| status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] = json!([]),
        &|status| status["user"]["extra"]["authentication.kubernetes.io/pod-name"] = json!(["cart-1", "cart-2"]),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(matches!(read(change), Err(Denied::Unauthenticated(_))), "case {number}");
    }
}

fn hello(agent: &str, service: &str) -> Hello {
    Hello {
        agent: agent.into(),
        service: service.into(),
        role: Role::Sidecar(Slot::Blue),
        targets: vec![TargetState { slot: Slot::Blue, pod: "cart-1".into(), ready: true }],
        route: Route::all_to(Slot::Blue, 0),
        version: "1".to_owned(),
    }
}

#[tokio::test]
async fn an_agent_speaks_for_its_own_pod_only() {
    let (_, door) = door(Guards::Yes);
    for (agent, service) in [("uid-1/0a", "shop/cart"), ("cart-1/0a", "shop/cart")] {
        assert_eq!(door.hello(Some(&cart()), &hello(agent, service)), Ok(()), "{agent}");
    }
    let front = Hello { role: Role::Front, ..hello("uid-1/0a", "shop/cart") };
    let other = vec![TargetState { slot: Slot::Blue, pod: "cart-2".into(), ready: true }];
    let for_other = Hello { targets: other, ..hello("uid-1/0a", "shop/cart") };
    for (number, hello) in [
        hello("uid-2/0a", "shop/cart"),
        hello("uid-1", "shop/cart"),
        hello("uid-1x/0a", "shop/cart"),
        hello("uid-1/0a", "elsewhere/cart"),
        hello("uid-1/0a", "cart"),
        front,
        for_other,
    ]
    .iter()
    .enumerate()
    {
        assert!(matches!(door.hello(Some(&cart()), hello), Err(Denied::Forbidden(_))), "case {number}");
    }
    let unguarded = door.hello(Some(&cart()), &hello("uid-1/0a", "shop/other"));
    assert!(matches!(unguarded, Err(Denied::Unguarded(_))), "{unguarded:?}");
}

#[tokio::test]
async fn a_pod_that_is_not_known_yet_may_come_again() {
    let (_, door) = door(Guards::NotYetKnown);
    assert!(matches!(door.hello(Some(&cart()), &hello("uid-1/0a", "shop/cart")), Err(Denied::Unavailable(_))));
}

fn action(verb: &'static str, subresource: Option<&str>, namespace: &str) -> Action {
    let (subresource, namespace) = (subresource.map(str::to_owned), Some(namespace.to_owned()));
    Action { verb, subresource, namespace, name: Some("cart".to_owned()) }
}

#[tokio::test]
async fn people_may_do_here_what_they_may_do_to_the_resource() {
    let (script, door) = door(Guards::Yes);
    for _ in 0..3 {
        assert_eq!(door.caller(Some("ann"), &action("get", None, "shop")).await, Ok(Some("ann".to_owned())));
    }
    assert_eq!(door.caller(Some("ann"), &action("create", Some("revert"), "shop")).await, Ok(Some("ann".to_owned())));
    assert_eq!((script.reviews.load(Ordering::Relaxed), script.accesses.load(Ordering::Relaxed)), (1, 2));
    let denied = door.caller(Some("ann"), &action("create", Some("switch"), "shop")).await;
    let text = "ann may not create releasegates/switch cart in namespace shop".to_owned();
    assert_eq!(denied, Err(Denied::Forbidden(text)));
    assert!(matches!(door.caller(Some("ann"), &action("get", None, "elsewhere")).await, Err(Denied::Forbidden(_))));
    // The token of an agent is good for nothing here.
    assert!(matches!(door.caller(Some("pod"), &action("get", None, "shop")).await, Err(Denied::Unauthenticated(_))));
}

#[tokio::test]
async fn who_brings_no_token_is_nobody() {
    let (script, door) = door(Guards::Yes);
    let denied = door.caller(None, &action("get", None, "shop")).await.expect_err("nobody may read");
    assert!(matches!(&denied, Denied::Unauthenticated(text) if text.contains("Bearer")), "{denied}");
    assert_eq!((script.reviews.load(Ordering::Relaxed), script.accesses.load(Ordering::Relaxed)), (0, 1));
}

#[tokio::test]
async fn without_an_api_server_nobody_decides() {
    let (script, door) = door(Guards::Yes);
    script.away.store(true, Ordering::Relaxed);
    let denied = door.caller(Some("ann"), &action("create", Some("revert"), "shop")).await;
    assert!(matches!(denied, Err(Denied::Unavailable(_))), "{denied:?}");
}

#[tokio::test]
async fn the_gates_own_token_opens_everything_and_asks_nobody() {
    const OWN: &str = "0123456789abcdef";
    let (script, door) = door_with(Guards::No, TokenDoor::new(Some(OWN.to_owned())));
    assert_eq!(door.agent(Some(OWN)).await, Ok(None));
    assert_eq!(door.hello(None, &hello("uid-9/0a", "shop/cart")), Ok(()));
    assert_eq!(door.caller(Some(OWN), &action("create", Some("switch"), "shop")).await, Ok(None));
    assert_eq!((script.reviews.load(Ordering::Relaxed), script.accesses.load(Ordering::Relaxed)), (0, 0));
    assert!(matches!(door.agent(Some("0123456789abcdeg")).await, Err(Denied::Unauthenticated(_))));
    assert!(door.caller(None, &action("get", None, "shop")).await.is_err(), "reading is not free in a cluster");
}
