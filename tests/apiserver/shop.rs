//! A shop whose cart has a blue and a green Deployment, and a gate that guards it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use blueback_gate::kubernetes::certs::{self, Due};
use blueback_gate::kubernetes::types::{Release, ReleaseGate};
use blueback_gate::tls::{CA_FILE, CERTIFICATE_FILE, Files, KEY_FILE};
use blueback_tests::{ADMIN, Answer, ApiServer, Caller, Folder, Pods, Process, free_address, until};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

/// Longest wait for something that takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The namespace.
pub(crate) const SHOP: &str = "shop";

/// The shop.
pub(crate) struct Shop {
    pub(crate) server: ApiServer,
    pub(crate) pods: Pods,
    pub(crate) gate: Process,
    pub(crate) api: SocketAddr,
    /// The gates' certificates.
    pub(crate) tls: Folder,
    /// Somebody who may do everything.
    pub(crate) caller: Caller,
}

/// The gates' own token.
const TOKEN: &str = "the gates' own token";
/// Name of the gates' Service.
pub(crate) const GATE: &str = "blueback-gate";

/// The gates' certificates, as somebody else has made them.
fn certificates() -> (Folder, Caller) {
    let names = certs::names(GATE, SHOP);
    let now = jiff::Timestamp::now().as_second();
    let files = certs::make(Due::Everything, &Files::default(), &names, now).expect("keys can be made");
    let folder = Folder::new();
    for (name, text) in [(CA_FILE, &files.ca), (CERTIFICATE_FILE, &files.certificate), (KEY_FILE, &files.key)] {
        let _ = folder.write(name, text.as_deref().expect("everything is made"));
    }
    let _ = folder.write("token", TOKEN);
    let authority = files.ca.expect("everything is made");
    (folder, Caller { authority, token: Some(ADMIN.to_owned()) })
}

/// Labels of the cart's pods of a colour.
pub(crate) fn labels(color: &'static str) -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("app", "cart"), ("color", color)])
}

impl Shop {
    /// Blue serves, green is ready; the ReleaseGate has these fields beside its traffic.
    pub(crate) async fn open(spec: Value) -> Self {
        let server = ApiServer::start().await;
        server.namespace(SHOP).await;
        let pods = Pods::of(&server, SHOP);
        for color in ["blue", "green"] {
            deploy(&server, color).await;
            let set = format!("cart-{color}-1");
            for number in 1..=2 {
                let name = format!("{set}-{number}");
                pods.make(&name, &labels(color), Some(&set)).await;
                pods.set_ready(&name, true).await;
            }
        }
        let service = json!({
            "metadata": {"name": "cart"},
            "spec": {"selector": labels("blue"), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        });
        server.create::<Service>(SHOP, service).await;
        let mut gate_spec = json!({"traffic": {"service": "cart"}});
        if let (Some(all), Some(more)) = (gate_spec.as_object_mut(), spec.as_object()) {
            all.extend(more.clone());
        }
        server
            .create::<ReleaseGate>(
                SHOP,
                json!({
                    "apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
                    "metadata": {"name": "cart"}, "spec": gate_spec,
                }),
            )
            .await;
        let api = free_address();
        let (tls, caller) = certificates();
        let gate = gate(&server, &tls, api, "gate-a", true);
        Self { server, pods, gate, api, tls, caller }
    }

    /// Somebody whom the gate knows without asking the API server.
    pub(crate) fn owner(&self) -> Caller {
        Caller { token: Some(TOKEN.to_owned()), ..self.caller.clone() }
    }

    /// Another gate, or the same one again.
    pub(crate) fn start_gate(&self, api: SocketAddr, pod: &str, all: bool) -> Process {
        gate(&self.server, &self.tls, api, pod, all)
    }

    /// The cart's ReleaseGate.
    pub(crate) fn gates(&self) -> Api<ReleaseGate> {
        Api::namespaced(self.server.client.clone(), SHOP)
    }

    /// Its Releases.
    pub(crate) fn releases(&self) -> Api<Release> {
        Api::namespaced(self.server.client.clone(), SHOP)
    }

    /// The Service's selector's colour.
    pub(crate) async fn color(&self) -> String {
        let services: Api<Service> = Api::namespaced(self.server.client.clone(), SHOP);
        let service = services.get("cart").await.expect("the Service is there");
        service
            .spec
            .and_then(|spec| spec.selector)
            .and_then(|selector| selector.get("color").cloned())
            .unwrap_or_default()
    }

    /// Switches as `kubectl patch` does.
    pub(crate) async fn select(&self, color: &'static str) {
        let services: Api<Service> = Api::namespaced(self.server.client.clone(), SHOP);
        let patch = json!({"spec": {"selector": labels(color)}});
        services
            .patch("cart", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the Service can be patched");
    }

    /// Waits until the ReleaseGate's status satisfies this.
    pub(crate) async fn until_gate(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(&self.gates(), "cart", what, holds).await
    }

    /// Waits until this ReleaseGate's status satisfies this.
    pub(crate) async fn until_gate_of(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(&self.gates(), name, what, holds).await
    }

    /// Waits until a Release satisfies this.
    pub(crate) async fn until_release(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(&self.releases(), name, what, holds).await
    }

    /// Posts to the gate's API.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.caller.post(self.api, path, &body.to_string()).await.expect("the gate answers")
    }
}

/// A gate that looks after the server's ReleaseGates.
fn gate(server: &ApiServer, tls: &Folder, api: SocketAddr, pod: &str, all: bool) -> Process {
    let kubeconfig = server.kubeconfig(all).display().to_string();
    let (api, token) = (api.to_string(), tls.path().join("token").display().to_string());
    let tls = tls.path().display().to_string();
    Process::start(
        "blueback-gate",
        [
            "--kubernetes",
            "--kubeconfig",
            &kubeconfig,
            "--api",
            &api,
            "--pod-name",
            pod,
            "--pod-namespace",
            SHOP,
            "--namespaces",
            SHOP,
            "--pod-ip",
            "127.0.0.1",
            "--service-name",
            GATE,
            "--deployment",
            GATE,
            "--tls-dir",
            &tls,
            "--token-file",
            &token,
        ],
    )
}

async fn wait_for<K>(api: &Api<K>, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value
where
    K: Clone + Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    until(SOON, what, async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
        if holds(&object["status"]) { Ok(object) } else { Err(object["status"].to_string()) }
    })
    .await
}

/// A Deployment and its ReplicaSet, as its controller would have made them.
async fn deploy(server: &ApiServer, color: &'static str) {
    let (name, set) = (format!("cart-{color}"), format!("cart-{color}-1"));
    let spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": labels(color)},
        "template": {"metadata": {"labels": labels(color)}, "spec": {"containers": [{"name": "app", "image": color}]}},
    });
    let deployment: Deployment = server.create(SHOP, json!({"metadata": {"name": name}, "spec": spec})).await;
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "controller": true,
        "uid": deployment.metadata.uid}]);
    let metadata = json!({"name": set, "labels": labels(color), "ownerReferences": owner});
    server.create::<ReplicaSet>(SHOP, json!({"metadata": metadata, "spec": spec})).await;
}
