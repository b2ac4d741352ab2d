//! The gate's HTTP API as a client sees it: JSON in, JSON out, and server-sent events.
//!
//! A connection a request: commands are short-lived, and a gate that restarts leaves no stale connection behind.

use std::time::Duration;

use blueback_gate::api::types;
use blueback_gate::recording_file::FILE_BYTES_MAX;
use blueback_gate::tls;
use blueback_gate::wording::segment;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use crate::sse::{self, Event};

/// Longest wait for a connection: a gate on another continent answers in a tenth of it.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Longest wait for an answer that is not a stream.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Largest accepted answer, in bytes: ten minutes of evidence are a tenth of it.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Longest wait for a recording: the largest one at a few megabytes a second.
pub const FILE_MAX: Duration = Duration::from_secs(120);
/// A stream without a byte for this long is taken for dead; the gate sends a comment every few seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What a gate could not do for us.
#[derive(Debug)]
pub enum GateError {
    /// There was no connection, or it broke.
    Unreachable(String),
    /// It answered with an error.
    Refused {
        /// The status.
        status: StatusCode,
        /// What it says was wrong.
        problem: types::Problem,
    },
    /// It answered something that is no answer.
    Garbled(String),
}

impl GateError {
    /// There was no gate to talk to; trying again may help.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Garbled(_) => false,
        }
    }

    /// It knows nothing of the name it was asked for.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

impl std::fmt::Display for GateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the gate could not be reached: {why}"),
            Self::Refused { status, problem } => write!(f, "the gate refused ({status}): {}", complaint(problem)),
            Self::Garbled(why) => write!(f, "the gate answered something else than expected: {why}"),
        }
    }
}

impl std::error::Error for GateError {}

/// What was wrong, with the name of the field in front.
#[must_use]
pub fn complaint(problem: &types::Problem) -> String {
    match &problem.field {
        Some(field) if !problem.error.starts_with(field.as_str()) => format!("{field}: {}", problem.error),
        _ => problem.error.clone(),
    }
}

/// A gate to talk to.
#[derive(Clone, Debug)]
pub struct Gate {
    host: String,
    port: u16,
    path: String,
    token: Option<String>,
    secure: bool,
    /// Certificates that vouch for it, in PEM.
    authorities: Option<String>,
}

impl Gate {
    /// A gate at `url`, `http[s]://HOST[:PORT][/PATH]`; `token` is sent as a bearer token.
    ///
    /// # Errors
    /// In words, when the URL is none that can be talked to.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{url}' is not the URL of a gate; accepted: http://HOST:PORT, such as http://127.0.0.1:7070, or https"
            )
        };
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
            token,
            secure,
            authorities: None,
        })
    }

    /// It is known by a certificate that these vouch for, in PEM.
    #[must_use]
    pub fn known_by(self, authorities: Option<String>) -> Self {
        Self { authorities, ..self }
    }

    /// It is called over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The URL it is at.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.path)
    }

    /// All guarded services.
    ///
    /// # Errors
    /// As [`GateError`] says; so do all of these.
    pub async fn services(&self) -> Result<Vec<types::Service>, GateError> {
        self.get("/v1/services").await
    }

    /// One service.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn service(&self, name: &str) -> Result<types::Service, GateError> {
        self.get(&format!("/v1/services/{}", segment(name))).await
    }

    /// Releases, of one service or of all.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn releases(&self, service: Option<&str>) -> Result<Vec<types::Release>, GateError> {
        match service {
            Some(name) => self.get(&format!("/v1/releases?service={}", segment(name))).await,
            None => self.get("/v1/releases").await,
        }
    }

    /// One release.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn release(&self, id: &str) -> Result<types::Release, GateError> {
        self.get(&format!("/v1/releases/{}", segment(id))).await
    }

    /// Its evidence, rule by rule and second by second.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn evidence(&self, id: &str) -> Result<types::Evidence, GateError> {
        self.get(&format!("/v1/releases/{}/evidence", segment(id))).await
    }

    /// What its judge saw, as a file.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn recording(&self, id: &str) -> Result<Bytes, GateError> {
        let request = self.request(Method::GET, &format!("/v1/releases/{}/recording", segment(id)));
        let answer = async {
            let body = self.send(request, Bytes::new()).await?;
            collect_up_to(body, FILE_BYTES_MAX).await
        };
        timeout(FILE_MAX, answer)
            .await
            .unwrap_or_else(|_| Err(GateError::Unreachable(format!("no recording within {} s", FILE_MAX.as_secs()))))
    }

    /// Switches a service, which starts a release.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn switch(&self, name: &str, request: &types::SwitchRequest) -> Result<types::Release, GateError> {
        self.post(&format!("/v1/services/{}/switch", segment(name)), request).await
    }

    /// Tells the gate what a person decided: `verb` is `revert`, `hold` or `resume`.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn decide(
        &self,
        name: &str,
        verb: &str,
        request: &types::OperatorRequest,
    ) -> Result<types::Release, GateError> {
        self.post(&format!("/v1/services/{}/{verb}", segment(name)), request).await
    }

    /// Raises a signal.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn signal(&self, name: &str, request: &types::SignalRequest) -> Result<types::Release, GateError> {
        self.post(&format!("/v1/services/{}/signals", segment(name)), request).await
    }

    /// The changes of a release from now on, or from after `last_id`; the first event is its state.
    ///
    /// # Errors
    /// See [`Gate::services`].
    pub async fn events(&self, id: &str, last_id: Option<&str>) -> Result<Events, GateError> {
        let mut request = self.request(Method::GET, &format!("/v1/releases/{}/events", segment(id)));
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(last_id) = last_id {
            request = request.header("last-event-id", last_id);
        }
        let body = self.send(request, Bytes::new()).await?;
        Ok(Events { body, parser: sse::Parser::default(), ready: Vec::new(), heard: Instant::now() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, GateError> {
        self.exchange(self.request(Method::GET, path), Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, GateError> {
        let body = serde_json::to_vec(body).map_err(|error| GateError::Garbled(error.to_string()))?;
        let request = self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        self.exchange(request, body.into()).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<T, GateError> {
        let answer = async {
            let body = self.send(request, body).await?;
            collect(body).await
        };
        let bytes = timeout(ANSWER_MAX, answer)
            .await
            .unwrap_or_else(|_| Err(GateError::Unreachable(format!("no answer within {} s", ANSWER_MAX.as_secs()))))?;
        serde_json::from_slice(&bytes).map_err(|error| GateError::Garbled(error.to_string()))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::USER_AGENT, concat!("blueback/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request
    }

    /// Sends, and returns the body of a successful answer.
    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Incoming, GateError> {
        let request = request.body(Full::new(body)).map_err(|error| GateError::Garbled(error.to_string()))?;
        let unreachable = |why: &dyn std::fmt::Display| GateError::Unreachable(format!("{}: {why}", self.url()));
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let trust = self.secure.then(|| (host, self.authorities.as_deref().unwrap_or_default()));
        let stream = match timeout(CONNECT_MAX, tls::connect((host, self.port), trust)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(&format!("{error:#}"))),
            Err(_) => return Err(unreachable(&format!("no connection within {} s", CONNECT_MAX.as_secs()))),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        tokio::spawn(connection);
        let response = timeout(ANSWER_MAX, sender.send_request(request))
            .await
            .map_err(|_| unreachable(&format!("no answer within {} s", ANSWER_MAX.as_secs())))?
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(body);
        }
        let bytes = timeout(ANSWER_MAX, collect(body)).await.unwrap_or_else(|_| Ok(Bytes::new()))?;
        let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| types::Problem {
            error: String::from_utf8_lossy(&bytes).trim().chars().take(500).collect(),
            field: None,
        });
        Err(GateError::Refused { status, problem })
    }
}

async fn collect(body: Incoming) -> Result<Bytes, GateError> {
    collect_up_to(body, ANSWER_BYTES_MAX as u64).await
}

async fn collect_up_to(body: Incoming, bytes_max: u64) -> Result<Bytes, GateError> {
    match Limited::new(body, usize::try_from(bytes_max).unwrap_or(usize::MAX)).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(GateError::Garbled(format!("an answer above {} MiB", bytes_max >> 20)))
        }
        Err(error) => Err(GateError::Unreachable(error.to_string())),
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    parser: sse::Parser,
    /// Events that have arrived, newest first.
    ready: Vec<Event>,
    /// When the last byte came.
    heard: Instant,
}

impl Events {
    /// The next event. A stream never ends by itself: its end is an error too. Cancel safe.
    ///
    /// # Errors
    /// [`GateError::Unreachable`] when the stream ended or was silent for [`SILENCE_MAX`].
    pub async fn next(&mut self) -> Result<Event, GateError> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Ok(event);
            }
            let frame = match timeout_at(self.heard + SILENCE_MAX, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(GateError::Unreachable(error.to_string())),
                Ok(None) => return Err(GateError::Unreachable("the stream of events ended".to_owned())),
                Err(_) => return Err(GateError::Unreachable("the stream of events is silent".to_owned())),
            };
            self.heard = Instant::now();
            if let Ok(bytes) = frame.into_data() {
                self.ready = self
                    .parser
                    .feed(&bytes)
                    .map_err(|sse::TooLong| GateError::Garbled("an event above 8 MiB".to_owned()))?;
                self.ready.reverse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_http_or_https() {
        let url = |text: &str| Gate::new(text, None).map(|gate| gate.url());
        assert_eq!(url("http://127.0.0.1:7070"), Ok("http://127.0.0.1:7070".to_owned()));
        assert_eq!(url("http://[::1]:7070/"), Ok("http://[::1]:7070".to_owned()));
        assert_eq!(url("http://gate/blueback/"), Ok("http://gate:80/blueback".to_owned()));
        assert_eq!(url("https://gate/"), Ok("https://gate:443".to_owned()));
        for text in ["ftp://gate:7070", "gate:7070", "127.0.0.1:7070", "", "http://", "http://gate?x=1"] {
            assert!(url(text).is_err_and(|error| error.contains("http://127.0.0.1:7070")), "{text}");
        }
    }

    #[test]
    fn names_become_one_segment() {
        assert_eq!(segment("shop-1.a_b~"), "shop-1.a_b~");
        assert_eq!(segment("shop/cart 1?é"), "shop%2Fcart%201%3F%C3%A9");
    }
}
