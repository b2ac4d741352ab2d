//! Real agents beside real applications, which learn from the gate whose side they are on: a selector switched to a green that
//! fails is shielded by them, and taken back. Requests go straight to a pod's agent, as there is nobody here to balance them.

use std::net::{Ipv4Addr, SocketAddr};

use blueback::load::Plan;
use blueback::sample::{Config, Fault, Sample};
use blueback_gate::kubernetes::types::AGENT_PORT;
use blueback_tests::{Process, Traffic, free_address};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::shop::{GATE, SHOP, Shop, labels};

/// Requests a second to each pod.
const RATE: f64 = 100.0;

struct Guarded {
    app: Sample,
    traffic: Traffic,
    _agent: Process,
}

/// A pod with an application and an agent, which is told nothing but where the gate is.
async fn guarded(shop: &Shop, color: &'static str, address: Ipv4Addr) -> Guarded {
    guarded_by(shop, shop.api, color, address).await
}

/// The same, with an agent that is told of this gate.
async fn guarded_by(shop: &Shop, gate: SocketAddr, color: &'static str, address: Ipv4Addr) -> Guarded {
    let (pod, set) = (format!("cart-{color}-1-guarded"), format!("cart-{color}-1"));
    let app = Config { listen: free_address(), ..Config::new(color) };
    let (listen, application) = (format!("{address}:{AGENT_PORT}"), app.listen.to_string());
    let app = Sample::start(app).await.expect("the port is free");
    let uid = shop.pods.make_guarded(&pod, &labels(color), &set).await;
    let gate = format!("https://localhost:{}", gate.port());
    let token = shop.tls.write(&format!("{pod}.token"), &shop.server.token(SHOP, &pod, &uid).await);
    let (token, authority) = (token.display().to_string(), shop.tls.path().join("ca.crt").display().to_string());
    let agent = Process::start(
        "blueback-agent",
        [
            "--service",
            "shop/cart",
            "--role",
            "sidecar",
            "--listen",
            &listen,
            "--app",
            &application,
            "--gate",
            &gate,
            "--gate-ca-file",
            &authority,
            "--token-file",
            &token,
            "--pod",
            &pod,
            "--pod-uid",
            &uid,
        ],
    );
    shop.pods.set_ready_at(&pod, true, address).await;
    let traffic = Traffic::new(Plan::new(listen.parse().expect("it is an address"), RATE));
    Guarded { app, traffic, _agent: agent }
}

fn after_ms(release: &Value, what: &str) -> Option<f64> {
    let moments = release["status"]["timeline"].as_array()?;
    let at = |what: &str| {
        let moment = moments.iter().find(|moment| moment["what"] == what)?;
        let at: jiff::Timestamp = moment["at"].as_str()?.parse().ok()?;
        Some(at.as_millisecond() as f64)
    };
    Some(at(what)? - at("switched")?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_green_that_fails_is_shielded_and_taken_back() {
    let shop = Shop::open(json!({})).await;
    let mut blue = guarded(&shop, "blue", Ipv4Addr::new(127, 0, 7, 1)).await;
    let mut green = guarded(&shop, "green", Ipv4Addr::new(127, 0, 7, 2)).await;
    shop.until_gate("two agents", |status| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["message"] == "2 agents report")
    })
    .await;
    blue.traffic.begin();
    blue.traffic.answered_by("blue", 300).await;

    green.app.set_fault(Fault { error_rate: 1.0, ..Fault::default() });
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    green.traffic.begin();
    let release = shop.until_release("cart-1", "the revert", |status| status["phase"] == "Reverted").await;
    assert_eq!(shop.color().await, "blue");
    assert!(after_ms(&release, "shielded").is_some_and(|ms| ms <= 3_000.0), "{release}");
    assert!(after_ms(&release, "proven").is_some_and(|ms| ms <= 10_000.0), "{release}");

    // Whoever still asks green is answered by blue: its agent has learnt where that is.
    green.traffic.answered_by("blue", 100).await;
    let failed = green.traffic.stop().await.iter().filter(|request| request.is_failed()).count();
    assert!((4..=160).contains(&failed), "{failed} requests failed");
    let blues = blue.traffic.stop().await;
    assert!(blues.iter().all(|request| !request.is_failed()), "blue has failed a request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shield_holds_when_what_was_reverted_is_applied_again() {
    let shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    let mut green = guarded(&shop, "green", Ipv4Addr::new(127, 0, 8, 2)).await;
    let _blue = guarded(&shop, "blue", Ipv4Addr::new(127, 0, 8, 1)).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    green.traffic.begin();
    green.traffic.answered_by("green", 50).await;
    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    green.traffic.answered_by("blue", 50).await;
    // As Argo CD and Flux do.
    shop.select("green").await;
    shop.until_gate("the conflict", |status| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["reason"] == "Conflict")
    })
    .await;
    assert_eq!(shop.color().await, "green", "nobody fights");
    let further = green.traffic.pass(100).await;
    assert!(
        further.iter().all(|request| request.backend.as_deref().is_some_and(|by| by.starts_with("blue"))),
        "{further:?}"
    );
    // A person decides: it is tried again.
    let answer = shop.post("/v1/services/shop%2Fcart/switch", &json!({"to": "green"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate("the second release", |status| status["release"] == "cart-2").await;
    green.traffic.answered_by("green", 50).await;
    let failed = green.traffic.stop().await.iter().filter(|request| request.is_failed()).count();
    assert_eq!(failed, 0, "no request fails by any of this");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_divert_nothing_when_the_gate_is_taken_away_for_good() {
    let mut shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    let labels = json!({"app": "gate"});
    let pods = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "gate", "image": "gate"}]}});
    let spec = json!({"selector": {"matchLabels": labels}, "template": pods});
    shop.server.create::<Deployment>(SHOP, json!({"metadata": {"name": GATE}, "spec": spec})).await;
    let mut green = guarded(&shop, "green", Ipv4Addr::new(127, 0, 10, 2)).await;
    let _blue = guarded(&shop, "blue", Ipv4Addr::new(127, 0, 10, 1)).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    let answer = shop.post("/v1/services/shop%2Fcart/revert", &json!({"why": "a test"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.until_gate("the revert", |status| status["phase"] == "Reverted").await;
    green.traffic.begin();
    green.traffic.answered_by("blue", 100).await;
    // A gate that is only away leaves agents as they are.
    shop.gate.kill().await;
    green.traffic.answered_by("blue", 100).await;
    shop.gate = shop.start_gate(shop.api, "gate-a", true);
    shop.until_gate("both agents again", |status| status["conditions"].to_string().contains("2 agents report")).await;
    green.traffic.answered_by("blue", 100).await;
    let further = green.traffic.pass(100).await;
    assert!(further.iter().all(|request| request.backend.as_deref().is_some_and(|by| by.starts_with("blue"))));

    let deployments: Api<Deployment> = Api::namespaced(shop.server.client.clone(), SHOP);
    deployments.delete(GATE, &DeleteParams::default()).await.expect("it is deleted");
    green.traffic.answered_by("green", 100).await;
    shop.gate.kill().await;
    let further = green.traffic.pass(100).await;
    assert!(further.iter().all(|request| request.backend.as_deref().is_some_and(|by| by.starts_with("green"))));
    let failed = green.traffic.stop().await.iter().filter(|request| request.is_failed()).count();
    assert_eq!(failed, 0, "no request fails by any of this");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_find_the_leader_and_its_successor_goes_on_judging() {
    let mut shop = Shop::open(json!({"afterRevert": "Keep"})).await;
    shop.until_gate("the gate", |status| status["serving"] == "cart-blue-1").await;
    let second = free_address();
    let _second = shop.start_gate(second, "gate-b", true);
    // They are told of the gate that does not lead.
    let mut blue = guarded_by(&shop, second, "blue", Ipv4Addr::new(127, 0, 9, 1)).await;
    let mut green = guarded_by(&shop, second, "green", Ipv4Addr::new(127, 0, 9, 2)).await;
    let agents = |status: &Value| status["conditions"].to_string().contains("2 agents report");
    shop.until_gate("two agents", agents).await;
    blue.traffic.begin();
    blue.traffic.answered_by("blue", 100).await;
    shop.select("green").await;
    shop.until_gate("the switch", |status| status["phase"] == "Watching").await;
    green.traffic.begin();
    green.traffic.answered_by("green", 100).await;
    shop.until_release("cart-1", "what a successor needs", |status| status["resume"]["judge"].is_string()).await;
    // The leader dies in the moment in which green begins to fail.
    green.app.set_fault(Fault { error_rate: 1.0, ..Fault::default() });
    shop.gate.kill().await;
    let release = shop.until_release("cart-1", "the revert", |status| status["phase"] == "Reverted").await;
    assert!(after_ms(&release, "restarted") < after_ms(&release, "proven"), "{release}");
    assert_eq!(shop.color().await, "blue");
    green.traffic.answered_by("blue", 100).await;
    assert!(blue.traffic.stop().await.iter().all(|request| !request.is_failed()), "blue has failed a request");
}
