//! Flags in, configuration or errors out.

use std::time::Duration;

use super::*;

fn errors(arguments: &[&str]) -> String {
    let flags = Flags::parse_from(std::iter::once("blueback-agent").chain(arguments.iter().copied()));
    flags.into_config().expect_err("these flags are wrong").to_string()
}

#[test]
fn every_error_is_told_at_once_with_field_value_and_what_is_accepted() {
    let text = errors(&[
        "--service",
        "shop",
        "--listen",
        "nowhere",
        "--role",
        "sidecar",
        "--slot",
        "purple",
        "--gate",
        "gate:7070",
        "--workers",
        "0",
        "--timeout",
        "5",
        "--app-protocol",
        "spdy",
        "--probe",
        "healthz",
        "--otlp",
        "https://collector:4318",
        "--seed",
        "x",
    ]);
    let expected = [
        r#"--slot: "purple" is not a slot; accepted: blue or green"#,
        r#"--app: "" is missing; accepted: an address and a port, such as 127.0.0.1:8080 or app:8080"#,
        r#"--gate: "gate:7070" is not the URL of a gate; accepted: http://HOST:PORT or https://HOST:PORT of the gate, such as http://gate:7070"#,
        r#"--workers: "0" is out of range or not a number; accepted: a number of threads from 1 to 256"#,
        r#"--timeout: "5" is not a time; accepted: a time above zero with its unit, such as 500ms, 30s or 2m"#,
        r#"--app-protocol: "spdy" is not a protocol; accepted: auto, http1 or http2"#,
        r#"--probe: "healthz" is not a path; accepted: a path such as /healthz"#,
        r#"--otlp: "https://collector:4318" is not the http URL of a Collector; accepted: http://HOST:PORT of a Collector, such as http://collector:4318; that one may go on by https"#,
        r#"--seed: "x" is not a number; accepted: a whole number from 0 to 18446744073709551615"#,
    ];
    for line in expected {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert!(text.starts_with(r#"--listen: "nowhere" is not an address"#), "{text}");
    assert_eq!(text.lines().count(), expected.len() + 1);
}

#[test]
fn flags_of_the_other_role_are_refused() {
    let text = errors(&["--service", "s", "--listen", "127.0.0.1:0", "--role", "front", "--app", "127.0.0.1:1"]);
    assert!(text.contains("--app: \"127.0.0.1:1\" is for the role sidecar"), "{text}");
    assert!(text.contains("name no backend"), "{text}");
}

#[test]
fn a_sidecar_names_its_application_by_its_pod_and_the_others_by_address() {
    let flags = Flags::parse_from([
        "blueback-agent",
        "--service",
        "shop",
        "--listen",
        "127.0.0.1:0",
        "--role",
        "sidecar",
        "--slot",
        "green",
        "--app",
        "127.0.0.1:8080",
        "--divert",
        "127.0.0.1:8081, 127.0.0.1:8082",
        "--pod",
        "shop-1",
        "--timeout",
        "2m",
    ]);
    let config = flags.into_config().expect("these flags are right");
    let pods: Vec<_> = config.targets.iter().map(|target| (target.slot, target.pod.as_str())).collect();
    assert_eq!(pods, [(Slot::Green, "shop-1"), (Slot::Blue, "127.0.0.1:8081"), (Slot::Blue, "127.0.0.1:8082")]);
    assert_eq!((config.role, config.serving), (Role::Sidecar(Slot::Green), Slot::Green));
    assert_eq!(config.limits.request_timeout, Some(Duration::from_secs(120)));
}

/// A sidecar's flags, without a slot.
const SIDECAR: [&str; 8] = ["--service", "s", "--listen", "127.0.0.1:0", "--role", "sidecar", "--app", "127.0.0.1:80"];

#[test]
fn a_sidecar_without_a_slot_needs_a_gate_that_says_it() {
    let text = errors(&SIDECAR);
    assert!(text.starts_with("--slot: \"\" is missing, and without a gate nobody says it"), "{text}");
    let text = errors(&[&SIDECAR[..], &["--gate", "http://gate:7070", "--divert", "127.0.0.1:1"]].concat());
    assert!(text.starts_with("--divert: \"127.0.0.1:1\" names backends of a slot that is not known"), "{text}");
    let flags = [&["blueback-agent"], &SIDECAR[..], &["--gate", "http://gate:7070", "--pod-uid", "uid-1"]].concat();
    let config = Flags::parse_from(flags).into_config().expect("these flags are right");
    assert!(config.unassigned);
    assert_eq!((config.role, config.targets.len()), (Role::Sidecar(Slot::Blue), 1));
    assert_eq!(config.pod_uid.as_deref(), Some("uid-1"));
}

#[test]
fn a_gate_is_trusted_for_its_authority_and_told_secrets_only_by_tls() {
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&SIDECAR[..], more].concat()
    }
    let text = errors(&with(&["--gate", "https://gate:7070"]));
    assert!(text.starts_with("--gate-ca-file: \"\" is missing"), "{text}");
    let text = errors(&with(&["--gate", "http://gate:7070", "--token-file", "/token"]));
    assert!(text.starts_with("--token-file: \"/token\" would be readable on its way"), "{text}");
    let flags = with(&["--gate", "https://gate:7070", "--gate-ca", "PEM", "--token-file", "/token"]);
    let flags = Flags::parse_from([&["blueback-agent"], &flags[..]].concat());
    let config = flags.into_config().expect("these flags are right");
    assert_eq!(config.gate_authority, Some(Authority::Pem("PEM".to_owned())));
}

#[test]
fn dependencies_have_names_of_their_own() {
    let dependency = |text| [&SIDECAR[..], &["--gate", "http://gate:7070", "--dependency", text]].concat();
    let text = errors(&dependency("a=tcp://db:1,a=tcp://db:2"));
    assert!(text.starts_with("--dependency: \"a=tcp://db:2\" has a name that is taken"), "{text}");
    let text = errors(&dependency("a=tcp://db"));
    assert!(text.starts_with("--dependency: \"a=tcp://db\" names no port; accepted: NAME=tcp://HOST:PORT"), "{text}");
    let flags = Flags::parse_from([&["blueback-agent"], &dependency("a=tcp://db:1, b=redis://cache")[..]].concat());
    assert_eq!(flags.into_config().expect("these flags are right").dependencies.len(), 2);
}
