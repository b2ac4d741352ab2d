//! News to a webhook: CloudEvents 1.0 as JSON, or a body of one's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::{HeaderName, Method, header};
use serde_json::{Value, json};

use super::alertmanager::time;
use super::config::Links;
use super::http::{Client, Message, Target, Trouble, secret};
use super::news::News;
use super::queue::Receiver;
use super::signature::sign;
use super::template::{Template, fields};

/// How a webhook knows that it is us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Proof {
    /// The secret signs each message: `webhook-signature`, by the Standard Webhooks specification.
    #[default]
    Hmac,
    /// The secret is sent: `Authorization: Bearer`.
    Bearer,
}

/// Where to send, and how.
#[derive(Clone)]
pub struct WebhookConfig {
    /// The URL.
    pub target: Target,
    /// File with the secret.
    pub secret: Option<PathBuf>,
    /// What is done with it.
    pub proof: Proof,
    /// The body; a CloudEvent when absent.
    pub template: Option<Arc<Template>>,
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("to", &self.target.place()).finish_non_exhaustive()
    }
}

impl News {
    /// The type of the event.
    #[must_use]
    pub fn event_type(&self) -> String {
        format!("dev.blueback.release.{}", self.kind.as_str())
    }
}

/// The news as a CloudEvent in structured mode.
#[must_use]
pub fn cloud_event(news: &News, links: &Links) -> Value {
    let release = &news.release;
    json!({
        "specversion": "1.0",
        "id": news.id,
        "source": links.source(&release.service),
        "type": news.event_type(),
        "subject": release.id,
        "time": time(news.at_ms),
        "datacontenttype": "application/json",
        "data": {
            "kind": news.kind.as_str(),
            "severity": news.kind.severity(),
            "summary": news.summary(),
            "text": news.text,
            "omitted": news.omitted,
            "service": release.service,
            "release": release.id,
            "revision": release.source_revision,
            "phase": release.phase,
            "verdict": release.verdict,
            "candidate": release.candidate,
            "baseline": release.baseline,
            "share": release.share,
            "by": release.by,
            "link": links.release(&release.id),
            "runbook_url": news.kind.runbook().map(|runbook| links.runbook(runbook)),
        },
    })
}

/// A webhook.
pub struct Webhook {
    client: Client,
    config: WebhookConfig,
    links: Links,
}

impl Webhook {
    /// A webhook.
    #[must_use]
    pub const fn new(client: Client, config: WebhookConfig, links: Links) -> Self {
        Self { client, config, links }
    }

    async fn message(&self, news: &News) -> Result<Message, Trouble> {
        let (body, kind) = match &self.config.template {
            Some(template) => (template.fill(&fields(news, &self.links)), "application/json"),
            None => (cloud_event(news, &self.links).to_string(), "application/cloudevents+json; charset=utf-8"),
        };
        let mut headers =
            vec![(header::CONTENT_TYPE, kind.to_owned()), (HeaderName::from_static("webhook-id"), news.id.clone())];
        if let Some(file) = &self.config.secret {
            let secret = secret(file).await?;
            match self.config.proof {
                Proof::Bearer => headers.push((header::AUTHORIZATION, format!("Bearer {secret}"))),
                Proof::Hmac => {
                    // Receivers hold it against their own clock, so the wall clock it is.
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                    let signature = sign(&secret, &news.id, now, body.as_bytes());
                    headers.push((HeaderName::from_static("webhook-timestamp"), now.to_string()));
                    headers.push((HeaderName::from_static("webhook-signature"), signature));
                }
            }
        }
        Ok(Message { method: Method::POST, path: String::new(), headers, body: body.into() })
    }
}

impl Receiver for Webhook {
    const NAME: &'static str = "webhook";

    async fn send(&self, news: &News) -> Result<(), Trouble> {
        let message = self.message(news).await?;
        self.client.send(&self.config.target, &message).await.map(drop)
    }
}
