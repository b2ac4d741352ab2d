//! The custom resources' definitions are committed, so that the chart can be installed from the repository as it is; this
//! proves them fresh. `just generate` (`BLUEBACK_BLESS=1`) writes them instead.

use std::fs;
use std::path::Path;

use blueback_gate::kubernetes::types;

#[test]
fn definitions_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/files/crds");
    let bless = std::env::var_os("BLUEBACK_BLESS").is_some();
    for (file, definition) in types::definitions() {
        let yaml = serde_saphyr::to_string(&definition).expect("a definition has a YAML form");
        let fresh = format!("# Generated from gate/src/kubernetes/types.rs by `just generate`.\n{yaml}");
        let path = folder.join(file);
        if bless {
            fs::create_dir_all(&folder).expect("the folder can be made");
            fs::write(&path, fresh).expect("the file can be written");
            continue;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == fresh, "{} is stale: run `just generate`", path.display());
    }
}

#[test]
fn every_field_is_described() {
    for (file, definition) in types::definitions() {
        let definition = serde_json::to_value(definition).expect("a definition has a JSON form");
        let mut bare = Vec::new();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            look(part, &schema["properties"][part], &mut bare);
        }
        assert!(bare.is_empty(), "{file}: no description of {bare:?}");
    }
}

fn look(path: &str, schema: &serde_json::Value, bare: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            bare.push(path.clone());
        }
        look(&path, field, bare);
        look(&path, &field["items"], bare);
    }
}

#[test]
fn every_field_of_a_release_gate_is_in_the_guide() {
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubernetes.md")).expect("it is there");
    let definition = serde_json::to_value(&types::definitions()[0].1).expect("it has a JSON form");
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for (name, field) in spec.as_object().into_iter().flatten() {
        assert!(guide.contains(&format!("`{name}")), "docs/kubernetes.md does not name {name}");
        for below in field["properties"].as_object().into_iter().flatten().map(|(below, _)| below) {
            assert!(guide.contains(below), "docs/kubernetes.md does not name {name}.{below}");
        }
    }
}
