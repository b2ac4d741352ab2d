//! How a browser says who it is.
//!
//! The token is typed once and comes back as a cookie that scripts cannot read (`HttpOnly`) and other sites cannot send
//! (`SameSite=Strict`). It is the token itself, not the number of a session: so every replica of the gate knows it, a
//! restart forgets nobody, and a token that was revoked or has expired is worth nothing from then on.
//!
//! A gate on loopback without a token obeys everybody on the machine, so it must not obey other sites that a browser on
//! that machine shows: whatever a browser sends from elsewhere is refused, with or without a token.

use std::net::IpAddr;

use askama::Template;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::form::Form;
use super::html;
use super::views::Shell;
use crate::api::State;
use crate::api::problem::failure;
use crate::door::{Action, Denied};

/// Name of the cookie.
const COOKIE: &str = "blueback-token";
/// How long a browser keeps it, in seconds: a shift.
const KEPT_S: u32 = 12 * 3_600;
/// Paths that take no token because they take it in, or drop it.
const OPEN: [&str; 2] = ["/login", "/logout"];
/// Below it is what the page that asks for the token is made of.
const ASSETS: &str = "/assets/";

/// Whoever calls this path need not bring a token.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path.starts_with(ASSETS)
}

/// The token that a request brings: as `Authorization: Bearer`, or in the page's cookie.
pub(crate) fn token_of(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return Some(value.to_str().ok()?.strip_prefix("Bearer ")?.trim().to_owned());
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()
}

/// A browser sends this for a page of somebody else. What is no browser says neither where it comes from.
///
/// `is_open` says that there is no token: then a name for this machine that somebody else gave it (DNS rebinding) is
/// elsewhere as well.
pub(crate) fn is_from_elsewhere(headers: &HeaderMap, uri: &Uri, is_open: bool) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (site, origin) = (text("sec-fetch-site"), text("origin"));
    let host = uri.authority().map(axum::http::uri::Authority::as_str).or_else(|| text("host")).unwrap_or_default();
    let foreign = match (site, origin) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").is_none_or(|(_, authority)| authority != host),
        (None, None) => return false,
    };
    foreign || (is_open && !is_this_machine(host))
}

/// A host that cannot be anybody else's name for this machine.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Sends a browser that brought no token to where it is asked for.
pub(crate) fn to_login(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let wants_html = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())?.contains("text/html");
    (wants_html && !uri.path().starts_with("/v1/")).then(|| Redirect::to("/login").into_response())
}

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

impl Next {
    /// Only within this page.
    fn path(&self) -> &str {
        let is_here =
            |next: &&str| next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n']);
        self.next.as_deref().filter(is_here).unwrap_or("/")
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    shell: Shell,
    next: &'a str,
    is_wrong: bool,
}

/// Asks for the token.
pub(super) async fn ask(Query(next): Query<Next>) -> Response {
    html(StatusCode::OK, &LoginPage { shell: Shell::plain("Log in"), next: next.path(), is_wrong: false })
}

/// What was typed.
#[derive(Deserialize)]
pub(super) struct Typed {
    token: String,
    #[serde(flatten)]
    next: Next,
}

/// Takes the token in.
pub(super) async fn login(Shared(state): Shared<State>, headers: HeaderMap, Form(typed): Form<Typed>) -> Response {
    let token = typed.token.trim();
    // Whoever may change something, or is at least known: what they may is asked again at each call.
    let something = Action { verb: "create", subresource: Some("decisions".to_owned()), namespace: None, name: None };
    match state.door.caller(Some(token), &something).await {
        Ok(_) | Err(Denied::Forbidden(_) | Denied::Unguarded(_)) => {}
        Err(Denied::Unauthenticated(_)) => {
            let page = LoginPage { shell: Shell::plain("Log in"), next: typed.next.path(), is_wrong: true };
            return html(StatusCode::UNAUTHORIZED, &page);
        }
        Err(denied @ Denied::Unavailable(_)) => {
            return failure(StatusCode::SERVICE_UNAVAILABLE, denied.to_string()).into_response();
        }
    }
    let value = URL_SAFE_NO_PAD.encode(token);
    ([(header::SET_COOKIE, cookie(&value, KEPT_S, &headers))], Redirect::to(typed.next.path())).into_response()
}

/// Drops the token.
pub(super) async fn logout(headers: HeaderMap) -> Response {
    ([(header::SET_COOKIE, cookie("", 0, &headers))], Redirect::to("/")).into_response()
}

fn cookie(value: &str, kept_s: u32, headers: &HeaderMap) -> String {
    // The browser knows better than the gate whether there is TLS in front of it.
    let is_secure = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https:"));
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={kept_s}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (header::HeaderName::from_static(name), value.parse().expect("it is a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_token_comes_as_a_header_or_as_a_cookie() {
        let token = |pairs: &[(&'static str, &str)]| token_of(&headers(pairs));
        let cookie = format!("theme=dark; {COOKIE}={}", URL_SAFE_NO_PAD.encode("se;cret"));
        assert_eq!(token(&[("cookie", &cookie)]).as_deref(), Some("se;cret"));
        assert_eq!(token(&[("authorization", "Bearer abc")]).as_deref(), Some("abc"));
        assert_eq!(token(&[("authorization", "Basic abc"), ("cookie", &cookie)]), None, "the header is what counts");
        assert_eq!(token(&[("cookie", "other=1")]), None);
        assert_eq!(token(&[("cookie", "blueback-token=!!")]), None);
    }

    #[test]
    fn other_sites_are_elsewhere() {
        let uri = Uri::from_static("/v1/services/shop/revert");
        let elsewhere = |pairs: &[(&'static str, &str)], open| is_from_elsewhere(&headers(pairs), &uri, open);
        for open in [true, false] {
            assert!(!elsewhere(&[("host", "gate:7070")], open), "no browser");
            assert!(!elsewhere(&[("host", "127.0.0.1:7070"), ("origin", "http://127.0.0.1:7070")], open));
            assert!(!elsewhere(&[("host", "localhost:7070"), ("sec-fetch-site", "same-origin")], open));
            assert!(!elsewhere(&[("host", "[::1]:7070"), ("sec-fetch-site", "none")], open));
            assert!(elsewhere(&[("host", "127.0.0.1:7070"), ("origin", "http://evil.example")], open));
            assert!(elsewhere(&[("host", "127.0.0.1:7070"), ("origin", "null")], open));
            assert!(elsewhere(&[("host", "127.0.0.1:7070"), ("sec-fetch-site", "cross-site")], open));
            assert!(elsewhere(&[("host", "127.0.0.1:7070"), ("sec-fetch-site", "same-site")], open));
        }
        let rebound = [("host", "evil.example:7070"), ("origin", "http://evil.example:7070")];
        assert!(elsewhere(&rebound, true), "a name that somebody else gave this machine");
        assert!(!elsewhere(&rebound, false), "its browser has no token for it");
    }

    #[test]
    fn nobody_is_sent_away_from_the_page() {
        let next = |text: &str| Next { next: Some(text.to_owned()) }.path().to_owned();
        assert_eq!(next("/releases/shop-1"), "/releases/shop-1");
        for text in ["//evil.example", "http://evil.example", "/\\evil.example", "", "/a\r\nSet-Cookie: x"] {
            assert_eq!(next(text), "/", "{text}");
        }
    }

    #[test]
    fn over_tls_the_cookie_stays_on_tls() {
        assert!(cookie("x", 1, &headers(&[("origin", "https://gate.example")])).ends_with("; Secure"));
        let plain = cookie("x", 1, &headers(&[("origin", "http://127.0.0.1:7070")]));
        assert_eq!(plain, "blueback-token=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=1");
    }
}
