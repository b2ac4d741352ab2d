//! Pods in, pods out.

use serde_json::{Value, json};

use super::*;
use crate::kubernetes::types::Dependency;

fn settings(target: IntOrString) -> InjectionSettings {
    InjectionSettings {
        gate: "cart".to_owned(),
        namespace: Some("shop".to_owned()),
        target,
        redirect: false,
        image: "blueback-agent:1".to_owned(),
        resources: None,
        dependencies: Vec::new(),
        gate_url: Some("https://blueback-gate.blueback.svc:7070".to_owned()),
        ca_pem: Some("PEM".to_owned()),
        otlp: None,
    }
}

fn by_name(name: &str) -> InjectionSettings {
    settings(IntOrString::String(name.to_owned()))
}

fn by_number(port: i32) -> InjectionSettings {
    InjectionSettings { redirect: true, ..settings(IntOrString::Int(port)) }
}

fn pod(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart-1"}, "spec": spec})
}

fn web() -> Value {
    json!({"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]})
}

fn read(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).expect("it is a pod")
}

/// The pod with its agent. What comes out must be a pod, and one that is injected.
fn injected(raw: &Value, settings: &InjectionSettings) -> Value {
    let Ok(Outcome::Patched(patch)) = inject(&read(raw), settings) else { panic!("no patch for {raw:#}") };
    let mut patched = raw.clone();
    json_patch::patch(&mut patched, &patch).expect("the patch fits");
    assert_eq!(inject(&read(&patched), settings), Ok(Outcome::AlreadyInjected), "{patched:#}");
    patched
}

fn refusal(raw: &Value, settings: &InjectionSettings) -> String {
    inject(&read(raw), settings).expect_err("it cannot have an agent").to_string()
}

fn environment(agent: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = |entry: &Value| {
        let value = text(&entry["value"]).or_else(|| text(&entry["valueFrom"]["fieldRef"]["fieldPath"]));
        (entry["name"].as_str().expect("it has a name").to_owned(), value.expect("it has a value"))
    };
    agent["env"].as_array().expect("it has an environment").iter().map(of).collect()
}

#[test]
fn the_agent_takes_the_name_of_the_port() {
    let patched = injected(&pod(&json!({"containers": [web()]})), &by_name("http"));
    assert_eq!(patched["spec"]["containers"][0]["ports"], json!([{"name": "bb-http", "containerPort": 8080}]));
    let agent = &patched["spec"]["initContainers"][0];
    assert_eq!(agent["name"], "blueback-agent");
    assert_eq!(agent["restartPolicy"], "Always");
    assert_eq!(agent["ports"][0], json!({"name": "http", "containerPort": 15080, "protocol": "TCP"}));
    assert_eq!(agent["ports"][1]["name"], "blueback-admin");
    assert!(agent.get("readinessProbe").is_none(), "the application's own probe decides");
    assert_eq!(agent["startupProbe"]["httpGet"], json!({"path": "/live", "port": 15081}));
    assert_eq!(patched["metadata"]["labels"], json!({"blueback.dev/gate": "cart"}));
    assert_eq!(patched["metadata"]["annotations"], json!({"blueback.dev/injected": "cart"}));
    let wanted = [
        ("BLUEBACK_AGENT_SERVICE", "shop/cart"),
        ("BLUEBACK_AGENT_ROLE", "sidecar"),
        ("BLUEBACK_AGENT_LISTEN", "0.0.0.0:15080"),
        ("BLUEBACK_AGENT_APP", "127.0.0.1:8080"),
        ("BLUEBACK_AGENT_ADMIN", "0.0.0.0:15081"),
        ("BLUEBACK_AGENT_POD", "metadata.name"),
        ("BLUEBACK_AGENT_POD_UID", "metadata.uid"),
        ("BLUEBACK_AGENT_GATE", "https://blueback-gate.blueback.svc:7070"),
        ("BLUEBACK_AGENT_GATE_CA", "PEM"),
        ("BLUEBACK_AGENT_TOKEN_FILE", "/var/run/secrets/blueback/token"),
    ];
    assert_eq!(environment(agent), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn the_agent_may_do_nothing_and_costs_little() {
    let patched = injected(&pod(&json!({"containers": [web()]})), &by_name("http"));
    let agent = &patched["spec"]["initContainers"][0];
    assert_eq!(
        agent["securityContext"],
        json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "privileged": false, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    let resources = json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}});
    assert_eq!(agent["resources"], resources);
    let token = json!({"audience": "blueback-gate", "expirationSeconds": 3600, "path": "token"});
    let volume = json!({"name": "blueback-token", "projected": {"sources": [{"serviceAccountToken": token}]}});
    assert_eq!(patched["spec"]["volumes"], json!([volume]));
}

#[test]
fn probes_and_hooks_keep_asking_the_application() {
    let asks = json!({"httpGet": {"path": "/healthz", "port": "http"}});
    let mut web = web();
    web["livenessProbe"] = asks.clone();
    web["readinessProbe"] = asks.clone();
    web["startupProbe"] = json!({"tcpSocket": {"port": "http"}});
    web["lifecycle"] = json!({"preStop": asks, "postStart": {"httpGet": {"path": "/warm", "port": 8080}}});
    let patched = injected(&pod(&json!({"containers": [web]})), &by_name("http"));
    let web = &patched["spec"]["containers"][0];
    for port in [
        &web["livenessProbe"]["httpGet"]["port"],
        &web["readinessProbe"]["httpGet"]["port"],
        &web["startupProbe"]["tcpSocket"]["port"],
        &web["lifecycle"]["preStop"]["httpGet"]["port"],
    ] {
        assert_eq!(port, "bb-http");
    }
    assert_eq!(web["lifecycle"]["postStart"]["httpGet"]["port"], 8080);
    let probe = ("BLUEBACK_AGENT_PROBE".to_owned(), "/healthz".to_owned());
    assert!(environment(&patched["spec"]["initContainers"][0]).contains(&probe), "{patched:#}");
}

#[test]
fn a_probe_that_the_agent_cannot_ask_is_not_copied() {
    for readiness in [
        json!({"httpGet": {"path": "/", "port": "http", "scheme": "HTTPS"}}),
        json!({"httpGet": {"path": "/", "port": "http", "httpHeaders": [{"name": "Host", "value": "a"}]}}),
        json!({"httpGet": {"path": "/", "port": 9000}}),
        json!({"tcpSocket": {"port": "http"}}),
        json!({"exec": {"command": ["true"]}}),
    ] {
        let mut web = web();
        web["readinessProbe"] = readiness;
        let patched = injected(&pod(&json!({"containers": [web]})), &by_name("http"));
        let environment = environment(&patched["spec"]["initContainers"][0]);
        assert!(!environment.iter().any(|(name, _)| name == "BLUEBACK_AGENT_PROBE"), "{patched:#}");
    }
}

#[test]
fn what_the_pod_has_stays_known_or_not() {
    let raw = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "cart-1", "labels": {"app": "cart"}, "annotations": {"a/b": "c"}, "creationTimestamp": null},
        "spec": {
            "ofTheFuture": {"x": 1},
            "initContainers": [{"name": "migrate", "image": "m:1", "ofTheFuture": true}],
            "containers": [{"name": "web", "image": "web:1", "ofTheFuture": [1], "ports": [
                {"name": "grpc", "containerPort": 9090}, {"name": "http", "containerPort": 8080, "hostPort": 80}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    });
    let patched = injected(&raw, &by_name("http"));
    assert_eq!(patched["spec"]["ofTheFuture"], json!({"x": 1}));
    assert_eq!(patched["spec"]["initContainers"][0], raw["spec"]["initContainers"][0]);
    assert_eq!(patched["spec"]["initContainers"][1]["name"], "blueback-agent");
    assert_eq!(patched["spec"]["containers"][0]["ofTheFuture"], json!([1]));
    let ports =
        json!([{"name": "grpc", "containerPort": 9090}, {"name": "bb-http", "containerPort": 8080, "hostPort": 80}]);
    assert_eq!(patched["spec"]["containers"][0]["ports"], ports);
    assert_eq!(patched["spec"]["volumes"][0], raw["spec"]["volumes"][0]);
    assert_eq!(patched["metadata"]["labels"], json!({"app": "cart", "blueback.dev/gate": "cart"}));
    assert_eq!(patched["metadata"]["annotations"], json!({"a/b": "c", "blueback.dev/injected": "cart"}));
}

#[test]
fn every_container_gives_up_the_name_as_the_first_would_be_taken() {
    let mut second = web();
    second["name"] = json!("second");
    second["ports"][0]["containerPort"] = json!(9000);
    let mut sidecar = second.clone();
    sidecar["name"] = json!("sidecar");
    sidecar["restartPolicy"] = json!("Always");
    let patched =
        injected(&pod(&json!({"containers": [web(), second], "initContainers": [sidecar]})), &by_name("http"));
    for container in [&patched["spec"]["containers"][1], &patched["spec"]["initContainers"][0]] {
        assert_eq!(container["ports"][0]["name"], "bb-http");
    }
    let agent = &patched["spec"]["initContainers"][1];
    assert!(environment(agent).contains(&("BLUEBACK_AGENT_APP".to_owned(), "127.0.0.1:8080".to_owned())));
}

#[test]
fn new_names_are_short_and_new() {
    for (name, others, wanted) in [
        ("http", vec![], "bb-http"),
        ("http", vec!["bb-http"], "bb-http-2"),
        ("http", vec!["bb-http", "bb-http-2"], "bb-http-3"),
        ("metrics-public1", vec![], "bb-metrics-publ"),
        ("a-public-port-x", vec![], "bb-a-public-por"),
        ("api-backends-v2", vec!["bb-api-backends"], "bb-api-backe-2"),
    ] {
        let mut web = web();
        web["ports"][0]["name"] = json!(name);
        for (number, other) in others.iter().enumerate() {
            let port = json!({"name": other, "containerPort": 9000 + number});
            web["ports"].as_array_mut().expect("it is a list").push(port);
        }
        let patched = injected(&pod(&json!({"containers": [web]})), &by_name(name));
        let renamed = patched["spec"]["containers"][0]["ports"][0]["name"].as_str().expect("it has a name");
        assert_eq!(renamed, wanted);
        assert!(renamed.len() <= 15);
    }
}

#[test]
fn a_port_of_another_protocol_is_another_port() {
    let mut web = web();
    web["ports"] = json!([{"name": "http", "containerPort": 8080, "protocol": "UDP"}]);
    let told = refusal(&pod(&json!({"containers": [web.clone()]})), &by_name("http"));
    assert!(told.contains("no container of the pod has a TCP port named \"http\""), "{told}");
    // And it is in nobody's way.
    let other = json!({"name": "udp", "image": "u:1", "ports": [{"containerPort": 15080, "protocol": "UDP"}]});
    web["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    injected(&pod(&json!({"containers": [web, other]})), &by_name("http"));
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = json!({"containers": [web()]});
        change(&mut spec);
        pod(&spec)
    };
    for (raw, settings, wanted) in [
        (with(&|spec| spec["hostNetwork"] = json!(true)), by_name("http"), "network of its node"),
        (with(&|spec| spec["os"] = json!({"name": "windows"})), by_name("http"), "Windows"),
        (with(&|_| ()), by_name("grpc"), "named \"grpc\""),
        (with(&|_| ()), settings(IntOrString::Int(8080)), "spec.agent.redirect"),
        (with(&|_| ()), by_number(70_000), "70000 is not the number of a port"),
        (with(&|_| ()), by_number(15_082), "port 15082"),
        (
            with(&|spec| spec["containers"][0]["ports"][0]["containerPort"] = json!(15_081)),
            by_name("http"),
            "container \"web\" uses port 15081",
        ),
        (
            with(&|spec| spec["volumes"] = json!([{"name": "blueback-token", "emptyDir": {}}])),
            by_name("http"),
            "called \"blueback-token\"",
        ),
        (
            with(&|spec| spec["containers"][0]["name"] = json!("blueback-agent")),
            by_name("http"),
            "called \"blueback-agent\"",
        ),
    ] {
        let told = refusal(&raw, &settings);
        assert!(told.contains(wanted), "{wanted} is not in {told}");
    }
}

#[test]
fn an_annotation_declines() {
    let mut raw = pod(&json!({"containers": [web()]}));
    raw["metadata"]["annotations"] = json!({"blueback.dev/inject": "false"});
    assert_eq!(inject(&read(&raw), &by_name("http")), Ok(Outcome::OptedOut));
    raw["metadata"]["annotations"] = json!({"blueback.dev/inject": "true"});
    injected(&raw, &by_name("http"));
}

#[test]
fn a_number_is_redirected_and_probes_go_past() {
    let mut web = web();
    web["livenessProbe"] = json!({"httpGet": {"path": "/healthz", "port": "http"}});
    web["readinessProbe"] = json!({"httpGet": {"path": "/ready", "port": 8080}});
    web["startupProbe"] = json!({"grpc": {"port": 8080}});
    let other = json!({"name": "other", "image": "o:1", "livenessProbe": {"tcpSocket": {"port": 9000}}});
    let patched = injected(&pod(&json!({"containers": [web, other]})), &by_number(8080));
    let containers = &patched["spec"]["containers"];
    assert_eq!(containers[0]["livenessProbe"]["httpGet"]["port"], 15082);
    assert_eq!(containers[0]["readinessProbe"]["httpGet"]["port"], 15082);
    assert_eq!(containers[0]["startupProbe"]["grpc"]["port"], 15082);
    assert_eq!(containers[1]["livenessProbe"]["tcpSocket"]["port"], 9000);
    assert_eq!(containers[0]["ports"][0]["name"], "http", "the name is not what the Service targets");
    let [redirect, agent] = patched["spec"]["initContainers"].as_array().expect("it is a list").as_slice() else {
        panic!("{patched:#}")
    };
    assert_eq!(redirect["args"], json!(["redirect", "8080=15080", "15082=8080"]));
    assert_eq!(redirect["securityContext"]["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}));
    assert!(redirect.get("restartPolicy").is_none(), "it ends when it is done");
    assert_eq!(agent["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    let environment = environment(agent);
    for (name, value) in [("APP", "127.0.0.1:8080"), ("PROBE", "/ready")] {
        assert!(environment.contains(&(format!("BLUEBACK_AGENT_{name}"), value.to_owned())), "{environment:?}");
    }
}

#[test]
fn a_pod_without_a_namespace_finds_out() {
    let settings = InjectionSettings { namespace: None, gate_url: None, ca_pem: None, ..by_name("http") };
    let patched = injected(&pod(&json!({"containers": [web()]})), &settings);
    let environment = environment(&patched["spec"]["initContainers"][0]);
    assert_eq!(environment[0], ("BLUEBACK_AGENT_NAMESPACE".to_owned(), "metadata.namespace".to_owned()));
    assert_eq!(environment[1], ("BLUEBACK_AGENT_SERVICE".to_owned(), "$(BLUEBACK_AGENT_NAMESPACE)/cart".to_owned()));
    assert!(!environment.iter().any(|(name, _)| name.contains("GATE")), "{environment:?}");
}

#[test]
fn what_the_application_depends_on_is_probed_by_the_agent() {
    let dependency = |name: &str| Dependency { name: name.to_owned(), ..Dependency::default() };
    let all = [
        Dependency { postgres: Some("db:5432".to_owned()), ..dependency("database") },
        Dependency { http: Some("http://payments/live?a,b".to_owned()), ..dependency("payments") },
        Dependency { redis: Some("cache".to_owned()), ..dependency("cache") },
        Dependency { tcp: Some("queue:5672".to_owned()), ..dependency("queue") },
    ];
    let dependencies = all.iter().filter_map(Dependency::probe).collect();
    let settings = InjectionSettings { dependencies, ..by_name("http") };
    let patched = injected(&pod(&json!({"containers": [web()]})), &settings);
    let told =
        "database=postgres://db:5432,payments=http://payments/live?a%2Cb,cache=redis://cache,queue=tcp://queue:5672";
    let environment = environment(&patched["spec"]["initContainers"][0]);
    assert!(environment.contains(&("BLUEBACK_AGENT_DEPENDENCY".to_owned(), told.to_owned())), "{environment:?}");
}

#[test]
fn an_agent_is_told_of_a_collector_only_where_there_is_one() {
    let told = |otlp: Option<&str>| {
        let settings = InjectionSettings { otlp: otlp.map(str::to_owned), ..by_name("http") };
        let patched = injected(&pod(&json!({"containers": [web()]})), &settings);
        let environment = environment(&patched["spec"]["initContainers"][0]);
        environment.into_iter().find(|(name, _)| name == "BLUEBACK_AGENT_OTLP").map(|(_, value)| value)
    };
    assert_eq!(told(Some("http://collector:4318")).as_deref(), Some("http://collector:4318"));
    assert_eq!(told(None), None);
}

#[test]
fn wanted_resources_never_contradict_the_defaults() {
    let map = |entries: &[(&str, &str)]| entries.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    for (requests, limits, wanted) in [
        (vec![("memory", "128Mi")], vec![], json!({"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {}})),
        (
            vec![],
            vec![("memory", "8Mi"), ("cpu", "1")],
            json!({"requests": {}, "limits": {"cpu": "1", "memory": "8Mi"}}),
        ),
        (
            vec![("cpu", "1"), ("memory", "8Mi")],
            vec![("memory", "8Mi")],
            json!({"requests": {"cpu": "1", "memory": "8Mi"}, "limits": {"memory": "8Mi"}}),
        ),
    ] {
        let resources = Some(AgentResources { requests: map(&requests), limits: map(&limits) });
        let settings = InjectionSettings { resources, ..by_name("http") };
        let patched = injected(&pod(&json!({"containers": [web()]})), &settings);
        assert_eq!(patched["spec"]["initContainers"][0]["resources"], wanted);
    }
}

#[test]
fn the_guarded_port_is_the_chosen_or_the_first_that_is_tcp() {
    let ports: Vec<ServicePort> = serde_json::from_value(json!([
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "admin", "port": 81},
    ]))
    .expect("they are ports");
    let name = |name: &str| IntOrString::String(name.to_owned());
    for (chosen, wanted) in [
        (None, Ok(name("web"))),
        (Some(name("admin")), Ok(IntOrString::Int(81))),
        (Some(IntOrString::Int(80)), Ok(name("web"))),
        (Some(name("80")), Ok(name("web"))),
        (Some(name("dns")), Err("the Service \"cart\" has no TCP port \"dns\"")),
        (Some(IntOrString::Int(82)), Err("the Service \"cart\" has no TCP port 82")),
    ] {
        let target = target_port("cart", &ports, chosen.as_ref()).map_err(|refusal| refusal.to_string());
        assert_eq!(target, wanted.map_err(str::to_owned), "{chosen:?}");
    }
}
