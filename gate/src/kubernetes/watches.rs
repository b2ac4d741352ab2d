//! Watches of the API, trimmed to what the index keeps.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::index::{Name, Seen};
use super::traffic::webhook;
use super::weights::WEBHOOK;

/// What is watched: a namespace and a kind.
pub type Source = (String, String);

/// Pause before a watch that broke is made again. The library's own grows to half a minute, which is long in an incident.
const AGAIN: Duration = Duration::from_millis(500);

/// Time between two questions to a webhook.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// What a watch says.
#[derive(Debug)]
pub enum Told {
    /// An object is, or is no more.
    Seen(Seen),
    /// Everything that was there at the beginning is told.
    Complete(Source),
    /// It does not work now, and is tried again.
    Broken(Source, String),
}

/// A watch that ends when it is dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Always the same pause.
#[derive(Debug)]
pub(super) struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(AGAIN)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// Watches objects, and tells of each.
pub fn follow<K, F>(api: Api<K>, source: Source, told: mpsc::Sender<Told>, seen: F) -> Watch
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    F: Fn(Name, Option<K>) -> Seen + Send + 'static,
{
    Watch(tokio::spawn(async move {
        let events = watcher(api, Config::default()).backoff(Steady);
        pin_mut!(events);
        let mut known: BTreeSet<Name> = BTreeSet::new();
        let mut listed: BTreeSet<Name> = BTreeSet::new();
        while let Some(event) = events.next().await {
            let name = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
            let messages = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    Vec::new()
                }
                Ok(Event::InitApply(object)) => {
                    listed.insert(name(&object));
                    vec![Told::Seen(seen(name(&object), Some(object)))]
                }
                Ok(Event::InitDone) => {
                    let gone = known.difference(&listed).cloned();
                    let mut messages: Vec<_> = gone.map(|name| Told::Seen(seen(name, None))).collect();
                    known = std::mem::take(&mut listed);
                    messages.push(Told::Complete(source.clone()));
                    messages
                }
                Ok(Event::Apply(object)) => {
                    known.insert(name(&object));
                    vec![Told::Seen(seen(name(&object), Some(object)))]
                }
                Ok(Event::Delete(object)) => {
                    known.remove(&name(&object));
                    vec![Told::Seen(seen(name(&object), None))]
                }
                Err(error) => vec![Told::Broken(source.clone(), words(&error))],
            };
            for message in messages {
                if told.send(message).await.is_err() {
                    return;
                }
            }
        }
    }))
}

/// Asks a webhook for its weights again and again, and tells of them.
pub fn poll(namespace: &str, url: &str, told: mpsc::Sender<Told>) -> Watch {
    let (source, url) = ((namespace.to_owned(), url.to_owned()), url.to_owned());
    Watch(tokio::spawn(async move {
        loop {
            let messages = match webhook::ask(&url).await {
                Ok(weights) => {
                    let seen = Seen::Weights(WEBHOOK.to_owned(), source.clone(), Some(weights));
                    vec![Told::Seen(seen), Told::Complete(source.clone())]
                }
                Err(error) => vec![Told::Broken(source.clone(), format!("{error:#}"))],
            };
            for message in messages {
                if told.send(message).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }))
}

fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.message.clone(),
        other => other.to_string(),
    }
}
