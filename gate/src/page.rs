//! The page: what the gate guards, and one release live, for people.
//!
//! HTML made here, so that it works without script; with script the same fragments come as server-sent events and replace
//! those on the page, once a second, without a reload. Nothing comes from anywhere else: the policy in the headers forbids
//! it. Who may decide is who may call the API: the token is typed once and kept in a cookie that no script can read and no
//! other site can send (see `session`).

mod assets;
mod decide;
mod form;
mod fragments;
mod live;
pub(crate) mod session;
mod views;

use askama::Template;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::api::State;
use crate::api::problem::Failure;

pub(crate) use fragments::Cache;

/// Only what this gate serves, and nothing written into the page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Paths that wait: streams of fragments.
pub(crate) fn streams() -> Router<State> {
    Router::new().route("/fragments", get(live::gates)).route("/releases/{id}/fragments", get(live::release))
}

/// Every other path of the page.
pub(crate) fn router() -> Router<State> {
    Router::new()
        .route("/", get(views::gates))
        .route("/releases/{id}", get(views::release))
        .route("/releases/{id}/decide", get(decide::ask))
        .route("/services/{name}/{verb}", axum::routing::post(decide::decide))
        .route("/login", get(session::ask).post(session::login))
        .route("/logout", axum::routing::post(session::logout))
        .route("/assets/{name}", get(assets::serve))
        .layer(map_response(guarded))
}

/// Says to the browser what this page may do, and that it is never to be taken for something else.
async fn guarded(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A template as an answer.
fn html(status: StatusCode, page: &impl Template) -> Response {
    let text = page.render().expect("a string takes all that is written into it");
    (status, Html(text)).into_response()
}

/// Something that could not be shown, as a page.
struct Trouble(Failure);

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    shell: views::Shell,
    text: &'a str,
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let page = TroublePage { shell: views::Shell::plain("Not to be had"), text: self.0.text() };
        html(self.0.status(), &page)
    }
}
