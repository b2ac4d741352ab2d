//! Who is let in, and what the webhooks do to pods and ReleaseGates; with certificates that the gate makes itself.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use blueback_gate::kubernetes::types::ReleaseGate;
use blueback_tests::{Answer, ApiServer, Caller, Folder, LIMITED, Process, free_address, run, until};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::shop::{SHOP, SOON, Shop, labels};

/// What everything of the gate is called.
const GATE: &str = "blueback-gate";
/// Its namespace.
const HOME: &str = "blueback";

/// Makes an object of the cluster.
async fn make<K>(server: &ApiServer, object: Value) -> K
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::all(server.client.clone());
    let object = serde_json::from_value(object).expect("it is such an object");
    api.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{error}"))
}

/// What the chart allows a gate, as far as it is needed here: it may write its Secret and read none.
async fn allow(server: &ApiServer) {
    let rules = json!([
        {"apiGroups": ["blueback.dev"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "patch"]},
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["admissionregistration.k8s.io"], "resourceNames": [GATE], "verbs": ["get", "list", "watch", "patch"],
            "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]},
    ]);
    make::<ClusterRole>(server, json!({"metadata": {"name": GATE}, "rules": rules})).await;
    let subjects = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "limited"}]);
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    for (name, of) in [(GATE, GATE), ("auth", "system:auth-delegator")] {
        let binding =
            json!({"metadata": {"name": name}, "roleRef": role("ClusterRole", of), "subjects": subjects.clone()});
        make::<ClusterRoleBinding>(server, binding).await;
    }
    let rules = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [GATE], "verbs": ["patch"]},
    ]);
    server.create::<Role>(HOME, json!({"metadata": {"name": GATE}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": GATE}, "roleRef": role("Role", GATE), "subjects": subjects});
    server.create::<RoleBinding>(HOME, binding).await;
}

/// A configuration of one webhook that nothing gets past.
fn configuration(at: SocketAddr, path: &str, group: &str, resource: &str) -> Value {
    json!({
        "metadata": {"name": GATE},
        "webhooks": [{
            "name": format!("{path}.blueback.dev"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 5,
            "clientConfig": {"url": format!("https://localhost:{}/{path}", at.port())},
            "rules": [{"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": ["CREATE", "UPDATE"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": SHOP}},
        }],
    })
}

/// A gate as the chart starts it, beside an API server that knows its webhooks.
struct Gate {
    server: ApiServer,
    tls: Folder,
    api: SocketAddr,
    _process: Process,
}

impl Gate {
    async fn start() -> Self {
        let server = ApiServer::start().await;
        for namespace in [SHOP, HOME] {
            server.namespace(namespace).await;
        }
        allow(&server).await;
        // The chart makes it empty.
        server.create::<Secret>(HOME, json!({"metadata": {"name": GATE}})).await;
        let (api, webhooks, tls) = (free_address(), free_address(), Folder::new());
        make::<MutatingWebhookConfiguration>(&server, configuration(webhooks, "inject", "", "pods")).await;
        let validating = configuration(webhooks, "validate", "blueback.dev", "releasegates");
        make::<ValidatingWebhookConfiguration>(&server, validating).await;
        let kubeconfig = server.kubeconfig(false).display().to_string();
        let (api_text, webhooks, folder) = (api.to_string(), webhooks.to_string(), tls.path().display().to_string());
        let arguments = [
            ["--kubeconfig", &kubeconfig],
            ["--api", &api_text],
            ["--webhooks", &webhooks],
            ["--tls-dir", &folder],
            ["--tls-secret", GATE],
            ["--service-name", GATE],
            ["--mutating-webhook", GATE],
            ["--validating-webhook", GATE],
            ["--agent-image", "agent:1"],
            ["--pod-name", "gate-a"],
            ["--pod-namespace", HOME],
            ["--pod-ip", "127.0.0.1"],
        ];
        let process =
            Process::start("blueback-gate", ["--kubernetes"].into_iter().chain(arguments.into_iter().flatten()));
        let this = Self { server, tls, api, _process: process };
        this.until_trusted().await;
        this
    }

    /// Waits until both configurations have the authority that is in the Secret, and carries it to the volume, as a kubelet does.
    async fn until_trusted(&self) {
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.server.client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.server.client.clone());
        until(SOON, "the authority of the webhooks", async || {
            let authority = self.secret().await.remove("ca.crt").ok_or("it is not made yet")?;
            let mutating = mutating.get(GATE).await.map_err(|error| error.to_string())?;
            let validating = validating.get(GATE).await.map_err(|error| error.to_string())?;
            let mutating = mutating.webhooks.unwrap_or_default().remove(0).client_config.ca_bundle;
            let validating = validating.webhooks.unwrap_or_default().remove(0).client_config.ca_bundle;
            let known = [mutating, validating].map(|bundle| bundle.is_some_and(|bundle| bundle.0 == authority));
            if known == [true, true] { Ok(()) } else { Err(format!("{known:?}")) }
        })
        .await;
        for (name, bytes) in self.secret().await {
            fs::write(self.tls.path().join(name), bytes).expect("there is room");
        }
    }

    async fn secret(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        let secrets: Api<Secret> = Api::namespaced(self.server.client.clone(), HOME);
        let data = secrets.get(GATE).await.expect("it is there").data.unwrap_or_default();
        data.into_iter().map(|(name, bytes)| (name, bytes.0)).collect()
    }

    /// A ReleaseGate, and what the API server says to it.
    async fn guard(&self, name: &str, spec: Value) -> Result<(), String> {
        let api: Api<ReleaseGate> = Api::namespaced(self.server.client.clone(), SHOP);
        let gate = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate", "metadata": {"name": name}, "spec": spec});
        let gate = serde_json::from_value(gate).expect("it is a ReleaseGate");
        api.create(&PostParams::default(), &gate).await.map(drop).map_err(|error| error.to_string())
    }

    /// A guarded Service that the gate knows.
    async fn service(&self, name: &str, target: Value, agent: Value) {
        let service = json!({"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": target}]}});
        self.server.create::<Service>(SHOP, service).await;
        self.guard(name, json!({"traffic": {"service": name}, "agent": agent})).await.expect("it can be meant");
        let api: Api<ReleaseGate> = Api::namespaced(self.server.client.clone(), SHOP);
        until(SOON, name, async || {
            let gate = api.get(name).await.map_err(|error| error.to_string())?;
            let status = gate.status.unwrap_or_default();
            // There are no pods yet, so there is nothing to guard, but the Service is known.
            let known = status.conditions.iter().any(|condition| condition.reason == "NothingServes");
            if known { Ok(()) } else { Err(format!("{:?}", status.conditions)) }
        })
        .await;
    }

    /// A pod of this application, as the API server makes it.
    async fn pod(&self, app: &str, annotations: Value) -> Value {
        let pod = json!({
            "metadata": {"name": format!("{app}-1"), "labels": {"app": app}, "annotations": annotations},
            // As the API server's own admission says it.
            "spec": {"serviceAccountName": "default", "containers": [{
                "name": "web", "image": "web",
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            }]},
        });
        let pod: Pod = self.server.create(SHOP, pod).await;
        let api: Api<Pod> = Api::namespaced(self.server.client.clone(), SHOP);
        api.delete(&format!("{app}-1"), &DeleteParams::default().grace_period(0)).await.expect("it can be deleted");
        serde_json::to_value(pod).expect("it is JSON")
    }
}

fn inits(pod: &Value) -> Vec<&str> {
    pod["spec"]["initContainers"].as_array().into_iter().flatten().filter_map(|init| init["name"].as_str()).collect()
}

#[tokio::test]
async fn pods_get_their_agents_from_a_gate_that_makes_its_own_certificates() {
    let gate = Gate::start().await;
    gate.service("cart", json!("http"), json!({})).await;
    let pod = gate.pod("cart", json!({})).await;
    assert_eq!(inits(&pod), ["blueback-agent"], "{pod}");
    let agent = &pod["spec"]["initContainers"][0];
    assert_eq!((&agent["image"], &agent["restartPolicy"]), (&json!("agent:1"), &json!("Always")));
    assert_eq!((&agent["ports"][0]["name"], &agent["ports"][0]["containerPort"]), (&json!("http"), &json!(15080)));
    let web = &pod["spec"]["containers"][0];
    assert_eq!(web["ports"][0]["name"], "bb-http", "{web}");
    assert_eq!(web["readinessProbe"]["httpGet"]["port"], "bb-http", "the probe stays on the application");
    assert_eq!(pod["metadata"]["labels"]["blueback.dev/gate"], "cart");
    let told = |name: &str| {
        let all = agent["env"].as_array().into_iter().flatten();
        all.into_iter().find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
    };
    let authority = String::from_utf8(gate.secret().await.remove("ca.crt").expect("it is made")).expect("it is PEM");
    assert_eq!(told("BLUEBACK_AGENT_GATE_CA"), Some(json!(authority)));
    assert_eq!(told("BLUEBACK_AGENT_SERVICE"), Some(json!("shop/cart")));
    let url = format!("https://{GATE}.{HOME}.svc:{}", gate.api.port());
    assert_eq!(told("BLUEBACK_AGENT_GATE"), Some(json!(url)));

    let pod = gate.pod("cart", json!({"blueback.dev/inject": "false"})).await;
    assert_eq!((inits(&pod), &pod["spec"]["containers"][0]["ports"][0]["name"]), (vec![], &json!("http")), "{pod}");
    assert_eq!(inits(&gate.pod("pay", json!({})).await), [""; 0], "nobody guards it");

    // A number is redirected where it is wanted, and the pod is left alone where it is not.
    gate.service("stock", json!(8080), json!({})).await;
    assert_eq!(inits(&gate.pod("stock", json!({})).await), [""; 0]);
    let gates: Api<ReleaseGate> = Api::namespaced(gate.server.client.clone(), SHOP);
    until(SOON, "the reason", async || {
        let status = gates.get("stock").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let told = status.conditions.iter().any(|condition| {
            condition.type_ == "AgentsConnected"
                && condition.reason == "NotInjected"
                && condition.message.contains("8080")
        });
        if told { Ok(()) } else { Err(format!("{:?}", status.conditions)) }
    })
    .await;
    gate.service("ship", json!(8080), json!({"redirect": true})).await;
    let pod = gate.pod("ship", json!({})).await;
    assert_eq!(inits(&pod), ["blueback-redirect", "blueback-agent"], "{pod}");
    assert_eq!(pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"], 15082, "it leads past the agent");
}

#[tokio::test]
async fn rules_that_nobody_can_read_are_turned_away_in_the_parsers_words() {
    let gate = Gate::start().await;
    let spec = |rule: &str| json!({"traffic": {"service": "cart"}, "revertWhen": ["error rate > 5%", rule]});
    gate.guard("cart", spec("latency p99 > 500ms for 1m")).await.expect("it can be read");
    let error = gate.guard("pay", spec("eror rate > 2%")).await.expect_err("it cannot be read");
    for part in ["validate.blueback.dev", "spec.revertWhen[1]", "eror rate > 2%", "^"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    // A change is looked at as well.
    let api: Api<ReleaseGate> = Api::namespaced(gate.server.client.clone(), SHOP);
    let change = async |change: Value| api.patch("cart", &PatchParams::default(), &Patch::Merge(change)).await;
    let error =
        change(json!({"spec": {"passWhen": ["all is well"]}})).await.expect_err("it cannot be read").to_string();
    assert!(error.contains("spec.passWhen[0]") && error.contains('^'), "{error}");
    change(json!({"metadata": {"labels": {"team": "shop"}}})).await.expect("it says nothing of the rules");
}

#[tokio::test]
async fn an_agent_reports_for_its_own_pod_only() {
    let shop = Shop::open(json!({})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    let mine = shop.pods.make_guarded("cart-blue-1-mine", &labels("blue"), "cart-blue-1").await;
    let foreign = shop.pods.make_guarded("pay-1-1", &labels("none"), "pay-1").await;
    let token = shop.server.token(SHOP, "cart-blue-1-mine", &mine).await;
    let person = shop.caller.token.clone().expect("they have one");
    for (service, pod, uid, token, reason) in [
        ("shop/cart", "cart-blue-1-other", &*foreign, Some(&token), "foreign_pod"),
        ("pay/cart", "cart-blue-1-mine", &*mine, Some(&token), "foreign_pod"),
        ("shop/pay", "cart-blue-1-mine", &*mine, Some(&token), "unknown_gate"),
        ("shop/cart", "cart-blue-1-mine", &*mine, None, "unauthenticated"),
        ("shop/cart", "cart-blue-1-mine", &*mine, Some(&person), "unauthenticated"),
    ] {
        let before = refused(&shop, reason).await;
        let agent = agent(&shop, service, pod, uid, token);
        until(SOON, reason, async || {
            let refused = refused(&shop, reason).await;
            if refused > before { Ok(()) } else { Err(format!("{refused} refused\n{}", agent.stderr())) }
        })
        .await;
    }
    let _agent = agent(&shop, "shop/cart", "cart-blue-1-mine", &mine, Some(&token));
    shop.pods.set_ready_at("cart-blue-1-mine", true, Ipv4Addr::LOCALHOST).await;
    shop.until_gate("its own agent", |status| status["conditions"].to_string().contains("1 agent reports")).await;
}

/// An agent that says this of itself.
fn agent(shop: &Shop, service: &str, pod: &str, uid: &str, token: Option<&String>) -> Process {
    let (listen, app, gate) = (free_address().to_string(), free_address().to_string(), shop.api.port());
    let (gate, authority) = (format!("https://localhost:{gate}"), shop.tls.path().join("ca.crt").display().to_string());
    let token = token.map(|token| shop.tls.write("agent.token", token).display().to_string());
    let mut arguments = vec!["--service", service, "--role", "sidecar", "--listen", &listen, "--app", &app];
    arguments.extend(["--gate", &gate, "--gate-ca-file", &authority, "--pod", pod, "--pod-uid", uid]);
    if let Some(token) = &token {
        arguments.extend(["--token-file", token]);
    }
    Process::start("blueback-agent", arguments)
}

/// How many agents have been turned away for this reason.
async fn refused(shop: &Shop, reason: &str) -> u64 {
    let metrics = shop.caller.get(shop.api, "/metrics").await.expect("the gate answers").text;
    let line = metrics.lines().find_map(|line| {
        line.strip_prefix("blueback_gate_agents_refused_total{")?.split_once("} ").filter(|(by, _)| by.contains(reason))
    });
    line.map_or(0, |(_, count)| count.trim().parse().expect("it is a number"))
}

#[tokio::test]
async fn people_may_do_what_they_may_do_to_the_resource() {
    let shop = Shop::open(json!({})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    let as_who = |token: Option<&str>| Caller { token: token.map(str::to_owned), ..shop.caller.clone() };
    let (nobody, limited) = (as_who(None), as_who(Some(LIMITED)));
    let read = async |who: &Caller| who.get(shop.api, "/v1/services/shop%2Fcart").await.expect("the gate answers");
    let revert = async |who: &Caller| -> Answer {
        let said = json!({"why": "a test", "by": "somebody else"});
        who.post(shop.api, "/v1/services/shop%2Fcart/revert", &said.to_string()).await.expect("the gate answers")
    };
    assert_eq!(read(&nobody).await.status, 401);
    assert_eq!(read(&as_who(Some("made up"))).await.status, 401);
    assert_eq!((read(&limited).await.status, revert(&limited).await.status), (403, 403));
    let rules = json!([
        {"apiGroups": ["blueback.dev"], "resources": ["releasegates"], "verbs": ["get"]},
        {"apiGroups": ["blueback.dev"], "resources": ["releasegates/revert"], "verbs": ["create"]},
    ]);
    shop.server.create::<Role>(SHOP, json!({"metadata": {"name": "on-call"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "on-call"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "on-call"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "limited"}]});
    shop.server.create::<RoleBinding>(SHOP, binding).await;
    until(SOON, "the permission", async || {
        let answer = read(&limited).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let switch = limited.post(shop.api, "/v1/services/shop%2Fcart/switch", &json!({"to": "blue"}).to_string()).await;
    assert_eq!(switch.expect("the gate answers").status, 403);
    // By the command, as a person would.
    let (url, folder) = (format!("https://localhost:{}", shop.api.port()), shop.tls.path());
    let token = shop.tls.write("on-call.token", LIMITED).display().to_string();
    let authority = folder.join("ca.crt").display().to_string();
    let arguments = ["revert", "shop/cart", "--why", "a test", "--by", "somebody else", "--gate", &url];
    let arguments: Vec<_> =
        arguments.into_iter().chain(["--gate-ca-file", &authority, "--token-file", &token]).collect();
    until(SOON, "the revert", async || {
        let ran = run("blueback", &arguments, SOON).await;
        if ran.code == Some(0) { Ok(()) } else { Err(format!("{ran:?}")) }
    })
    .await;
    let gate = shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(gate["status"]["reason"], "Reverted by hand, by limited: a test", "what is proven counts");
}
