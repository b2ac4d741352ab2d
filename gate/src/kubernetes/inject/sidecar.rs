//! The containers and the volume that a pod gets.
//!
//! The agent has no readiness probe, on purpose. A pod is ready when all its containers are, and the application's own probe
//! already asks the application: a second opinion with other timeouts could only make a ready application unready. An
//! agent that is not running makes the pod unready without a probe.

use serde_json::{Value, json};

use super::ports::Plan;
use super::{
    ADMIN_PORT, ADMIN_PORT_NAME, AGENT_CONTAINER, AGENT_PORT, AUDIENCE, DIRECT_PORT, InjectionSettings,
    REDIRECT_CONTAINER, TOKEN_FOLDER, TOKEN_VOLUME,
};

/// Who the agent runs as: a user without a name, as in distroless images.
const USER: u32 = 65_532;
/// Set aside for an agent: what it needs at about a hundred requests a second.
const REQUESTS: (&str, &str) = ("10m", "16Mi");
/// Most memory: four times what it needs under load. The processor is not limited: throttling would add to every request.
const MEMORY_MAX: &str = "64Mi";
/// Life of the token in seconds; the kubelet renews it at four fifths.
const TOKEN_SECONDS: u32 = 3_600;

pub(super) fn token_volume() -> Value {
    let token = json!({"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"});
    json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}})
}

pub(super) fn agent(plan: &Plan, settings: &InjectionSettings) -> Value {
    json!({
        "name": AGENT_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "env": environment(plan, settings),
        "ports": [
            {"name": plan.name, "containerPort": AGENT_PORT, "protocol": "TCP"},
            {"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        // The application starts when this has succeeded.
        "startupProbe": {
            "httpGet": {"path": "/live", "port": ADMIN_PORT},
            "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 60,
        },
        // Slow to judge: a restart cuts connections.
        "livenessProbe": {
            "httpGet": {"path": "/live", "port": ADMIN_PORT},
            "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
        },
        "resources": resources(settings),
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER,
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "privileged": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true}],
    })
}

fn environment(plan: &Plan, settings: &InjectionSettings) -> Vec<Value> {
    let literal = |name: &str, value: &str| json!({"name": format!("BLUEBACK_AGENT_{name}"), "value": value});
    let of_pod = |name: &str, field: &str| json!({"name": format!("BLUEBACK_AGENT_{name}"), "valueFrom": {"fieldRef": {"fieldPath": field}}});
    let mut all = Vec::new();
    let service = match &settings.namespace {
        Some(namespace) => format!("{namespace}/{}", settings.gate),
        None => {
            // The kubelet puts variables that stand before it in its place.
            all.push(of_pod("NAMESPACE", "metadata.namespace"));
            format!("$(BLUEBACK_AGENT_NAMESPACE)/{}", settings.gate)
        }
    };
    all.extend([
        literal("SERVICE", &service),
        literal("ROLE", "sidecar"),
        literal("LISTEN", &format!("0.0.0.0:{AGENT_PORT}")),
        literal("APP", &format!("127.0.0.1:{}", plan.app)),
        literal("ADMIN", &format!("0.0.0.0:{ADMIN_PORT}")),
        of_pod("POD", "metadata.name"),
        of_pod("POD_UID", "metadata.uid"),
    ]);
    all.extend(settings.gate_url.as_ref().map(|url| literal("GATE", url)));
    all.extend(settings.ca_pem.as_ref().map(|pem| literal("GATE_CA", pem)));
    all.push(literal("TOKEN_FILE", &format!("{TOKEN_FOLDER}/token")));
    all.extend(settings.otlp.as_ref().map(|url| literal("OTLP", url)));
    if !settings.dependencies.is_empty() {
        all.push(literal("DEPENDENCY", &settings.dependencies.join(",")));
    }
    all.extend(plan.probe.as_ref().map(|path| literal("PROBE", path)));
    all
}

fn resources(settings: &InjectionSettings) -> Value {
    let default = || json!({"requests": {"cpu": REQUESTS.0, "memory": REQUESTS.1}, "limits": {"memory": MEMORY_MAX}});
    let Some(wanted) = &settings.resources else { return default() };
    let mut all = default();
    let lists = [("requests", &wanted.requests, "limits"), ("limits", &wanted.limits, "requests")];
    for (name, (_, _, other)) in lists.iter().flat_map(|list| list.1.keys().map(move |name| (name, list))) {
        // A default on the other side could contradict: a request above the limit makes the pod invalid.
        if let Some(defaults) = all[*other].as_object_mut() {
            defaults.remove(name);
        }
    }
    for (list, values, _) in lists {
        for (name, quantity) in values {
            all[list][name] = json!(quantity);
        }
    }
    all
}

/// Redirects the application's port to the agent, and [`DIRECT_PORT`] to the application.
pub(super) fn redirect(plan: &Plan, settings: &InjectionSettings) -> Value {
    json!({
        "name": REDIRECT_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["redirect", format!("{}={AGENT_PORT}", plan.app), format!("{DIRECT_PORT}={}", plan.app)],
        "resources": {"requests": {"cpu": REQUESTS.0, "memory": REQUESTS.1}, "limits": {"memory": MEMORY_MAX}},
        // The rules of a network namespace are changed by root with this one capability, and by nobody else.
        "securityContext": {
            "runAsNonRoot": false, "runAsUser": 0, "runAsGroup": 0,
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "privileged": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}
