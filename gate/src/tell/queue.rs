//! News for one receiver: sent one by one and in order, each tried again for a while, never more than a queue full.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::http::Trouble;
use super::news::News;
use crate::metrics::Metrics;
use crate::trace::TraceId;

/// News that wait for a receiver. When it is full, what comes next is dropped and counted: whoever comes back after that many
/// wants the newest state, and asks for it.
pub const NEWS_QUEUED_MAX: usize = 256;
/// How long one message is tried. Older news only hold up newer ones.
pub const TRIED_MAX: Duration = Duration::from_secs(600);
/// Pause after the first failure; it doubles up to [`PAUSE_MAX`].
pub const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest pause between two attempts.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Somebody who takes news.
pub trait Receiver: Send + Sync + 'static {
    /// What it is called in metrics.
    const NAME: &'static str;

    /// Sends once. Doing it twice must not do more than doing it once, as far as the receiver allows it.
    fn send(&self, news: &News) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// Starts to send to a receiver, until the gate closes.
pub(super) fn start<R: Receiver>(receiver: R, metrics: &Arc<Metrics>, closed: &watch::Receiver<bool>) -> super::Queue {
    let (sender, queue) = mpsc::channel(NEWS_QUEUED_MAX);
    tokio::spawn(run(receiver, queue, Arc::clone(metrics), closed.clone()));
    let metrics = Arc::clone(metrics);
    (sender, Box::new(move || metrics.told(R::NAME, "dropped")))
}

async fn run<R: Receiver>(
    receiver: R,
    mut queue: mpsc::Receiver<Arc<News>>,
    metrics: Arc<Metrics>,
    mut closed: watch::Receiver<bool>,
) {
    let deliver = async {
        while let Some(news) = queue.recv().await {
            deliver(&receiver, &news, &metrics).await;
        }
    };
    tokio::select! {
        () = deliver => {}
        _ = closed.wait_for(|closed| *closed) => {}
    }
}

async fn deliver<R: Receiver>(receiver: &R, news: &News, metrics: &Metrics) {
    let give_up = Instant::now() + TRIED_MAX;
    let mut pause = PAUSE_FIRST;
    loop {
        let trouble = match receiver.send(news).await {
            Ok(()) => return metrics.told(R::NAME, "sent"),
            Err(trouble) => trouble,
        };
        metrics.told(R::NAME, "failed");
        let (id, release, trace_id) = (&news.id, &news.release.id, TraceId::of(&news.release));
        if matches!(trouble, Trouble::Lasting(_)) || Instant::now() + pause >= give_up {
            metrics.told(R::NAME, "dropped");
            tracing::error!(receiver = R::NAME, id, release, %trace_id, error = %trouble, "Not told");
            return;
        }
        tracing::warn!(receiver = R::NAME, id, release, %trace_id, error = %trouble, "Not told yet, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
