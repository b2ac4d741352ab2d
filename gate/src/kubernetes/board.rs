//! What is to be written into the status of the resources: the newest of everything, and nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::recording::{Began, Entry, Frame, encode};
use crate::records::{ReleaseRecord, ServiceRecord};

/// Largest state of a release that is kept in its resource: an API server takes a mebibyte and a half. With a larger one, which
/// takes hundreds of agents, another gate begins with new evidence.
const KEPT_BYTES_MAX: usize = 512 << 10;

/// What is known of a ReleaseGate beside its service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Why its traffic is not understood.
    pub problem: Option<String>,
    /// What the API server does not allow.
    pub forbidden: Option<String>,
    /// Why no pod is given an agent.
    pub not_injected: Option<String>,
    /// Agents that are connected.
    pub agents: Option<u32>,
}

/// News for the resources.
#[derive(Debug, Default)]
pub struct News {
    /// Releases, by id.
    pub releases: BTreeMap<String, ReleaseRecord>,
    /// Services, by name.
    pub services: BTreeMap<String, ServiceRecord>,
    /// What another gate needs to go on with a release, by id.
    pub kept: BTreeMap<String, Vec<u8>>,
    /// Facts of ReleaseGates, by name of the service.
    pub facts: BTreeMap<String, Facts>,
    /// Services that are not what they were before the rest of the news.
    pub forgotten: BTreeSet<String>,
    /// How releases under way began, by id.
    began: BTreeMap<String, Frame>,
}

/// Where news are left, and fetched.
#[derive(Clone, Debug, Default)]
pub struct Board {
    news: Arc<Mutex<News>>,
    notify: Arc<Notify>,
}

impl Board {
    /// Leaves a release. The newest state counts.
    pub fn release(&self, record: ReleaseRecord) {
        if record.release.ended_ms.is_some() {
            self.lock().began.remove(&record.release.id);
        }
        self.lock().releases.insert(record.release.id.clone(), record);
        self.notify.notify_one();
    }

    /// Of what is recorded of a release, leaves what another gate needs to go on with it.
    pub fn recorded(&self, release: &str, frame: &Frame) {
        match &frame.entry {
            Entry::Began(began) => {
                // What was before the release is in the judge, once that is kept.
                let began = Began { history: Vec::new(), ..Began::clone(began) };
                let frame = Frame { at_ms: frame.at_ms, entry: Entry::Began(Box::new(began)) };
                self.lock().began.insert(release.to_owned(), frame);
            }
            Entry::Kept(_) => {
                let mut news = self.lock();
                let Some(began) = news.began.get(release).cloned() else { return };
                let bytes = encode([began, frame.clone()]);
                let kept = if bytes.len() <= KEPT_BYTES_MAX { bytes } else { Vec::new() };
                news.kept.insert(release.to_owned(), kept);
                drop(news);
                self.notify.notify_one();
            }
            _ => {}
        }
    }

    /// A release goes on that began with this.
    pub fn goes_on(&self, release: &str, began: Began) {
        let frame = Frame { at_ms: 0, entry: Entry::Began(Box::new(Began { history: Vec::new(), ..began })) };
        self.lock().began.insert(release.to_owned(), frame);
    }

    /// Leaves a service.
    pub fn service(&self, record: ServiceRecord) {
        if record.platform.is_some() {
            self.lock().services.insert(record.name.clone(), record);
            self.notify.notify_one();
        }
    }

    /// Changes what is known of a ReleaseGate.
    pub fn fact(&self, service: &str, change: impl FnOnce(&mut Facts)) {
        let mut news = self.lock();
        let facts = news.facts.entry(service.to_owned()).or_default();
        let before = facts.clone();
        change(facts);
        if *facts != before {
            self.notify.notify_one();
        }
    }

    /// Forgets the facts of a ReleaseGate that is gone.
    pub fn forget_facts(&self, service: &str) {
        self.lock().facts.remove(service);
    }

    /// Forgets what the loop has said of a service. What it says from now on is about another one of the same name.
    pub fn forget(&self, service: &str) {
        let mut news = self.lock();
        let News { releases, kept, began, .. } = &mut *news;
        releases.retain(|id, record| {
            let stays = record.release.service != service;
            if !stays {
                kept.remove(id);
                began.remove(id);
            }
            stays
        });
        news.services.remove(service);
        news.forgotten.insert(service.to_owned());
        drop(news);
        self.notify.notify_one();
    }

    /// Takes the releases and services that are new, and a copy of all facts.
    #[must_use]
    pub fn take(&self) -> News {
        let mut news = self.lock();
        News {
            releases: std::mem::take(&mut news.releases),
            services: std::mem::take(&mut news.services),
            kept: std::mem::take(&mut news.kept),
            forgotten: std::mem::take(&mut news.forgotten),
            began: BTreeMap::new(),
            facts: news.facts.clone(),
        }
    }

    /// Waits for news.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
