//! Commands against the cluster.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest run of a command that does not wait for anything.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// A script of `tests/cluster`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cluster").join(name)
}

/// Runs a command (`kubectl`, `helm`, `helm4`, `blueback`…) with the cluster's kubeconfig, from outside of the cluster.
///
/// # Errors
///
/// When it fails, or runs longer than a minute.
pub async fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, input: &str) -> Result<String, String> {
    run("with", arguments, input).await
}

/// Runs a command inside the node, where addresses of pods and services can be reached.
///
/// # Errors
///
/// When it fails, or runs longer than a minute.
pub async fn inside<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, input: &str) -> Result<String, String> {
    run("exec", arguments, input).await
}

async fn run<A: AsRef<OsStr>>(
    script_name: &str,
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Result<String, String> {
    let mut command = Command::new(script(script_name));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let title = format!("{:?}", command.as_std());
    let mut child = command.spawn().map_err(|error| format!("{title}: {error}"))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let written = async {
        // One that does not read its input to the end says itself what it did not like.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let ((), output) = timeout(COMMAND_MAX, async { tokio::join!(written, child.wait_with_output()) })
        .await
        .map_err(|_| format!("{title}: ran longer than {COMMAND_MAX:?}"))?;
    let output = output.map_err(|error| format!("{title}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{title}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}

/// Runs `kubectl` for the whole cluster.
///
/// # Panics
///
/// When it fails.
pub async fn kubectl(arguments: &[&str]) -> String {
    command(["kubectl"].iter().chain(arguments), "").await.unwrap_or_else(|error| panic!("{error}"))
}

/// JSON that a command wrote.
///
/// # Errors
///
/// When it is none.
pub(super) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}
