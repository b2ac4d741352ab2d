//! The steps of a revert that reach beyond the agents.
//!
//! [`Traffic`] is what differs from platform to platform. Where agents alone carry the traffic (a front agent, or
//! sidecars that divert), the durable change is the route itself: kept here first, told to every agent that comes back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use super::writer::{Write, Writer};
use crate::effect::Job;
use crate::event::{Event, Step};
use crate::kubernetes::traffic::KubernetesTraffic;
use crate::metrics::Metrics;
use crate::server::Message;

/// Longest time that one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two attempts: a revert that waits is worth an attempt every few seconds for ever.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How traffic is moved for good.
#[derive(Clone)]
pub enum Traffic {
    /// By the agents alone.
    Agents(Writer),
    /// By Kubernetes.
    Kubernetes(Box<KubernetesTraffic>),
}

impl Traffic {
    /// Does a step once. Returns what is worth saying about it.
    async fn attempt(&self, job: &Job) -> anyhow::Result<String> {
        let writer = match self {
            Self::Agents(writer) => writer,
            Self::Kubernetes(traffic) => return traffic.attempt(job).await,
        };
        match job.step {
            Step::Diverted | Step::Switched => {
                let (kept, is_kept) = oneshot::channel();
                writer.write(Write::Service(job.record.clone()));
                writer.write(Write::Then(Box::new(move |result| drop(kept.send(result)))));
                is_kept.await.context("the store is closed")?.map_err(anyhow::Error::msg).context("keep the route")?;
                Ok("the route is kept, and every agent that connects is given it".to_owned())
            }
            // Agents split by the route that the loop has sent them.
            Step::Shifted => Ok(String::new()),
            // What the agents see of the baseline is all there is to see, and the loop has it.
            Step::Verified => Ok(String::new()),
            Step::Released => Ok(format!(
                "agents drop idle connections to {}; its backends keep running, as nothing here started them",
                job.candidate
            )),
            Step::Announced => {
                let (release, service, why, trace_id) = (&job.release, &job.service, &job.text, job.trace);
                tracing::warn!(%release, %service, %why, %trace_id, "Reverted");
                Ok(job.text.clone())
            }
        }
    }
}

/// Steps under way, by release.
type Running = HashSet<(Arc<str>, Step)>;

/// Carries out steps, each once at a time.
#[derive(Clone)]
pub struct Steps {
    traffic: Traffic,
    messages: mpsc::Sender<Message>,
    running: Arc<Mutex<Running>>,
    /// The newest change of each service's traffic: an older one that still does not succeed must not undo it.
    newest: Arc<Mutex<HashMap<Arc<str>, u64>>>,
    metrics: Arc<Metrics>,
}

impl Steps {
    pub(crate) fn new(traffic: Traffic, messages: mpsc::Sender<Message>, metrics: Arc<Metrics>) -> Self {
        Self { traffic, messages, running: Arc::default(), newest: Arc::default(), metrics }
    }

    /// Begins a step, unless it is under way.
    pub fn begin(&self, job: Job) {
        let key = (Arc::clone(&job.release), job.step);
        // A step of a revert is the same one every time; shares that are asked for one after the other are not.
        let again = !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        if again && job.step != Step::Shifted {
            return;
        }
        let this = self.clone();
        let mut number = 0;
        if matches!(job.step, Step::Shifted | Step::Switched) {
            let mut newest = this.newest.lock().unwrap_or_else(PoisonError::into_inner);
            let count = newest.entry(Arc::clone(&job.service)).or_default();
            *count += 1;
            number = *count;
        }
        tokio::spawn(async move {
            this.run(job, number).await;
            this.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
    }

    fn is_outdated(&self, job: &Job, number: u64) -> bool {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        number > 0 && newest.get(&job.service).is_some_and(|newest| *newest > number)
    }

    async fn run(&self, job: Job, number: u64) {
        let (release, step, trace_id) = (Arc::clone(&job.release), job.step, job.trace);
        let began = Instant::now();
        let mut pause = PAUSE_FIRST;
        // Ends with success, or with the gate: its loop hangs up.
        for attempt in 1.. {
            if self.is_outdated(&job, number) {
                return;
            }
            let result = tokio::time::timeout(ATTEMPT_MAX, self.traffic.attempt(&job)).await;
            let event = match result.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {ATTEMPT_MAX:?}"))) {
                Ok(text) => {
                    self.metrics.step_done(step, began.elapsed());
                    Event::EffectDone { release: Arc::clone(&release), step, text }
                }
                Err(error) => {
                    self.metrics.step_failed(step);
                    let error = format!("{error:#}");
                    tracing::error!(%release, %trace_id, step = step.as_str(), attempt, %error, "Step failed, trying again");
                    Event::EffectFailed { release: Arc::clone(&release), step, attempt, error }
                }
            };
            let done = matches!(event, Event::EffectDone { .. });
            if self.messages.send(Message::Event(event)).await.is_err() || done {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
