//! Load from a pod inside the cluster, where real clients are: through the Service's address, by kube-proxy's rules.

use std::process::Stdio;
use std::time::Duration;

use blueback::load::account::{Answered, Totals};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Namespace;
use super::app::IMAGE;
use super::kubectl::script;
use crate::until;

/// Longest wait for what the load is certain to see.
const SEEN_MAX: Duration = Duration::from_secs(60);

/// A running load. Ends with its namespace.
#[derive(Debug)]
pub struct LoadPod {
    name: String,
    newest: watch::Receiver<Totals>,
    _reader: JoinHandle<()>,
}

impl LoadPod {
    /// Starts `blueback load` with these further arguments against a URL, and waits for the first answers.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start(namespace: &Namespace, name: &str, url: &str, arguments: &[&str]) -> Self {
        let arguments = [["load", "--url", url, "--json", "--every", "200ms"].as_slice(), arguments].concat();
        namespace
            .apply(&[json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "load", "quiet": ""}},
                "spec": {
                    "restartPolicy": "Never", "terminationGracePeriodSeconds": 3,
                    "containers": [{"name": "load", "image": IMAGE, "imagePullPolicy": "Never", "args": arguments}],
                },
            })])
            .await;
        namespace
            .until(SEEN_MAX, &format!("pod/{name}"), |pod| {
                matches!(pod["status"]["phase"].as_str(), Some("Running" | "Succeeded" | "Failed"))
            })
            .await;
        let mut logs = Command::new(script("with"));
        logs.args(["kubectl", "--namespace", namespace.name(), "logs", "--follow", name]);
        let logs = logs.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let (sender, newest) = watch::channel(Totals::default());
        let reader = tokio::spawn(read(logs.expect("a script can be started"), sender));
        let load = Self { name: name.to_owned(), newest, _reader: reader };
        load.until("an answer", |totals| !totals.backends.is_empty()).await;
        load
    }

    /// Its pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of its requests, as it last told.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.newest.borrow().clone()
    }

    /// Waits until what became of its requests meets a condition.
    ///
    /// # Panics
    ///
    /// When it does not within a minute.
    pub async fn until(&self, what: &str, condition: impl Fn(&Totals) -> bool) -> Totals {
        until(SEEN_MAX, &format!("{} to see {what}", self.name), async || {
            let totals = self.totals();
            if condition(&totals) { Ok(totals) } else { Err(format!("{totals:?}")) }
        })
        .await
    }

    /// Waits until pods whose names begin with `prefix` have answered `number` further requests.
    pub async fn answered_by(&self, prefix: &str, number: u64) -> Totals {
        let before = answered(&self.totals(), prefix).requests;
        let what = format!("{number} further answers of {prefix}");
        self.until(&what, |totals| answered(totals, prefix).requests >= before + number).await
    }

    /// Asks it to end, and returns what became of all its requests.
    pub async fn stop(self, namespace: &Namespace) -> Totals {
        namespace.kubectl(&["delete", "pod", &self.name, "--wait=false"]).await;
        self.until("its end", |totals| totals.done).await
    }
}

/// What pods whose names begin with `prefix` answered, well or not; `first` is 0 when there was nothing.
#[must_use]
pub fn answered(totals: &Totals, prefix: &str) -> Answered {
    let mut pods = totals.backends.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, by)| *by);
    let first = pods.next().unwrap_or_default();
    pods.fold(first, |sum, pod| Answered {
        requests: sum.requests + pod.requests,
        failed: sum.failed + pod.failed,
        first: sum.first.min(pod.first),
        last: sum.last.max(pod.last),
    })
}

/// Follows the load's lines; the newest one says all.
async fn read(mut logs: Child, newest: watch::Sender<Totals>) {
    let mut lines = BufReader::new(logs.stdout.take().expect("stdout is piped")).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(totals) = serde_json::from_str(&line) {
            newest.send_replace(totals);
        }
    }
    let _ = logs.wait().await;
}
