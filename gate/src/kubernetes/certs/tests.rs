//! What is due, what is made, and how it is written.

use super::*;

const DAY: i64 = 24 * 3_600;
/// Some day in 2026.
const NOW: i64 = 1_790_000_000;

fn gate_names() -> Vec<String> {
    names("blueback-gate", "blueback")
}

fn made() -> Files {
    make(Due::Everything, &Files::default(), &gate_names(), NOW).expect("keys can be made")
}

fn asked(files: &Files, now: i64) -> Due {
    due(files, &gate_names(), now).expect("the gate has made them")
}

#[test]
fn the_first_gate_makes_everything() {
    assert_eq!(asked(&Files::default(), NOW), Due::Everything);
    let files = made();
    assert_eq!(asked(&files, NOW), Due::Nothing);
    files.certified().expect("certificate and key belong to each other");
    let certificate = first(files.certificate.as_deref().unwrap_or_default()).expect("it is a certificate");
    assert_eq!(certificate.names, gate_names());
    assert_eq!(certificate.not_before, NOW - 3_600);
    assert_eq!(certificate.not_after, NOW + 90 * DAY);
    let authority = first(files.ca.as_deref().unwrap_or_default()).expect("it is a certificate");
    assert_eq!(authority.not_after, NOW + 3_650 * DAY);
}

#[test]
fn each_is_renewed_after_two_thirds_of_its_life() {
    let files = made();
    for (days, wanted) in [
        (0, Due::Nothing),
        (59, Due::Nothing),
        (60, Due::Certificate),
        (91, Due::Certificate),
        (2_434, Due::Authority),
        (3_649, Due::Authority),
        (3_651, Due::Everything),
    ] {
        assert_eq!(asked(&files, NOW + days * DAY), wanted, "after {days} days");
    }
}

#[test]
fn a_renewed_certificate_is_of_the_same_authority() {
    let files = made();
    let later = NOW + 60 * DAY;
    let renewed = make(Due::Certificate, &files, &gate_names(), later).expect("a key can be made");
    assert_eq!((&renewed.ca, &renewed.ca_key), (&files.ca, &files.ca_key));
    assert_ne!(renewed.certificate, files.certificate);
    assert_eq!(asked(&renewed, later), Due::Nothing);
}

#[test]
fn who_knows_the_old_authority_trusts_the_renewed_one() {
    let files = made();
    let later = NOW + 2_500 * DAY;
    let renewed = make(Due::Authority, &files, &gate_names(), later).expect("the key can be read");
    assert_eq!(asked(&renewed, later), Due::Certificate, "the certificate was due as well");
    let renewed = make(Due::Certificate, &renewed, &gate_names(), later).expect("a key can be made");
    assert_eq!(asked(&renewed, later), Due::Nothing);
    // A client of the old days checks the new certificate.
    let mut roots = rustls::RootCertStore::empty();
    let old = CertificateDer::from_pem_slice(files.ca.as_deref().unwrap_or_default().as_bytes());
    roots.add(old.expect("it is a certificate")).expect("it is an authority");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(std::sync::Arc::new(roots), provider);
    let verifier = verifier.build().expect("there is an authority");
    let certificate = CertificateDer::from_pem_slice(renewed.certificate.as_deref().unwrap_or_default().as_bytes());
    let name = rustls_pki_types::ServerName::try_from("blueback-gate.blueback.svc").expect("it is a name");
    let now = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(later.unsigned_abs()));
    use rustls::client::danger::ServerCertVerifier as _;
    verifier
        .verify_server_cert(&certificate.expect("it is a certificate"), &[], &name, &[], now)
        .expect("the old authority vouches for it");
}

#[test]
fn what_is_of_no_use_is_made_anew() {
    let (files, other) = (made(), made());
    let cases = [
        (Files { ca: None, ..files.clone() }, Due::Everything),
        (Files { ca: other.ca.clone(), ..files.clone() }, Due::Everything),
        (Files { ca_key: Some("nonsense".to_owned()), ..files.clone() }, Due::Everything),
        (Files { certificate: None, ..files.clone() }, Due::Certificate),
        (Files { certificate: Some("nonsense".to_owned()), ..files.clone() }, Due::Certificate),
        (Files { key: other.key.clone(), ..files.clone() }, Due::Certificate),
        (Files { certificate: other.certificate.clone(), key: other.key, ..files.clone() }, Due::Certificate),
    ];
    for (number, (files, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(asked(&files, NOW), wanted, "case {number}");
    }
    let elsewhere = due(&files, &names("gate", "elsewhere"), NOW);
    assert_eq!(elsewhere.expect("the gate has made them"), Due::Certificate, "it has other names now");
}

#[test]
fn certificates_of_others_are_not_overwritten() {
    let files = Files { ca_key: None, ..made() };
    let error = due(&files, &gate_names(), NOW).expect_err("the gate has not made them");
    assert!(error.to_string().contains("--tls-secret"), "{error}");
}

/// What the API server makes of it: unlike RFC 6902, a test of nothing for null succeeds.
fn patched(secret: &Value, patch: &json_patch::Patch) -> Option<Value> {
    let mut secret = secret.clone();
    let operations = patch.0.iter().filter(|operation| match operation {
        PatchOperation::Test(test) => test.value != Value::Null || secret.get("data").is_some(),
        _ => true,
    });
    let patch = json_patch::Patch(operations.cloned().collect());
    json_patch::patch(&mut secret, &patch).ok().map(|()| secret)
}

#[test]
fn of_two_gates_one_makes_the_authority() {
    let empty = json!({"kind": "Secret"});
    let (one, two) = (made(), made());
    let after = patched(&empty, &patch(&Files::default(), &one)).expect("it was empty");
    assert_eq!(after["data"]["ca.crt"], json!(BASE64.encode(one.ca.as_deref().unwrap_or_default())));
    assert_eq!(after["data"].as_object().map(Map::len), Some(4));
    assert_eq!(patched(&after, &patch(&Files::default(), &two)), None, "the other one was late");

    let renew = |files: &Files| make(Due::Certificate, files, &gate_names(), NOW).expect("a key can be made");
    let (first, second) = (renew(&one), renew(&one));
    let renewed = patched(&after, &patch(&one, &first)).expect("it was as seen");
    assert_eq!(renewed["data"]["ca.crt"], after["data"]["ca.crt"]);
    assert_ne!(renewed["data"]["tls.crt"], after["data"]["tls.crt"]);
    assert_eq!(patched(&renewed, &patch(&one, &second)), None, "the other one was late");
}

mod webhooks {
    use k8s_openapi::ByteString;

    use super::super::bundle::patch;
    use super::*;

    fn bundle(pem: &str) -> Option<ByteString> {
        Some(ByteString(pem.as_bytes().to_vec()))
    }

    #[test]
    fn each_webhook_is_given_the_authority_that_it_lacks() {
        let ours = made().ca.expect("there is an authority");
        let other = made().ca.expect("there is an authority");
        let named = |bundle| ("inject.blueback.dev".to_owned(), bundle);
        for missing in [None, bundle(""), bundle("nonsense"), bundle(&other)] {
            let patch = patch(&[named(bundle(&ours)), named(missing)], &ours).expect("the second one lacks it");
            let mut configuration = json!({"webhooks": [{"name": "inject.blueback.dev", "clientConfig": {}},
                {"name": "inject.blueback.dev", "clientConfig": {"service": {"name": "gate"}}}]});
            json_patch::patch(&mut configuration, &patch).expect("the patch fits");
            assert_eq!(configuration["webhooks"][0]["clientConfig"], json!({}));
            let config = &configuration["webhooks"][1]["clientConfig"];
            assert_eq!(config["service"]["name"], "gate");
            assert_eq!(config["caBundle"], json!(BASE64.encode(&ours)));
        }
        assert_eq!(patch(&[named(bundle(&ours)), named(bundle(&format!("{other}{ours}")))], &ours), None);
        assert_eq!(patch(&[], &ours), None);
    }

    #[test]
    fn replicas_with_an_old_and_a_renewed_authority_do_not_fight() {
        let files = made();
        let renewed = make(Due::Authority, &files, &gate_names(), NOW + 2_500 * DAY).expect("the key can be read");
        let (old, new) = (files.ca.unwrap_or_default(), renewed.ca.unwrap_or_default());
        let named = |pem: &str| [("inject.blueback.dev".to_owned(), bundle(pem))];
        assert!(patch(&named(&old), &new).is_some(), "the newer one is written");
        assert_eq!(patch(&named(&new), &old), None, "and stays");
    }
}
