//! A small HTTP client: one connection a request, with TLS where the URL says so, and a deadline.
//!
//! What is told is a message a minute at most, so a pool would only keep connections that somebody in between has ended. Roots are
//! those of the operating system, and one more file where the receiver's authority is one's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::{HeaderName, Method, Request, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest time that one request may take, connection and all.
pub const REQUEST_MAX: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes: they are a line or a short list.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest part of an answer that an error repeats.
const SAID_CHARS_MAX: usize = 200;

/// Where to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    scheme_is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// Reads `http://HOST[:PORT][/PATH]` or the same with `https`.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?}: {why}; http://HOST:PORT/PATH or https://HOST/PATH is accepted");
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        let scheme_is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("no scheme that is known")),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("the URL of {:?} holds a name or password; a file is the place for it", uri.host()));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        let port = uri.port_u16().unwrap_or(if scheme_is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/').to_owned();
        Ok(Self { scheme_is_tls, host: host.to_owned(), port, path })
    }

    /// Host and port, for logs: a path may hold a secret.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Why something was not told.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Trying again may help.
    Passing(String),
    /// It would only be refused again.
    Lasting(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Passing(why) | Self::Lasting(why)) = self;
        f.write_str(why)
    }
}

/// A request to be sent, as often as it takes.
#[derive(Clone, Debug)]
pub struct Message {
    /// The method.
    pub method: Method,
    /// What follows the target's own path.
    pub path: String,
    /// Headers beside those that every request has.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// JSON.
    #[must_use]
    pub fn json(method: Method, path: &str, body: Vec<u8>) -> Self {
        let headers = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
        Self { method, path: path.to_owned(), headers, body: body.into() }
    }

    /// With a bearer token, where there is one.
    #[must_use]
    pub fn bearer(mut self, token: Option<&str>) -> Self {
        self.headers.extend(token.map(|token| (header::AUTHORIZATION, format!("Bearer {token}"))));
        self
    }
}

/// Sends messages.
#[derive(Clone)]
pub struct Client {
    tls: Arc<rustls::ClientConfig>,
}

impl Client {
    /// A client that trusts what the operating system trusts, and the certificates of this file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        // A system without roots is one that needs none, or a file; an https URL will say so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = ca_file {
            let read = || format!("certificates {}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).with_context(read)? {
                roots.add(certificate.with_context(read)?).with_context(read)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Sends once, and returns the body of an answer that says yes.
    ///
    /// # Errors
    /// When there was no answer in time, or it says no.
    pub async fn send(&self, target: &Target, message: &Message) -> Result<Bytes, Trouble> {
        let late = || Trouble::Passing(format!("no answer within {} s", REQUEST_MAX.as_secs()));
        tokio::time::timeout(REQUEST_MAX, self.attempt(target, message)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn attempt(&self, target: &Target, message: &Message) -> Result<Bytes, Trouble> {
        let passing = |error: &dyn std::fmt::Display| Trouble::Passing(error.to_string());
        let host = target.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, target.port)).await.map_err(|error| passing(&error))?;
        if target.scheme_is_tls {
            let name = ServerName::try_from(host.to_owned()).map_err(|error| Trouble::Lasting(error.to_string()))?;
            let tls = TlsConnector::from(Arc::clone(&self.tls));
            let stream = tls.connect(name, stream).await.map_err(|error| passing(&error))?;
            exchange(stream, target, message).await
        } else {
            exchange(stream, target, message).await
        }
    }
}

async fn exchange<S>(stream: S, target: &Target, message: &Message) -> Result<Bytes, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let passing = |error: hyper::Error| Trouble::Passing(error.to_string());
    let path = format!("{}{}", target.path, message.path);
    let mut request = Request::builder()
        .method(message.method.clone())
        .uri(if path.is_empty() { "/" } else { &path })
        .header(header::HOST, target.place())
        .header(header::USER_AGENT, concat!("blueback-gate/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(message.body.clone())).map_err(|error| Trouble::Lasting(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(passing)?;
    let driven = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(passing)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    driven.abort();
    let body = body.map_err(|error| Trouble::Passing(error.to_string()))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let said: String = String::from_utf8_lossy(&body).trim().chars().take(SAID_CHARS_MAX).collect();
    let why = format!("{status}: {said}");
    let again = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    Err(if again { Trouble::Passing(why) } else { Trouble::Lasting(why) })
}

/// The secret in a file, read anew each time so that it can be changed.
///
/// # Errors
/// In words, when it cannot be read.
pub async fn secret(file: &Path) -> Result<String, Trouble> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| Trouble::Passing(format!("secret {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

/// The secret in a file, where one is named.
///
/// # Errors
/// In words, when it cannot be read.
pub async fn secret_of(file: Option<&Path>) -> Result<Option<String>, Trouble> {
    match file {
        Some(file) => secret(file).await.map(Some),
        None => Ok(None),
    }
}
