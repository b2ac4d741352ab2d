//! Names of resources in the API.

use kube::api::{ApiResource, GroupVersionKind};

use super::types::TrafficSpec;

/// Services.
#[must_use]
pub fn service() -> ApiResource {
    resource("v1", "Service", "services")
}

/// A resource by its API version, kind and name.
#[must_use]
pub fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// A workload by its API version and kind, as an owner's reference names it.
#[must_use]
pub fn workload(api_version: &str, kind: &str) -> ApiResource {
    resource(api_version, kind, &plural(kind))
}

/// The object that carries the weights of a ReleaseGate's traffic, where it is one.
#[must_use]
pub fn resource_of(traffic: &TrafficSpec) -> Option<ApiResource> {
    if traffic.http_route.is_some() {
        return Some(resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"));
    }
    if traffic.grpc_route.is_some() {
        return Some(resource("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes"));
    }
    let patch = traffic.patch.as_ref()?;
    let plural = patch.plural.clone().unwrap_or_else(|| plural(&patch.kind));
    Some(resource(&patch.api_version, &patch.kind, &plural))
}

/// As the API makes it of most kinds.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if lower.ends_with('s') => format!("{lower}es"),
        _ => format!("{lower}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_plurals() {
        for (kind, expected) in [
            ("VirtualService", "virtualservices"),
            ("Ingress", "ingresses"),
            ("TraefikService", "traefikservices"),
            ("Gateway", "gateways"),
            ("HTTPProxy", "httpproxies"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }
}
