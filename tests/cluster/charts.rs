//! A team's own chart, upgraded over a revert, by helm 3 and by helm 4.

use blueback_tests::Folder;
use blueback_tests::cluster::{App, LoadPod, Namespace, condition, gate_installed, service};
use serde_json::json;

use crate::{SOON, outage};

/// Writes a chart whose value `color` is what the Service selects, and `green` the version of green.
fn chart(folder: &Folder) -> String {
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("the folder can be made");
        std::fs::write(&path, text).expect("the file can be written");
    };
    write("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
    write("values.yaml", "color: blue\ngreen: one\n");
    let service = service("blue").to_string().replace(r#""color":"blue""#, r#""color":"{{ .Values.color }}""#);
    write("templates/service.yaml", &service);
    write("templates/blue.yaml", &App::new("blue").deployment().to_string());
    let mut green = App::new("green").deployment();
    green["spec"]["template"]["metadata"]["annotations"] = json!({"version": "{{ .Values.green }}"});
    write("templates/green.yaml", &green.to_string());
    folder.path().display().to_string()
}

async fn upgraded_over_a_revert(helm: &str) {
    gate_installed(&[]).await;
    let folder = Folder::new();
    let chart = chart(&folder);
    let shop = Namespace::guarded(helm, &json!({})).await;
    let upgrade = async |values: &str| {
        let told = shop.command(&[helm, "upgrade", "--install", "shop", &chart, "--set", values], "").await;
        told.unwrap_or_else(|error| panic!("{error}"));
    };
    upgrade("color=blue").await;
    shop.rolled_out("blue").await;
    shop.rolled_out("green").await;
    let load = LoadPod::start(&shop, "load", "http://shop/", &["--rps", "100", "--connections", "fresh"]).await;
    load.answered_by("blue", 1_000).await;

    upgrade("color=green").await;
    load.answered_by("green", 200).await;
    shop.does("color=green", outage()).await;
    let first = shop.gate_until(|status| status["phase"] == "Reverted").await["status"]["release"].clone();
    assert_eq!(shop.selected().await, "blue");
    shop.until(SOON, "deployment/green", |green| green["spec"]["replicas"] == 0).await;

    // What was reverted and is applied again as it was is not fought over: the gate says so, and its agents divert.
    upgrade("color=blue").await;
    shop.rolled_out("green").await;
    upgrade("color=green").await;
    shop.gate_until(|status| condition(status, "TrafficOwned") == ("False", "Conflict")).await;
    let before = load.totals().failed;
    load.answered_by("blue", 200).await;
    assert_eq!(load.totals().failed, before, "the shield holds");

    // The team mends green: the next upgrade is a release like any other.
    upgrade("color=blue,green=two").await;
    shop.rolled_out("green").await;
    shop.gate_until(|status| condition(status, "TrafficOwned").0 == "True").await;
    upgrade("color=green,green=two").await;
    load.answered_by("green", 200).await;
    let gate = shop.gate_until(|status| status["phase"] == "Watching" && status["release"] != first).await;
    assert_eq!(shop.selected().await, "green", "{gate}");
    // Back by helm itself: that ends the release.
    let told = shop.command(&[helm, "rollback", "shop"], "").await;
    told.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shop.selected().await, "blue");
    shop.gate_until(|status| status["phase"] == "Reverted" && status["release"] != first).await;
    load.answered_by("blue", 200).await;
    let load = load.stop(&shop).await;
    assert!(load.lost.is_empty(), "{load:?}");
    let told = shop.command(&[helm, "uninstall", "shop"], "").await;
    told.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn helm_3_upgrades_after_a_revert() {
    upgraded_over_a_revert("helm").await;
}

#[tokio::test]
async fn helm_4_upgrades_after_a_revert() {
    upgraded_over_a_revert("helm4").await;
}
