//! A Service whose target port is a number: redirected where the ReleaseGate allows it, and pods that decline.

use blueback_tests::cluster::{App, LoadPod, Namespace, condition, gate_installed, service};
use serde_json::{Value, json};

fn containers(pods: &Value) -> Vec<String> {
    let all = pods["items"].as_array().into_iter().flatten();
    all.flat_map(|pod| pod["spec"]["initContainers"].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_numeric_port_is_redirected_and_who_declines_is_left_alone() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("numeric", &json!({"agent": {"redirect": true}})).await;
    let mut service = service("blue");
    service["spec"]["ports"][0]["targetPort"] = json!(8080);
    let mut green = App::new("green").deployment();
    green["spec"]["template"]["metadata"]["annotations"] = json!({"blueback.dev/inject": "false"});
    shop.apply(&[service, App::new("blue").deployment(), green]).await;
    shop.rolled_out("blue").await;
    shop.rolled_out("green").await;
    let names = |color: &str| {
        let shop = &shop;
        let selector = format!("color={color}");
        async move {
            let text = shop.kubectl(&["get", "pods", "--selector", &selector, "-o", "json"]).await;
            containers(&serde_json::from_str(&text).expect("kubectl writes JSON"))
        }
    };
    assert!(names("green").await.is_empty(), "it declined");
    let blue = names("blue").await;
    for name in ["blueback-redirect", "blueback-agent"] {
        assert_eq!(blue.iter().filter(|found| *found == name).count(), 2, "{name} in {blue:?}");
    }
    shop.gate_until(|status| condition(status, "AgentsConnected").0 == "True").await;
    let load = LoadPod::start(&shop, "load", "http://shop/", &["--rps", "50", "--connections", "fresh"]).await;
    load.answered_by("blue", 200).await;
    // The agents see what the Service sends to the number.
    shop.gate_until(|status| status["phase"] == "Idle").await;
    let load = load.stop(&shop).await;
    assert_eq!((load.failed, load.lost.len()), (0, 0), "{load:?}");
}
