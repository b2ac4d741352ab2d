//! Text in, text out.

use super::*;

fn wanted(service: &str) -> Wanted {
    let settings = InjectionSettings {
        gate: service.to_owned(),
        namespace: None,
        target: IntOrString::Int(0),
        redirect: false,
        image: "blueback-agent:1".to_owned(),
        resources: None,
        dependencies: Vec::new(),
        gate_url: Some("https://gate:7070".to_owned()),
        ca_pem: Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
        otlp: None,
    };
    Wanted { service: service.to_owned(), port: None, namespace: None, settings }
}

const SERVICE: &str = "\
# Source: shop/service.yaml
apiVersion: v1
kind: Service
metadata: {name: cart}   # short
spec:
  selector: {app: cart}
  ports:
  - {port: 80, targetPort: http}
";

const DEPLOYMENT: &str = "\
---
# Source: shop/deployment.yaml

apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
spec:
  selector:
    matchLabels: {app: cart}
  template:
    metadata:
      labels: {app: cart}
    spec:
      containers:
      - name: web
        image: web:1
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}}
        env:
        - {name: OCTAL, value: \"0644\"}
        - {name: ANSWER, value: \"yes\"}
      volumes:
      - name: config
        configMap: {name: cart, defaultMode: 0644}
";

const OTHERS: &str = "\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cart}
data:
  text: |
    kind: Deployment
     --- not a separator
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: other}
spec: {template: {metadata: {labels: {app: other}}, spec: {containers: [{name: web, ports: [{name: http, containerPort: 1}]}]}}}
---   # nothing here
...
";

fn values(text: &str) -> Vec<Value> {
    read(text).expect("it is YAML").into_iter().map(|document| document.value).collect()
}

#[test]
fn the_selected_workload_gets_an_agent_and_all_else_stays_byte_by_byte() {
    let input = format!("{SERVICE}{DEPLOYMENT}{OTHERS}");
    let rewritten = rewrite(&input, &wanted("cart")).expect("it can be done");
    assert_eq!(rewritten.notes, ["Deployment cart: agent injected"]);
    let middle = rewritten.text.strip_prefix(SERVICE).and_then(|text| text.strip_suffix(OTHERS));
    let middle = middle.expect("what is around it stays");
    assert!(
        middle.starts_with("---\n# Source: shop/deployment.yaml\n\napiVersion: apps/v1\nkind: Deployment\n"),
        "{middle}"
    );
    let spec = &values(middle)[0]["spec"]["template"]["spec"];
    assert_eq!(spec["initContainers"][0]["name"], "blueback-agent");
    assert_eq!(spec["containers"][0]["ports"][0]["name"], "bb-http");
    assert_eq!(spec["containers"][0]["readinessProbe"]["httpGet"]["port"], "bb-http");
    assert_eq!(spec["volumes"][0]["configMap"]["defaultMode"], 0o644, "octal, as Kubernetes reads it");
    for line in ["value: \"0644\"", "value: \"yes\"", "defaultMode: 420"] {
        assert!(middle.replace('\'', "\"").contains(line), "{line} is not in\n{middle}");
    }
    let name = json!({"name": "BLUEBACK_AGENT_SERVICE", "value": "$(BLUEBACK_AGENT_NAMESPACE)/cart"});
    let environment = spec["initContainers"][0]["env"].as_array().expect("it has an environment");
    assert!(environment.contains(&name), "{environment:?}");
    let pem = json!({"name": "BLUEBACK_AGENT_GATE_CA", "value": wanted("cart").settings.ca_pem});
    assert!(environment.contains(&pem), "lines stay lines: {middle}");
}

#[test]
fn what_has_an_agent_is_not_touched_again() {
    let once = rewrite(&format!("{SERVICE}{DEPLOYMENT}"), &wanted("cart")).expect("it can be done");
    let twice = rewrite(&once.text, &wanted("cart")).expect("it can be done");
    assert_eq!(twice.text, once.text);
    assert_eq!(twice.notes, ["Deployment cart: has an agent already"]);
}

#[test]
fn every_kind_of_workload_and_lists_are_understood() {
    let pod = json!({
        "metadata": {"labels": {"app": "cart"}},
        "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
    });
    let mut input = SERVICE.to_owned();
    let mut items = Vec::new();
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"] {
        items.push(json!({"kind": kind, "metadata": {"name": "cart"}, "spec": {"template": pod}}));
    }
    let job = json!({"spec": {"template": pod}});
    items.push(json!({"kind": "CronJob", "metadata": {"name": "cart"}, "spec": {"jobTemplate": job}}));
    let mut alone = pod.clone();
    alone["kind"] = json!("Pod");
    items.push(alone);
    let list = json!({"kind": "List", "apiVersion": "v1", "items": items});
    input.push_str(&format!("---\n{list}\n"));
    let rewritten = rewrite(&input, &wanted("cart")).expect("it can be done");
    assert_eq!(rewritten.notes.len(), 7, "{:?}", rewritten.notes);
    assert_eq!(rewritten.text.matches("name: blueback-agent\n").count(), 7, "{}", rewritten.text);
}

#[test]
fn without_the_service_the_port_says_which() {
    let with_port = |port: &str| Wanted { port: Some(IntOrString::String(port.to_owned())), ..wanted("cart") };
    let rewritten = rewrite(DEPLOYMENT, &with_port("http")).expect("it can be done");
    assert_eq!(rewritten.notes, ["Deployment cart: agent injected"]);
    for (wanted, told) in [
        (wanted("cart"), "the input has no Service cart"),
        (with_port("grpc"), "no workload of the input has the port grpc"),
    ] {
        let complaints = rewrite(DEPLOYMENT, &wanted).expect_err("it cannot be done");
        assert!(complaints[0].contains(told), "{complaints:?}");
    }
}

#[test]
fn a_service_in_another_namespace_selects_nothing_here() {
    let service = SERVICE.replace("{name: cart}", "{name: cart, namespace: shop}");
    let input = format!("{service}{DEPLOYMENT}");
    let complaints = rewrite(&input, &wanted("cart")).expect_err("the Deployment is in no namespace");
    assert!(complaints[0].contains("selects no workload"), "{complaints:?}");
    let here = Wanted { namespace: Some("shop".to_owned()), ..wanted("cart") };
    let rewritten = rewrite(&input, &here).expect("it is said to be in the same one");
    assert!(rewritten.text.contains("value: shop/cart"), "{}", rewritten.text);
}

#[test]
fn what_cannot_be_done_is_told_and_nothing_is_written() {
    let numeric = SERVICE.replace("targetPort: http", "targetPort: 8080");
    let complaints = rewrite(&format!("{numeric}{DEPLOYMENT}"), &wanted("cart")).expect_err("it is a number");
    assert!(complaints[0].starts_with("Deployment cart: ") && complaints[0].contains("--redirect"), "{complaints:?}");
    let complaints = rewrite("---\na: b\n---\n a: [\n", &wanted("cart")).expect_err("it is not YAML");
    assert!(complaints[0].starts_with("document 2: "), "{complaints:?}");
}

#[test]
fn documents_are_split_and_joined_without_loss() {
    for input in [
        "",
        "---",
        "---\n",
        "a: b",
        "a: b\n---\n---\nc: d\n",
        "--- # x\na: |\n  ---\n  b\n----: c\n",
        "\r\n---\r\na: b\r\n",
    ] {
        assert_eq!(split(input).concat(), input);
    }
    assert_eq!(split("a: b\n---\nc: d\n"), ["a: b\n", "---\nc: d\n"]);
}
