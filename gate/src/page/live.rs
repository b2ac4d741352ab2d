//! The streams of fragments: what has changed on the page, as server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde::Serialize;
use tokio::time::timeout;

use super::fragments::{self, Fragment};
use super::views::RELEASES_SHOWN_MAX;
use crate::api::State;
use crate::api::problem::Failure;
use crate::api::stream::Changes;

/// Time between two looks at all gates: nobody follows an incident on the list.
const GATES_EVERY: Duration = Duration::from_secs(2);
/// Least time between two drawings of a release: a timeline that grows quickly is drawn once.
const DRAWN_EVERY: Duration = Duration::from_millis(200);
/// Time between two comments on a stream on which nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Fragments = Sse<axum::response::sse::KeepAliveStream<stream::BoxStream<'static, Result<Event, Infallible>>>>;

/// What an event holds.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    html: &'a str,
}

/// What a browser has been sent.
#[derive(Default)]
struct Sent(BTreeMap<&'static str, String>);

impl Sent {
    /// Events for the parts that differ from what was sent before.
    fn news(&mut self, parts: &[Fragment]) -> Vec<Result<Event, Infallible>> {
        let mut news = Vec::new();
        for (id, html) in parts {
            if self.0.get(id) != Some(html) {
                let told = serde_json::to_string(&Told { id, html }).expect("it has only text");
                news.push(Ok(Event::default().event("fragment").data(told)));
                self.0.insert(id, html.clone());
            }
        }
        news
    }
}

fn sse(events: impl Stream<Item = Vec<Result<Event, Infallible>>> + Send + 'static) -> Fragments {
    let events = events.flat_map(stream::iter).boxed();
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// The first page.
pub(super) async fn gates(Shared(state): Shared<State>) -> Fragments {
    let closing = state.closing();
    sse(stream::unfold((state, Sent::default(), true), move |(state, mut sent, is_first)| {
        let mut closing = closing.clone();
        async move {
            if !is_first && timeout(GATES_EVERY, closing.wait_for(|closing| *closing)).await.is_ok() {
                return None;
            }
            let parts = fragments::of_gates(&state, RELEASES_SHOWN_MAX).await.ok()?;
            Some((sent.news(&parts), (state, sent, false)))
        }
    }))
}

/// One release.
pub(super) async fn release(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Fragments, Failure> {
    let (changes, _) = Changes::of(&id, &state).await?;
    Ok(sse(stream::unfold((state, changes, Sent::default(), true), move |(state, mut changes, mut sent, is_first)| {
        let id = id.clone();
        async move {
            if !is_first {
                changes.next().await?;
                tokio::time::sleep(DRAWN_EVERY).await;
            }
            let made = fragments::of_release(&state, &id).await.ok()?;
            Some((sent.news(&made.parts), (state, changes, sent, false)))
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_sent() {
        let mut sent = Sent::default();
        let parts = |verdict: &str| vec![("verdict", verdict.to_owned()), ("pods", "two".to_owned())];
        assert_eq!(sent.news(&parts("watching")).len(), 2);
        assert_eq!(sent.news(&parts("watching")).len(), 0);
        assert_eq!(sent.news(&parts("revert")).len(), 1);
    }
}
