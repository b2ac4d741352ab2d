//! A Kubernetes API server alone, with its etcd: no kubelet and no controllers, so a test says what pods do.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use blueback_gate::kubernetes::inject::AUDIENCE;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Folder, free_address, until};

/// How long the API server may take to be ready.
const READY_MAX: Duration = Duration::from_secs(90);
/// The token of whoever may do everything.
pub const ADMIN: &str = "admin-token";
/// The token of a user that may only do what roles give it.
pub const LIMITED: &str = "limited-token";
/// The account of all pods.
const ACCOUNT: &str = "default";
/// The user's name.
pub(crate) const LIMITED_USER: &str = "limited";

/// A running API server. Dropping it stops it and its etcd.
pub struct ApiServer {
    /// May do everything.
    pub client: Client,
    address: SocketAddr,
    folder: Folder,
    arguments: Vec<String>,
    server: Option<Child>,
    etcd: Child,
}

/// The folder with the programs.
fn programs() -> PathBuf {
    let cached = || {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        home.join(".cache/blueback/cluster/bin")
    };
    let folder = std::env::var_os("BLUEBACK_CLUSTER_BIN").map_or_else(cached, PathBuf::from);
    for program in ["etcd", "kube-apiserver"] {
        let path = folder.join(program);
        assert!(
            path.exists(),
            "{} is missing: run tests/cluster/build.sh, or set BLUEBACK_CLUSTER_BIN",
            path.display()
        );
    }
    folder
}

impl ApiServer {
    /// Starts one, with the resources of the gate defined.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start() -> Self {
        let (programs, folder) = (programs(), Folder::new());
        let (clients, peers, address) = (free_address(), free_address(), free_address());
        let pair = rcgen::KeyPair::generate().expect("a key can be made");
        let key = folder.write("service-accounts.key", &pair.serialize_pem());
        let public = folder.write("service-accounts.pub", &pair.public_key_pem());
        let tokens = format!("{ADMIN},admin,1,system:masters\n{LIMITED},{LIMITED_USER},2\n");
        let tokens = folder.write("tokens.csv", &tokens);
        let log = |name: &str| Stdio::from(fs::File::create(folder.path().join(name)).expect("a log can be made"));
        let etcd = Command::new(programs.join("etcd"))
            .arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .arg("--unsafe-no-fsync")
            .args(["--listen-client-urls", &format!("http://{clients}")])
            .args(["--advertise-client-urls", &format!("http://{clients}")])
            .args(["--listen-peer-urls", &format!("http://{peers}")])
            .args(["--initial-advertise-peer-urls", &format!("http://{peers}")])
            .args(["--initial-cluster", &format!("default=http://{peers}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log("etcd.log"))
            .spawn()
            .expect("etcd starts");
        let path = |path: &PathBuf| path.display().to_string();
        let arguments = vec![
            format!("--etcd-servers=http://{clients}"),
            format!("--cert-dir={}", folder.path().join("certs").display()),
            format!("--bind-address={}", address.ip()),
            format!("--secure-port={}", address.port()),
            "--service-cluster-ip-range=10.9.0.0/24".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={}", path(&key)),
            format!("--service-account-key-file={}", path(&public)),
            format!("--token-auth-file={}", path(&tokens)),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        let client = client(address, ADMIN).await;
        let mut this = Self { client, address, folder, arguments, server: None, etcd };
        this.serve().await;
        for (_, definition) in blueback_gate::kubernetes::types::definitions() {
            this.define(definition).await;
        }
        this
    }

    /// Starts the server, again when it was stopped.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub async fn serve(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("apiserver.log"));
        let server = Command::new(programs().join("kube-apiserver"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be made"))
            .spawn()
            .expect("kube-apiserver starts");
        let server = self.server.insert(server);
        let (client, folder) = (self.client.clone(), &self.folder);
        until(READY_MAX, "the API server", async || {
            let ended = server.try_wait().expect("a child can be waited for");
            let log = || fs::read_to_string(folder.path().join("apiserver.log")).unwrap_or_default();
            assert!(ended.is_none(), "kube-apiserver has ended ({ended:?}):\n{}", log());
            let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
            client.request_text(request).await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Stops the server; etcd keeps what it knows.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            end(&mut server);
        }
    }

    /// A kubeconfig for whoever may do everything, or for a user without any role.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    #[must_use]
    pub fn kubeconfig(&self, all: bool) -> PathBuf {
        let token = if all { ADMIN } else { LIMITED };
        self.folder.write(&format!("{token}.yaml"), &kubeconfig(self.address, token).to_string())
    }

    /// Makes an object, as `kubectl create` does.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let object = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
        api.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a namespace.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn namespace(&self, name: &str) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("it is a namespace");
        api.create(&PostParams::default(), &namespace).await.expect("the namespace can be made");
        // As a controller would.
        self.create::<ServiceAccount>(name, json!({"metadata": {"name": ACCOUNT}})).await;
    }

    /// A token as the kubelet projects it into this pod: for the gate only.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn token(&self, namespace: &str, pod: &str, uid: &str) -> String {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = json!({"spec": {"audiences": [AUDIENCE], "expirationSeconds": 3_600,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid}}});
        let request = serde_json::from_value(request).expect("it is a request");
        let answer = api.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
        answer.unwrap_or_else(|error| panic!("{pod}: {error}")).status.expect("it has an answer").token
    }

    /// Defines a resource, and waits until it is served.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn define(&self, definition: CustomResourceDefinition) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = definition.metadata.name.clone().expect("a definition has a name");
        api.create(&PostParams::default(), &definition).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        until(READY_MAX, &name, async || {
            let seen = api.get(&name).await.map_err(|error| error.to_string())?;
            let conditions = seen.status.and_then(|status| status.conditions).unwrap_or_default();
            let served =
                conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True");
            if served { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
        end(&mut self.etcd);
    }
}

fn end(child: &mut Child) {
    // One that has ended already is only reaped.
    let _ = child.kill();
    let _ = child.wait();
}

fn kubeconfig(address: SocketAddr, token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("https://{address}"), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
}

async fn client(address: SocketAddr, token: &str) -> Client {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig(address, token)).expect("it is a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("the kubeconfig is complete")).expect("a client can be made")
}

/// Pods that a test makes and says what they do.
#[derive(Clone, Debug)]
pub struct Pods {
    api: Api<Pod>,
}

impl Pods {
    /// Of a namespace.
    #[must_use]
    pub fn of(server: &ApiServer, namespace: &str) -> Self {
        Self { api: Api::namespaced(server.client.clone(), namespace) }
    }

    /// Makes one, which a ReplicaSet has made when one is named.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn make(&self, name: &str, labels: &BTreeMap<&str, &str>, replica_set: Option<&str>) {
        self.create(name, labels, replica_set, &json!([])).await;
    }

    /// Makes one that has an agent. Returns its UID.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn make_guarded(&self, name: &str, labels: &BTreeMap<&str, &str>, replica_set: &str) -> String {
        let agent = json!([{"name": "blueback-agent", "image": "agent", "restartPolicy": "Always"}]);
        let pod = self.create(name, labels, Some(replica_set), &agent).await;
        pod.metadata.uid.expect("a pod has a UID")
    }

    async fn create(&self, name: &str, labels: &BTreeMap<&str, &str>, owner: Option<&str>, sidecars: &Value) -> Pod {
        let owners = owner.map(|name| {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true}])
        });
        let pod = json!({
            "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
            "spec": {"containers": [{"name": "app", "image": "app"}], "initContainers": sidecars,
                "serviceAccountName": ACCOUNT},
        });
        let pod = serde_json::from_value(pod).expect("it is a pod");
        self.api.create(&PostParams::default(), &pod).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Says whether it is ready, at an address that nobody asks.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn set_ready(&self, name: &str, ready: bool) {
        self.set_ready_at(name, ready, Ipv4Addr::LOCALHOST).await;
    }

    /// Says whether it is ready, and where.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn set_ready_at(&self, name: &str, ready: bool, address: Ipv4Addr) {
        let ready = if ready { "True" } else { "False" };
        let conditions = json!([{"type": "Ready", "status": ready}]);
        let status = json!({"status": {"phase": "Running", "podIP": address, "conditions": conditions}});
        let patched = self.api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
        patched.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Takes one away.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn remove(&self, name: &str) {
        let params = DeleteParams::default().grace_period(0);
        self.api.delete(name, &params).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
