//! Objects in, snapshots out.

use serde_json::json;

use super::*;

const NAME: (&str, &str) = ("shop", "cart");

fn name(name: &str) -> Name {
    (NAME.0.to_owned(), name.to_owned())
}

fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A cluster with a ReleaseGate of this traffic.
fn cluster(traffic: &Value) -> Index {
    let gate = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
        "metadata": {"name": NAME.1, "namespace": NAME.0}, "spec": {"traffic": traffic}});
    let gate = serde_json::from_value(gate).expect("it is a ReleaseGate");
    let mut index = Index::default();
    index.apply(Seen::Gate(name(NAME.1), Some(Arc::new(gate))));
    index
}

/// A Service with these labels as its selector, and ports 80 and 81.
fn entry(selector: &[(&str, &str)]) -> ServiceEntry {
    let selector: BTreeMap<_, _> = selector.iter().copied().collect();
    let ports = json!([{"name": "http", "port": 80, "targetPort": "web"}, {"name": "admin", "port": 81}]);
    let service = json!({"spec": {"selector": selector, "ports": ports}});
    ServiceEntry::trimmed(serde_json::from_value(service).expect("it is a Service"))
}

fn service(index: &mut Index, service: &str, selector: &[(&str, &str)]) {
    index.apply(Seen::Service(name(service), Some(entry(selector))));
}

fn pod(index: &mut Index, pod: &str, color: &str, set: &str, ready: bool) {
    let pod_object = json!({
        "metadata": {"name": pod, "uid": pod, "labels": {"app": "cart", "color": color},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true}]},
        "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": AGENT_CONTAINER}]},
        "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": if ready {"True"} else {"False"}}]},
    });
    let object: core::Pod = serde_json::from_value(pod_object).expect("it is a pod");
    index.apply(Seen::Pod(name(pod), PodEntry::trimmed(&object).map(Box::new)));
}

fn check(index: &Index, expected: &[(&str, bool, f64)]) {
    let snapshot = index.snapshot(&name(NAME.1)).expect("the traffic is understood");
    let seen: Vec<_> = snapshot.groups.iter().map(|group| (&*group.name, group.selected, group.share)).collect();
    assert_eq!(seen, expected);
}

fn blue_and_green() -> Index {
    let mut index = cluster(&json!({"service": "cart"}));
    service(&mut index, "cart", &[("app", "cart"), ("color", "blue")]);
    for number in 1..=2 {
        pod(&mut index, &format!("blue-{number}"), "blue", "cart-1", true);
        pod(&mut index, &format!("green-{number}"), "green", "cart-2", true);
    }
    index
}

#[test]
fn a_selector_says_which_group_serves() {
    let mut index = blue_and_green();
    check(&index, &[("cart-1", true, 1.0), ("cart-2", false, 0.0)]);
    service(&mut index, "cart", &[("app", "cart"), ("color", "green")]);
    check(&index, &[("cart-1", false, 0.0), ("cart-2", true, 1.0)]);
    let snapshot = index.snapshot(&name(NAME.1)).expect("it is understood");
    assert_eq!(snapshot.pods[0].agent, Some(SocketAddr::from(([10, 0, 0, 7], AGENT_PORT))));
}

#[test]
fn a_rolling_update_is_shared_by_ready_pods() {
    let mut index = cluster(&json!({"service": "cart"}));
    service(&mut index, "cart", &[("app", "cart")]);
    for number in 1..=3 {
        pod(&mut index, &format!("old-{number}"), "blue", "cart-1", true);
    }
    pod(&mut index, "new-1", "blue", "cart-2", false);
    check(&index, &[("cart-1", true, 1.0), ("cart-2", true, 0.0)]);
    pod(&mut index, "new-1", "blue", "cart-2", true);
    check(&index, &[("cart-1", true, 0.75), ("cart-2", true, 0.25)]);
}

#[test]
fn a_group_without_a_ready_pod_still_is_sent_what_the_selector_says() {
    let mut index = blue_and_green();
    service(&mut index, "cart", &[("app", "cart"), ("color", "green")]);
    for number in 1..=2 {
        pod(&mut index, &format!("green-{number}"), "green", "cart-2", false);
    }
    check(&index, &[("cart-1", false, 0.0), ("cart-2", true, 1.0)]);
}

#[test]
fn weights_of_a_route_are_shares() {
    let mut index = cluster(&json!({"httpRoute": {"name": "cart"}}));
    service(&mut index, "a", &[("app", "cart"), ("color", "blue")]);
    service(&mut index, "b", &[("app", "cart"), ("color", "green")]);
    pod(&mut index, "blue-1", "blue", "cart-1", true);
    pod(&mut index, "green-1", "green", "cart-2", true);
    let error = index.snapshot(&name(NAME.1)).expect_err("there is no route yet");
    assert_eq!(error, "there is no HTTPRoute cart");
    for (weights, expected) in [((80, 20), (0.8, 0.2, true)), ((1, 0), (1.0, 0.0, false))] {
        let route = json!({"spec": {"rules": [{"backendRefs": [
            {"name": "a", "weight": weights.0}, {"name": "b", "weight": weights.1}]}]}});
        index.apply(Seen::Weights("HTTPRoute".to_owned(), name("cart"), Some(route)));
        check(&index, &[("cart-1", true, expected.0), ("cart-2", expected.2, expected.1)]);
    }
}

#[test]
fn what_is_missing_is_said() {
    let mut index = cluster(&json!({"service": "cart"}));
    let problem = |index: &Index| index.snapshot(&name(NAME.1)).expect_err("it is not complete");
    assert_eq!(problem(&index), "there is no Service cart");
    service(&mut index, "cart", &[]);
    assert!(problem(&index).contains("has no selector"), "{}", problem(&index));
}

#[test]
fn pods_on_their_way_out_serve_nobody() {
    let mut index = blue_and_green();
    let leaving: core::Pod = serde_json::from_value(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
        .expect("it is a pod");
    assert_eq!(PodEntry::trimmed(&leaving), None);
    for number in 1..=2 {
        index.apply(Seen::Pod(name(&format!("blue-{number}")), None));
    }
    check(&index, &[("cart-2", false, 0.0)]);
}

#[test]
fn what_keeps_a_pod_from_running_is_told() {
    let container = |state: Value, last: Value| -> (Option<Trouble>, bool) {
        let status = json!({"name": "app", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": state, "lastState": last});
        let status = serde_json::from_value(status).expect("it is a status");
        (trouble(&status), was_out_of_memory(&status))
    };
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let ended = |reason: &str| json!({"terminated": {"reason": reason, "exitCode": 1}});
    let running = json!({"running": {}});
    assert_eq!(container(waiting("CrashLoopBackOff"), ended("Error")), (Some(Trouble::CrashLooping), false));
    assert_eq!(container(waiting("CrashLoopBackOff"), ended("OOMKilled")), (Some(Trouble::CrashLooping), true));
    assert_eq!(container(ended("OOMKilled"), json!({})), (None, true));
    assert_eq!(container(waiting("ImagePullBackOff"), json!({})), (Some(Trouble::ImagePull), false));
    assert_eq!(container(waiting("ContainerCreating"), json!({})), (None, false));
    assert_eq!(container(running, ended("Error")), (None, false));
}

#[test]
fn only_changes_that_matter_are_told() {
    let mut index = blue_and_green();
    let selector = entry(&[("app", "cart"), ("color", "blue")]);
    assert!(index.apply(Seen::Service(name("cart"), Some(selector))).is_empty(), "it is what it was");
    let elsewhere = ("other".to_owned(), "cart".to_owned());
    assert!(index.apply(Seen::Service(elsewhere, Some(entry(&[("a", "b")])))).is_empty(), "nobody guards it");
    assert_eq!(index.apply(Seen::Pod(name("blue-1"), None)).len(), 1);
}

#[test]
fn a_pod_belongs_to_whoever_may_be_switched_to_it() {
    let index = blue_and_green();
    let of = |pod: &[(&str, &str)]| index.gate_of_pod(NAME.0, &labels(pod)).is_some();
    assert!(of(&[("app", "cart"), ("color", "purple")]));
    assert!(!of(&[("app", "cart")]), "no selector with a color would find it");
    assert!(!of(&[("app", "pay"), ("color", "red")]));
    assert!(of(&[(GATE_LABEL, "cart")]), "it says so itself");
    assert!(!of(&[(GATE_LABEL, "pay"), ("app", "cart"), ("color", "blue")]), "it says another one");
}

#[test]
fn an_agent_is_told_the_port_of_the_service_that_finds_its_pod() {
    let index = blue_and_green();
    let green = labels(&[("app", "cart"), ("color", "green")]);
    let facts = index.facts_of_pod(NAME.0, &green).expect("it may be switched to it");
    assert_eq!((facts.name.as_str(), facts.namespace.as_str()), (NAME.1, NAME.0));
    assert_eq!(facts.target, Ok(IntOrString::String("web".to_owned())));
    assert!(!facts.redirect && facts.image.is_none() && facts.dependencies.is_empty());
    assert_eq!(index.facts_of_pod("elsewhere", &green), None);

    let gate = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
        "metadata": {"name": NAME.1, "namespace": NAME.0}, "spec": {"traffic": {"service": "cart"}, "port": "admin",
            "agent": {"redirect": true, "image": "agent:2"}, "dependencies": [{"name": "db", "tcp": "db:1"}]}});
    let mut index = index;
    index.apply(Seen::Gate(name(NAME.1), Some(Arc::new(serde_json::from_value(gate).expect("it is a ReleaseGate")))));
    let facts = index.facts_of_pod(NAME.0, &green).expect("it may be switched to it");
    assert_eq!((facts.target, facts.redirect), (Ok(IntOrString::Int(81)), true));
    assert_eq!(index.not_injected(&name(NAME.1)), None, "it may be redirected");
    assert_eq!(
        (facts.image.as_deref(), facts.dependencies.as_slice()),
        (Some("agent:2"), &["db=tcp://db:1".to_owned()][..])
    );
}

#[test]
fn a_port_that_no_agent_can_take_is_told() {
    for (port, told) in
        [(json!("http"), None), (json!(81), Some("port number 81")), (json!("none"), Some("has no TCP port"))]
    {
        let gate = json!({"apiVersion": "blueback.dev/v1alpha1", "kind": "ReleaseGate",
            "metadata": {"name": NAME.1, "namespace": NAME.0}, "spec": {"traffic": {"service": "cart"}, "port": port}});
        let mut index = blue_and_green();
        index.apply(Seen::Gate(
            name(NAME.1),
            Some(Arc::new(serde_json::from_value(gate).expect("it is a ReleaseGate"))),
        ));
        let refusal = index.not_injected(&name(NAME.1)).map(|refusal| refusal.to_string());
        match told {
            Some(told) => assert!(refusal.as_ref().is_some_and(|text| text.contains(told)), "{refusal:?}"),
            None => assert_eq!(refusal, None),
        }
    }
}

#[test]
fn a_pod_is_guarded_when_it_is_known_and_found() {
    let mut index = blue_and_green();
    let pod_called =
        |pod: &str, uid: &str| PodIdentity { namespace: NAME.0.to_owned(), name: pod.to_owned(), uid: uid.to_owned() };
    let known = pod_called("green-1", "green-1");
    assert_eq!(index.guards(NAME.1, &known), Guards::Yes);
    assert_eq!(index.guards(NAME.1, &pod_called("green-1", "its successor")), Guards::NotYetKnown);
    assert_eq!(index.guards(NAME.1, &pod_called("green-9", "green-9")), Guards::NotYetKnown);
    assert_eq!(index.guards("pay", &known), Guards::NotYetKnown, "the list may not be complete");
    index.listed("");
    assert_eq!(index.guards("pay", &known), Guards::No);
    service(&mut index, "cart", &[("app", "basket"), ("color", "red")]);
    assert_eq!(index.guards(NAME.1, &known), Guards::No, "its Service finds other pods");
}
