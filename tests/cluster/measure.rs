//! What a total outage costs on a cluster, and what the gate and its agents take: figures for docs/benchmarks.md.
//!
//! `tests/cluster/run --shipped --ignored measure`

use blueback::load::account::Totals;
use blueback_tests::cluster::{LoadPod, Namespace, gate_installed, inside};
use serde_json::{Value, json};

use crate::{outage, served, tell};

/// Of each process of this name in the node: kilobytes that are resident, and processor time in hundredths of a second.
async fn taken(name: &str) -> Vec<(u64, u64)> {
    let command = format!(
        "for pid in $(pgrep -x {name}); do echo $(awk '/^VmRSS/ {{ print $2 }}' /proc/$pid/status) \
         $(cut -d' ' -f14,15 /proc/$pid/stat); done"
    );
    let text = inside(["sh", "-c", &command], "").await.unwrap_or_else(|error| panic!("{error}"));
    let numbers = |line: &str| line.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
    let process = |line: &str| match numbers(line).as_slice() {
        [resident, user, system] => Some((*resident, user + system)),
        _ => None,
    };
    text.lines().filter_map(process).collect()
}

/// When green breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    AtTheSwitch,
    FiveSecondsLater,
}

/// How many failed in each tenth of a second, from that with the first of them on.
fn course(load: &Totals) -> String {
    let failed: Vec<_> = load.slices.iter().map(|[_, failed]| *failed).collect();
    let first = failed.iter().position(|failed| *failed > 0).unwrap_or_default();
    let last = failed.iter().rposition(|failed| *failed > 0).map_or(first, |last| last + 1);
    failed[first..last].iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

async fn measured(rps: u64, connections: &str, breaks: Breaks) {
    let shop = Namespace::guarded("measure", &json!({})).await;
    served(&shop).await;
    let words = rps.to_string();
    let load = LoadPod::start(&shop, "load", "http://shop/", &["--rps", &words, "--connections", connections]).await;
    load.answered_by("blue", 10 * rps).await;
    if breaks == Breaks::AtTheSwitch {
        shop.does("color=green", outage()).await;
    }
    shop.select("green").await;
    if breaks == Breaks::FiveSecondsLater {
        load.answered_by("green", 5 * rps).await;
        shop.does("color=green", outage()).await;
    }
    let gate = shop.gate_until(|status| status["phase"] == "Reverted").await;
    load.answered_by("blue", 5 * rps).await;
    let (gates, agents) = (taken("blueback-gate").await, taken("blueback-agent").await);
    let load = load.stop(&shop).await;
    let name = gate["status"]["release"].as_str().expect("the gate names its release").to_owned();
    let release = shop.get(&format!("release/{name}")).await.expect("it is kept");
    let record = release["status"]["resume"]["record"].as_str().expect("it is kept for the next gate");
    let record: Value = serde_json::from_str(record).expect("it is JSON");
    let timeline = record["release"]["timeline"].as_array().cloned().unwrap_or_default();
    let first = load.first_failed.expect("there was an outage");
    let after = |what: &str| {
        let moment = timeline.iter().find(|moment| moment["what"] == what);
        moment.and_then(|moment| moment["at_ms"].as_u64()).map(|at| at as i64 - first as i64)
    };
    tell(&format!(
        "{rps} requests a second, {connections}, {breaks:?}: {} failed, {} lost; ms after the first failure: shielded {:?}, proven {:?}, last failure {}, \
         selector reverted {:?}, green let go {:?}; failed in tenths of a second: {}; KiB and 10 ms of gate {gates:?}, of agents {agents:?}; {timeline:?}",
        load.failed,
        load.lost.values().sum::<u64>(),
        after("shielded"),
        after("proven"),
        load.last_failed.unwrap_or_default() - first,
        after("reverted"),
        after("released"),
        course(&load),
    ));
}

#[tokio::test]
#[ignore = "figures, and minutes"]
async fn measure() {
    gate_installed(&[]).await;
    for rps in [100, 1_000] {
        for connections in ["fresh", "kept"] {
            for breaks in [Breaks::AtTheSwitch, Breaks::FiveSecondsLater] {
                measured(rps, connections, breaks).await;
            }
        }
    }
}
