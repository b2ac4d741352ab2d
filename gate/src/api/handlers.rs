//! Calls that are answered at once.
#![expect(unused_qualifications, reason = "what utoipa makes of query parameters")]

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use blueback_exposition::Format;
use serde::Deserialize;
use utoipa::IntoParams;

use super::State;
use super::caller::Caller;
use super::problem::{Body, Failure, failure};
use super::types::{Evidence, OperatorRequest, Problem, Release, Service, SignalRequest, SwitchRequest};
use crate::event::Command;
use crate::gate::Gate;
use crate::tls::Certificates;

type Answer<T> = Result<Json<T>, Failure>;

pub(super) fn no_service(name: &str) -> Failure {
    failure(StatusCode::NOT_FOUND, format!("there is no service {name:?}"))
}

pub(crate) fn no_release(id: &str) -> Failure {
    failure(StatusCode::NOT_FOUND, format!("there is no release {id:?}"))
}

/// All guarded services.
#[utoipa::path(get, path = "/v1/services", responses((status = 200, body = Vec<Service>)))]
pub(super) async fn services(Shared(state): Shared<State>) -> Answer<Vec<Service>> {
    state.ask(Gate::services).await.map(Json)
}

/// A guarded service.
#[utoipa::path(get, path = "/v1/services/{name}", params(("name" = String, Path, description = "The service")),
    responses((status = 200, body = Service), (status = 404, body = Problem)))]
pub(super) async fn service(Shared(state): Shared<State>, Path(name): Path<String>) -> Answer<Service> {
    let asked = name.clone();
    state.ask(move |gate, now| gate.service(&asked, now)).await?.map(Json).ok_or_else(|| no_service(&name))
}

/// Gives a slot a share of the requests, and watches it: begins a release, takes it a step further, or takes it back.
#[utoipa::path(post, path = "/v1/services/{name}/switch", params(("name" = String, Path, description = "The service")),
    request_body = SwitchRequest,
    responses((status = 200, body = Release), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn switch(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    caller: Caller,
    Body(request): Body<SwitchRequest>,
) -> Answer<Release> {
    let (to, share) = (request.to.into(), request.share);
    let command = match request.revision {
        Some(revision) => Command::SwitchOnce { to, share, revision },
        None => Command::Switch { to, share },
    };
    operate(&state, &name, command, caller.or_said(request.by)).await
}

/// Takes the release back.
#[utoipa::path(post, path = "/v1/services/{name}/revert", params(("name" = String, Path, description = "The service")),
    request_body = OperatorRequest,
    responses((status = 200, body = Release), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn revert(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    caller: Caller,
    Body(request): Body<OperatorRequest>,
) -> Answer<Release> {
    operate(&state, &name, Command::Revert { why: request.why }, caller.or_said(request.by)).await
}

/// Keeps the share as it is, and decides nothing until resumed.
#[utoipa::path(post, path = "/v1/services/{name}/hold", params(("name" = String, Path, description = "The service")),
    request_body = OperatorRequest,
    responses((status = 200, body = Release), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn hold(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    caller: Caller,
    Body(request): Body<OperatorRequest>,
) -> Answer<Release> {
    operate(&state, &name, Command::Hold { why: request.why }, caller.or_said(request.by)).await
}

/// Lets the judge decide again.
#[utoipa::path(post, path = "/v1/services/{name}/resume", params(("name" = String, Path, description = "The service")),
    request_body = OperatorRequest,
    responses((status = 200, body = Release), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn resume(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    caller: Caller,
    Body(request): Body<OperatorRequest>,
) -> Answer<Release> {
    operate(&state, &name, Command::Resume { why: request.why }, caller.or_said(request.by)).await
}

/// Raises a signal that rules may refer to.
#[utoipa::path(post, path = "/v1/services/{name}/signals", params(("name" = String, Path, description = "The service")),
    request_body = SignalRequest,
    responses((status = 200, body = Release), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn signals(
    Shared(state): Shared<State>,
    Path(name): Path<String>,
    caller: Caller,
    Body(request): Body<SignalRequest>,
) -> Answer<Release> {
    let command = Command::Signal { name: request.name, why: request.why.unwrap_or_default() };
    operate(&state, &name, command, caller.or_said(request.by)).await
}

async fn operate(state: &State, name: &str, command: Command, by: Option<String>) -> Answer<Release> {
    let release = state.operate(name, command, by).await?;
    Ok(Json(Release::clone(&release)))
}

/// Which releases.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReleasesQuery {
    /// Only of this service.
    service: Option<String>,
}

/// Releases, newest first.
#[utoipa::path(get, path = "/v1/releases", params(ReleasesQuery),
    responses((status = 200, body = Vec<Release>), (status = 400, body = Problem)))]
pub(super) async fn releases(
    Shared(state): Shared<State>,
    query: Result<Query<ReleasesQuery>, QueryRejection>,
) -> Answer<Vec<Release>> {
    let Query(query) = query.map_err(|rejection| failure(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let releases = move |gate: &Gate, _| {
        let wanted = |release: &Release| query.service.as_ref().is_none_or(|service| *service == release.service);
        gate.releases().filter(|release| wanted(release)).cloned().collect::<Vec<_>>()
    };
    let found = state.ask(releases).await?;
    Ok(Json(found.iter().map(|release| Release::clone(release)).collect()))
}

/// A release.
#[utoipa::path(get, path = "/v1/releases/{id}", params(("id" = String, Path, description = "The release")),
    responses((status = 200, body = Release), (status = 404, body = Problem)))]
pub(super) async fn release(Shared(state): Shared<State>, Path(id): Path<String>) -> Answer<Release> {
    let asked = id.clone();
    let found = state.ask(move |gate, _| gate.release(&asked).cloned()).await?;
    found.map(|release| Json(Release::clone(&release))).ok_or_else(|| no_release(&id))
}

/// Evidence of a release, rule by rule, and its last ten minutes by the second.
#[utoipa::path(get, path = "/v1/releases/{id}/evidence", params(("id" = String, Path, description = "The release")),
    responses((status = 200, body = Evidence), (status = 404, body = Problem)))]
pub(super) async fn evidence(Shared(state): Shared<State>, Path(id): Path<String>) -> Answer<Evidence> {
    let asked = id.clone();
    state.ask(move |gate, now| gate.evidence(&asked, now)).await?.map(Json).ok_or_else(|| no_release(&id))
}

/// What the judge of a release saw and what the gate told, as a file for `blueback replay`.
#[utoipa::path(get, path = "/v1/releases/{id}/recording", params(("id" = String, Path, description = "The release")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = Problem)))]
pub(super) async fn recording(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), Failure> {
    let (store, asked) = (state.store, id.clone());
    let read = tokio::task::spawn_blocking(move || store.recording_file(&asked)).await;
    let read = read.map_err(|error| failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    match read {
        Ok(Some(bytes)) => Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes)),
        Ok(None) => Err(no_release(&id)),
        Err(error) => Err(failure(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))),
    }
}

/// Metrics, in the form that `Accept` asks for: Prometheus' text, OpenMetrics, or protobuf with native histograms.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn metrics(
    Shared(state): Shared<State>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), Failure> {
    if let Some(expires_at) = state.certificates.as_ref().and_then(Certificates::expires_at) {
        state.metrics.certificate_expiry.with_label_values::<&str>(&[]).set(expires_at);
    }
    let figures = state.ask(|gate, _| gate.figures()).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::negotiate(accept);
    Ok(([(header::CONTENT_TYPE, format.content_type())], format.write(&state.metrics.gather(&figures))))
}

/// The process answers.
#[utoipa::path(get, path = "/live", responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// The event loop answers, and there are certificates where there should be.
#[utoipa::path(get, path = "/ready", responses((status = 200, content_type = "text/plain", body = String),
    (status = 503, body = Problem)))]
pub(super) async fn ready(Shared(state): Shared<State>) -> Result<&'static str, Failure> {
    if state.certificates.as_ref().is_some_and(|certificates| !certificates.are_there()) {
        return Err(failure(StatusCode::SERVICE_UNAVAILABLE, "there are no certificates yet"));
    }
    if state.cluster.as_ref().is_some_and(|cluster| !cluster.is_ready()) {
        return Err(failure(StatusCode::SERVICE_UNAVAILABLE, "the cluster is not known yet"));
    }
    state.ask(|_, _| "ready\n").await
}
