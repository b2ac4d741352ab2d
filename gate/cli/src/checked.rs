//! What `blueback check` finds in a file: a rules file, a chart's values with `releaseGates`, or manifests with ReleaseGates.
//!
//! Of a ReleaseGate the rules are read; the rest of its spec is for the API server's schema, and only its names are known here, so that
//! a rule under a mistyped name is not passed over in silence.

use blueback_gate::RulesFile;
use serde_json::{Map, Value};

/// Fields of a ReleaseGate's spec that are no rules.
const OTHER_FIELDS: [&str; 7] = ["traffic", "port", "afterRevert", "historyLimit", "paused", "agent", "dependencies"];
/// Fields of the rules.
const RULES_FIELDS: [&str; 11] = [
    "revertWhen",
    "passWhen",
    "alertWhen",
    "bake",
    "decideWithin",
    "checkpoints",
    "falseAlarms",
    "profile",
    "signals",
    "queries",
    "criticalLogs",
];

/// Rules, and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The ReleaseGate; `None` for a rules file.
    pub gate: Option<String>,
    /// Its rules.
    pub rules: RulesFile,
}

/// Reads a file.
///
/// # Errors
/// All that is wrong with it, one by one.
pub fn read(text: &str) -> Result<Vec<Found>, Vec<String>> {
    let documents: Vec<Value> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => return Err(vec![error.to_string()]),
    };
    let gates: Vec<_> = documents.iter().flat_map(gates).collect();
    let objects = documents.iter().any(|document| document.get("kind").is_some() || is_values(document));
    if gates.is_empty() && !objects {
        return RulesFile::from_yaml(text)
            .map(|rules| vec![Found { gate: None, rules }])
            .map_err(|error| vec![format!("{error:#}")]);
    }
    if gates.is_empty() {
        return Err(vec![
            "holds no ReleaseGate; accepted: a rules file, values with releaseGates, manifests".to_owned(),
        ]);
    }
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (name, spec) in gates {
        match rules(spec) {
            Ok(rules) => found.push(Found { gate: Some(name), rules }),
            Err(errors) => wrong.extend(errors.into_iter().map(|error| format!("ReleaseGate {name}: {error}"))),
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

fn is_values(document: &Value) -> bool {
    document.get("releaseGates").is_some_and(Value::is_array)
}

/// The ReleaseGates of a document, each with its spec.
fn gates(document: &Value) -> Vec<(String, Value)> {
    let kind = document.get("kind").and_then(Value::as_str);
    match kind {
        Some("ReleaseGate") => {
            let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
            vec![(name.to_owned(), document.get("spec").cloned().unwrap_or_default())]
        }
        Some("List") => document["items"].as_array().into_iter().flatten().flat_map(gates).collect(),
        Some(_) => Vec::new(),
        None => {
            let defaults = document.get("releaseGateDefaults").cloned().unwrap_or_default();
            let listed = document.get("releaseGates").and_then(Value::as_array).into_iter().flatten();
            let listed = listed.map(|gate| {
                let name = gate.get("name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
                (name, merged(defaults.clone(), gate.get("spec").cloned().unwrap_or_default()))
            });
            listed.collect()
        }
    }
}

/// Both, with what `over` says where they differ: as Helm's `merge` does it.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (name, value) in over {
                let before = under.remove(&name).unwrap_or_default();
                under.insert(name, merged(before, value));
            }
            Value::Object(under)
        }
        (under, Value::Null) => under,
        (_, over) => over,
    }
}

fn rules(spec: Value) -> Result<RulesFile, Vec<String>> {
    let Value::Object(spec) = spec else { return Ok(RulesFile::default()) };
    let unknown: Vec<_> = spec.keys().filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        return Err(unknown.into_iter().map(|name| format!("spec.{name} is not a field of a ReleaseGate")).collect());
    }
    let rules: Map<_, _> = spec.into_iter().filter(|(name, _)| RULES_FIELDS.contains(&name.as_str())).collect();
    serde_json::from_value(Value::Object(rules)).map_err(|error| vec![format!("spec: {error}")])
}

fn is_known(name: &str) -> bool {
    RULES_FIELDS.contains(&name) || OTHER_FIELDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(Option<String>, Option<Vec<String>>)> {
        let found = read(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        found.into_iter().map(|found| (found.gate, found.rules.revert_when)).collect()
    }

    #[test]
    fn rules_are_found_wherever_they_are_written() {
        let one = |gate: Option<&str>, rule: &str| (gate.map(str::to_owned), Some(vec![rule.to_owned()]));
        assert_eq!(words("revertWhen: [error rate > 5%]\n"), [one(None, "error rate > 5%")]);
        assert_eq!(words("# nothing\n"), [(None, None)]);
        let values = "releaseGateDefaults: {bake: 2m, revertWhen: [error rate > 5%]}\nreleaseGates:\n  - name: cart\n    spec: {traffic: {service: cart}}\n  - name: api\n    spec: {traffic: {service: api}, revertWhen: [error rate > 1%]}\n";
        assert_eq!(words(values), [one(Some("cart"), "error rate > 5%"), one(Some("api"), "error rate > 1%")]);
        let manifests = "kind: Service\nmetadata: {name: cart}\n---\nkind: ReleaseGate\nmetadata: {name: cart}\nspec: {traffic: {service: cart}, revertWhen: [error rate > 2%]}\n";
        assert_eq!(words(manifests), [one(Some("cart"), "error rate > 2%")]);
    }

    #[test]
    fn what_would_be_passed_over_is_told() {
        for (text, part) in [
            ("releaseGates:\n  - name: cart\n    spec: {revrtWhen: [error rate > 5%]}\n", "spec.revrtWhen"),
            ("releaseGates:\n  - name: cart\n    spec: {bake: [5m]}\n", "ReleaseGate cart"),
            ("kind: Service\nmetadata: {name: cart}\n", "no ReleaseGate"),
            ("revrtWhen: []\n", "revrtWhen"),
            ("a: [\n", ""),
        ] {
            let errors = read(text).expect_err(text);
            assert!(errors.iter().any(|error| error.contains(part)), "{text}: {errors:?}");
        }
    }
}
