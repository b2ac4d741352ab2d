//! The gate, as an operator installs it: with helm, from the chart of this repository and the images of this build.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Namespace;
use super::kubectl::{command, json as parsed, kubectl};
use crate::binary::binary;
use crate::until;

/// Where the gate stands.
pub const HOME: &str = "blueback";
/// Longest wait for gates to start, or for one to lead.
const READY_MAX: Duration = Duration::from_secs(90);
/// Of one Deployment's name.
const DEPLOYMENT: &str = "blueback-gate";

/// The chart of this repository.
#[must_use]
pub fn chart() -> String {
    format!("{}/../helm", env!("CARGO_MANIFEST_DIR"))
}

/// Installs the chart, or upgrades it to these values, and waits until its gates are ready. Gates stay from story to story.
///
/// # Panics
///
/// When helm refuses, or the gates do not become ready.
pub async fn gate_installed(values: &[&str]) {
    let chart = chart();
    let (tag, program) = images();
    let tags = format!("--set=gate.image.tag={tag},agent.image.tag={tag}");
    let own = [
        "helm",
        "upgrade",
        "--install",
        HOME,
        &chart,
        "--namespace",
        HOME,
        "--create-namespace",
        "--set=gate.image.repository=localhost/blueback-gate,gate.image.pullPolicy=Never",
        "--set=agent.image.repository=localhost/blueback-agent",
        "--set=gate.log.level=info\\,blueback_gate=debug",
    ];
    // The image's name stays when its binary changes, so its pods would stay as well.
    let build = format!("--set-string=gate.podAnnotations.build={}", built_ms(&program));
    let values = values.iter().flat_map(|value| ["--set", value]);
    let told = command(own.into_iter().chain([build.as_str(), &tags]).chain(values), "").await;
    told.unwrap_or_else(|error| panic!("{error}"));
    until(READY_MAX, "the gates", async || {
        let found =
            command(["kubectl", "--namespace", HOME, "get", "deployment", DEPLOYMENT, "-o", "json"], "").await?;
        let found = parsed(&found)?;
        let (status, wanted) = (&found["status"], &found["spec"]["replicas"]);
        let ready = ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|count| &status[count] == wanted);
        if ready && status["observedGeneration"] == found["metadata"]["generation"] {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
}

/// The tag of the images of gate and agent, and the gate that is in there: of this build, or as shipped (`tests/cluster/run
/// --shipped`).
fn images() -> (&'static str, PathBuf) {
    match std::env::var_os("BLUEBACK_SHIPPED_GATE") {
        Some(program) => ("shipped", program.into()),
        None => ("test", binary("blueback-gate").expect("the workspace is built")),
    }
}

/// When a program was built, in Unix milliseconds.
fn built_ms(program: &Path) -> u128 {
    let built = std::fs::metadata(program).and_then(|metadata| metadata.modified());
    let built = built.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    built.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// What the gates wrote, for a story that failed.
pub(super) fn told() -> [&'static str; 6] {
    ["--namespace", HOME, "logs", "--selector=app.kubernetes.io/name=blueback", "--tail=200", "--prefix"]
}

/// The pod that leads.
///
/// # Panics
///
/// When nobody does for a minute and a half.
pub async fn leader() -> String {
    until(READY_MAX, "a leader", async || {
        let leases = parsed(&kubectl(&["--namespace", HOME, "get", "leases", "-o", "json"]).await)?;
        let holders = leases["items"].as_array().into_iter().flatten().map(|lease| &lease["spec"]["holderIdentity"]);
        // A holder is a pod, its address and what tells two starts apart.
        let pods = holders.filter_map(Value::as_str).filter_map(|holder| holder.split('_').next());
        pods.map(str::to_owned).find(|pod| !pod.is_empty()).ok_or_else(|| leases.to_string())
    })
    .await
}

/// A ReleaseGate for the Service `shop`, with further fields of its spec.
#[must_use]
pub fn release_gate(spec: &Value) -> Value {
    let mut whole = json!({"traffic": {"service": "shop"}});
    for (name, value) in spec.as_object().into_iter().flatten() {
        whole[name] = value.clone();
    }
    json!({
        "apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate", "metadata": {"name": "shop"}, "spec": whole,
    })
}

impl Namespace {
    /// A namespace whose pods get agents, with a ReleaseGate for its Service `shop`.
    ///
    /// # Panics
    ///
    /// When the ReleaseGate is refused.
    pub async fn guarded(story: &str, spec: &Value) -> Self {
        let namespace = Self::new(story).await;
        kubectl(&["label", "namespace", namespace.name(), "blueback.dev/inject=enabled"]).await;
        namespace.apply(&[release_gate(spec)]).await;
        namespace
    }

    /// Waits until the status of the ReleaseGate meets a condition, and returns the ReleaseGate.
    ///
    /// # Panics
    ///
    /// When it does not within a minute and a half.
    pub async fn gate_until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        self.until(READY_MAX, "releasegate/shop", |gate| condition(&gate["status"])).await
    }

    /// Sends the Service's requests to pods of this colour, as a person would.
    pub async fn select(&self, color: &str) {
        let patch = json!({"spec": {"selector": {"color": color}}}).to_string();
        self.kubectl(&["patch", "service", "shop", "--patch", &patch]).await;
    }

    /// The colour that the Service selects.
    ///
    /// # Panics
    ///
    /// When there is no such Service.
    pub async fn selected(&self) -> String {
        let service = self.get("service/shop").await.unwrap_or_else(|error| panic!("{error}"));
        service["spec"]["selector"]["color"].as_str().unwrap_or_default().to_owned()
    }
}

/// The status of a condition: `True`, `False` or `Unknown`, and its reason.
#[must_use]
pub fn condition<'a>(status: &'a Value, name: &str) -> (&'a str, &'a str) {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    let found = all.find(|condition| condition["type"] == name);
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}
