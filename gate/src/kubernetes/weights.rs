//! Objects that carry weights: how they are read, and the patch that sets them.
//!
//! Two Services share the requests. A route of the Gateway API says so itself; any other object is described by the
//! ReleaseGate: a JSON pointer for reading, a JSON patch for writing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::types::{PatchTraffic, RouteTraffic, TrafficSpec};

/// Kind under which the answer of a webhook is kept.
pub const WEBHOOK: &str = "webhook";

/// Kind and name of the object that carries a ReleaseGate's weights.
#[must_use]
pub fn object_of(traffic: &TrafficSpec) -> Option<(&str, &str)> {
    if let Some(route) = &traffic.http_route {
        Some(("HTTPRoute", &route.name))
    } else if let Some(route) = &traffic.grpc_route {
        Some(("GRPCRoute", &route.name))
    } else if let Some(patch) = &traffic.patch {
        Some((&patch.kind, &patch.name))
    } else {
        traffic.webhook.as_ref().map(|webhook| (WEBHOOK, webhook.url.as_str()))
    }
}

/// The Services that share the requests, and their weights.
///
/// # Errors
/// What cannot be read, for people.
pub fn read(traffic: &TrafficSpec, object: &Value) -> Result<Vec<(String, u32)>, String> {
    if let Some(route) = traffic.http_route.as_ref().or(traffic.grpc_route.as_ref()) {
        let (_, backends) = of_route(route, object).into_iter().next().ok_or_else(|| {
            format!("the route {} has no rule with two Services as backends, so there is nothing to shift", route.name)
        })?;
        return Ok(backends.into_iter().map(|backend| (backend.service, backend.weight)).collect());
    }
    let (services, pointer) = match (&traffic.patch, &traffic.webhook) {
        (Some(patch), _) => (&patch.services, patch.weight.as_str()),
        (_, Some(webhook)) => (&webhook.services, "/second"),
        _ => return Err("the traffic has no form".to_owned()),
    };
    let [first, second] = services.as_slice() else { return Err("two Services are needed".to_owned()) };
    let weight = number(object.pointer(pointer)).ok_or_else(|| format!("{pointer} is no weight from 0 to 100"))?;
    Ok(vec![(first.clone(), 100 - weight), (second.clone(), weight)])
}

/// A weight in percent; what is absent is 0.
fn number(value: Option<&Value>) -> Option<u32> {
    let number = match value {
        None | Some(Value::Null) => 0,
        Some(Value::String(text)) => text.trim().trim_end_matches('%').parse().ok()?,
        Some(value) => value.as_u64()?,
    };
    u32::try_from(number).ok().filter(|number| *number <= 100)
}

/// A backend of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RouteBackend {
    place: usize,
    service: String,
    weight: u32,
}

/// The rules that share requests between Services, by their place.
fn of_route(route: &RouteTraffic, object: &Value) -> Vec<(usize, Vec<RouteBackend>)> {
    let rules = object.pointer("/spec/rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().enumerate().map(|(place, rule)| (place, backends_of(rule)));
    let wanted = |backends: &[RouteBackend]| {
        let distinct: BTreeSet<_> = backends.iter().map(|backend| &backend.service).collect();
        let named = route.service.as_ref().is_none_or(|service| distinct.contains(service));
        distinct.len() >= 2 && named
    };
    rules.filter(|(_, backends)| wanted(backends)).collect()
}

fn backends_of(rule: &Value) -> Vec<RouteBackend> {
    let backends = rule.get("backendRefs").and_then(Value::as_array);
    let services = backends.into_iter().flatten().enumerate().filter(|(_, backend)| {
        let kind = backend.get("kind").and_then(Value::as_str).unwrap_or("Service");
        let group = backend.get("group").and_then(Value::as_str).unwrap_or("");
        kind == "Service" && group.is_empty() && backend.get("namespace").is_none()
    });
    let read = services.filter_map(|(place, backend)| {
        let service = backend.get("name")?.as_str()?.to_owned();
        let weight = backend.get("weight").map_or(Some(1), Value::as_u64)?;
        Some(RouteBackend { place, service, weight: u32::try_from(weight).ok()? })
    });
    read.collect()
}

/// The JSON patch that gives `service` this share of a route's requests, and the rest to the others as they share it now.
/// Empty when that is so already.
///
/// # Errors
/// When there is no such rule, for people.
pub fn route_patch(route: &RouteTraffic, object: &Value, service: &str, share: f64) -> Result<Vec<Value>, String> {
    let rules = of_route(route, object);
    let mut patch = Vec::new();
    let mut found = false;
    for (rule, backends) in &rules {
        if !backends.iter().any(|backend| backend.service == service) {
            continue;
        }
        found = true;
        let others: Vec<_> = backends.iter().filter(|backend| backend.service != service).collect();
        let total: u64 = others.iter().map(|backend| u64::from(backend.weight)).sum();
        let percent = (share.clamp(0.0, 1.0) * 100.0).round() as u64;
        for backend in backends {
            let wanted = if backend.service == service {
                percent
            } else {
                let part = (100 - percent) * u64::from(backend.weight);
                // Where the others share nothing yet, they share alike.
                part.checked_div(total).unwrap_or((100 - percent) / others.len() as u64)
            };
            let whole = if others.len() == 1 && backend.service != service { 100 - percent } else { wanted };
            if u64::from(backend.weight) != whole {
                let path = format!("/spec/rules/{rule}/backendRefs/{}", backend.place);
                // Somebody may have put another rule in this place meanwhile.
                patch.push(json!({"op": "test", "path": format!("{path}/name"), "value": backend.service}));
                patch.push(json!({"op": "add", "path": format!("{path}/weight"), "value": whole}));
            }
        }
    }
    if found {
        Ok(patch)
    } else {
        Err(format!("no rule of the route {} shares requests between {service} and another Service", route.name))
    }
}

/// The JSON patch of a ReleaseGate with the weights filled in.
#[must_use]
pub fn filled_patch(traffic: &PatchTraffic, second: u32) -> Vec<Value> {
    let first = 100 - second.min(100);
    let operations = traffic.patch.iter().map(|operation| {
        let mut operation = json!(operation);
        if let Some(value) = operation.get_mut("value") {
            fill(value, first, second);
        }
        operation
    });
    operations.collect()
}

fn fill(value: &mut Value, first: u32, second: u32) {
    match value {
        Value::String(text) if text == "$(first)" => *value = json!(first),
        Value::String(text) if text == "$(second)" => *value = json!(second),
        Value::String(text) => {
            let filled = text.replace("$(first)", &first.to_string()).replace("$(second)", &second.to_string());
            *text = filled.strip_prefix("text:").unwrap_or(&filled).to_owned();
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, first, second)),
        Value::Object(fields) => fields.values_mut().for_each(|value| fill(value, first, second)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::types::{Operation, PatchOperation};

    fn route(rules: &Value) -> (RouteTraffic, Value) {
        (RouteTraffic { name: "cart".to_owned(), service: None }, json!({"spec": {"rules": rules}}))
    }

    fn after(object: &Value, patch: Vec<Value>) -> Value {
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch)).expect("it is a patch");
        let mut object = object.clone();
        json_patch::patch(&mut object, &patch).expect("the patch fits");
        object
    }

    fn weights(route: &RouteTraffic, object: &Value) -> Vec<(String, u32)> {
        let traffic = TrafficSpec { http_route: Some(route.clone()), ..TrafficSpec::default() };
        read(&traffic, object).expect("it has weights")
    }

    #[test]
    fn a_route_is_read_and_shifted() {
        let (route, object) = route(&json!([
            {"backendRefs": [{"name": "admin", "port": 80}]},
            {"backendRefs": [{"name": "cart-a", "port": 80}, {"name": "cart-b", "port": 80, "weight": 0}]},
        ]));
        assert_eq!(weights(&route, &object), [("cart-a".to_owned(), 1), ("cart-b".to_owned(), 0)]);
        for (share, expected) in [(0.2, (80, 20)), (1.0, (0, 100)), (0.0, (100, 0))] {
            let patch = route_patch(&route, &object, "cart-b", share).expect("it has a rule");
            let shifted = after(&object, patch);
            assert_eq!(
                weights(&route, &shifted),
                [("cart-a".to_owned(), expected.0), ("cart-b".to_owned(), expected.1)]
            );
            let again = route_patch(&route, &shifted, "cart-b", share).expect("it has a rule");
            assert!(again.is_empty(), "{again:?}");
        }
    }

    #[test]
    fn a_rule_that_has_moved_is_not_touched() {
        let (route, object) = route(&json!([{"backendRefs": [{"name": "a"}, {"name": "b"}]}]));
        let patch = route_patch(&route, &object, "b", 1.0).expect("it has a rule");
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch)).expect("it is a patch");
        let mut moved = json!({"spec": {"rules": [{"backendRefs": [{"name": "x"}, {"name": "y"}]}]}});
        json_patch::patch(&mut moved, &patch).expect_err("the rule is another one");
    }

    #[test]
    fn a_route_without_a_choice_says_so() {
        let (route, object) = route(&json!([{"backendRefs": [{"name": "a"}]}]));
        let traffic = TrafficSpec { http_route: Some(route), ..TrafficSpec::default() };
        let error = read(&traffic, &object).expect_err("there is one Service");
        assert!(error.contains("nothing to shift"), "{error}");
    }

    #[test]
    fn any_object_is_read_by_pointer_and_filled_in() {
        let traffic = PatchTraffic {
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: "Ingress".to_owned(),
            plural: None,
            name: "cart-canary".to_owned(),
            services: vec!["cart-a".to_owned(), "cart-b".to_owned()],
            weight: "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight".to_owned(),
            patch: vec![
                PatchOperation {
                    op: Operation::Add,
                    path: "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight".to_owned(),
                    value: Some(json!("text:$(second)")),
                },
                PatchOperation {
                    op: Operation::Add,
                    path: "/spec".to_owned(),
                    value: Some(json!({"weights": ["$(first)", "$(second)"]})),
                },
            ],
        };
        let object = json!({"metadata": {"annotations": {}}});
        let both = TrafficSpec { patch: Some(traffic.clone()), ..TrafficSpec::default() };
        let read_weights = |object: &Value| read(&both, object).expect("it has a weight");
        assert_eq!(read_weights(&object), [("cart-a".to_owned(), 100), ("cart-b".to_owned(), 0)]);
        let shifted = after(&object, filled_patch(&traffic, 30));
        assert_eq!(read_weights(&shifted), [("cart-a".to_owned(), 70), ("cart-b".to_owned(), 30)]);
        assert_eq!(shifted["spec"]["weights"], json!([70, 30]));
        let wrong = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "many"}}});
        read(&both, &wrong).expect_err("that is no weight");
    }
}
