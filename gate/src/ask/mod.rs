//! Asking the monitoring: queries that rules name go to Prometheus and Loki while a release is under way.
//!
//! Answers are brought to the loop as evidence, so the judge sees them like everything else, and a recording has them. Each release is
//! asked about as soon as it begins, because what holds in its first two seconds was so before it, and then every few seconds. An answer
//! that does not come, is no number, or comes from a release that is over is no evidence, and delays nothing: releases are
//! asked about side by side, a request has a deadline, and so many at once are the most.
//!
//! Critical lines are counted in windows that follow one another, so each line counts once, however often it is asked. They end a few
//! seconds ago, as lines take their time to arrive. Where there are no critical lines the pods must have written others: a selector that
//! finds nothing would look like health.

mod answer;
mod config;
pub mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Method, header};
use blueback_report::Slot;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use config::{AskArgs, AskConfig};
use query::{Backend, Meanings, Query, selector};

use crate::clock::Timestamp;
use crate::event::Event;
use crate::evidence::Evidence;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::server::Message;
use crate::tell::http::{Client, Message as Request, secret_of};
use crate::trace::TraceId;
use crate::wording::segment;

/// Time between two questions about one release: monitoring scrapes every 15 seconds, seldom faster than every five.
pub const ASK_EVERY: Duration = Duration::from_secs(5);
/// Time between two looks for releases that have begun.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Requests under way at once, of all releases together. Further ones wait.
const REQUESTS_MAX: usize = 8;
/// How long ago a window of log lines ends: shippers send every second or so.
const LOGS_LATE_S: u64 = 5;
/// Longest window of log lines that is asked for; after a longer silence of Loki the oldest lines are passed over.
const LOGS_WINDOW_S_MAX: u64 = 3_600;
/// A release that is not older than this when it is first seen is asked about from its beginning. An older one was looked after by
/// another gate, which has counted its lines.
const FRESH_S: u64 = 10;
/// How far back pods must have written something, for no critical line to mean that there are none.
const LOGS_ALIVE: &str = "10m";

/// What is to be asked about one release.
#[derive(Clone, Debug)]
struct Asking {
    release: Arc<str>,
    started: Timestamp,
    now: Timestamp,
    /// The slot that is new.
    candidate: Slot,
    meanings: Meanings,
    queries: Vec<(Arc<str>, Query)>,
    critical_logs: Option<String>,
}

impl Gate {
    /// What the rules of the releases under way want to know.
    fn questions(&self, now: Timestamp) -> Vec<Asking> {
        let ask = |service: &crate::service::Service| {
            let live = service.live.as_ref().filter(|live| live.revert.is_none())?;
            let (rules, words) = (live.judge().rules(), &live.record.rules);
            let defined = |name: Arc<str>| Some((Arc::clone(&name), words.queries.as_ref()?.get(&*name)?.clone()));
            let queries: Vec<_> = rules.queries().into_iter().filter_map(defined).take(query::QUERIES_MAX).collect();
            let critical_logs = words.critical_logs.clone().filter(|_| rules.reads_logs());
            if queries.is_empty() && critical_logs.is_none() {
                return None;
            }
            let pods = |slot: Slot| {
                let of_slot = service.pods.iter().filter(|pod| pod.slot == slot);
                of_slot.map(|pod| Arc::clone(&pod.pod)).collect()
            };
            let candidate = live.candidate();
            Some(Asking {
                release: Arc::clone(&live.id),
                started: live.started(),
                now,
                candidate,
                meanings: Meanings {
                    service: Arc::clone(&service.name),
                    pods: [pods(candidate), pods(candidate.other())],
                },
                queries,
                critical_logs,
            })
        };
        self.services.values().filter_map(ask).collect()
    }
}

/// How far the questions about a release have come.
#[derive(Clone, Debug)]
struct Course {
    /// When it is asked about again; `None` while it is.
    due: Option<Instant>,
    /// Up to when critical lines of the candidate and of the baseline are counted, in Unix seconds.
    counted_s: [u64; 2],
    /// What had no answer the last time, so that it is logged once.
    silent: BTreeSet<String>,
}

/// Asks until the gate closes.
pub fn start(
    config: &AskConfig,
    client: Client,
    messages: mpsc::Sender<Message>,
    metrics: &Arc<Metrics>,
    closed: watch::Receiver<bool>,
) {
    if config.is_nobody() {
        return;
    }
    let desk = Desk {
        config: config.clone(),
        client,
        messages,
        metrics: Arc::clone(metrics),
        room: Semaphore::new(REQUESTS_MAX),
    };
    tokio::spawn(run(Arc::new(desk), closed));
}

async fn run(desk: Arc<Desk>, mut closed: watch::Receiver<bool>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut courses: BTreeMap<Arc<str>, Course> = BTreeMap::new();
    let mut rounds: JoinSet<(Arc<str>, Course)> = JoinSet::new();
    loop {
        tokio::select! {
            _ = looks.tick() => {
                let Some(questions) = desk.look().await else { continue };
                courses.retain(|release, _| questions.iter().any(|asking| asking.release == *release));
                for asking in questions {
                    let course = courses.entry(Arc::clone(&asking.release)).or_insert_with(|| Course::of(&asking));
                    if course.due.is_some_and(|due| due <= Instant::now()) {
                        course.due = None;
                        rounds.spawn(Arc::clone(&desk).round(asking, course.clone()));
                    }
                }
            }
            Some(round) = rounds.join_next() => {
                // One that panicked has said so itself.
                let Ok((release, course)) = round else { continue };
                if let Some(known) = courses.get_mut(&release) {
                    *known = course;
                }
            }
            () = async { drop(closed.wait_for(|closed| *closed).await) } => return,
        }
    }
}

impl Course {
    fn of(asking: &Asking) -> Self {
        let (started_s, now_s) = (asking.started.unix_ms().div_ceil(1_000), asking.now.unix_ms() / 1_000);
        let fresh = now_s.saturating_sub(started_s) <= FRESH_S;
        let from_s = if fresh { started_s } else { now_s - LOGS_LATE_S };
        Self { due: Some(Instant::now()), counted_s: [from_s; 2], silent: BTreeSet::new() }
    }
}

/// What is needed to ask.
struct Desk {
    config: AskConfig,
    client: Client,
    messages: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
    room: Semaphore,
}

/// What came of a question.
type Answered = Result<Option<f64>, String>;

impl Desk {
    /// What is to be asked now. `None` when the loop has no time to say.
    async fn look(&self) -> Option<Vec<Asking>> {
        let (tell, told) = oneshot::channel();
        let question: crate::server::Question = Box::new(move |gate, now| drop(tell.send(gate.questions(now))));
        self.messages.try_send(Message::Ask(question)).ok()?;
        told.await.ok()
    }

    /// Asks everything about one release once.
    async fn round(self: Arc<Self>, asking: Asking, mut course: Course) -> (Arc<str>, Course) {
        let began = Instant::now();
        let queries = asking.queries.iter().map(|(name, query)| self.query(&asking, name, query));
        let (asked, logs) = futures_util::future::join(
            futures_util::future::join_all(queries),
            self.critical_lines(&asking, &mut course.counted_s),
        )
        .await;
        let silent: BTreeMap<String, String> = asked.into_iter().chain(logs).flatten().collect();
        for (name, why) in &silent {
            if !course.silent.contains(name) {
                let trace_id = TraceId::new(&asking.release, asking.started.unix_ms());
                tracing::warn!(release = %asking.release, %trace_id, query = name, error = why, "Query without answer");
            }
        }
        course.silent = silent.into_keys().collect();
        course.due = Some(began + ASK_EVERY);
        (asking.release, course)
    }

    /// Asks one query and tells the loop. Returns its name and why there was no answer, where there was none.
    async fn query(&self, asking: &Asking, name: &Arc<str>, query: &Query) -> Option<(String, String)> {
        let (backend, text) = query.asked()?;
        let answered = match asking.meanings.fill(text, &[]) {
            Ok(filled) => self.ask(backend, &filled, None).await,
            Err(why) => {
                self.count(backend, "no_data");
                Err(why)
            }
        };
        let value = answered.as_ref().ok().copied().flatten();
        self.tell(asking, Evidence::Query { name: Arc::clone(name), value }).await;
        answered.err().map(|why| (name.to_string(), why))
    }

    /// Counts the critical lines of both sides since they were counted last.
    async fn critical_lines(&self, asking: &Asking, counted_s: &mut [u64; 2]) -> Vec<Option<(String, String)>> {
        let Some(text) = &asking.critical_logs else { return Vec::new() };
        let mut silent = Vec::new();
        for (side, counted_s) in counted_s.iter_mut().enumerate() {
            let slot = if side == 0 { asking.candidate } else { asking.candidate.other() };
            let until_s = (asking.now.unix_ms() / 1_000).saturating_sub(LOGS_LATE_S);
            let from_s = (*counted_s).max(until_s.saturating_sub(LOGS_WINDOW_S_MAX));
            if until_s <= from_s {
                continue;
            }
            match self.lines(asking, text, &asking.meanings.pods[side], (from_s, until_s)).await {
                Ok(Some(critical)) => {
                    *counted_s = until_s;
                    self.tell(asking, Evidence::Logs { slot, critical }).await;
                }
                Ok(None) => {}
                Err(why) => silent.push(Some((format!("critical logs of {slot}"), why))),
            }
        }
        silent
    }

    /// Critical lines of these pods in this time; `None` where they have written nothing at all of late.
    async fn lines(
        &self,
        asking: &Asking,
        text: &str,
        pods: &[Arc<str>],
        (from_s, until_s): (u64, u64),
    ) -> Result<Option<u64>, String> {
        let fill = |text: &str| asking.meanings.fill(text, pods);
        let lines = format!("sum(count_over_time({} [{}s]))", fill(text)?, until_s - from_s);
        // A nought, too, may only say that nobody collects what the pods write.
        if let Some(lines) = self.ask(Backend::Loki, &lines, Some(until_s)).await?.filter(|lines| *lines > 0.0) {
            return Ok(Some(lines.round() as u64));
        }
        let any = fill(selector(text).ok_or("no selector of streams")?)?;
        let any = format!("sum(count_over_time({any} [{LOGS_ALIVE}]))");
        Ok(self.ask(Backend::Loki, &any, Some(until_s)).await?.filter(|lines| *lines > 0.0).map(|_| 0))
    }

    /// Asks somebody, at a time in Unix seconds or now.
    async fn ask(&self, backend: Backend, text: &str, at_s: Option<u64>) -> Answered {
        let answered = self.attempt(backend, text, at_s).await;
        let result = match &answered {
            Ok(Some(_)) => "answered",
            Ok(None) => "no_data",
            Err(_) => "failed",
        };
        self.count(backend, result);
        answered
    }

    async fn attempt(&self, backend: Backend, text: &str, at_s: Option<u64>) -> Answered {
        let place = self.config.place(backend);
        let place = place.ok_or_else(|| format!("the gate has no --{} to ask", backend.as_str()))?;
        let (token, tenant) = match backend {
            Backend::Prometheus => (&self.config.prometheus_token, None),
            Backend::Loki => (&self.config.loki_token, self.config.loki_tenant.clone()),
        };
        let token = secret_of(token.as_deref()).await.map_err(|trouble| trouble.to_string())?;
        let mut form = format!("query={}", segment(text));
        if let Some(at_s) = at_s {
            // Loki reads a whole number of this length as nanoseconds.
            form.push_str(&format!("&time={at_s}000000000"));
        }
        let mut headers = vec![(header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
        headers.extend(tenant.map(|tenant| (HeaderName::from_static("x-scope-orgid"), tenant)));
        let request =
            Request { method: Method::POST, path: backend.path().to_owned(), headers, body: Bytes::from(form) };
        let _room = self.room.acquire().await.map_err(|error| error.to_string())?;
        let body = self.client.send(place, &request.bearer(token.as_deref())).await;
        answer::number(&body.map_err(|trouble| trouble.to_string())?)
    }

    fn count(&self, backend: Backend, result: &str) {
        self.metrics.asked(backend.as_str(), result);
    }

    async fn tell(&self, asking: &Asking, evidence: Evidence) {
        let event = Event::Answered { release: Arc::clone(&asking.release), evidence };
        // A loop that has ended needs not be told.
        drop(self.messages.send(Message::Event(event)).await);
    }
}
