//! Puts together what stands at the gate's entrances in a cluster: who is let in, the webhooks, and the certificates.

use std::sync::Arc;

use axum::Router;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::Client;
use tokio::sync::watch;

use super::admission::{self, Admission, AgentDefaults};
use super::auth::KubernetesDoor;
use super::certs::{self, Keeper, bundle};
use super::gates::Gates;
use crate::config::Config;
use crate::door::{Door, TokenDoor};
use crate::metrics::Metrics;
use crate::tls::{Certificates, Files};

/// Where the gate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Port of the API, which is also the Service's.
    pub port: u16,
}

impl Place {
    /// The name by which agents and other gates call it: the first one of its certificate.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// The certificates of the gate: what serves, and what was last seen in their folder.
pub type Served = (Certificates, watch::Receiver<Option<Files>>);

/// What stands at the entrances.
pub struct Entrance {
    /// Who is let in.
    pub door: Arc<dyn Door>,
    /// The webhooks.
    pub webhooks: Router,
}

/// Opens the entrances, and keeps the certificates until `closed`.
pub fn open(
    client: &Client,
    gates: &Arc<dyn Gates>,
    config: &Config,
    place: &Place,
    served: Option<&Served>,
    metrics: &Arc<Metrics>,
    closed: &watch::Receiver<bool>,
) -> Entrance {
    let entrances = &config.entrances;
    if let Some((certificates, seen)) = served {
        if let Some(secret) = &entrances.tls_secret {
            let keeper = Keeper {
                client: client.clone(),
                namespace: place.namespace.clone(),
                secret: secret.clone(),
                names: certs::names(&place.service, &place.namespace),
                certificates: certificates.clone(),
                seen: seen.clone(),
            };
            tokio::spawn(keeper.run(closed.clone()));
        }
        let (client, certificates, closed) = (client.clone(), certificates.clone(), closed.clone());
        if let Some(name) = entrances.mutating_webhook.clone() {
            let (client, certificates, closed) = (client.clone(), certificates.clone(), closed.clone());
            tokio::spawn(bundle::keep::<MutatingWebhookConfiguration>(client, name, certificates, closed));
        }
        if let Some(name) = entrances.validating_webhook.clone() {
            tokio::spawn(bundle::keep::<ValidatingWebhookConfiguration>(client, name, certificates, closed));
        }
    }
    let certificates = served.map(|(certificates, _)| certificates.clone());
    let agents = AgentDefaults {
        image: entrances.agent_image.clone(),
        gate_url: Some(gate_url(place, served.is_some())),
        otlp: entrances.agent_otlp.clone(),
    };
    let authorities = move || certificates.as_ref().and_then(Certificates::authorities);
    let admission = Admission {
        gates: Arc::clone(gates),
        agents,
        authorities: Arc::new(authorities),
        metrics: Arc::clone(metrics),
    };
    let own = TokenDoor::new(config.token.clone());
    let door = KubernetesDoor::new(client.clone(), Arc::clone(gates), own, Arc::clone(metrics));
    Entrance { door: Arc::new(door), webhooks: admission::router(admission) }
}

/// How agents find the gate: by the name that its certificate bears.
fn gate_url(place: &Place, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}:{}", place.host(), place.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_call_the_gate_by_a_name_of_its_certificate() {
        let place = Place { service: "blueback-gate".to_owned(), namespace: "blueback".to_owned(), port: 7070 };
        let url = gate_url(&place, true);
        assert_eq!(url, "https://blueback-gate.blueback.svc:7070");
        assert!(certs::names(&place.service, &place.namespace).iter().any(|name| url.contains(&format!("//{name}:"))));
        assert_eq!(gate_url(&place, false), "http://blueback-gate.blueback.svc:7070");
    }
}
