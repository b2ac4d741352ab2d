//! Telling people: what becomes of a release goes to Alertmanager, to a webhook and to Grafana.
//!
//! The loop publishes states of releases; [`Tell`] keeps the newest of each until it is looked at, so the loop never waits and
//! nothing is lost: a later state has the whole timeline of an earlier one. From these states two pure functions make what is to be
//! told: [`alerts`], which are states that begin and end and are repeated while they last, and [`news`], one message for each real
//! change. Each receiver has a task of its own, so one that is down holds up neither the others nor a revert.
//!
//! Nothing is stored. Alerts follow from the state of the releases, and their labels and times are the same after a restart. News
//! have an id that follows from what they tell, and a restarted gate tells the last minute again: receivers that keep ids see
//! each once, and nothing is missed.

pub mod alertmanager;
pub mod alerts;
pub mod config;
pub mod grafana;
pub mod http;
pub mod news;
pub mod queue;
mod signature;
pub mod template;
#[cfg(test)]
pub(crate) mod tests;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use crate::api::types::Release;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::otlp::Traces;
use alerts::{Alert, Alerting};
pub use config::{TellArgs, TellConfig};
use http::Client;
use news::{News, Reader};

/// How often alerts are looked at that begin or end by the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the loop leaves what it publishes.
#[derive(Clone, Default)]
pub struct Tell {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The newest state of each release that was not looked at yet; bounded by the releases that a gate keeps.
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Default)]
struct Pending {
    /// Somebody is there to be told. Without a receiver nothing is kept.
    wanted: bool,
    releases: BTreeMap<String, Arc<Release>>,
    /// Another gate leads: what was known is its business now.
    forget: bool,
}

impl Tell {
    /// A release is like this now. Never waits.
    pub fn publish(&self, release: &Arc<Release>) {
        let mut pending = self.pending();
        if pending.wanted {
            pending.releases.insert(release.id.clone(), Arc::clone(release));
            drop(pending);
            self.shared.wake.notify_one();
        }
    }

    /// This gate does not speak for its releases any more; another does.
    pub fn forget(&self) {
        let mut pending = self.pending();
        pending.releases.clear();
        pending.forget = true;
        drop(pending);
        self.shared.wake.notify_one();
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to tell those whom the configuration names, and whoever takes traces, until the gate closes.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn start(
        &self,
        config: &TellConfig,
        clock: Clock,
        metrics: &Arc<Metrics>,
        traces: Option<Traces>,
        closed: &watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        if config.is_nobody() && traces.is_none() {
            return Ok(());
        }
        self.pending().wanted = true;
        let client = Client::new(config.ca_file.as_deref())?;
        let (alerts, posted) = watch::channel(Arc::default());
        for url in &config.alertmanagers {
            let token = config.alertmanager_token.clone();
            let sender = alertmanager::Sender::new(
                client.clone(),
                url.clone(),
                token,
                config.links.clone(),
                Arc::clone(metrics),
            );
            tokio::spawn(sender.run(posted.clone(), clock, closed.clone()));
        }
        let mut queues = Vec::new();
        if let Some(webhook) = &config.webhook {
            let receiver = webhook::Webhook::new(client.clone(), webhook.clone(), config.links.clone());
            queues.push(queue::start(receiver, metrics, closed));
        }
        if let Some(grafana) = &config.grafana {
            let receiver = grafana::Grafana::new(client, grafana.clone(), config.links.clone());
            queues.push(queue::start(receiver, metrics, closed));
        }
        let teller = Teller {
            tell: self.clone(),
            reader: Reader::new(clock.now().unix_ms()),
            alerting: Alerting::default(),
            alerts,
            queues,
            traces,
            clock,
        };
        tokio::spawn(teller.run(closed.clone()));
        Ok(())
    }
}

/// A queue of one receiver and what says that it was full.
type Queue = (mpsc::Sender<Arc<News>>, Box<dyn Fn() + Send + Sync>);

/// Makes of states what is to be told, and hands it on.
struct Teller {
    tell: Tell,
    reader: Reader,
    alerting: Alerting,
    alerts: watch::Sender<Arc<Vec<Alert>>>,
    queues: Vec<Queue>,
    traces: Option<Traces>,
    clock: Clock,
}

impl Teller {
    async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.tell.shared);
        loop {
            tokio::select! {
                () = shared.wake.notified() => {}
                _ = looks.tick() => {}
                // What was published last is still told, to those who wait for it.
                _ = closed.wait_for(|closed| *closed) => return self.look(),
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let now_ms = self.clock.now().unix_ms();
        let (releases, forget) = {
            let mut pending = self.tell.pending();
            (std::mem::take(&mut pending.releases), std::mem::take(&mut pending.forget))
        };
        if forget {
            self.alerting = Alerting::default();
            self.alerts.send_replace(Arc::default());
            self.traces.iter_mut().for_each(Traces::forget);
        }
        for release in releases.into_values() {
            for news in self.reader.read(&release, now_ms) {
                let news = Arc::new(news);
                for (queue, full) in &self.queues {
                    if queue.try_send(Arc::clone(&news)).is_err() {
                        full();
                    }
                }
            }
            if let Some(traces) = &mut self.traces {
                traces.see(&release, now_ms);
            }
            self.alerting.see(release);
        }
        if let Some(alerts) = self.alerting.look(now_ms) {
            self.alerts.send_replace(alerts);
        }
    }
}
