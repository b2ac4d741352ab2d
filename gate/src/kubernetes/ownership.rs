//! In whose name a field is changed.
//!
//! The API server keeps, for every field, who owns it. A change of the selector in our own name would make us its owner, and
//! the next `helm upgrade` of helm 4, which applies server-side, would be refused: "conflict with blueback". So a change is
//! made in the name of whoever owns the field, and by the same operation, because to the API server `helm` that applies and
//! `helm` that updates are two:
//!
//! - The owner *updated* it (helm 3, `kubectl apply`, `kubectl patch`): a JSON patch with the owner's name.
//! - The owner *applied* it server-side (helm 4, Flux, `kubectl apply --server-side`): an apply with the owner's name, of
//!   exactly the fields that it owns, with the new value. Fewer fields would take the others from the object.
//! - Nobody owns it: a JSON patch with our own name.
//!
//! Where several own it or what is around it, the nearest to it is its owner: of a kind without a schema whoever made the object keeps
//! `f:spec`, and whoever changed the weight last has `f:spec.f:weighted`.
//!
//! Forcing our name upon the field and giving it up afterwards was turned down: between the two, an upgrade fails.

use serde_json::{Map, Value, json};

/// Our own name.
pub const MANAGER: &str = "blueback";

/// How a change is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// By a JSON patch in this name.
    Patch {
        /// Field manager.
        manager: String,
    },
    /// By a server-side apply in this name, of the fields that it owns.
    Apply {
        /// Field manager.
        manager: String,
        /// Those fields.
        fields: Value,
    },
}

/// Chooses the way of changing what is at these JSON pointers of an object.
#[must_use]
pub fn way(object: &Value, pointers: &[&str]) -> Way {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let distance = |entry: &Value| {
        let fields = entry.get("fieldsV1").unwrap_or(&Value::Null);
        pointers.iter().filter_map(|pointer| owned(fields, object, pointer)).min()
    };
    let whole = entries.into_iter().flatten().filter(|entry| entry.get("subresource").is_none());
    let owners: Vec<_> = whole.filter_map(|entry| Some((distance(entry)?, entry))).collect();
    let nearest = owners.iter().map(|(distance, _)| *distance).min();
    let owners = owners.iter().filter(|(distance, _)| Some(*distance) == nearest).map(|(_, entry)| *entry);
    let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // Who applies is refused when the value is not what it applied; of several who updated, the last is asked for it.
    let owner = owners.max_by_key(|entry| (text(entry, "operation") == "Apply", text(entry, "time")));
    let Some(owner) = owner else { return Way::Patch { manager: MANAGER.to_owned() } };
    let manager = owner.get("manager").and_then(Value::as_str).unwrap_or(MANAGER).to_owned();
    if text(owner, "operation") == "Apply" {
        Way::Apply { manager, fields: owner.get("fieldsV1").cloned().unwrap_or_default() }
    } else {
        Way::Patch { manager }
    }
}

/// How far above what is at a JSON pointer a set of fields ends that covers it: 0 when it names the field itself.
///
/// Whoever made an object keeps owning the maps around a field after another has changed it, so the nearest owner is the one.
fn owned(fields: &Value, object: &Value, pointer: &str) -> Option<usize> {
    let (mut fields, mut object) = (fields, object);
    let mut segments = pointer.split('/').skip(1);
    while let Some(segment) = segments.next() {
        let set = fields.as_object()?;
        // A field without fields below it is owned as a whole.
        if set.keys().all(|key| key == ".") {
            return Some(1 + segments.count());
        }
        let segment = segment.replace("~1", "/").replace("~0", "~");
        fields = match object {
            Value::Array(items) => {
                object = items.get(segment.parse::<usize>().ok()?)?;
                set.iter().find(|(key, _)| is_item(key, object)).map(|(_, fields)| fields)
            }
            _ => {
                object = object.get(&segment).unwrap_or(&Value::Null);
                set.get(&format!("f:{segment}"))
            }
        }?;
    }
    Some(0)
}

/// A key of a set of fields (`k:{"port":80}`, `v:"a"`) names this item of a list.
fn is_item(key: &str, item: &Value) -> bool {
    if let Some(value) = key.strip_prefix("v:") {
        return serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item);
    }
    let Some(keys) = key.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok())
    else {
        return false;
    };
    keys.iter().all(|(name, value)| item.get(name) == Some(value))
}

/// The set of fields with what is at a JSON pointer owned as a whole. Within lists sets are left as they are.
#[must_use]
pub fn own(mut fields: Value, object: &Value, pointer: &str) -> Value {
    let (mut set, mut object) = (&mut fields, object);
    for segment in pointer.split('/').skip(1) {
        if object.is_array() || set.as_object().is_some_and(|set| set.keys().all(|key| key == ".")) {
            return fields;
        }
        let segment = segment.replace("~1", "/").replace("~0", "~");
        object = object.get(&segment).unwrap_or(&Value::Null);
        set = &mut set[format!("f:{segment}")];
    }
    *set = json!({});
    fields
}

/// The part of an object that a set of fields names.
#[must_use]
pub fn extract(fields: &Value, object: &Value) -> Value {
    let Some(set) = fields.as_object().filter(|set| set.keys().any(|key| key != ".")) else { return object.clone() };
    match object {
        Value::Object(members) => {
            let named = set.iter().filter_map(|(key, below)| {
                let name = key.strip_prefix("f:")?;
                Some((name.to_owned(), extract(below, members.get(name)?)))
            });
            Value::Object(named.collect())
        }
        Value::Array(items) => {
            let named = items.iter().filter_map(|item| {
                let (key, below) = set.iter().find(|(key, _)| is_item(key, item))?;
                let mut part = extract(below, item);
                // What names the item is part of it, whoever owns that.
                let keys =
                    key.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok());
                if let (Some(part), Some(keys)) = (part.as_object_mut(), keys) {
                    part.extend(keys);
                }
                Some(part)
            });
            Value::Array(named.collect())
        }
        other => other.clone(),
    }
}

/// What is applied in the owner's name: its fields as they are in `changed`, and what names the object. With the version
/// that was read, so that a change in between is not undone.
#[must_use]
pub fn applied(fields: &Value, changed: &Value) -> Value {
    let mut part = extract(fields, changed);
    for name in ["apiVersion", "kind"] {
        part[name] = changed[name].clone();
    }
    if !part["metadata"].is_object() {
        part["metadata"] = json!({});
    }
    for name in ["name", "namespace", "resourceVersion"] {
        part["metadata"][name] = changed["metadata"][name].clone();
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(entries: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "cart", "namespace": "shop", "resourceVersion": "7", "labels": {"app": "cart"},
                "managedFields": entries},
            "spec": {"selector": {"app": "cart", "color": "green"}, "clusterIP": "10.0.0.1",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web", "nodePort": 3}]},
        })
    }

    const SELECTOR: &str = "/spec/selector";

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn nobody_owns_it_so_we_do() {
        assert_eq!(way(&service(&json!([])), &[SELECTOR]), Way::Patch { manager: MANAGER.to_owned() });
        let other = entry("kubectl", "Update", &json!({"f:spec": {"f:type": {}}}));
        assert_eq!(way(&service(&json!([other])), &[SELECTOR]), Way::Patch { manager: MANAGER.to_owned() });
    }

    #[test]
    fn who_updated_it_updates_it() {
        let helm3 = entry("helm", "Update", &json!({"f:spec": {"f:selector": {}, "f:type": {}}}));
        assert_eq!(way(&service(&json!([helm3])), &[SELECTOR]), Way::Patch { manager: "helm".to_owned() });
        let deeper = entry("kubectl-patch", "Update", &json!({"f:spec": {"f:selector": {"f:color": {}}}}));
        let object = service(&json!([deeper]));
        assert_eq!(way(&object, &["/spec/selector/color"]), Way::Patch { manager: "kubectl-patch".to_owned() });
        assert_eq!(way(&object, &["/spec/selector/app"]), Way::Patch { manager: MANAGER.to_owned() });
    }

    #[test]
    fn who_changed_it_last_owns_it_and_not_who_made_the_object() {
        let made = entry("kubectl-create", "Update", &json!({"f:spec": {".": {}, "f:weighted": {".": {}}}}));
        let changed = entry("argocd", "Update", &json!({"f:spec": {"f:weighted": {"f:services": {}}}}));
        for entries in [json!([made, changed]), json!([changed, made])] {
            let mut object = service(&entries);
            object["spec"]["weighted"] = json!({"services": [{"name": "a", "weight": 1}]});
            let way = way(&object, &["/spec/weighted/services/0/weight"]);
            assert_eq!(way, Way::Patch { manager: "argocd".to_owned() });
        }
        // Neither does who applies something around it.
        let around = entry("helm", "Apply", &json!({"f:spec": {"f:weighted": {".": {}}}}));
        let mut object = service(&json!([around, changed]));
        object["spec"]["weighted"] = json!({"services": [{"name": "a", "weight": 1}]});
        assert_eq!(way(&object, &["/spec/weighted/services"]), Way::Patch { manager: "argocd".to_owned() });
    }

    #[test]
    fn of_two_who_updated_it_the_last_is_its_owner() {
        let at = |manager: &str, time: &str| {
            let mut entry = entry(manager, "Update", &json!({"f:spec": {"f:selector": {}}}));
            entry["time"] = json!(time);
            entry
        };
        let (first, last) = (at("helm", "2026-01-01T00:00:00Z"), at("kubectl-edit", "2026-01-02T00:00:00Z"));
        let object = service(&json!([last, first]));
        assert_eq!(way(&object, &[SELECTOR]), Way::Patch { manager: "kubectl-edit".to_owned() });
    }

    #[test]
    fn who_applied_it_applies_it_and_loses_nothing() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:targetPort": {}}},
                "f:selector": {},
            },
        });
        let status = json!({"manager": "other", "operation": "Apply", "subresource": "status", "fieldsV1": fields});
        let mut object = service(&json!([status, entry("helm", "Apply", &fields)]));
        let way = way(&object, &[SELECTOR]);
        assert_eq!(way, Way::Apply { manager: "helm".to_owned(), fields: fields.clone() });
        object["spec"]["selector"]["color"] = json!("blue");
        assert_eq!(
            applied(&fields, &object),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "cart", "namespace": "shop", "resourceVersion": "7", "labels": {"app": "cart"}},
                "spec": {"selector": {"app": "cart", "color": "blue"},
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]},
            })
        );
    }

    #[test]
    fn items_of_lists_have_owners_too() {
        let fields = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:targetPort": {}}}}});
        let object = service(&json!([entry("kustomize", "Update", &fields)]));
        assert_eq!(way(&object, &["/spec/ports/0/targetPort"]), Way::Patch { manager: "kustomize".to_owned() });
        assert_eq!(way(&object, &["/spec/ports/0/name"]), Way::Patch { manager: MANAGER.to_owned() });
        assert_eq!(way(&object, &["/spec/ports/1/targetPort"]), Way::Patch { manager: MANAGER.to_owned() });
    }
}
