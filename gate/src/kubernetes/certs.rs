//! The gate's own certificates: an authority for ten years, and a certificate for ninety days that is renewed in time.
//!
//! They live in one Secret that all replicas mount. They are *read* from the mounted volume and *written* by a patch, so the
//! gate needs no permission to read Secrets, not even its own. Each patch first tests that the Secret still holds what the
//! gate saw: of two replicas that start at once one makes the authority, and the other takes it.
//!
//! Helm renders none of this. Certificates made by a chart are made anew by each upgrade, and whoever trusts the old one is
//! lost; these outlive upgrades. A renewed authority keeps its key and its name, so that an agent which was injected years
//! ago still knows the gate.
//!
//! What is due is a pure function of the files and the time.

pub mod bundle;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation, TestOperation};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use crate::tls::{CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, Certificates, Files, KEY_FILE};

/// Life of the authority. Long, because pods carry it and are not made anew for its sake.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Life of the certificate. Short, because a stolen one cannot be called back; long enough for a gate that nobody looks
/// after over a holiday.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Certificates are dated back by this, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(3_600);
/// How often it is asked what is due.
const ASKED_EVERY: Duration = Duration::from_secs(600);
/// Pause after a patch that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// There is nothing of use: make everything.
    Everything,
    /// The authority has lived two thirds of its life.
    Authority,
    /// The certificate has, or it is not good for these names.
    Certificate,
}

/// The names by which clients call the gate.
#[must_use]
pub fn names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
        service.to_owned(),
        // Through a forwarded port.
        "localhost".to_owned(),
    ]
}

/// A certificate, as far as it matters here.
struct Facts {
    public_key: Vec<u8>,
    not_before: i64,
    not_after: i64,
    /// Identifier of the key that signed it.
    signer: Option<Vec<u8>>,
    /// Identifier of its own key.
    own: Option<Vec<u8>>,
    names: Vec<String>,
}

fn facts(der: &[u8]) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut facts = Facts {
        public_key: certificate.public_key().raw.to_vec(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        signer: None,
        own: None,
        names: Vec::new(),
    };
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                facts.signer = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectKeyIdentifier(id) => facts.own = Some(id.0.to_vec()),
            ParsedExtension::SubjectAlternativeName(names) => {
                let dns = names.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                });
                facts.names = dns.collect();
            }
            _ => {}
        }
    }
    Some(facts)
}

fn first(pem: &str) -> Option<Facts> {
    facts(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
}

/// Two thirds of a life are over.
fn is_old(not_before: i64, not_after: i64, now: i64) -> bool {
    now >= not_before + (not_after - not_before) / 3 * 2
}

/// What is due at `now`, in Unix seconds.
///
/// # Errors
/// When the files hold certificates that the gate has not made: those are not overwritten.
pub fn due(files: &Files, names: &[String], now: i64) -> anyhow::Result<Due> {
    if *files == Files::default() {
        return Ok(Due::Everything);
    }
    let Some(ca_key) = &files.ca_key else {
        anyhow::bail!(
            "the Secret holds certificates without {CA_KEY_FILE}, so the gate did not make them and will not renew them: \
             leave --tls-secret out"
        );
    };
    let Some(authority) = files.ca.as_deref().and_then(first) else { return Ok(Due::Everything) };
    let Ok(ca_key) = KeyPair::from_pem(ca_key) else { return Ok(Due::Everything) };
    let belongs = authority.public_key.ends_with(rcgen::PublicKeyData::der_bytes(&ca_key));
    if !belongs || now >= authority.not_after {
        return Ok(Due::Everything);
    }
    if is_old(authority.not_before, authority.not_after, now) {
        return Ok(Due::Authority);
    }
    let Some(certificate) = files.certificate.as_deref().and_then(first) else { return Ok(Due::Certificate) };
    let good = certificate.signer == authority.own
        && certificate.signer.is_some()
        && names.iter().all(|name| certificate.names.contains(name))
        && !is_old(certificate.not_before, certificate.not_after, now)
        && files.certified().is_ok();
    Ok(if good { Due::Nothing } else { Due::Certificate })
}

fn at(params: &mut CertificateParams, now: i64, life: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.max(0).unsigned_abs());
    params.not_before = now - BACKDATED;
    params.not_after = now + life;
}

/// Always the same name: a certificate that is signed by the key is then signed by each authority that has the key.
fn authority_params(names: &[String]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let gate = names.first().map(String::as_str).unwrap_or_default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Blueback authority of {gate}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// The files after what is due has been done.
///
/// # Errors
/// When no key can be made, or the authority's cannot be read.
pub fn make(due: Due, files: &Files, names: &[String], now: i64) -> anyhow::Result<Files> {
    let mut made = files.clone();
    if due == Due::Nothing {
        return Ok(made);
    }
    let ca_key = match (&files.ca_key, due) {
        (Some(key), Due::Authority | Due::Certificate) => KeyPair::from_pem(key).context(CA_KEY_FILE)?,
        _ => KeyPair::generate()?,
    };
    let mut authority = authority_params(names);
    if due != Due::Certificate {
        at(&mut authority, now, AUTHORITY_LIFE);
        made.ca = Some(authority.self_signed(&ca_key)?.pem());
        made.ca_key = Some(ca_key.serialize_pem());
    }
    if due != Due::Authority {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "blueback-gate");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        at(&mut params, now, CERTIFICATE_LIFE);
        let key = KeyPair::generate()?;
        made.certificate = Some(params.signed_by(&key, &Issuer::new(authority, ca_key))?.pem());
        made.key = Some(key.serialize_pem());
    }
    Ok(made)
}

/// Changes the Secret from one state to the other, and only from that one.
#[must_use]
pub fn patch(before: &Files, after: &Files) -> json_patch::Patch {
    let entries = [
        (CA_FILE, &before.ca, &after.ca),
        (CA_KEY_FILE, &before.ca_key, &after.ca_key),
        (CERTIFICATE_FILE, &before.certificate, &after.certificate),
        (KEY_FILE, &before.key, &after.key),
    ];
    let path = |name: &str| PointerBuf::from_tokens(["data", name]);
    let encoded = |text: &str| json!(BASE64.encode(text));
    if *before == Files::default() {
        let data: Map<_, _> = entries
            .iter()
            .filter_map(|(name, _, after)| Some(((*name).to_owned(), encoded(after.as_deref()?))))
            .collect();
        let path = || PointerBuf::from_tokens(["data"]);
        // The API server takes a test for null as a test for absence.
        return json_patch::Patch(vec![
            PatchOperation::Test(TestOperation { path: path(), value: Value::Null }),
            PatchOperation::Add(AddOperation { path: path(), value: Value::Object(data) }),
        ]);
    }
    let mut operations = Vec::new();
    for (name, before, _) in &entries {
        if let Some(before) = before {
            operations.push(PatchOperation::Test(TestOperation { path: path(name), value: encoded(before) }));
        }
    }
    for (name, before, after) in entries.into_iter().filter(|(_, before, after)| before != after) {
        let Some(after) = after else { continue };
        let (path, value) = (path(name), encoded(after));
        operations.push(match before {
            Some(_) => PatchOperation::Replace(ReplaceOperation { path, value }),
            None => PatchOperation::Add(AddOperation { path, value }),
        });
    }
    json_patch::Patch(operations)
}

/// Makes and renews certificates.
pub struct Keeper {
    /// To the API server.
    pub client: Client,
    /// Namespace of the gate.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Names that the certificate is good for.
    pub names: Vec<String>,
    /// What serves.
    pub certificates: Certificates,
    /// What was last seen in the mounted volume; `None` until it has been looked at.
    pub seen: watch::Receiver<Option<Files>>,
}

impl Keeper {
    /// Does what is due, until `closed`.
    pub async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let mut files = None;
        loop {
            let wait = match files.take() {
                Some(files) => self.turn(files).await,
                None => ASKED_EVERY,
            };
            tokio::select! {
                changed = self.seen.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
            files = self.seen.borrow_and_update().clone();
        }
    }

    /// Does what is due, and says when to ask again.
    async fn turn(&self, files: Files) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let made = due(&files, &self.names, i64::try_from(now).unwrap_or(i64::MAX)).and_then(|due| {
            let made = make(due, &files, &self.names, i64::try_from(now).unwrap_or(i64::MAX))?;
            Ok((due, made))
        });
        let (due, made) = match made {
            Ok((Due::Nothing, _)) => return ASKED_EVERY,
            Ok(made) => made,
            Err(error) => {
                tracing::error!(secret = self.secret, error = format!("{error:#}"), "Certificates not renewed");
                return ASKED_EVERY;
            }
        };
        match self.write(&files, &made).await {
            Ok(()) => {
                tracing::info!(secret = self.secret, ?due, "Certificates made");
                // The volume shows them to us as late as to everybody else.
                if let Err(error) = self.certificates.put(&made) {
                    tracing::error!(error = format!("{error:#}"), "Certificates just made are not accepted");
                }
                ASKED_EVERY
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {
                tracing::info!(secret = self.secret, "Another gate was faster; waiting for its certificates");
                ASKED_EVERY
            }
            Err(error) => {
                tracing::warn!(secret = self.secret, error = format!("{error:#}"), "Certificates not written");
                RETRY_AFTER
            }
        }
    }

    async fn write(&self, before: &Files, after: &Files) -> kube::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Json::<()>(patch(before, after));
        secrets.patch(&self.secret, &PatchParams::default(), &patch).await.map(drop)
    }
}
