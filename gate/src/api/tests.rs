//! The description and the router say the same.

use std::collections::BTreeSet;
use std::path::Path;

use utoipa::OpenApi;

use super::openapi::Description;
use super::{routes, waiting_routes};

#[test]
fn committed_description_is_fresh() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("BLUEBACK_BLESS").is_some() {
        std::fs::write(&file, Description::json()).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == Description::json(), "gate/openapi.json is stale: run `just generate`");
}

#[test]
fn router_has_exactly_the_paths_described() {
    let served: BTreeSet<_> = routes()
        .into_iter()
        .chain(waiting_routes())
        .map(|(method, path, _)| (method.to_owned(), path.to_owned()))
        .collect();
    let description = serde_json::to_value(Description::openapi()).expect("the document is JSON");
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().expect("the document has paths") {
        for method in methods.as_object().expect("a path has methods").keys() {
            described.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(served, described);
}
