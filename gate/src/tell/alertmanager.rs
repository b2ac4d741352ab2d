//! Alerts to one Alertmanager, by its API v2.
//!
//! Every Alertmanager of a cluster is told everything, as Prometheus does it; they settle among themselves who notifies. All
//! alerts are posted whenever they change and every minute while there are any, each with an end in the near future: a gate that is
//! gone for good lets its alerts end instead of leaving them to an hour nobody chose. What could not be posted is posted later
//! in the state it has then, so an Alertmanager that was down misses nothing that still matters.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::alerts::Alert;
use super::config::Links;
use super::http::{Client, Message, Target, Trouble, secret_of};
use super::queue::{PAUSE_FIRST, PAUSE_MAX};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Time between two repetitions: a fifth of Alertmanager's own `resolve_timeout`.
pub const REFRESH: Duration = Duration::from_secs(60);
/// How long an alert lasts that is not repeated: three repetitions may be lost.
pub const LASTS_MS: u64 = 240_000;
/// Alerts of one request.
const ALERTS_A_POST_MAX: usize = 64;

/// Tells one Alertmanager.
pub struct Sender {
    client: Client,
    target: Target,
    token: Option<PathBuf>,
    links: Links,
    metrics: Arc<Metrics>,
}

impl Sender {
    /// For the Alertmanager at `target`, with the token of a file where it asks for one.
    #[must_use]
    pub const fn new(
        client: Client,
        target: Target,
        token: Option<PathBuf>,
        links: Links,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, target, token, links, metrics }
    }

    /// Posts what there is, until the gate closes.
    pub async fn run(
        self,
        mut alerts: watch::Receiver<Arc<Vec<Alert>>>,
        clock: Clock,
        mut closed: watch::Receiver<bool>,
    ) {
        let mut pause = PAUSE_FIRST;
        loop {
            let now = Arc::clone(&alerts.borrow_and_update());
            let wait = if now.is_empty() {
                REFRESH
            } else {
                match self.post(&now, clock.now().unix_ms()).await {
                    Ok(()) => {
                        self.metrics.told("alertmanager", "sent");
                        pause = PAUSE_FIRST;
                        REFRESH
                    }
                    Err(trouble) => {
                        self.metrics.told("alertmanager", "failed");
                        let alertmanager = self.target.place();
                        tracing::warn!(alertmanager, error = %trouble, "Alerts not told yet, trying again");
                        let wait = pause;
                        pause = (pause * 2).min(PAUSE_MAX);
                        wait
                    }
                }
            };
            tokio::select! {
                changed = alerts.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
        }
    }

    async fn post(&self, alerts: &[Alert], now_ms: u64) -> Result<(), Trouble> {
        let token = secret_of(self.token.as_deref()).await?;
        for some in alerts.chunks(ALERTS_A_POST_MAX) {
            let body: Vec<Value> = some.iter().map(|alert| body(alert, &self.links, now_ms)).collect();
            let body = Value::Array(body).to_string().into_bytes();
            let message = Message::json(Method::POST, "/api/v2/alerts", body).bearer(token.as_deref());
            self.client.send(&self.target, &message).await?;
        }
        Ok(())
    }
}

/// An alert as Alertmanager takes it.
#[must_use]
pub fn body(alert: &Alert, links: &Links, now_ms: u64) -> Value {
    let mut annotations = json!({
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": links.runbook(alert.runbook),
    });
    let mut body = json!({
        "labels": alert.labels,
        "startsAt": time(alert.starts_ms),
        "endsAt": time(alert.ends_ms.unwrap_or(now_ms + LASTS_MS)),
    });
    if let Some(link) = links.release(&alert.release) {
        annotations["link"] = json!(link);
        body["generatorURL"] = json!(link);
    }
    body["annotations"] = annotations;
    body
}

/// RFC 3339 with milliseconds.
#[must_use]
pub fn time(unix_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_millis(time).to_string()
}
