//! The connection to the gate: plain or TLS, to the gate's name or to the leader that another gate named.
//!
//! All that may change while the agent runs is read again for each stream: the authority's certificate, because the gate renews
//! its own, and the token, because the kubelet replaces it every hour. No public authority is trusted, only the one given: a gate
//! commands traffic.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

/// A silent connection is asked whether it lives after this, and given up as much later.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Longest accepted token, in bytes: those of Kubernetes have about a thousand.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Who vouches for the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Certificates in a PEM file.
    File(PathBuf),
    /// Certificates as PEM text.
    Pem(String),
}

/// How to reach the gate, and what to show it.
#[derive(Clone, Debug)]
pub struct Link {
    gate: Uri,
    authority: Option<Authority>,
    token: Option<PathBuf>,
}

impl Link {
    /// To `gate`: by TLS if that is an https URL, whose certificate must be vouched for by `authority`; with the token in a file.
    #[must_use]
    pub fn new(gate: Uri, authority: Option<Authority>, token: Option<PathBuf>) -> Self {
        Self { gate, authority, token }
    }

    /// The gate's URL.
    #[must_use]
    pub fn gate(&self) -> &Uri {
        &self.gate
    }

    /// A connection to the gate, or to the leader at `leader`, which must show a certificate for the gate's name all the same.
    ///
    /// # Errors
    ///
    /// When there is no connection within `patience`, or the gate is not who it should be.
    pub async fn connect(&self, leader: Option<SocketAddr>, patience: Duration) -> anyhow::Result<Channel> {
        let connector = Connector {
            place: match leader {
                Some(leader) => (leader.ip().to_string(), leader.port()),
                None => self.host_and_port()?,
            },
            tls: self.tls()?,
        };
        let endpoint = Endpoint::from(self.gate.clone())
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let connected = tokio::time::timeout(patience, endpoint.connect_with_connector(connector)).await;
        connected.context("no connection in time")?.context("no connection")
    }

    /// What the `authorization` header of a stream is to be.
    ///
    /// # Errors
    ///
    /// When the token cannot be read, or is none.
    pub fn authorization(&self) -> anyhow::Result<Option<AsciiMetadataValue>> {
        let Some(path) = &self.token else { return Ok(None) };
        let token = std::fs::read_to_string(path).with_context(|| format!("token {}", path.display()))?;
        let token = token.trim();
        anyhow::ensure!(!token.is_empty(), "token {}: the file is empty", path.display());
        anyhow::ensure!(token.len() <= TOKEN_BYTES_MAX, "token {}: {} bytes are too many", path.display(), token.len());
        let value = AsciiMetadataValue::try_from(format!("Bearer {token}"));
        let mut value = value.with_context(|| format!("token {}: not text for a header", path.display()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn host_and_port(&self) -> anyhow::Result<(String, u16)> {
        let host = self.gate.host().context("the gate's URL names no host")?;
        let port = self.gate.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        Ok((host.trim_matches(['[', ']']).to_owned(), port))
    }

    fn is_tls(&self) -> bool {
        self.gate.scheme_str() == Some("https")
    }

    fn tls(&self) -> anyhow::Result<Option<(TlsConnector, ServerName<'static>)>> {
        if !self.is_tls() {
            return Ok(None);
        }
        let pem = match self.authority.as_ref().context("nobody vouches for the gate")? {
            Authority::File(path) => {
                std::fs::read(path).with_context(|| format!("the gate's authority {}", path.display()))?
            }
            Authority::Pem(text) => text.clone().into_bytes(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.context("the gate's authority is not PEM")?).context("the gate's authority")?;
        }
        anyhow::ensure!(!roots.is_empty(), "the gate's authority holds no certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (host, _) = self.host_and_port()?;
        let name = ServerName::try_from(host.clone()).with_context(|| format!("{host} is no name of a TLS server"))?;
        Ok(Some((TlsConnector::from(Arc::new(config)), name)))
    }
}

/// Opens the connection that a channel is made of.
#[derive(Clone)]
struct Connector {
    place: (String, u16),
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { place: (host, port), tls } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            let stream = match tls {
                Some((tls, name)) => Stream::Tls(Box::new(tls.connect(name, stream).await?)),
                None => Stream::Plain(stream),
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// Bytes to and from the gate.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
