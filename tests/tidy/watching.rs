//! Alerts and dashboards name what exists: metrics that are declared, runbooks that are written, and alerts that are
//! tested both ways. A query for a metric that nobody exports is silent, which looks exactly like health.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::promql::metrics;
use crate::{files, read, root, yaml};

/// What others export: Prometheus itself, its client libraries, and postgres_exporter.
const STANDARD: [&str; 8] = [
    "ALERTS",
    "pg_settings_max_connections",
    "pg_stat_database_numbackends",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "up",
];

const SECTIONS: [&str; 4] = ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"];
const RUNBOOKS: usize = 13;

/// Names that the code declares: literals in metrics.rs with the whole name, or the first argument of a method of `make` or of `Make`.
pub(crate) fn declared() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (folder, prefix) in [("agent/src", "blueback_agent_"), ("gate/src", "blueback_gate_")] {
        for path in files(folder, ".rs") {
            let metrics =
                path.ends_with("metrics.rs") || path.parent().is_some_and(|parent| parent.ends_with("metrics"));
            if !metrics {
                continue;
            }
            let text = read(&path);
            let is_name = |literal: &&str| {
                literal.starts_with(prefix) && literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            for literal in text.split('"').skip(1).step_by(2).filter(is_name) {
                names.insert(literal.to_owned());
            }
            for call in text.split("make").skip(1).chain(text.split("Make::").skip(1)) {
                let name = || {
                    let (method, argument) = call.trim_start().trim_start_matches('.').split_once('(')?;
                    let plain = method.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                    let name = argument.trim_start().strip_prefix('"')?.split_once('"')?.0;
                    plain.then(|| format!("{prefix}{name}"))
                };
                names.extend(name());
            }
        }
    }
    names
}

/// Rules of alerts/rules as they are written: name of the file's group, and the rule.
fn rules() -> Vec<Value> {
    let mut rules = Vec::new();
    for path in files("alerts/rules", ".yaml") {
        for group in yaml(&path)["groups"].as_array().expect("a rules file has groups") {
            rules.extend(group["rules"].as_array().expect("a group has rules").iter().cloned());
        }
    }
    rules
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

/// Dashboards by the name of their file.
fn dashboards() -> BTreeMap<String, Value> {
    let one = |path: std::path::PathBuf| {
        let name = path.display().to_string();
        (name.clone(), serde_json::from_str(&read(&path)).unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    files("dashboards", ".json").into_iter().map(one).collect()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

/// Every query: where it stands, and its words.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for rule in rules() {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).expect("a rule alerts or records");
        queries.push((name.to_owned(), text(&rule, "expr").to_owned()));
    }
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                queries.push((format!("{file}: {}", text(panel, "title")), text(target, "expr").to_owned()));
            }
        }
        for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
            queries.push((format!("{file}: {}", text(annotation, "name")), text(annotation, "expr").to_owned()));
        }
        for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
            if let Some(query) = variable["query"]["query"].as_str() {
                let inner = query.trim_start_matches("label_values(").rsplit_once(',').expect("a label is asked for").0;
                queries.push((format!("{file}: ${}", text(variable, "name")), inner.to_owned()));
            }
        }
    }
    queries
}

#[test]
fn alerts_and_dashboards_name_only_metrics_that_exist() {
    let declared = declared();
    let recorded: BTreeSet<_> = rules().iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())).collect();
    let known = |name: &str| {
        declared.contains(name)
            || recorded.contains(name)
            || STANDARD.contains(&name)
            || name.starts_with("kube_")
            || name.starts_with("container_")
    };
    let queries = queries();
    assert!(queries.len() > 100, "only {} queries were found", queries.len());
    for (place, query) in queries {
        let names = metrics(&query);
        assert!(!names.is_empty(), "{place} asks for nothing: {query}");
        for name in names {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending));
            assert!(known(&name) || base.is_some_and(known), "{place} asks for {name}, which nobody exports");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_that_knows_it() {
    let mut used = BTreeSet::new();
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let alert = text(rule, "alert");
        let annotations = &rule["annotations"];
        for key in ["summary", "description"] {
            assert!(!text(annotations, key).is_empty(), "{alert} has no {key}");
        }
        let severity = text(&rule["labels"], "severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{alert}: {severity}");
        let url = text(annotations, "runbook_url");
        let (_, path) = url.split_once("/blob/main/").unwrap_or_else(|| panic!("{alert}: {url}"));
        let runbook = read(path);
        assert!(runbook.contains(&format!("`{alert}`")), "{path} does not mention {alert}");
        for section in SECTIONS {
            assert!(runbook.lines().any(|line| line == section), "{path} has no {section}");
        }
        used.insert(path.to_owned());
    }
    let written: Vec<_> = files("alerts/runbooks", ".md").iter().map(|path| path.display().to_string()).collect();
    assert_eq!(written.len(), RUNBOOKS);
    assert_eq!(written, used.into_iter().collect::<Vec<_>>(), "each runbook has an alert that leads to it");
}

#[test]
fn every_alert_is_tested_both_ways() {
    let mut seen: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for path in files("alerts/tests", ".yaml") {
        for test in yaml(&path)["tests"].as_array().expect("a file of tests has tests") {
            let name = text(test, "name");
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let alert = text(case, "alertname");
                let fires = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                let words = if fires { "fires" } else { "stays silent" };
                assert!(name.starts_with(&format!("{alert} {words}: ")), "{name} tests that {alert} {words}");
                seen.entry(alert.to_owned()).or_default()[usize::from(fires)] = true;
            }
        }
    }
    let alerts = rules().iter().filter_map(|rule| Some(rule["alert"].as_str()?.to_owned())).collect::<BTreeSet<_>>();
    for alert in &alerts {
        let [silent, fires] = seen.get(alert).copied().unwrap_or_default();
        assert!(fires, "no test says when {alert} fires");
        assert!(silent, "no test says when {alert} stays silent");
    }
    for alert in seen.keys() {
        assert!(alerts.contains(alert), "{alert} is tested and does not exist");
    }
    for word in read("alerts/alertmanager.yaml").split(|c: char| !c.is_ascii_alphanumeric()) {
        let ours = word.starts_with("Blueback") && word.len() > "Blueback".len();
        assert!(!ours || alerts.contains(word), "alertmanager.yaml names {word}, which does not exist");
    }
}

#[test]
fn dashboards_are_sound() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(uids.insert(text(&dashboard, "uid").to_owned()), "{file}: its uid is another's");
        assert!(text(&dashboard, "uid").starts_with("blueback-"), "{file}");
        assert!(!text(&dashboard, "description").is_empty() && !text(&dashboard, "title").is_empty(), "{file}");
        let variables = dashboard["templating"]["list"].as_array().expect("there are variables");
        assert_eq!(text(&variables[0], "type"), "datasource", "{file}: the data source is chosen first");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let place = format!("{file}: {}", text(panel, "title"));
            assert!(ids.insert(panel["id"].as_u64().expect("a panel has an id")), "{place}: its id is another's");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("it has a place"));
            assert!(x + w <= 24, "{place} is too wide");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{place} lies upon another");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(!text(panel, "description").is_empty(), "{place} says nothing of itself");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{place} has no unit");
            let targets = panel["targets"].as_array().expect("a panel asks something");
            for part in targets.iter().chain([panel]) {
                assert_eq!(part["datasource"]["uid"], "${datasource}", "{place}: not the chosen data source");
            }
        }
    }
}

#[test]
fn the_chart_has_fresh_copies() {
    let bless = std::env::var_os("BLUEBACK_BLESS").is_some();
    for (from, ending, to) in
        [("alerts/rules", ".yaml", "helm/files/alerts"), ("dashboards", ".json", "helm/files/dashboards")]
    {
        let names: Vec<_> = files(from, ending).iter().filter_map(|path| Some(path.file_name()?.to_owned())).collect();
        for name in &names {
            let (source, copy) = (root().join(from).join(name), root().join(to).join(name));
            if bless {
                fs::create_dir_all(root().join(to)).expect("the folder can be made");
                fs::copy(&source, &copy).expect("the file can be copied");
            }
            let fresh = fs::read(&source).expect("it was listed") == fs::read(&copy).unwrap_or_default();
            assert!(fresh, "{} is stale: run `just generate`", copy.display());
        }
        let copies = files(to, ending).len();
        assert_eq!(copies, names.len(), "{to} has a file that {from} has not");
    }
}
