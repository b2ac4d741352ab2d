//! What a proxy must change in heads: hop-by-hop headers, the form of the target, and what makes lengths ambiguous.
//!
//! hyper refuses differing and malformed `Content-Length`s, `Transfer-Encoding` in HTTP/1.0, and spaces before colons. Of a
//! request with both `Content-Length` and `Transfer-Encoding` it keeps only the latter, without telling; we want that
//! refused, see [`super::client::HeadScan`]. Codings other than `chunked` alone are refused here.

use std::net::SocketAddr;

use blueback_report::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

use crate::traceparent::TraceParent;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Set on a diverted request, so that an agent in front of the other slot serves it at home: two agents that divert to each
/// other must not play ball with it.
pub(super) const DIVERTED: HeaderName = HeaderName::from_static("blueback-diverted");

/// Why a request is refused: what the client is told.
pub(super) type Refusal = (StatusCode, &'static str);

/// Which of the headers that a proxy looks at a message has, found in one pass: most have none, and a lookup for each would
/// be a tenth of what a request costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    connection: bool,
    /// `Keep-Alive` or `Proxy-Connection`.
    relatives: bool,
    te: bool,
    transfer_encoding: bool,
    upgrade: bool,
    expect: bool,
    grpc: bool,
    diverted: bool,
    host: bool,
    traceparent: bool,
}

impl Seen {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "connection" => seen.connection = true,
                "keep-alive" | "proxy-connection" => seen.relatives = true,
                "te" => seen.te = true,
                "transfer-encoding" => seen.transfer_encoding = true,
                "upgrade" => seen.upgrade = true,
                "expect" => seen.expect = true,
                "content-type" => seen.grpc = value.as_bytes().starts_with(b"application/grpc"),
                "blueback-diverted" => seen.diverted = true,
                "host" => seen.host = true,
                "traceparent" => seen.traceparent = true,
                _ => {}
            }
        }
        seen
    }

    /// Was diverted to us by another agent.
    pub(super) fn is_diverted(self) -> bool {
        self.diverted
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The trace that a request belongs to. Of several, none can be believed.
pub(super) fn trace(headers: &HeaderMap, seen: Seen) -> Option<TraceParent> {
    if !seen.traceparent {
        return None;
    }
    let mut all = headers.get_all(TRACEPARENT).into_iter();
    let first = all.next()?;
    TraceParent::parse(first.as_bytes()).filter(|_| all.next().is_none())
}

/// Tells the backend that its caller is another span: the agent's.
pub(super) fn set_trace<B>(request: &mut Request<B>, trace: TraceParent) {
    request.headers_mut().insert(TRACEPARENT, trace.to_header());
}

/// How the request is spoken.
pub(super) fn protocol<B>(request: &Request<B>, seen: Seen) -> Protocol {
    match request.version() {
        Version::HTTP_2 if seen.grpc => Protocol::Grpc,
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// Refuses what must not be passed on. `ambiguous`: the head had both a length and a coding.
pub(super) fn check<B>(request: &Request<B>, seen: Seen, ambiguous: bool) -> Result<(), Refusal> {
    if request.method() == Method::CONNECT {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not for a reverse proxy\n"));
    }
    let headers = request.headers();
    if seen.transfer_encoding {
        if ambiguous {
            return Err((StatusCode::BAD_REQUEST, "both Content-Length and Transfer-Encoding\n"));
        }
        let mut codings = tokens(headers, &TRANSFER_ENCODING);
        let chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if !chunked || codings.next().is_some() {
            return Err((StatusCode::NOT_IMPLEMENTED, "the only transfer coding understood is chunked\n"));
        }
    }
    if seen.host && headers.get_all(HOST).into_iter().nth(1).is_some() {
        return Err((StatusCode::BAD_REQUEST, "more than one Host\n"));
    }
    if request.version() == Version::HTTP_11 && !seen.host && request.uri().authority().is_none() {
        return Err((StatusCode::BAD_REQUEST, "no Host\n"));
    }
    Ok(())
}

/// Whether the client of an HTTP/1.1 request wants to speak another protocol from here on.
pub(super) fn wants_upgrade<B>(request: &Request<B>, seen: Seen) -> bool {
    seen.upgrade
        && request.version() == Version::HTTP_11
        && tokens(request.headers(), &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Removes what is for one hop only: `Connection` and what it names, and its relatives.
fn remove_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    if seen.connection {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            // Naming these would be an attack on the next hop, not a wish for this one.
            .filter(|name| ![CONTENT_LENGTH, TRANSFER_ENCODING, HOST, TE, UPGRADE].contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if seen.relatives {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    }
}

/// Makes the client's request one to a backend, whatever that speaks. `upgrade`: its wish is passed on.
pub(super) fn to_backend<B>(request: &mut Request<B>, seen: Seen, upgrade: bool) {
    let headers = request.headers_mut();
    let trailers = seen.te && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    remove_hop_by_hop(headers, seen);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else if seen.te {
        headers.remove(TE);
    }
    if seen.expect {
        // We say 100 Continue ourselves, as soon as the backend takes the first of the body.
        headers.remove(EXPECT);
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else if seen.upgrade {
        headers.remove(UPGRADE);
    }
    if seen.diverted {
        headers.remove(DIVERTED);
    }
}

/// Gives the request the form of HTTP/1.1: the path in the request line, the authority in `Host`.
pub(super) fn to_http1<B: http_body::Body>(request: &mut Request<B>, seen: Seen, address: SocketAddr) {
    let from_http2 = request.version() == Version::HTTP_2;
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority() {
        // RFC 9112, 3.2.2: the authority of an absolute target replaces what Host says.
        let host = HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII");
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = Uri::from(path);
    } else if !seen.host && !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is visible ASCII");
        request.headers_mut().insert(HOST, host);
    }
    let unsized_body = from_http2 && !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    if seen.te && headers.contains_key(TE) {
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
    if from_http2 {
        if unsized_body && !headers.contains_key(CONTENT_LENGTH) {
            // Without it hyper would send a GET's body as none.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        join_cookies(headers);
    }
}

/// Gives the request the form of HTTP/2: scheme and authority in the target, nothing about the connection.
pub(super) fn to_http2<B>(request: &mut Request<B>, address: SocketAddr) {
    let headers = request.headers_mut();
    // Left by the form of HTTP/1 when the request comes this way for a second time.
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    let host = headers.remove(HOST);
    if request.version() == Version::HTTP_2 && request.uri().authority().is_some() {
        return;
    }
    *request.version_mut() = Version::HTTP_2;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    if parts.authority.is_none() {
        let host = host.and_then(|host| host.as_bytes().try_into().ok());
        let own = || address.to_string().try_into().expect("an address is an authority");
        parts.authority = Some(host.unwrap_or_else(own));
    }
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    *request.uri_mut() = Uri::from_parts(parts).expect("it has a scheme, an authority and a path");
}

/// HTTP/2 may cut `Cookie` into several lines; HTTP/1 must not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if let Entry::Occupied(mut cookies) = headers.entry(COOKIE)
        && cookies.iter().nth(1).is_some()
    {
        let joined = cookies.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            cookies.insert(joined);
        }
    }
}

/// Makes the backend's response one to the client. `upgraded`: it is a 101 that both sides want.
pub(super) fn to_client<B>(response: &mut Response<B>, version: Version, upgraded: bool) {
    let headers = response.headers_mut();
    let seen = Seen::of(headers);
    remove_hop_by_hop(headers, seen);
    if seen.transfer_encoding {
        headers.remove(TRANSFER_ENCODING);
        // A length beside it is not the body's.
        headers.remove(CONTENT_LENGTH);
    }
    if upgraded {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else if seen.upgrade {
        headers.remove(UPGRADE);
    }
    *response.version_mut() = if version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Request<Empty<&'static [u8]>> {
        let mut request = Request::builder().version(version).uri(uri);
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Empty::new()).expect("a request")
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn connection_and_what_it_names_stay_on_their_hop() {
        let headers = [
            ("host", "h"),
            ("connection", "keep-alive, X-Hop, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("content-length", "0"),
            ("x-stays", "1"),
        ];
        let mut request = request(Version::HTTP_11, "/", &headers);
        let seen = Seen::of(request.headers());
        to_backend(&mut request, seen, false);
        assert_eq!(names(request.headers()), ["content-length", "host", "x-stays"]);
    }

    #[test]
    fn te_trailers_is_passed_on() {
        let mut request =
            request(Version::HTTP_11, "/", &[("host", "h"), ("te", "gzip, trailers"), ("connection", "te")]);
        let seen = Seen::of(request.headers());
        to_backend(&mut request, seen, false);
        to_http1(&mut request, seen, ([127, 0, 0, 1], 80).into());
        assert_eq!(
            (&request.headers()["te"], &request.headers()["connection"]),
            (&"trailers".parse().expect("v"), &"te".parse().expect("v"))
        );
    }

    #[test]
    fn targets_change_their_form_with_the_protocol() {
        let address = ([127, 0, 0, 1], 80).into();
        let mut absolute = request(Version::HTTP_11, "http://real/a?b", &[("host", "other")]);
        to_http1(&mut absolute, Seen::default(), address);
        assert_eq!(
            (absolute.uri().to_string(), &absolute.headers()["host"]),
            ("/a?b".to_owned(), &"real".parse().expect("v"))
        );
        let mut origin = request(Version::HTTP_11, "/a?b", &[("host", "shop")]);
        to_http2(&mut origin, address);
        assert_eq!(origin.uri().to_string(), "http://shop/a?b");
        assert!(!origin.headers().contains_key(HOST));
        let mut old = request(Version::HTTP_10, "/", &[]);
        to_http1(&mut old, Seen::default(), address);
        assert_eq!(old.headers()["host"], "127.0.0.1:80");
    }

    #[test]
    fn cookies_are_joined_for_http1() {
        let mut request = request(Version::HTTP_2, "http://h/", &[("cookie", "a=1"), ("cookie", "b=2")]);
        to_http1(&mut request, Seen::default(), ([127, 0, 0, 1], 80).into());
        let cookies: Vec<_> = request.headers().get_all(COOKIE).into_iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let refused = |headers: &[(&str, &str)], ambiguous| {
            let request = request(Version::HTTP_11, "/", headers);
            check(&request, Seen::of(request.headers()), ambiguous).is_err()
        };
        assert!(!refused(&[("host", "h"), ("transfer-encoding", "chunked")], false));
        assert!(refused(&[("host", "h"), ("transfer-encoding", "chunked")], true));
        assert!(refused(&[("host", "h"), ("transfer-encoding", "gzip, chunked")], false));
        assert!(refused(&[("host", "h"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false));
        assert!(refused(&[("host", "h"), ("host", "g")], false));
        assert!(refused(&[], false));
    }
}
