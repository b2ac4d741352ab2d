//! Manifests in, manifests with agents out: what the admission webhook does, for those who keep what runs in a repository.
//!
//! A document in which nothing changes passes through byte by byte, with its comments and its order of keys. One in which
//! something changes is written anew; only the comments above it survive.
//!
//! YAML is read as Kubernetes reads it, which is version 1.1 in one respect that matters: `defaultMode: 0644` is octal.

use std::collections::BTreeMap;

use blueback_gate::kubernetes::inject::{self, InjectionSettings, Outcome, Refusal};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

/// Deepest nesting of lists of objects that is looked into.
const LISTS_DEEP_MAX: usize = 4;

/// Which pods get an agent, and which agent.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The Service that is guarded.
    pub service: String,
    /// Its port; without the Service in the input, its target port.
    pub port: Option<IntOrString>,
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    /// What pods get; namespace and target port are found in the input.
    pub settings: InjectionSettings,
}

/// What came of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The documents.
    pub text: String,
    /// What came of each workload that was selected, for people.
    pub notes: Vec<String>,
}

/// One document: what stands above it, and the document.
struct Document<'a> {
    text: &'a str,
    /// Separator, blank lines and comments.
    head: &'a str,
    value: Value,
}

/// Gives the selected workloads among these documents their agents.
///
/// # Errors
/// Everything that keeps it from being done, all at once. Then there is no output: half of it would be deployed.
pub fn rewrite(input: &str, wanted: &Wanted) -> Result<Rewritten, Vec<String>> {
    let documents = read(input)?;
    let selection = Selection::find(&documents, wanted).map_err(|complaint| vec![complaint])?;
    let (mut text, mut notes, mut wrong) = (String::with_capacity(input.len()), Vec::new(), Vec::new());
    for Document { text: was, head, value } in documents {
        let mut now = value.clone();
        for object in objects(&mut now, 0) {
            match selection.rewrite(object, wanted) {
                Ok(note) => notes.extend(note),
                Err(complaint) => wrong.push(complaint),
            }
        }
        if now == value {
            text.push_str(was);
        } else {
            match serde_saphyr::to_string(&now) {
                Ok(written) => {
                    text.push_str(head);
                    text.push_str(written.trim_end());
                    text.push('\n');
                }
                Err(error) => wrong.push(format!("{}: {error}", title(&now))),
            }
        }
    }
    if notes.is_empty() && wrong.is_empty() {
        wrong.push(match &selection.pods {
            Pods::Selected { .. } => {
                format!("--service {}: its Service selects no workload of the input", wanted.service)
            }
            Pods::WithPort => format!("--port: no workload of the input has the port {}", said(&selection.target)),
        });
    }
    if wrong.is_empty() { Ok(Rewritten { text, notes }) } else { Err(wrong) }
}

fn read(input: &str) -> Result<Vec<Document<'_>>, Vec<String>> {
    let (mut documents, mut wrong) = (Vec::new(), Vec::new());
    for (number, text) in split(input).into_iter().enumerate() {
        let is_head = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        };
        let head: usize = text.split_inclusive('\n').take_while(|line| is_head(line)).map(str::len).sum();
        let (head, body) = text.split_at(head);
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let value =
            if body.is_empty() { Ok(Value::Null) } else { serde_saphyr::from_str_with_options::<Value>(body, options) };
        match value {
            Ok(value) => documents.push(Document { text, head, value }),
            Err(error) => wrong.push(format!("document {}: {error}", number + 1)),
        }
    }
    if wrong.is_empty() { Ok(documents) } else { Err(wrong) }
}

/// At each line that begins with `---`: nothing else in YAML may begin like this, not even a block of text.
fn split(input: &str) -> Vec<&str> {
    let (mut parts, mut began, mut at) = (Vec::new(), 0, 0);
    for line in input.split_inclusive('\n') {
        let separates =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if separates && at > began {
            parts.push(&input[began..at]);
            began = at;
        }
        at += line.len();
    }
    parts.push(&input[began..]);
    parts
}

/// The objects of a document: itself, or those of a list.
fn objects(value: &mut Value, deep: usize) -> Vec<&mut Value> {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && deep < LISTS_DEEP_MAX;
    if !is_list {
        return vec![value];
    }
    match value.get_mut("items").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().flat_map(|item| objects(item, deep + 1)).collect(),
        None => Vec::new(),
    }
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn said(target: &IntOrString) -> String {
    match target {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

/// Where a kind of object keeps its pod, or the template of its pods.
fn template_of(object: &mut Value) -> Option<&mut Value> {
    let place = match object["kind"].as_str()? {
        "Pod" => "",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer_mut(place).filter(|template| template.is_object())
}

/// Which pods.
enum Pods {
    /// Those that the Service selects.
    Selected { namespace: Option<String>, labels: BTreeMap<String, String> },
    /// Those that have the port: the Service is not in the input.
    WithPort,
}

struct Selection {
    pods: Pods,
    target: IntOrString,
}

impl Selection {
    fn find(documents: &[Document<'_>], wanted: &Wanted) -> Result<Self, String> {
        let mut found = Vec::new();
        for document in documents {
            let mut value = document.value.clone();
            for object in objects(&mut value, 0) {
                if object["kind"] == "Service"
                    && object["apiVersion"] == "v1"
                    && object["metadata"]["name"] == *wanted.service
                {
                    let service: Service = serde_json::from_value(object.take())
                        .map_err(|error| format!("Service {}: {error}", wanted.service))?;
                    found.push(service);
                }
            }
        }
        if let Some(namespace) = &wanted.namespace {
            found.retain(|service| service.metadata.namespace.as_ref().is_none_or(|known| known == namespace));
        }
        match found.as_slice() {
            [] => match &wanted.port {
                Some(port) => Ok(Self { pods: Pods::WithPort, target: port.clone() }),
                None => Err(format!(
                    "--service {0}: the input has no Service {0}; add its manifest, or name its target port with --port",
                    wanted.service
                )),
            },
            [service] => {
                let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
                if selector.is_empty() {
                    return Err(format!("--service {}: the Service selects no pods", wanted.service));
                }
                let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
                let target = inject::target_port(&wanted.service, ports, wanted.port.as_ref())
                    .map_err(|refusal| refusal.to_string())?;
                let namespace = service.metadata.namespace.clone().or_else(|| wanted.namespace.clone());
                Ok(Self { pods: Pods::Selected { namespace, labels: selector }, target })
            }
            _ => Err(format!(
                "--service {}: the input has {} Services of that name; choose with --namespace",
                wanted.service,
                found.len()
            )),
        }
    }

    fn selects(&self, pod: &Pod, namespace: Option<&str>) -> bool {
        match &self.pods {
            Pods::Selected { namespace: of, labels } => {
                let has = pod.metadata.labels.as_ref();
                of.as_deref() == namespace
                    && labels.iter().all(|(key, value)| has.and_then(|has| has.get(key)) == Some(value))
            }
            Pods::WithPort => pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| {
                container.ports.iter().flatten().any(|port| match &self.target {
                    IntOrString::String(name) => port.name.as_ref() == Some(name),
                    IntOrString::Int(number) => port.container_port == *number,
                })
            }),
        }
    }

    /// Gives an object its agent if it is one of the selected, and tells what came of it.
    fn rewrite(&self, object: &mut Value, wanted: &Wanted) -> Result<Option<String>, String> {
        let title = title(object);
        let of_object = object["metadata"]["namespace"].as_str().map(str::to_owned);
        let Some(template) = template_of(object) else { return Ok(None) };
        let parsed: PodTemplateSpec =
            serde_json::from_value(json!({"metadata": template["metadata"], "spec": template["spec"]}))
                .map_err(|error| format!("{title}: its pod is not understood: {error}"))?;
        let pod = Pod { metadata: parsed.metadata.unwrap_or_default(), spec: parsed.spec, ..Pod::default() };
        let namespace = of_object.or_else(|| wanted.namespace.clone());
        if !self.selects(&pod, namespace.as_deref()) {
            return Ok(None);
        }
        let target = self.target.clone();
        let settings = InjectionSettings { namespace, target, ..wanted.settings.clone() };
        let outcome = inject::inject(&pod, &settings).map_err(|refusal| match refusal {
            Refusal::Numeric { .. } => format!("{title}: {refusal} (here: --redirect)"),
            refusal => format!("{title}: {refusal}"),
        })?;
        let patch = match outcome {
            Outcome::AlreadyInjected => return Ok(Some(format!("{title}: has an agent already"))),
            Outcome::OptedOut => return Ok(Some(format!("{title}: declines by its annotation"))),
            Outcome::Patched(patch) => patch,
        };
        if !template["metadata"].is_object() {
            template["metadata"] = json!({});
        }
        json_patch::patch(template, &patch).map_err(|error| format!("{title}: {error}"))?;
        Ok(Some(format!("{title}: agent injected")))
    }
}

#[cfg(test)]
mod tests;
