//! Arrows between crates point inward, and the inner ones stay pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::{files, read};

/// Names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    read(manifest)
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn inner_crates_depend_on_nothing_that_acts() {
    let expected = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(dependencies("agent/report/Cargo.toml"), expected(&["hdrhistogram", "prost", "thiserror"]));
    assert_eq!(dependencies("agent/exposition/Cargo.toml"), expected(&["blueback-report", "prometheus", "prost"]));
    assert_eq!(dependencies("gate/judge/Cargo.toml"), expected(&["blueback-report", "thiserror"]));
}

#[test]
fn arrows_point_inward() {
    for (manifest, outer) in [
        ("agent/Cargo.toml", ["blueback-judge", "blueback-gate", "blueback"].as_slice()),
        ("gate/Cargo.toml", &["blueback-agent", "blueback"]),
    ] {
        let dependencies = dependencies(manifest);
        for name in outer {
            assert!(!dependencies.contains(*name), "{manifest} must not depend on {name}");
        }
    }
}

#[test]
fn inner_crates_touch_no_clock_and_no_world() {
    let worldly = [
        "std::time::",
        "Instant::now",
        "SystemTime",
        "std::net",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "async ",
        ".await",
        "tokio",
        "println!",
        "rand::",
    ];
    for folder in ["agent/exposition/src", "agent/report/src", "gate/judge/src"] {
        for path in files(folder, ".rs") {
            let text = read(&path);
            for (line, code) in text.lines().enumerate() {
                let code = code.split("//").next().unwrap_or_default();
                for word in worldly {
                    // A duration is a length of time, not a clock.
                    assert!(
                        !code.contains(word) || code.contains("std::time::Duration"),
                        "{}:{}: {word} has no place here",
                        path.display(),
                        line + 1
                    );
                }
            }
        }
    }
}

#[test]
fn only_config_reads_the_environment() {
    for folder in ["agent/src", "gate/src"] {
        let acts = |path: &PathBuf| !path.ends_with("config.rs") && !path.ends_with("tests.rs");
        for path in files(folder, ".rs").into_iter().filter(acts) {
            let text = read(&path);
            for word in ["env::var", "env::vars", "env = \""] {
                assert!(!text.contains(word), "{}: {word}: only config.rs reads the environment", path.display());
            }
        }
    }
}

#[test]
fn metrics_are_declared_in_one_place() {
    for folder in ["agent/src", "gate/src"] {
        for path in files(folder, ".rs").into_iter().filter(|path| !path.ends_with("metrics.rs")) {
            let text = read(&path);
            for word in ["\"blueback_agent_", "\"blueback_gate_"] {
                assert!(!text.contains(word), "{}: {word}…: metrics are declared in metrics.rs", path.display());
            }
        }
    }
}
