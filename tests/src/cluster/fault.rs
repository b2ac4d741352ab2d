//! Making sample applications misbehave while they serve.

use std::time::Duration;

use blueback::sample::Fault;

use super::Namespace;
use super::app::CONTROL_PORT;
use super::kubectl::inside;
use crate::until;

/// Longest wait for a pod that is there to take a word.
const TOLD_MAX: Duration = Duration::from_secs(20);

impl Namespace {
    /// Makes every pod with these labels misbehave from now on. Goes to the pods by their addresses and not through the API
    /// server, which may be what the story has stopped.
    ///
    /// # Panics
    ///
    /// When there is no such pod, or one does not listen.
    pub async fn does(&self, selector: &str, fault: Fault) {
        let pods = self.pods(selector).await;
        assert!(!pods.is_empty(), "no pod is {selector} in {}", self.name());
        let body = serde_json::to_string(&fault).expect("a fault is plain data");
        for pod in pods {
            let url = format!("http://{}:{CONTROL_PORT}/fault", pod.ip);
            let what = format!("{} to take {body}", pod.name);
            until(TOLD_MAX, &what, async || inside(["curl", "-sSf", "--max-time", "5", "-d", &body, &url], "").await)
                .await;
        }
    }
}
