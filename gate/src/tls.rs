//! TLS: what the gate serves, from files that may change while it runs, and how its clients make sure that it is a gate.
//!
//! The files are read again every few seconds and compared by content. Watching them by inotify was turned down: a mounted
//! Secret changes by swapping a symbolic link two folders up, which such watches miss. Connections that stand keep what
//! they were greeted with; new ones get the newest. Files that do not fit together (a swap in progress, a slip of the hand)
//! are told about once and otherwise ignored: the last good certificate serves on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How often files are looked at: the kubelet takes up to a minute to bring a changed Secret, so a few seconds more do not
/// count.
pub const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Certificate authorities, for those who check the gate's certificate.
pub const CA_FILE: &str = "ca.crt";
/// Key of the authority; only there when the gate makes its own certificates.
pub const CA_KEY_FILE: &str = "ca.key";
/// The gate's certificate, and what lies between it and the authority.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// Its key.
pub const KEY_FILE: &str = "tls.key";

/// What the folder of certificates holds. A file that is not there is `None`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// [`CA_FILE`].
    pub ca: Option<String>,
    /// [`CA_KEY_FILE`].
    pub ca_key: Option<String>,
    /// [`CERTIFICATE_FILE`].
    pub certificate: Option<String>,
    /// [`KEY_FILE`].
    pub key: Option<String>,
}

/// Keys are not for logs.
impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("ca", &self.ca).field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Files {
    /// Reads the folder.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| match std::fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| folder.join(name).display().to_string()),
        };
        Ok(Self {
            ca: file(CA_FILE)?,
            ca_key: file(CA_KEY_FILE)?,
            certificate: file(CERTIFICATE_FILE)?,
            key: file(KEY_FILE)?,
        })
    }

    /// A certificate with its key, which fit each other.
    ///
    /// # Errors
    /// When one is missing, is not what its name says, or does not fit the other.
    pub fn certified(&self) -> anyhow::Result<CertifiedKey> {
        let certificate = self.certificate.as_deref().context("there is no tls.crt")?;
        let key = self.key.as_deref().context("there is no tls.key")?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .context("tls.crt is not a certificate in PEM")?;
        anyhow::ensure!(!chain.is_empty(), "tls.crt holds no certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("tls.key is not a private key in PEM")?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).context("tls.key")?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().context("tls.crt and tls.key do not belong to each other")?;
        Ok(certified)
    }
}

/// What a connection reads from and writes to.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to a gate: plainly, or over TLS, where a certificate for this name must be vouched for by one of these
/// authorities, in PEM. No public authority is trusted unless it is among them: a gate commands traffic.
///
/// # Errors
/// When there is no connection, or it is not who it should be.
pub async fn connect(to: impl ToSocketAddrs, trust: Option<(&str, &str)>) -> anyhow::Result<Box<dyn Stream>> {
    let trust = match trust {
        Some((name, authorities)) => {
            let name = ServerName::try_from(name.to_owned()).with_context(|| format!("{name} is no server's name"))?;
            Some((name, client_config(authorities)?))
        }
        None => None,
    };
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(match trust {
        Some((name, config)) => Box::new(TlsConnector::from(config).connect(name, stream).await?),
        None => Box::new(stream),
    })
}

fn client_config(authorities: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(authorities.as_bytes()).collect::<Result<_, _>>().context("authorities")?;
    let mut roots = RootCertStore::empty();
    let (known, _) = roots.add_parsable_certificates(certificates);
    anyhow::ensure!(known > 0, "there is no certificate of an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The certificate in force. Cloning shares it.
#[derive(Clone, Default)]
pub struct Certificates {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    certified: ArcSwapOption<CertifiedKey>,
    ca: ArcSwapOption<String>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("certified", &self.certified.load().is_some()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified.load_full()
    }
}

impl Certificates {
    /// There is a certificate to greet with.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.inner.certified.load().is_some()
    }

    /// The authorities by which the certificate in force is checked, in PEM.
    #[must_use]
    pub fn authorities(&self) -> Option<String> {
        self.inner.ca.load().as_deref().cloned()
    }

    /// When the certificate in force ends, in Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        let certified = self.inner.certified.load();
        let (_, certificate) = X509Certificate::from_der(certified.as_ref()?.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Puts files in force.
    ///
    /// # Errors
    /// When they do not fit together; what was in force stays.
    pub fn put(&self, files: &Files) -> anyhow::Result<()> {
        let certified = files.certified()?;
        self.inner.certified.store(Some(Arc::new(certified)));
        self.inner.ca.store(files.ca.clone().map(Arc::new));
        Ok(())
    }

    /// How to greet clients: HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.inner) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Follows the files in a folder until `closed`. What was last seen there goes to `seen`, good or not.
    pub async fn follow(self, folder: PathBuf, seen: watch::Sender<Option<Files>>, mut closed: watch::Receiver<bool>) {
        let mut turn = tokio::time::interval(RELOAD_EVERY);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut complaint = None;
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
            let read = Files::read(&folder);
            let outcome = read.and_then(|files| {
                let changed = seen.borrow().as_ref() != Some(&files);
                let put = if changed { self.put(&files) } else { Ok(()) };
                if changed && put.is_ok() {
                    tracing::info!(folder = %folder.display(), "Certificate loaded");
                }
                if changed {
                    seen.send_replace(Some(files));
                }
                put
            });
            if let Err(error) = outcome {
                let told = Some(format!("{error:#}"));
                if told != complaint {
                    tracing::warn!(folder = %folder.display(), error = told, "Certificates not loaded");
                }
                complaint = told;
            }
        }
    }
}
