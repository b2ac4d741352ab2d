//! Calls that wait: for a verdict, or for everything that happens.
#![expect(unused_qualifications, reason = "what utoipa makes of query parameters")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use utoipa::IntoParams;

use super::State;
use super::handlers::no_release;
use super::problem::{Failure, failure, wrong_field};
use super::types::{Problem, Release, ReleaseVerdict};

/// Longest time that a call for a verdict waits. Whoever wants to wait longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Time between two comments on a stream on which nothing happens, so that nobody in between ends it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Changes of one release.
pub(crate) struct Changes {
    id: String,
    state: State,
    all: broadcast::Receiver<Arc<Release>>,
    closing: watch::Receiver<bool>,
}

impl Changes {
    /// Listens first and looks then, so that no change falls in between.
    pub(crate) async fn of(id: &str, state: &State) -> Result<(Self, Arc<Release>), Failure> {
        let (all, closing) = (state.executors.changes(), state.closing.clone());
        let this = Self { id: id.to_owned(), state: state.clone(), all, closing };
        let release = this.now().await?.ok_or_else(|| no_release(id))?;
        Ok((this, release))
    }

    async fn now(&self) -> Result<Option<Arc<Release>>, Failure> {
        let id = self.id.clone();
        self.state.ask(move |gate, _| gate.release(&id).cloned()).await
    }

    /// The next change. `None` when the gate closes.
    pub(crate) async fn next(&mut self) -> Option<Arc<Release>> {
        loop {
            let change = tokio::select! {
                change = self.all.recv() => change,
                _ = self.closing.wait_for(|closing| *closing) => return None,
            };
            match change {
                Ok(release) if release.id == self.id => return Some(release),
                Ok(_) => {}
                // Too slow for every change: the newest state has them all in its timeline.
                Err(RecvError::Lagged(_)) => return self.now().await.ok().flatten(),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// How long to wait, and for what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VerdictQuery {
    /// Wait this long at most (`30s`, up to `10m`). Without `after`, until the judge is neither watching nor suspecting.
    wait: Option<String>,
    /// Wait until the release has a revision above this one.
    after: Option<u64>,
}

/// The verdict on a release: as it is, or when it changes.
#[utoipa::path(get, path = "/v1/releases/{id}/verdict",
    params(("id" = String, Path, description = "The release"), VerdictQuery),
    responses((status = 200, body = ReleaseVerdict), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn verdict(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    query: Result<Query<VerdictQuery>, QueryRejection>,
) -> Result<Json<ReleaseVerdict>, Failure> {
    let Query(query) = query.map_err(|rejection| failure(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let wait = match &query.wait {
        None => Duration::ZERO,
        Some(text) => humantime::parse_duration(text)
            .ok()
            .filter(|wait| *wait <= WAIT_MAX)
            .ok_or_else(|| wrong_field("wait", format!("wait: {text:?}; a time up to 10m is accepted, as 30s")))?,
    };
    let (mut changes, mut release) = Changes::of(&id, &state).await?;
    let enough = |release: &Release| match query.after {
        Some(after) => release.revision > after,
        None => !matches!(release.verdict.verdict.as_str(), "watching" | "suspect"),
    };
    let deadline = tokio::time::Instant::now() + wait;
    while !enough(&release) {
        match tokio::time::timeout_at(deadline, changes.next()).await {
            Ok(Some(newer)) => release = newer,
            Ok(None) | Err(_) => break,
        }
    }
    Ok(Json(ReleaseVerdict {
        release: release.id.clone(),
        phase: release.phase,
        revision: release.revision,
        verdict: release.verdict.clone(),
    }))
}

/// Every change of a release as a server-sent event `release` with the release as JSON; the id is its revision.
#[utoipa::path(get, path = "/v1/releases/{id}/events",
    params(("id" = String, Path, description = "The release"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Newest revision known: nothing is sent until there is a newer one")),
    responses((status = 200, content_type = "text/event-stream", body = Release), (status = 400, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn events(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let known = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| {
            wrong_field("Last-Event-ID", format!("Last-Event-ID: {value:?}; the id of an event is accepted"))
        })?),
    };
    let (changes, release) = Changes::of(&id, &state).await?;
    // The state as it is comes first, unless it is known.
    let first = Some(release).filter(|release| known.is_none_or(|known| release.revision > known));
    let newest = known.unwrap_or(0);
    let events = stream::unfold((changes, first, newest), |(mut changes, mut first, newest)| async move {
        loop {
            let release = match first.take() {
                Some(release) => release,
                None => changes.next().await?,
            };
            if release.revision <= newest {
                continue;
            }
            let json = serde_json::to_string(&*release).expect("a release has only keys that are text");
            let event = Event::default().event("release").id(release.revision.to_string()).data(json);
            return Some((Ok(event), (changes, None, release.revision)));
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
