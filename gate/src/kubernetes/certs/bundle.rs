//! Tells the API server by which authority it may trust our webhooks.
//!
//! Only the field `caBundle` is ours. A chart that renders it fights with whoever fills it (a server-side apply ends in a
//! conflict), so the chart leaves it out and the gate fills it, again whenever somebody has overwritten it.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt as _;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, Resource};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use super::{Facts, facts};
use crate::tls::Certificates;

/// How often it is looked whether the authority has changed, or a patch that failed is to be tried again.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// The same until there is an authority: nobody who waits for the gate should then find webhooks that do not work.
const ASKED_FIRST_EVERY: Duration = Duration::from_millis(100);

/// A webhook of a configuration: its name, and the bundle it has.
pub type Webhook = (String, Option<ByteString>);

/// A configuration of webhooks.
pub trait Configuration:
    Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + 'static
{
    /// Its webhooks.
    fn webhooks(&self) -> Vec<Webhook>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<Webhook> {
        let all = self.webhooks.iter().flatten();
        all.map(|webhook| (webhook.name.clone(), webhook.client_config.ca_bundle.clone())).collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<Webhook> {
        let all = self.webhooks.iter().flatten();
        all.map(|webhook| (webhook.name.clone(), webhook.client_config.ca_bundle.clone())).collect()
    }
}

fn authorities(pem: &[u8]) -> Vec<Facts> {
    CertificateDer::pem_slice_iter(pem).filter_map(|der| facts(&der.ok()?)).collect()
}

/// The bundle lacks an authority of ours. One with the same key that lives as long is as good: replicas that see a renewed
/// authority at different times must not write against each other.
fn lacks(bundle: Option<&ByteString>, ours: &str) -> bool {
    let there = bundle.map(|bundle| authorities(&bundle.0)).unwrap_or_default();
    let is_there =
        |our: &Facts| there.iter().any(|known| known.public_key == our.public_key && known.not_after >= our.not_after);
    !authorities(ours.as_bytes()).iter().all(is_there)
}

/// Gives each webhook our authority that lacks it. `None` when none does.
#[must_use]
pub fn patch(webhooks: &[Webhook], ours: &str) -> Option<json_patch::Patch> {
    let mut operations = Vec::new();
    for (index, (name, bundle)) in webhooks.iter().enumerate() {
        if !lacks(bundle.as_ref(), ours) {
            continue;
        }
        let index = index.to_string();
        let path = |rest: &[&str]| {
            PointerBuf::from_tokens(["webhooks", index.as_str()].into_iter().chain(rest.iter().copied()))
        };
        operations.push(PatchOperation::Test(TestOperation { path: path(&["name"]), value: json!(name) }));
        let value = json!(ByteString(ours.as_bytes().to_vec()));
        operations.push(PatchOperation::Add(AddOperation { path: path(&["clientConfig", "caBundle"]), value }));
    }
    (!operations.is_empty()).then_some(json_patch::Patch(operations))
}

/// Keeps the bundle of one configuration, until `closed`.
pub async fn keep<C: Configuration>(
    client: Client,
    name: String,
    certificates: Certificates,
    mut closed: watch::Receiver<bool>,
) {
    let api: Api<C> = Api::all(client);
    let mut states = Box::pin(watch_object(api.clone(), &name).default_backoff());
    let mut known: Option<C> = None;
    let mut complaint = None;
    loop {
        let pause = if certificates.authorities().is_some() { ASKED_EVERY } else { ASKED_FIRST_EVERY };
        tokio::select! {
            state = states.next() => match state {
                Some(Ok(state)) => {
                    if state.is_none() {
                        tracing::info!(name, kind = %C::kind(&()), "There is no such configuration of webhooks");
                    }
                    known = state;
                }
                Some(Err(error)) => tracing::debug!(name, %error, "Watch of the webhooks interrupted"),
                None => return,
            },
            () = tokio::time::sleep(pause) => {}
            _ = closed.wait_for(|closed| *closed) => return,
        }
        let (Some(configuration), Some(ours)) = (&known, certificates.authorities()) else { continue };
        let Some(patch) = patch(&configuration.webhooks(), &ours) else { continue };
        match api.patch(&name, &PatchParams::default(), &Patch::Json::<()>(patch)).await {
            Ok(patched) => {
                tracing::info!(name, kind = %C::kind(&()), "Authority of the webhooks written");
                known = Some(patched);
                complaint = None;
            }
            // Changed meanwhile, or not permitted; the watch or the next turn tells. One line of log is enough.
            Err(error) => {
                let told = Some(error.to_string());
                if told != complaint {
                    tracing::warn!(name, kind = %C::kind(&()), %error, "Authority of the webhooks not written");
                }
                complaint = told;
            }
        }
    }
}
