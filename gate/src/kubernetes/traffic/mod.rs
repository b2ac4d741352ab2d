//! The durable change of traffic: the selector of a Service, the weights of a route, or what a ReleaseGate's patch or webhook
//! says.
//!
//! Every change is a compare-and-swap: the object is read, what is wanted is compared with what is, and the change is only
//! made upon the version that was read. What is so already is not made again, so a step can be repeated, by this gate or by
//! the next one. After each change the object is read back. A gate that is not the leader changes nothing, and neither does
//! one whose leadership is older than the one that made the last change.

mod edit;
mod release;
mod template;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use kube::Client;
use serde_json::{Value, json};

use super::elector::Leadership;
use super::index::{Name, selects};
use super::types::ReleaseGate;
use super::{Shared, objects, weights};
use crate::effect::Job;
use crate::event::Step;
use crate::platform::{Backend, Snapshot};

pub use edit::Edit;

/// Changes traffic through the Kubernetes API.
#[derive(Clone)]
pub struct KubernetesTraffic {
    client: Client,
    shared: Shared,
    leadership: Leadership,
}

impl KubernetesTraffic {
    /// With this client, upon what is seen here, while this gate leads.
    #[must_use]
    pub fn new(client: Client, shared: Shared, leadership: Leadership) -> Self {
        Self { client, shared, leadership }
    }

    /// Does a step once. Returns what is worth saying about it.
    ///
    /// # Errors
    /// Why it is not done; it is safe to try again.
    pub async fn attempt(&self, job: &Job) -> anyhow::Result<String> {
        let name = split(&job.service)?;
        let result = match job.step {
            Step::Diverted => Ok(String::new()),
            Step::Switched | Step::Shifted => self.shift(&name, job).await,
            Step::Verified => self.verify(&name, job),
            Step::Released => self.release(&name, job).await,
            Step::Announced => {
                let (release, service, why, trace_id) = (&job.release, &job.service, &job.text, job.trace);
                tracing::warn!(%release, %service, %why, %trace_id, "Reverted");
                Ok(job.text.clone())
            }
        };
        let forbidden = result.as_ref().err().and_then(forbidden);
        self.shared.told(&name, job.step, forbidden);
        result
    }

    fn gate(&self, name: &Name) -> anyhow::Result<(Arc<ReleaseGate>, Snapshot)> {
        let index = self.shared.index();
        let gate = index.gate(name).cloned().ok_or_else(|| anyhow!("the ReleaseGate {} is gone", name.1))?;
        let snapshot = index.snapshot(name).map_err(anyhow::Error::msg)?;
        Ok((gate, snapshot))
    }

    async fn shift(&self, name: &Name, job: &Job) -> anyhow::Result<String> {
        let (gate, snapshot) = self.gate(name)?;
        let record = job.record.platform.as_ref().context("nothing is known of its platform")?;
        let candidate = record.candidate.as_deref().context("it is not known what is new")?;
        let traffic = &gate.spec.traffic;
        if let Some(service) = &traffic.service {
            let labels = self.shared.index().labels_of(name, candidate);
            if job.step == Step::Shifted {
                let labels = labels.context("the pods to switch to are gone")?;
                return self.select(name, service, |selector| switched(selector, &labels)).await;
            }
            let home = record.home.iter().find(|backend| backend.name == *service);
            let home = home.context("it is not known what the selector was before the release")?.selector.clone();
            let told = self.select(name, service, |_| Ok(home.clone())).await?;
            // The selector is what it was and still selects what is new: it came by a rolling update.
            return match labels {
                Some(labels) if selects(&home, &labels) => {
                    self.restore_template(name, &record.serving, candidate).await
                }
                _ => Ok(told),
            };
        }
        let service = service_of(&snapshot, self.shared.index().labels_of(name, candidate).as_ref(), &record.home)?;
        if let Some(webhook) = &traffic.webhook {
            self.leadership.check(None)?;
            let second = second_share(&webhook.services, &service, job.share)?;
            return webhook::post(webhook, job, second).await;
        }
        let (kind, object) = weights::object_of(traffic).context("the traffic has no form")?;
        let resource = objects::resource_of(traffic).context("the traffic has no form")?;
        let edit = Edit::new(&self.client, &self.leadership, &name.0, object, &resource);
        let done = edit
            .make(|value| {
                if let Some(route) = traffic.http_route.as_ref().or(traffic.grpc_route.as_ref()) {
                    return weights::route_patch(route, value, &service, job.share).map_err(anyhow::Error::msg);
                }
                let patch = traffic.patch.as_ref().context("the traffic has no form")?;
                let second = second_share(&patch.services, &service, job.share)?;
                let weight = weights::read(traffic, value).map_err(anyhow::Error::msg)?.last().map(|last| last.1);
                Ok(if weight == Some(second) { Vec::new() } else { weights::filled_patch(patch, second) })
            })
            .await?;
        let told = format!("{kind} {object} gives {service} {:.0}%", job.share * 100.0);
        Ok(if done { told } else { format!("{told} already") })
    }

    /// Makes a Service select by other labels.
    async fn select(
        &self,
        name: &Name,
        service: &str,
        wanted: impl Fn(&BTreeMap<String, String>) -> anyhow::Result<BTreeMap<String, String>>,
    ) -> anyhow::Result<String> {
        let resource = objects::service();
        let edit = Edit::new(&self.client, &self.leadership, &name.0, service, &resource);
        let mut told = String::new();
        let done = edit
            .make(|value| {
                let selector = serde_json::from_value(value["spec"]["selector"].clone()).unwrap_or_default();
                let wanted = wanted(&selector)?;
                told = words(&wanted);
                Ok(if selector == wanted { Vec::new() } else { selector_patch(&value["spec"]["selector"], &wanted) })
            })
            .await?;
        let already = if done { "" } else { " already" };
        Ok(format!("Service {service} selects {told}{already}"))
    }

    /// Sees that blue has a ready pod, by what the platform says.
    fn verify(&self, name: &Name, job: &Job) -> anyhow::Result<String> {
        let (_, snapshot) = self.gate(name)?;
        let serving = job.record.platform.as_ref().map(|record| record.serving.as_slice()).unwrap_or_default();
        let pods = snapshot.pods.iter().filter(|pod| serving.contains(&pod.group));
        let (ready, all) = pods.fold((0, 0), |(ready, all), pod| (ready + u32::from(pod.ready), all + 1));
        if ready == 0 {
            bail!("none of the {all} pods of {} is ready", job.baseline);
        }
        Ok(String::new())
    }
}

/// The patch of a selector: as a whole, upon what it was.
fn selector_patch(former: &Value, wanted: &BTreeMap<String, String>) -> Vec<Value> {
    vec![
        json!({"op": "test", "path": "/spec/selector", "value": former}),
        json!({"op": "replace", "path": "/spec/selector", "value": wanted}),
    ]
}

/// The selector with the same keys, and the values of these labels.
fn switched(
    selector: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let values = selector.keys().map(|key| {
        let value = labels.get(key).ok_or_else(|| anyhow!("the pods to switch to have no label {key}"))?;
        Ok((key.clone(), value.clone()))
    });
    values.collect()
}

fn words(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The Service of a route that has the candidate's pods.
fn service_of(
    snapshot: &Snapshot,
    labels: Option<&BTreeMap<String, String>>,
    home: &[Backend],
) -> anyhow::Result<String> {
    let selecting =
        snapshot.backends.iter().find(|backend| labels.is_some_and(|labels| selects(&backend.selector, labels)));
    // Pods that are gone select nobody; then it is the Service that got nothing before the release.
    let idle = || home.iter().find(|backend| backend.weight == 0);
    let service = selecting.or_else(idle).context("none of the route's Services has the pods that are new")?;
    Ok(service.name.clone())
}

/// The weight of the second Service, in percent, when `service` gets this share.
fn second_share(services: &[String], service: &str, share: f64) -> anyhow::Result<u32> {
    let percent = (share.clamp(0.0, 1.0) * 100.0).round() as u32;
    match services {
        [_, second] if second == service => Ok(percent),
        [first, _] if first == service => Ok(100 - percent),
        _ => bail!("{service} is none of {}", services.join(" and ")),
    }
}

/// The namespace and the name in the name of a service.
fn split(service: &str) -> anyhow::Result<Name> {
    let (namespace, name) = service.split_once('/').with_context(|| format!("{service:?} is not NAMESPACE/NAME"))?;
    Ok((namespace.to_owned(), name.to_owned()))
}

/// The API server does not allow it.
fn forbidden(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 403 => Some(status.message.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_selector_keeps_its_keys() {
        let blue = labels(&[("app", "cart"), ("color", "blue")]);
        let pod = labels(&[("app", "cart"), ("color", "green"), ("pod-template-hash", "7d9c")]);
        let green = switched(&blue, &pod).expect("the pod has all keys");
        assert_eq!(green, labels(&[("app", "cart"), ("color", "green")]));
        switched(&blue, &labels(&[("app", "cart")])).expect_err("the pod has no color");
    }

    #[test]
    fn weights_are_those_of_the_second_service() {
        let services = ["a".to_owned(), "b".to_owned()];
        assert_eq!(second_share(&services, "b", 0.2).expect("it is one"), 20);
        assert_eq!(second_share(&services, "a", 0.0).expect("it is one"), 100);
        second_share(&services, "c", 0.0).expect_err("it is none");
    }

    #[test]
    fn a_service_has_a_namespace() {
        assert_eq!(split("shop/cart").expect("it has"), ("shop".to_owned(), "cart".to_owned()));
        split("cart").expect_err("it has none");
    }
}
