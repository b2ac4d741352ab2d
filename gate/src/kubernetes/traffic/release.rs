//! What becomes of green's pods after a revert.

use anyhow::Context;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use serde_json::{Value, json};

use super::template::Workload;
use super::{Edit, KubernetesTraffic};
use crate::effect::Job;
use crate::kubernetes::index::Name;
use crate::kubernetes::objects;
use crate::kubernetes::types::{AfterRevert, REPLICAS_ANNOTATION};

impl KubernetesTraffic {
    /// Keeps green's workload, scales it down or deletes it. What blue's pods belong to as well is never touched.
    pub(super) async fn release(&self, name: &Name, job: &Job) -> anyhow::Result<String> {
        let (gate, _) = self.gate(name)?;
        let record = job.record.platform.as_ref().context("nothing is known of its platform")?;
        let candidate = record.candidate.as_deref().context("it is not known what was new")?;
        if record.returned {
            return Ok("its pods are left as they are, as it was not the gate that set the traffic back".to_owned());
        }
        if gate.spec.after_revert == AfterRevert::Keep {
            return Ok("its pods are kept".to_owned());
        }
        let Some(workload) = self.workload_of(&name.0, candidate).await? else {
            return Ok("its pods belong to no workload, so they are left as they are".to_owned());
        };
        for serving in &record.serving {
            if self.workload_of(&name.0, serving).await?.as_ref() == Some(&workload) {
                let Workload { kind, name, .. } = &workload;
                return Ok(format!("{kind} {name} has blue's pods as well, and takes green's away itself"));
            }
        }
        let Workload { api_version, kind, name: workload } = &workload;
        let resource = objects::workload(api_version, kind);
        if gate.spec.after_revert == AfterRevert::Delete {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &name.0, &resource);
            let Some(object) = api.get_opt(workload).await? else { return Ok(format!("{kind} {workload} is gone")) };
            self.leadership.check(None)?;
            let uid = object.metadata.uid;
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid, resource_version: None }),
                ..DeleteParams::background()
            };
            api.delete(workload, &params).await.with_context(|| format!("delete {kind} {workload}"))?;
            return Ok(format!("{kind} {workload} is deleted"));
        }
        let edit = Edit::new(&self.client, &self.leadership, &name.0, workload, &resource);
        let mut replicas = 0;
        edit.make(|value| {
            let now = value["spec"]["replicas"].as_u64();
            let Some(now) = now.filter(|now| *now > 0) else { return Ok(Vec::new()) };
            replicas = now;
            Ok(scale_down(value, now))
        })
        .await?;
        Ok(match replicas {
            0 => format!("{kind} {workload} runs no pods"),
            replicas => format!("{kind} {workload} is scaled from {replicas} to 0 replicas"),
        })
    }
}

fn scale_down(object: &Value, replicas: u64) -> Vec<Value> {
    let mut patch = Vec::new();
    if object["metadata"]["annotations"].is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let path = format!("/metadata/annotations/{}", REPLICAS_ANNOTATION.replace('/', "~1"));
    patch.push(json!({"op": "add", "path": path, "value": replicas.to_string()}));
    patch.push(json!({"op": "replace", "path": "/spec/replicas", "value": 0}));
    patch
}
