//! The real server over TLS, and its certificates that change while it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use blueback_gate::config::Entrances;
use blueback_gate::kubernetes::certs::{self, Due};
use blueback_gate::tls::Files;
use blueback_gate::{Config, Server};
use hyper::StatusCode;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::script::{PATIENCE, folder, get};

const NAME: &str = "gate.blueback.svc";

fn make(due: Due, before: &Files) -> Files {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let now = i64::try_from(now).expect("it is before the end of time");
    certs::make(due, before, &certs::names("gate", "blueback"), now).expect("keys can be made")
}

fn write(folder: &Path, files: &Files) {
    for (name, text) in
        [("ca.crt", &files.ca), ("ca.key", &files.ca_key), ("tls.crt", &files.certificate), ("tls.key", &files.key)]
    {
        std::fs::write(folder.join(name), text.as_deref().unwrap_or_default()).expect("there is room");
    }
}

fn der(pem: Option<&String>) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.expect("there is one").as_bytes()).expect("it is a certificate")
}

/// A client that trusts this authority, and calls the gate by this name.
async fn connect(gate: SocketAddr, files: &Files, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(files.ca.as_ref())).expect("it is an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).expect("it is a name");
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(gate).await?).await
}

fn certificate(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("there is one")[0].clone().into_owned()
}

/// Asks over the connection, and gives the status line.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the gate reads");
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).await.expect("the gate answers");
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

/// Waits until the gate greets with this certificate.
async fn until_greeted_with(gate: SocketAddr, files: &Files) -> TlsStream<TcpStream> {
    let wanted = der(files.certificate.as_ref());
    let greeted = async {
        loop {
            if let Ok(stream) = connect(gate, files, NAME).await
                && certificate(&stream) == wanted
            {
                return stream;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, greeted).await.expect("the gate greets with the newest certificate")
}

#[tokio::test]
async fn certificates_come_and_change_while_the_gate_runs() {
    let folder = folder("tls");
    std::fs::create_dir_all(&folder).expect("there is room");
    let entrances = Entrances {
        tls_dir: Some(folder.to_path_buf()),
        metrics: Some("127.0.0.1:0".parse().expect("it is an address")),
        ..Entrances::default()
    };
    let api = "127.0.0.1:0".parse().expect("it is an address");
    let server = Server::start(Config { api, entrances, ..Config::default() }).await.expect("it starts");
    let plain = server.metrics_addr().expect("there is a plain port");

    // Without certificates the gate lives, and is not ready.
    assert_eq!(get(plain, "/live").json().await.0, StatusCode::OK);
    let (status, problem) = get(plain, "/ready").json().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    let first = make(Due::Everything, &Files::default());
    connect(server.addr(), &first, NAME).await.expect_err("there is nothing to greet with");

    write(&folder, &first);
    let mut old = until_greeted_with(server.addr(), &first).await;
    assert_eq!(ask(&mut old, "/ready").await, "HTTP/1.1 200 OK");
    assert_eq!(get(plain, "/ready").json().await.0, StatusCode::OK);
    let (_, metrics) = get(plain, "/metrics").json().await;
    let expiry = "certificate_expiry_timestamp_seconds ";
    assert!(metrics.as_str().is_some_and(|text| text.contains(expiry)), "{metrics}");
    assert_eq!(get(plain, "/v1/services").json().await.0, StatusCode::NOT_FOUND, "the plain port tells nothing else");

    // Who expects another name, or trusts somebody else, is not fooled.
    connect(server.addr(), &first, "elsewhere.blueback.svc").await.expect_err("it is another name");
    connect(server.addr(), &make(Due::Everything, &Files::default()), NAME).await.expect_err("it is another authority");

    // Half a change is ignored; the whole one is taken, and connections that stand go on.
    let second = make(Due::Certificate, &first);
    write(&folder, &Files { key: first.key.clone(), ..second.clone() });
    let still = connect(server.addr(), &first, NAME).await.expect("the last good certificate serves on");
    assert_eq!(certificate(&still), der(first.certificate.as_ref()));
    write(&folder, &second);
    let mut new = until_greeted_with(server.addr(), &second).await;
    assert_eq!(ask(&mut new, "/live").await, "HTTP/1.1 200 OK");
    assert_eq!(ask(&mut old, "/live").await, "HTTP/1.1 200 OK");
    drop((old, new, still));
    server.shutdown().await;
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}
