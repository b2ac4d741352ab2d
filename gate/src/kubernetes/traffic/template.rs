//! Back from a rolling update: the template of the old pods is put into their workload again.

use anyhow::{Context, anyhow};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use super::{Edit, KubernetesTraffic};
use crate::kubernetes::index::Name;
use crate::kubernetes::objects;
use crate::platform::GroupKey;

/// Label that tells the pods of a ReplicaSet; it is no part of the workload's own template.
const HASH_LABEL: &str = "pod-template-hash";

/// A workload that makes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl KubernetesTraffic {
    pub(super) async fn restore_template(
        &self,
        name: &Name,
        serving: &[GroupKey],
        candidate: &str,
    ) -> anyhow::Result<String> {
        let old = serving.first().context("it is not known what served before")?;
        let workload = self.workload_of(&name.0, candidate).await?;
        let workload = workload.context("the pods that are new belong to no workload that could be rolled back")?;
        let template = self.template_of(&name.0, old).await.with_context(|| format!("the template of {old}"))?;
        let resource = objects::workload(&workload.api_version, &workload.kind);
        let edit = Edit::new(&self.client, &self.leadership, &name.0, &workload.name, &resource);
        let done = edit
            .make(|value| {
                let patch = json!({"op": "replace", "path": "/spec/template", "value": template});
                Ok(if value["spec"]["template"] == template { Vec::new() } else { vec![patch] })
            })
            .await?;
        let told = format!("{} {} rolls back to {old}", workload.kind, workload.name);
        Ok(if done { told } else { format!("{told} already") })
    }

    /// The workload that a group's pods belong to. `None` when they belong to none, or are gone.
    pub(super) async fn workload_of(&self, namespace: &str, group: &str) -> anyhow::Result<Option<Workload>> {
        let mut parts = group.split('/');
        let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match kind {
            "ReplicaSet" => {
                let Some(set) = self.get(namespace, "apps/v1", "ReplicaSet", name).await? else { return Ok(None) };
                let owners = set.pointer("/metadata/ownerReferences").and_then(Value::as_array);
                let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
                Ok(owner.map(|owner| Workload {
                    api_version: text(&owner["apiVersion"]),
                    kind: text(&owner["kind"]),
                    name: text(&owner["name"]),
                }))
            }
            "StatefulSet" | "DaemonSet" => {
                Ok(Some(Workload { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: name.to_owned() }))
            }
            _ => Ok(None),
        }
    }

    async fn template_of(&self, namespace: &str, group: &str) -> anyhow::Result<Value> {
        let parts: Vec<&str> = group.split('/').collect();
        let mut template = match parts.as_slice() {
            ["ReplicaSet", name] => {
                let set = self.get(namespace, "apps/v1", "ReplicaSet", name).await?;
                set.ok_or_else(|| anyhow!("it is gone"))?["spec"]["template"].clone()
            }
            [_, name, revision] => {
                let of =
                    |name: String| async move { self.get(namespace, "apps/v1", "ControllerRevision", &name).await };
                let kept = match of((*revision).to_owned()).await? {
                    Some(kept) => Some(kept),
                    None => of(format!("{name}-{revision}")).await?,
                };
                kept.ok_or_else(|| anyhow!("it is gone"))?["data"]["spec"]["template"].clone()
            }
            _ => return Err(anyhow!("its pods have no workload")),
        };
        if let Some(fields) = template.as_object_mut() {
            fields.remove("$patch");
        }
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
        }
        Ok(template)
    }

    async fn get(&self, namespace: &str, api_version: &str, kind: &str, name: &str) -> anyhow::Result<Option<Value>> {
        let resource = objects::workload(api_version, kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let object = api.get_opt(name).await.with_context(|| format!("read {kind} {name}"))?;
        Ok(object.map(serde_json::to_value).transpose()?)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
