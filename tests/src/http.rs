//! One request, where a test is about the answer's very bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its content type; empty when it names none.
    pub content_type: String,
    /// Its body, as text.
    pub text: String,
}

impl Answer {
    /// Its body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// A GET request on a connection of its own.
///
/// # Errors
///
/// When there was no whole answer.
pub async fn get(to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    send(TcpStream::connect(to).await?, None, Method::GET, path, "").await
}

/// A GET request with these headers, on a connection of its own.
///
/// # Errors
///
/// When there was no whole answer.
pub async fn get_with(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    send_with(TcpStream::connect(to).await?, headers, Method::GET, path, "").await
}

/// A POST request of JSON on a connection of its own.
///
/// # Errors
///
/// When there was no whole answer.
pub async fn post(to: SocketAddr, path: &str, json: &str) -> anyhow::Result<Answer> {
    send(TcpStream::connect(to).await?, None, Method::POST, path, json).await
}

/// Somebody who calls over TLS.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The authority that they trust, in PEM.
    pub authority: String,
    /// The token that they bring.
    pub token: Option<String>,
}

impl Caller {
    /// A GET request.
    ///
    /// # Errors
    ///
    /// When there was no whole answer, or it is not who it should be.
    pub async fn get(&self, to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        send(self.connect(to).await?, self.token.as_deref(), Method::GET, path, "").await
    }

    /// A POST request of JSON.
    ///
    /// # Errors
    ///
    /// When there was no whole answer, or it is not who it should be.
    pub async fn post(&self, to: SocketAddr, path: &str, json: &str) -> anyhow::Result<Answer> {
        send(self.connect(to).await?, self.token.as_deref(), Method::POST, path, json).await
    }

    async fn connect(&self, to: SocketAddr) -> anyhow::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).context("the authority")?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await?)
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: &str,
) -> anyhow::Result<Answer> {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    send_with(stream, &headers, method, path, body).await
}

async fn send_with(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    headers: &[(&str, &str)],
    method: Method,
    path: &str,
    body: &str,
) -> anyhow::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json");
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer { status, content_type, text: String::from_utf8_lossy(&body).into_owned() })
}
