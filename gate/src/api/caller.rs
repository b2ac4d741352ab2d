//! Who calls, and whether they may.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::State;
use super::problem::failure;
use crate::door::{Action, Denied};
use crate::page::session;

/// Paths that tell nothing of any service, and that probes and scrapers ask.
const FREE: [&str; 4] = ["/live", "/ready", "/metrics", "/openapi.json"];

/// What the caller is called, where the door knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<String>);

impl Caller {
    /// Who it is for the record: what is proven goes before what is said.
    pub(super) fn or_said(self, said: Option<String>) -> Option<String> {
        self.0.or(said)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Lets nobody pass whom the door does not let pass.
pub(super) async fn authorized(
    axum::extract::State(state): axum::extract::State<State>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let Some(action) = asked(method, uri) else { return next.run(request).await };
    let may_be_foreign = matches!(*method, Method::GET | Method::HEAD);
    if !may_be_foreign && session::is_from_elsewhere(headers, uri, !state.door.asks()) {
        return failure(StatusCode::FORBIDDEN, "the call changes something; it must not come from another site's page")
            .into_response();
    }
    if session::is_open(uri.path()) {
        return next.run(request).await;
    }
    let token = session::token_of(headers);
    match state.door.caller(token.as_deref(), &action).await {
        Ok(name) => {
            request.extensions_mut().insert(Caller(name));
            next.run(request).await
        }
        Err(Denied::Unauthenticated(_)) if let Some(login) = session::to_login(uri, headers) => login,
        Err(denied) => refusal(&denied),
    }
}

fn refusal(denied: &Denied) -> Response {
    let status = match denied {
        Denied::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Denied::Forbidden(_) | Denied::Unguarded(_) => StatusCode::FORBIDDEN,
        Denied::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = failure(status, denied.to_string()).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// What a call asks for. `None` when everybody may ask it.
fn asked(method: &Method, uri: &Uri) -> Option<Action> {
    let path = uri.path();
    if FREE.contains(&path) {
        return None;
    }
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let parts: Vec<_> = parts.iter().map(String::as_str).collect();
    // Flagger's questions are asked by POST, and change nothing.
    let reads = matches!(*method, Method::GET | Method::HEAD) || matches!(parts.as_slice(), ["v1", "flagger", ..]);
    let (of, rest) = match parts.as_slice() {
        ["v1", "services", service, rest @ ..] | ["services", service, rest @ ..] => {
            (Some((*service).to_owned()), rest)
        }
        ["v1", "argo", service] => (Some((*service).to_owned()), &[][..]),
        ["v1", "releases", release, rest @ ..] | ["releases", release, rest @ ..] => (Some(service_of(release)), rest),
        ["v1", rest @ ..] => (None, rest),
        rest => (None, rest),
    };
    let said = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("service=")));
    let service = of.clone().or_else(|| said.map(decoded));
    let (namespace, name) = match service.as_deref().map(|service| service.split_once('/')) {
        Some(Some((namespace, name))) => (Some(namespace.to_owned()), Some(name.to_owned())),
        Some(None) | None => (None, service),
    };
    let verb = match (reads, &of) {
        (true, Some(_)) => "get",
        (true, None) => "list",
        (false, _) => "create",
    };
    let subresource = (!reads).then(|| rest.first().copied().unwrap_or("decisions").to_owned());
    let name = name.filter(|_| verb != "list");
    Some(Action { verb, subresource, namespace, name })
}

/// The service of a release: its id without the number at the end.
fn service_of(release: &str) -> String {
    match release.rsplit_once('-') {
        Some((service, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => service.to_owned(),
        _ => release.to_owned(),
    }
}

/// A part of a path, with `%2F` and the like as what they stand for. What is no such thing stays as it is.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_verb_on_release_gates() {
        for (method, uri, wanted) in [
            ("GET", "/v1/services", "list releasegates in all namespaces"),
            ("GET", "/v1/services/shop%2Fcart", "get releasegates cart in namespace shop"),
            ("GET", "/v1/releases?service=shop%2Fcart", "list releasegates in namespace shop"),
            ("GET", "/v1/releases?service=shop/cart", "list releasegates in namespace shop"),
            ("GET", "/v1/releases/shop%2Fcart-2-17/verdict?wait=20s", "get releasegates cart-2 in namespace shop"),
            ("HEAD", "/v1/releases/cart-3", "get releasegates cart in all namespaces"),
            ("POST", "/v1/services/shop%2Fcart/revert", "create releasegates/revert cart in namespace shop"),
            ("POST", "/v1/services/shop%2Fcart/signals", "create releasegates/signals cart in namespace shop"),
            ("DELETE", "/v1/services/shop%2Fcart", "create releasegates/decisions cart in namespace shop"),
            ("POST", "/v1/alertmanager", "create releasegates/alertmanager in all namespaces"),
            ("POST", "/v1/flagger/confirm", "list releasegates in all namespaces"),
            ("GET", "/v1/argo/shop%2Fcart", "get releasegates cart in namespace shop"),
            ("POST", "/services/shop%2Fcart/hold", "create releasegates/hold cart in namespace shop"),
            ("GET", "/", "list releasegates in all namespaces"),
            ("GET", "/releases/shop%2Fcart-3", "get releasegates cart in namespace shop"),
        ] {
            let action = asked(&method.parse().expect("it is a method"), &uri.parse().expect("it is a URI"));
            assert_eq!(action.expect("not everybody may").to_string(), wanted, "{method} {uri}");
        }
    }

    #[test]
    fn probes_and_scrapers_are_not_asked() {
        for path in FREE {
            assert_eq!(asked(&Method::GET, &path.parse().expect("it is a URI")), None, "{path}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (part, wanted) in [("shop%2fcart", "shop/cart"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("", "")] {
            assert_eq!(decoded(part), wanted);
        }
    }
}
