//! The chart's values are described once, in the schema; the table in helm/README.md is made from it. The flags that the chart
//! gives to the gate are flags that the gate takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use clap::CommandFactory as _;
use serde_json::Value;

use crate::{files, read, root, yaml};

const BEGIN: &str = "<!-- values: made from values.schema.json by `just generate` -->\n";
const END: &str = "<!-- end of values -->";

/// Given to the gate by the chart, and not taken by it yet. A flag leaves this list when it is.
const AWAITED: [&str; 0] = [];

fn schema() -> Value {
    serde_json::from_str(&read("helm/values.schema.json")).expect("the schema is JSON")
}

/// Calls `found` with the path, schema and default of each value.
fn walk(path: &str, schema: &Value, default: &Value, found: &mut impl FnMut(&str, &Value, &Value)) {
    match schema["properties"].as_object() {
        // An object that is empty by default is shown as a whole.
        Some(properties) if default.as_object().is_some_and(|default| !default.is_empty()) => {
            assert_eq!(schema["additionalProperties"], false, "{path} takes what nobody knows");
            for (name, schema) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, schema, &default[name], found);
            }
            for name in default.as_object().into_iter().flat_map(serde_json::Map::keys) {
                assert!(properties.contains_key(name), "{path}.{name} is in values.yaml and not in the schema");
            }
        }
        _ => found(path, schema, default),
    }
}

fn table() -> String {
    let mut table = String::from("| Value | Default | Meaning |\n|---|---|---|\n");
    walk("", &schema(), &yaml("helm/values.yaml"), &mut |path, schema, default| {
        let meaning = schema["description"].as_str().unwrap_or_else(|| panic!("{path} has no description"));
        if path == "global" {
            return;
        }
        assert!(!default.is_null(), "{path} has no default in values.yaml");
        let meaning = meaning.replace('|', "\\|");
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{path}` | `{default}` | {meaning} |");
    });
    table
}

#[test]
fn the_table_of_values_is_fresh() {
    let readme = read("helm/README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("helm/README.md has a place for the table");
    let (_, after) = rest.split_once(END).expect("the table ends");
    let fresh = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if std::env::var_os("BLUEBACK_BLESS").is_some() {
        fs::write(root().join("helm/README.md"), fresh).expect("it can be written");
    } else {
        assert!(readme == fresh, "the table in helm/README.md is stale: run `just generate`");
    }
}

#[test]
fn every_way_to_use_the_chart_has_a_snapshot() {
    let names = |folder: &str, ending: &str| -> BTreeSet<String> {
        let name = |path: &std::path::PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned());
        files(folder, ending).iter().filter_map(name).collect()
    };
    let mut expected = names("helm/ci", "-values.yaml");
    expected.extend(["default", "staging", "production"].map(str::to_owned));
    assert_eq!(names("helm/tests/snapshots", ".yaml"), expected);
}

#[test]
fn the_gate_takes_the_flags_that_the_chart_gives() {
    let command = blueback_gate::config::Args::command();
    let known: BTreeSet<_> = command.get_arguments().filter_map(|flag| Some(flag.get_long()?.to_owned())).collect();
    let mut given: BTreeSet<_> = ["pod-ip", "pod-name", "pod-namespace"].map(str::to_owned).into();
    for path in files("helm/tests/snapshots", ".yaml") {
        for line in read(&path).lines() {
            if let Some(flag) = line.trim().strip_prefix("- --") {
                given.insert(flag.split('=').next().unwrap_or_default().to_owned());
            }
        }
    }
    assert!(given.len() > 15, "only {given:?} were found");
    for flag in given {
        let awaited = AWAITED.contains(&flag.as_str());
        assert!(known.contains(&flag) || awaited, "the chart gives --{flag}, which the gate does not take");
        assert!(!(known.contains(&flag) && awaited), "the gate takes --{flag} now: take it out of AWAITED");
    }
}
