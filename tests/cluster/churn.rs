//! Pods come and go in the middle of a release: that is no release of its own, and nothing is reverted for it.

use blueback_tests::cluster::{HOME, Namespace, chart, command, condition, gate_installed, leader};
use serde_json::json;

use crate::{outage, served, switched, tell};

#[tokio::test]
async fn scaling_and_restarts_in_mid_release_change_nothing() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("churn", &json!({"bake": "10m"})).await;
    served(&shop).await;
    let load = switched(&shop).await;
    let release = shop.gate_until(|status| status["phase"] == "Watching").await["status"]["release"].clone();

    for replicas in ["4", "1", "2"] {
        shop.kubectl(&["scale", "deployment/green", "--replicas", replicas]).await;
        shop.rolled_out("green").await;
        load.answered_by("green", 200).await;
    }
    // As a drained node does it: one after the other, by eviction.
    for pod in shop.pods("color=green").await {
        shop.kubectl(&["delete", "pod", &pod.name]).await;
        shop.rolled_out("green").await;
        load.answered_by("green", 100).await;
    }
    shop.kubectl(&["rollout", "restart", "deployment/blue"]).await;
    shop.rolled_out("blue").await;
    load.answered_by("green", 200).await;

    let gate = shop.gate_until(|_| true).await;
    assert_eq!((&gate["status"]["phase"], &gate["status"]["release"]), (&json!("Watching"), &release), "{gate}");
    assert_eq!(shop.selected().await, "green");
    let load = load.stop(&shop).await;
    assert_eq!((load.failed, load.lost.len()), (0, 0), "no request fails by it: {load:?}");
}

/// Runs helm, and waits until its gates are ready.
async fn helm(arguments: &[&str]) -> String {
    let own = ["--namespace", HOME, "--timeout", "50s"];
    command(arguments.iter().copied().chain(own), "").await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn blueback_itself_is_upgraded_and_rolled_back_in_mid_release() {
    gate_installed(&[]).await;
    let shop = Namespace::guarded("upgraded", &json!({"bake": "10m"})).await;
    served(&shop).await;
    let load = switched(&shop).await;
    let release = shop.gate_until(|status| status["phase"] == "Watching").await["status"]["release"].clone();
    let chart = chart();
    for program in ["helm", "helm4"] {
        for step in ["upgrade", "rollback"] {
            let before = leader().await;
            // A value that the pods carry, so that every gate is another one.
            let value = format!("--set-string=gate.podAnnotations.upgraded={program}");
            match step {
                "upgrade" => helm(&[program, step, HOME, &chart, "--reuse-values", &value, "--wait"]).await,
                _ => helm(&[program, step, HOME, "--wait"]).await,
            };
            let gate = shop
                .gate_until(|status| condition(status, "AgentsConnected").0 == "True" && status["phase"] == "Watching")
                .await;
            assert_eq!(gate["status"]["release"], release, "{program} {step}: {gate}");
            blueback_tests::until(crate::SOON, "another leader", async || match leader().await {
                now if now == before => Err(now),
                _ => Ok(()),
            })
            .await;
            load.answered_by("green", 100).await;
        }
        let told = helm(&[program, "test", HOME]).await;
        assert!(told.contains("Succeeded"), "{program}: {told}");
    }
    assert_eq!((load.totals().failed, load.totals().lost.len()), (0, 0), "no request fails by it: {:?}", load.totals());

    // The newest gate knows all that the first one has seen of this release, and still guards it.
    shop.does("color=green", outage()).await;
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    assert_eq!((&gate["status"]["release"], shop.selected().await.as_str()), (&release, "blue"), "{gate}");
    load.answered_by("blue", 200).await;
    let load = load.stop(&shop).await;
    assert!(load.lost.is_empty(), "{load:?}");
    tell(&format!("{} of 100 requests a second failed in an outage after four gates", load.failed));
}
