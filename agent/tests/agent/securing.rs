//! TLS to the gate, the token, and being sent on to the leader.

use std::path::PathBuf;
use std::sync::Arc;

use blueback_agent::link::Authority;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{client, metric, sidecar, start, until};

/// Vouches for gates named `localhost`.
struct Vouching {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Vouching {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A new certificate for a gate.
    fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.issuer).expect("it is signed").into();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// A file that is gone when dropped.
struct File(PathBuf);

impl File {
    fn with(name: &str, text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("blueback-{name}-{}", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a file can be written");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_nobody_vouches_for_hears_nothing_and_traffic_flows() {
    let (app, gate) = (App::start("green").await, Gate::secured(Vouching::new().server()).await);
    let token = File::with("unheard-token", "secret");
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.secured_uri());
    config.gate_authority = Some(Authority::Pem(Vouching::new().pem()));
    config.token_file = Some(token.0.clone());
    let agent = start(config).await;
    until("it tries again", || async { metric(&agent, "blueback_agent_gate_reconnects_total").await >= 3.0 }).await;
    assert!(gate.streams().is_empty(), "neither a token nor a report was sent");
    assert_eq!(client::get(agent.listen_addr(), "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_are_read_again_for_each_stream() {
    let (app, first, second) = (App::start("green").await, Vouching::new(), Vouching::new());
    let gate = Gate::secured(first.server()).await;
    let (token, authority) = (File::with("token", "one\n"), File::with("ca.crt", &first.pem()));
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.secured_uri());
    config.gate_authority = Some(Authority::File(authority.0.clone()));
    config.token_file = Some(token.0.clone());
    let _agent = start(config).await;
    let heard = |number: usize, expected: &'static str| {
        let streams = gate.streams();
        async move {
            streams.len() == number
                && streams[number - 1].hello.is_some()
                && streams[number - 1].authorization.as_deref() == Some(expected)
        }
    };
    until("it is welcomed", || heard(1, "Bearer one")).await;
    // Its own certificate is renewed by the same authority, as the gate does it.
    *gate.shared.tls.lock().expect("no panic") = Some(Arc::new(first.server()));
    token.write("two");
    gate.end_stream().await;
    until("it is welcomed again", || heard(2, "Bearer two")).await;
    // And then the authority is replaced.
    *gate.shared.tls.lock().expect("no panic") = Some(Arc::new(second.server()));
    authority.write(&second.pem());
    gate.end_stream().await;
    until("it is welcomed once more", || heard(3, "Bearer two")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_follows_to_the_leader_and_returns_when_that_is_gone() {
    let (app, vouching) = (App::start("green").await, Vouching::new());
    let (warm, leader) = (Gate::secured(vouching.server()).await, Gate::secured(vouching.server()).await);
    warm.send_on_to(Some(leader.address));
    let mut config = sidecar(app.address, None);
    config.gate = Some(warm.secured_uri());
    config.gate_authority = Some(Authority::Pem(vouching.pem()));
    let agent = start(config).await;
    // The leader is reached by its address, which its certificate does not name: the gate's name is what counts.
    until("the leader hears it", || async { leader.heard().reports.iter().any(|report| !report.replayed) }).await;
    assert!(warm.streams().is_empty());
    leader.kill().await;
    warm.send_on_to(None);
    until("the other gate leads and hears it", || async { !warm.heard().reports.is_empty() }).await;
    assert_eq!(client::get(agent.listen_addr(), "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_that_name_each_other_do_not_make_an_agent_spin() {
    let (app, one, two) = (App::start("green").await, Gate::start().await, Gate::start().await);
    one.send_on_to(Some(two.address));
    two.send_on_to(Some(one.address));
    let mut config = sidecar(app.address, None);
    config.gate = Some(one.uri());
    let agent = start(config).await;
    let begun = std::time::Instant::now();
    let sent_on = || *one.shared.sent_on.lock().expect("no panic") + *two.shared.sent_on.lock().expect("no panic");
    until("it was sent on and on", || async { sent_on() >= 7 }).await;
    // Three at once, and then pauses that double from 50 ms, each at least halved by jitter.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(25 + 50 + 100), "{:?}", begun.elapsed());
    two.send_on_to(None);
    until("it finds who leads", || async { !two.heard().reports.is_empty() }).await;
    drop(agent);
}
