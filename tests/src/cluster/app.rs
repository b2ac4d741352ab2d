//! Sample applications as an operator would describe them.

use serde_json::{Value, json};

/// The image with the sample application and the load generator; `tests/cluster/run` makes it.
pub(super) const IMAGE: &str = "localhost/blueback:test";
/// Where the sample application serves; the port is named `http`.
const PORT: u16 = 8080;
/// Where it is told to misbehave.
pub(super) const CONTROL_PORT: u16 = 9000;

/// A deployment of the sample application: labels `app: shop` and `color`, a readiness probe, and a pause before its end, so
/// that it still serves until it has left the endpoints.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name, and the value of its label `color`. Its pods, and so what they write into `x-backend`, begin with it.
    pub color: &'static str,
    /// Pods.
    pub replicas: u32,
    /// Further arguments of `blueback sample-app`.
    pub arguments: Vec<String>,
}

impl App {
    /// Two pods.
    #[must_use]
    pub const fn new(color: &'static str) -> Self {
        Self { color, replicas: 2, arguments: Vec::new() }
    }

    /// The Deployment. What a story wants otherwise, it changes in here.
    #[must_use]
    pub fn deployment(&self) -> Value {
        let labels = json!({"app": "shop", "color": self.color});
        let own =
            ["sample-app", "--listen", &format!("0.0.0.0:{PORT}"), "--control", &format!("0.0.0.0:{CONTROL_PORT}")];
        let own = own.into_iter().chain(["--name", "$(POD)"]).map(str::to_owned);
        let arguments: Vec<String> = own.chain(self.arguments.iter().cloned()).collect();
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.color, "labels": labels},
            "spec": {
                "replicas": self.replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "terminationGracePeriodSeconds": 8,
                    "containers": [{
                        "name": "app", "image": IMAGE, "imagePullPolicy": "Never", "args": arguments,
                        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        "ports": [{"name": "http", "containerPort": PORT}],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
                        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }],
                }},
            },
        })
    }
}

/// The Service `shop` on port 80, which sends requests to the pods of one colour.
#[must_use]
pub fn service(color: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
        "spec": {"selector": {"app": "shop", "color": color}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}
