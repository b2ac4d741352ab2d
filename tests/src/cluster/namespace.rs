//! A namespace of its own for each story; a story that fails leaves it, and says what was in it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::kubectl::{command, json, kubectl, script};
use crate::until;

/// Longest wait for pods to start or to go, on a machine that does other things too.
const PODS_MAX: Duration = Duration::from_secs(90);

/// What is told of a story that failed. One that does not exist in the cluster is passed over.
const TOLD: [&[&str]; 4] = [
    &["get", "pods,services,deployments,replicasets", "-o", "wide"],
    &["get", "releasegates,releases", "-o", "yaml"],
    &["get", "events", "--sort-by=.lastTimestamp"],
    &["logs", "--selector=!quiet", "--all-containers", "--prefix", "--tail=100", "--ignore-errors"],
];

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// A pod as stories need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: String,
}

impl Namespace {
    /// A new, empty one.
    ///
    /// # Panics
    ///
    /// When there is no cluster.
    pub async fn new(story: &str) -> Self {
        let name = format!("{story}-{:x}", blueback::load::unix_ms() & 0xFF_FFFF);
        kubectl(&["create", "namespace", &name]).await;
        let namespace = Self { name };
        // Pods cannot be made before it is there.
        namespace.until(PODS_MAX, "serviceaccount/default", |_| true).await;
        namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command with its namespace, such as `["kubectl", "get", "pods"]` or `["helm", "list"]`.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub async fn command(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let (program, rest) = arguments.split_first().expect("a command has a name");
        command([program, "--namespace", &self.name].iter().chain(rest), input).await
    }

    /// Runs `kubectl` in it.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [["kubectl"].as_slice(), arguments].concat();
        self.command(&arguments, "").await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Applies objects, in JSON.
    ///
    /// # Panics
    ///
    /// When they are refused.
    pub async fn apply(&self, objects: &[Value]) {
        let text = objects.iter().fold(String::new(), |text, object| format!("{text}{object}\n---\n"));
        let applied = self.command(&["kubectl", "apply", "-f", "-"], &text).await;
        applied.unwrap_or_else(|error| panic!("{error}"));
    }

    /// An object, such as `service/web`; a list of them, such as `pods`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn get(&self, object: &str) -> Result<Value, String> {
        json(&self.command(&["kubectl", "get", object, "-o", "json"], "").await?)
    }

    /// Waits until an object is there and meets a condition.
    ///
    /// # Panics
    ///
    /// When it does not within `deadline`.
    pub async fn until(&self, deadline: Duration, object: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{object} in {}", self.name);
        until(deadline, &what, async || match self.get(object).await {
            Ok(found) if condition(&found) => Ok(found),
            Ok(found) => Err(format!("{found:#}")),
            Err(error) => Err(error),
        })
        .await
    }

    /// Waits until a deployment's newest pods, and no others, are ready.
    ///
    /// # Panics
    ///
    /// When they are not within a minute and a half.
    pub async fn rolled_out(&self, deployment: &str) {
        self.until(PODS_MAX, &format!("deployment/{deployment}"), |found| {
            let (status, wanted) = (&found["status"], &found["spec"]["replicas"]);
            let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
            status["observedGeneration"] == found["metadata"]["generation"]
                && counts.iter().all(|count| status[count].as_u64().unwrap_or(0) == wanted.as_u64().unwrap_or(1))
        })
        .await;
    }

    /// The pods with these labels that are not on their way out.
    ///
    /// # Panics
    ///
    /// When the cluster does not answer.
    pub async fn pods(&self, selector: &str) -> Vec<Pod> {
        let text = self.kubectl(&["get", "pods", "--selector", selector, "-o", "json"]).await;
        let list = json(&text).unwrap_or_else(|error| panic!("{error}"));
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        staying.map(|pod| Pod { name: text(&pod["metadata"]["name"]), ip: text(&pod["status"]["podIP"]) }).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let kubectl = |arguments: &[&str]| {
            let mut command = Command::new(script("with"));
            command.args(["kubectl", "--request-timeout=10s", "--namespace", &self.name]).args(arguments).output()
        };
        if !std::thread::panicking() {
            // It goes by itself from here on; the next story does not wait for it.
            let _ = kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
            return;
        }
        let gates = super::gate::told();
        for told in TOLD.into_iter().chain([gates.as_slice()]) {
            if let Some(output) = kubectl(told).ok().filter(|output| output.status.success()) {
                tell(&format!(
                    "--- kubectl -n {} {}\n{}",
                    self.name,
                    told.join(" "),
                    String::from_utf8_lossy(&output.stdout)
                ));
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failing story says what was in its namespace")]
fn tell(text: &str) {
    eprintln!("{text}");
}
