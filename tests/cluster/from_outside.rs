//! CI outside of the cluster awaits the verdict: it reaches the gate through the API server alone, with a token of its own.

use std::process::Stdio;

use blueback_tests::cluster::{HOME, Namespace, gate_installed, kubectl, script};
use blueback_tests::{Folder, binary, until};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{SOON, outage, served, switched};

/// The gate's port, forwarded through the API server to a free one of this machine.
async fn forwarded() -> (Child, u16) {
    let mut forward = Command::new(script("with"));
    forward.args(["kubectl", "--namespace", HOME, "port-forward", "service/blueback-gate", ":7070"]);
    let forward = forward.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let mut forward = forward.expect("a script can be started");
    let mut line = String::new();
    // Forwarding from 127.0.0.1:40123 -> 7070
    let mut stdout = BufReader::new(forward.stdout.take().expect("stdout is piped"));
    stdout.read_line(&mut line).await.expect("it says which");
    // It goes on to tell, and ends when nobody listens.
    tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    (forward, port.unwrap_or_else(|| panic!("no port in {line:?}")))
}

#[tokio::test]
async fn the_verdict_is_an_exit_code_outside_of_the_cluster() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("from-outside", &json!({})).await;
    served(&shop).await;
    shop.kubectl(&["create", "serviceaccount", "ci"]).await;
    let account = format!("{}:ci", shop.name());
    shop.kubectl(&["create", "rolebinding", "ci", "--clusterrole=view", "--serviceaccount", &account]).await;
    let token = shop.kubectl(&["create", "token", "ci"]).await;
    let folder = Folder::new();
    let template = r#"go-template={{index .data "ca.crt" | base64decode}}"#;
    let authority = kubectl(&["--namespace", HOME, "get", "secret", "blueback-gate-tls", "-o", template]).await;
    let authority = folder.write("ca.crt", &authority);
    let (_forward, port) = forwarded().await;
    let service = format!("{}/shop", shop.name());
    let blueback = |arguments: &[&str], token: &str| {
        let mut command = Command::new(binary("blueback").expect("the workspace is built"));
        command.args(arguments).env("BLUEBACK_GATE", format!("https://localhost:{port}"));
        command.env("BLUEBACK_GATE_CA_FILE", &authority).env("BLUEBACK_TOKEN", token.trim());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    };

    let load = switched(&shop).await;
    let waiting = blueback(&["await", &service, "--timeout", "3m"], &token).spawn().expect("it can be started");
    // Who may look may not decide.
    let decided = blueback(&["revert", &service, "--why", "a test"], &token).output().await.expect("it ends");
    let told = String::from_utf8_lossy(&decided.stderr);
    assert!(!decided.status.success() && told.contains("releasegates/revert"), "{told}");

    shop.does("color=green", outage()).await;
    let verdict = waiting.wait_with_output().await.expect("it ends");
    assert_eq!(verdict.status.code(), Some(10), "{}", String::from_utf8_lossy(&verdict.stderr));
    assert!(String::from_utf8_lossy(&verdict.stdout).contains("reverted"));
    until(SOON, "blue", async || {
        let selected = shop.selected().await;
        if selected == "blue" { Ok(()) } else { Err(selected) }
    })
    .await;
    drop(load);
}
