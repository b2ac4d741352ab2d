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
    let owns = |entry: &&Value| {
        let fields = entry.get("fieldsV1").unwrap_or(&Value::Null);
        entry.get("subresource").is_none() && pointers.iter().any(|pointer| is_owned(fields, object, pointer))
    };
    let owners: Vec<_> = entries.into_iter().flatten().filter(owns).collect();
    let manager = |entry: &Value| entry.get("manager").and_then(Value::as_str).unwrap_or(MANAGER).to_owned();
    let applied = |entry: &&&Value| entry.get("operation").and_then(Value::as_str) == Some("Apply");
    if let Some(entry) = owners.iter().find(applied) {
        return Way::Apply { manager: manager(entry), fields: entry.get("fieldsV1").cloned().unwrap_or_default() };
    }
    Way::Patch { manager: owners.first().map_or_else(|| MANAGER.to_owned(), |entry| manager(entry)) }
}

/// A set of fields covers what is at a JSON pointer.
fn is_owned(fields: &Value, object: &Value, pointer: &str) -> bool {
    let (mut fields, mut object) = (fields, object);
    for segment in pointer.split('/').skip(1) {
        let Some(set) = fields.as_object() else { return false };
        // A field without fields below it is owned as a whole.
        if set.keys().all(|key| key == ".") {
            return !set.is_empty() || fields != &Value::Null;
        }
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let next = match object {
            Value::Array(items) => {
                let Some(item) = segment.parse().ok().and_then(|place: usize| items.get(place)) else { return false };
                object = item;
                set.iter().find(|(key, _)| is_item(key, item)).map(|(_, fields)| fields)
            }
            _ => {
                object = object.get(&segment).unwrap_or(&Value::Null);
                set.get(&format!("f:{segment}"))
            }
        };
        match next {
            Some(next) => fields = next,
            None => return false,
        }
    }
    true
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
