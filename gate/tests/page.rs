//! The page over a socket: what a browser is told, and who may decide. `tests/page` looks at it in a real browser.

use blueback_gate::Config;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, LOCATION, SET_COOKIE};
use serde_json::{Value, json};

use crate::api::{agent, start};
use crate::script::{Call, get, post};

const FORM: &str = "why=wrong+prices&by=ada";

/// A form as a browser sends it from the gate's own page.
fn form(api: std::net::SocketAddr, path: &str, fields: &str) -> Call {
    let call = post(api, path, &Value::Null).raw(fields);
    call.header("accept", "text/html,application/xhtml+xml").header("content-type", "application/x-www-form-urlencoded")
}

#[tokio::test]
async fn pages_say_what_they_may_do_and_streams_bring_their_fragments() {
    let server = start(Config::default()).await;
    let api = server.addr();
    let (_script, _front) = agent(&server).await;
    let (status, page) = get(api, "/").json().await;
    let page = page.as_str().expect("a page is text").to_owned();
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("<h2>shop</h2>") && page.contains("no release"), "{page}");

    post(api, "/v1/services/shop/switch", &json!({"to": "green", "by": "<b>ann</b>"})).json().await;
    let answer = get(api, "/releases/shop-1").send().await;
    let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().expect("a policy is text");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let (_, page) = get(api, "/releases/shop-1").json().await;
    let page = page.as_str().expect("a page is text");
    assert!(page.contains("&#60;b&#62;ann&#60;/b&#62;") && !page.contains("<b>ann"), "{page}");
    assert!(page.contains("action=\"/services/shop/revert\"") && page.contains("role=\"img\""), "{page}");

    let mut stream = get(api, "/releases/shop-1/fragments").send().await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let frame = stream.body_mut().frame().await.expect("the stream goes on").expect("the stream is whole");
    let told = String::from_utf8_lossy(frame.data_ref().expect("it is data")).into_owned();
    assert!(told.starts_with("event: fragment\ndata: {\"id\":\"verdict\""), "{told}");
    for path in ["/releases/none", "/releases/none/decide", "/assets/none"] {
        assert_eq!(get(api, path).send().await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for (path, kind) in [("/assets/page.css", "text/css"), ("/assets/page.js", "text/javascript")] {
        let answer = get(api, path).send().await;
        assert!(answer.headers()["content-type"].to_str().is_ok_and(|seen| seen.starts_with(kind)), "{path}");
    }
    for (path, start) in [("incident.md", "# shop-1: watching"), ("incident.html", "<!doctype html>")] {
        let (status, text) = get(api, &format!("/v1/releases/shop-1/{path}")).json().await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.as_str().is_some_and(|text| text.starts_with(start)), "{text}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_form_decides_and_a_wrong_one_is_asked_again() {
    let server = start(Config::default()).await;
    let api = server.addr();
    let (_script, _front) = agent(&server).await;
    let early = form(api, "/services/shop/revert", FORM).send().await;
    assert_eq!(early.status(), StatusCode::CONFLICT, "there is no release yet");
    post(api, "/v1/services/shop/switch", &json!({"to": "green"})).json().await;
    let (status, page) = form(api, "/services/shop/hold", "why=&by=ada").json().await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        page.as_str().is_some_and(|page| page.contains("role=\"alert\"") && page.contains("value=\"ada\"")),
        "{page}"
    );
    let held = form(api, "/services/shop/hold", FORM).send().await;
    assert_eq!(
        (held.status(), &held.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/releases/shop-1".parse().expect("a value"))
    );
    let (_, release) = get(api, "/v1/releases/shop-1").json().await;
    assert_eq!(release["phase"], "held", "{release}");
    assert_eq!(form(api, "/services/shop/dance", FORM).send().await.status(), StatusCode::NOT_FOUND);
    server.shutdown().await;
}

#[tokio::test]
async fn a_browser_must_know_the_token_and_come_from_here() {
    let token = "0123456789;=abcdef";
    let server = start(Config { token: Some(token.to_owned()), ..Config::default() }).await;
    let api = server.addr();
    let (_script, _front) = agent(&server).await;
    let switched = post(api, "/v1/services/shop/switch", &json!({"to": "green"}))
        .header("authorization", &format!("Bearer {token}"));
    assert_eq!(switched.json().await.0, StatusCode::OK);

    let stranger = form(api, "/services/shop/hold", FORM).send().await;
    assert_eq!(
        (stranger.status(), &stranger.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/login".parse().expect("a value"))
    );
    let wrong = form(api, "/login", "token=0123456789&next=%2F").send().await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers().contains_key(SET_COOKIE));
    let known = form(api, "/login", "token=0123456789%3B%3Dabcdef&next=%2Freleases%2Fshop-1").send().await;
    assert_eq!(
        (known.status(), &known.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/releases/shop-1".parse().expect("a value"))
    );
    let cookie = known.headers()[SET_COOKIE].to_str().expect("a cookie is text");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().expect("there is a first part").to_owned();

    // The cookie alone is not enough where another site's page sends it.
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")] {
        let forged = form(api, "/services/shop/hold", FORM).header("cookie", &cookie).header(name, value).send().await;
        assert_eq!(forged.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let held =
        form(api, "/services/shop/hold", FORM).header("cookie", &cookie).header("origin", "http://gate").send().await;
    assert_eq!(held.status(), StatusCode::SEE_OTHER);
    let (_, release) = get(api, "/v1/releases/shop-1").json().await;
    assert_eq!(release["phase"], "held", "{release}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_gate_without_a_token_obeys_no_other_site() {
    let server = start(Config::default()).await;
    let api = server.addr();
    let (_script, _front) = agent(&server).await;
    let switch = || post(api, "/v1/services/shop/switch", &json!({"to": "green"}));
    assert_eq!(switch().header("origin", "http://evil.example").send().await.status(), StatusCode::FORBIDDEN);
    // The name is the one that the browser was given, but nobody's proof that it stands for this machine.
    assert_eq!(switch().header("origin", "http://gate").send().await.status(), StatusCode::FORBIDDEN);
    assert_eq!(switch().send().await.status(), StatusCode::OK, "the command line is no browser");
    server.shutdown().await;
}
