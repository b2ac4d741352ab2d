//! One change of one object: read, compared, made upon what was read, read back.

use anyhow::{Context, bail};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::kubernetes::elector::Leadership;
use crate::kubernetes::ownership::{Way, applied, own, way};
use crate::kubernetes::types::{API_GROUP, FENCE_ANNOTATION};

/// An object to be changed.
pub struct Edit<'a> {
    api: Api<DynamicObject>,
    leadership: &'a Leadership,
    name: &'a str,
    kind: &'a str,
}

impl<'a> Edit<'a> {
    /// Of this object.
    #[must_use]
    pub fn new(
        client: &Client,
        leadership: &'a Leadership,
        namespace: &str,
        name: &'a str,
        resource: &'a ApiResource,
    ) -> Self {
        let api = Api::namespaced_with(client.clone(), namespace, resource);
        Self { api, leadership, name, kind: &resource.kind }
    }

    async fn read(&self) -> anyhow::Result<Value> {
        let object = self.api.get(self.name).await.with_context(|| format!("read {} {}", self.kind, self.name))?;
        let mut object = serde_json::to_value(object)?;
        // Of single objects the API says kind and version, but a proxy in between need not.
        if object["kind"].is_null() {
            object["kind"] = json!(self.kind);
        }
        Ok(object)
    }

    /// Makes the JSON patch that `wanted` calls for. Returns false when it calls for none.
    ///
    /// # Errors
    /// When it cannot be made, or is not there when it was made: somebody else has made another one.
    pub async fn make(&self, mut wanted: impl FnMut(&Value) -> anyhow::Result<Vec<Value>>) -> anyhow::Result<bool> {
        let object = self.read().await?;
        let operations = wanted(&object)?;
        if operations.is_empty() {
            return Ok(false);
        }
        self.change(&object, operations).await.with_context(|| format!("change {} {}", self.kind, self.name))?;
        let now = self.read().await?;
        if !wanted(&now)?.is_empty() {
            bail!("{} {} was changed, but somebody has changed it again", self.kind, self.name);
        }
        Ok(true)
    }

    async fn change(&self, object: &Value, mut operations: Vec<Value>) -> anyhow::Result<()> {
        let fence = object["metadata"]["annotations"][FENCE_ANNOTATION].as_str();
        let epoch = self.leadership.check(fence.and_then(|fence| fence.parse().ok()))?;
        let changes = operations.iter().filter(|operation| operation["op"] != "test").filter_map(path);
        // Notes of ours are nobody else's, so their owners have no say.
        let noted = format!("/metadata/annotations/{API_GROUP}~1");
        let is_note = |path: &String| path == "/metadata/annotations" || path.starts_with(&noted);
        let pointers: Vec<String> = changes.filter(|path| !is_note(path)).collect();
        let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
        let way = way(object, &pointers);
        let noted = |operation: &Value| operation["path"] == "/metadata/annotations";
        if object["metadata"]["annotations"].is_null() && !operations.iter().any(noted) {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        let fence = format!("/metadata/annotations/{}", FENCE_ANNOTATION.replace('/', "~1"));
        operations.push(json!({"op": "add", "path": fence, "value": epoch.to_string()}));
        let version = json!({"op": "test", "path": "/metadata/resourceVersion",
            "value": object["metadata"]["resourceVersion"]});
        operations.insert(0, version);
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(operations))?;
        match way {
            Way::Patch { manager } => {
                let params = PatchParams { field_manager: Some(manager), ..PatchParams::default() };
                self.api.patch(self.name, &params, &Patch::Json::<()>(patch)).await?;
            }
            Way::Apply { manager, fields } => {
                let mut changed = object.clone();
                json_patch::patch(&mut changed, &patch)?;
                let params = PatchParams { field_manager: Some(manager), ..PatchParams::default() };
                let notes = changed["metadata"]["annotations"].as_object();
                let notes = notes.into_iter().flatten().filter(|(key, _)| key.starts_with(API_GROUP));
                let notes: Vec<_> =
                    notes.map(|(key, _)| format!("/metadata/annotations/{}", key.replace('/', "~1"))).collect();
                let pointers = pointers.into_iter().chain(notes.iter().map(String::as_str));
                let fields = pointers.fold(fields, |fields, pointer| own(fields, &changed, pointer));
                self.api.patch(self.name, &params, &Patch::Apply(applied(&fields, &changed))).await?;
            }
        }
        Ok(())
    }
}

fn path(operation: &Value) -> Option<String> {
    operation["path"].as_str().map(ToOwned::to_owned)
}
