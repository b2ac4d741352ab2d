//! Calls by other systems in the form that they have: Alertmanager, Argo Rollouts, Flagger.
#![expect(unused_qualifications, reason = "what utoipa makes of query parameters")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::State;
use super::handlers::no_service;
use super::problem::{Body, Failure, failure, wrong_field};
use super::types::{AlertHeard, AlertsHeard, ArgoVerdict, FlaggerRequest, Problem, Release};
use crate::event::Command;
use crate::hear::alertmanager::{ALERTS_MAX, Alert, Meaning, Message, meaning};
use crate::hear::question::{Answer, argo as answer};

/// Alerts that are remembered, so that what an Alertmanager repeats is heard once; the oldest are forgotten.
const HEARD_MAX: usize = 4_096;
/// Who says so, in a timeline.
const BY: &str = "alertmanager";

/// Alerts that were heard: release, signal, fingerprint, beginning, and whether it was its end.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<VecDeque<Key>>>);

type Key = (String, String, String, String, bool);

impl Heard {
    /// Remembers, and says whether it is new.
    fn is_new(&self, key: Key) -> bool {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.contains(&key) {
            return false;
        }
        if heard.len() >= HEARD_MAX {
            heard.pop_front();
        }
        heard.push_back(key);
        true
    }

    fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != key);
    }
}

/// Takes what an Alertmanager sends (webhook, version 4), and raises the signals that its alerts stand for.
///
/// Alerts that mean nothing here are passed over with status 200: an Alertmanager would only send them again.
#[utoipa::path(post, path = "/v1/alertmanager",
    request_body(content = Object, description = "The message of an Alertmanager's webhook; unknown fields are passed over"),
    responses((status = 200, body = AlertsHeard), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 413, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn alertmanager(
    Shared(state): Shared<State>,
    Body(message): Body<Message>,
) -> Result<Json<AlertsHeard>, Failure> {
    if !matches!(message.version.as_str(), "" | "4") {
        return Err(wrong_field("version", format!("version: {:?}; \"4\" is accepted", message.version)));
    }
    let mut heard = AlertsHeard::default();
    for alert in message.alerts.into_iter().take(ALERTS_MAX) {
        let one = hear(&state, alert).await?;
        match one.outcome.as_str() {
            "raised" => heard.raised += 1,
            "ended" => heard.ended += 1,
            "repeated" => heard.repeated += 1,
            _ => heard.ignored += 1,
        }
        heard.alerts.push(one);
    }
    tracing::debug!(raised = heard.raised, ended = heard.ended, ignored = heard.ignored, "Heard from an Alertmanager");
    Ok(Json(heard))
}

async fn hear(state: &State, alert: Alert) -> Result<AlertHeard, Failure> {
    let asked = alert.clone();
    // What it means is looked up in the loop, between two events; what it does is an event of its own.
    let found = state.ask(move |gate, _| {
        let service = asked.service(|name| gate.known(name))?.to_owned();
        let live = gate.live_rules(&service);
        let live = live.map(|(release, started_ms, rules)| (release, meaning(&asked, rules, started_ms)));
        Some((service, live))
    });
    let found = found.await?;
    let mut said = AlertHeard {
        fingerprint: alert.fingerprint.clone(),
        service: found.as_ref().map(|(service, _)| service.clone()),
        signal: None,
        outcome: String::new(),
    };
    let Some((service, live)) = found else {
        return Ok(AlertHeard { outcome: "no service that is known has its labels".to_owned(), ..said });
    };
    let Some((release, meaning)) = live else {
        return Ok(AlertHeard { outcome: "no release is under way".to_owned(), ..said });
    };
    let (signal, ends) = match meaning {
        Meaning::Nothing(why) => return Ok(AlertHeard { outcome: why.to_owned(), ..said }),
        Meaning::Raises(signal) => (signal, false),
        Meaning::Ends(signal) => (signal, true),
    };
    said.signal = Some(signal.clone());
    let key = (release.to_string(), signal.clone(), alert.fingerprint.clone(), alert.starts_at.clone(), ends);
    if !state.heard.is_new(key.clone()) {
        return Ok(AlertHeard { outcome: "repeated".to_owned(), ..said });
    }
    let why = alert.why();
    let command = match ends {
        false => Command::Signal { name: signal, why },
        true => Command::SignalOver { name: signal, why },
    };
    match state.operate(&service, command, Some(BY.to_owned())).await {
        Ok(_) => Ok(AlertHeard { outcome: if ends { "ended" } else { "raised" }.to_owned(), ..said }),
        // It must come again: what was not heard is not known.
        Err(failure) if failure.is_passing() => {
            state.heard.forget(&key);
            Err(failure)
        }
        Err(failure) => Ok(AlertHeard { outcome: failure.text().to_owned(), ..said }),
    }
}

/// Which release.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ArgoQuery {
    /// Only a release of this revision is an answer; while the newest is of another, the verdict is `pending`.
    revision: Option<String>,
}

/// The verdict on the newest release of a service, for the `web` provider of Argo Rollouts. Always JSON; an error is never a 2xx.
#[utoipa::path(get, path = "/v1/argo/{service}", params(("service" = String, Path, description = "The service"), ArgoQuery),
    responses((status = 200, body = ArgoVerdict), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn argo(
    Shared(state): Shared<State>,
    Path(service): Path<String>,
    query: Result<Query<ArgoQuery>, QueryRejection>,
) -> Result<Json<ArgoVerdict>, Failure> {
    let Query(query) = query.map_err(|rejection| failure(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let release = newest(&state, &service).await?;
    Ok(Json(answer(&release, query.revision.as_deref())))
}

/// May the canary go on? 200 says yes, and every other status says no: for `confirm-promotion` and `confirm-rollout`.
#[utoipa::path(post, path = "/v1/flagger/confirm", request_body = FlaggerRequest,
    responses((status = 200, body = ArgoVerdict), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn flagger_confirm(
    Shared(state): Shared<State>,
    Body(request): Body<FlaggerRequest>,
) -> Result<Json<ArgoVerdict>, Failure> {
    flagger(&state, &request, Answer::Pass, "go on").await
}

/// Must the canary go back? 200 says that it must, NOW, and every other status says that it must not: for `rollback`.
#[utoipa::path(post, path = "/v1/flagger/rollback", request_body = FlaggerRequest,
    responses((status = 200, body = ArgoVerdict), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn flagger_rollback(
    Shared(state): Shared<State>,
    Body(request): Body<FlaggerRequest>,
) -> Result<Json<ArgoVerdict>, Failure> {
    flagger(&state, &request, Answer::Fail, "roll back").await
}

async fn flagger(
    state: &State,
    request: &FlaggerRequest,
    wanted: Answer,
    what: &str,
) -> Result<Json<ArgoVerdict>, Failure> {
    let named = request.metadata.get("service").unwrap_or(&request.name);
    let release = match newest(state, &format!("{}/{named}", request.namespace)).await {
        Err(failure) if failure.status() == StatusCode::NOT_FOUND => newest(state, named).await?,
        found => found?,
    };
    let verdict = answer(&release, request.metadata.get("revision").map(String::as_str));
    if verdict.verdict == wanted.as_str() {
        return Ok(Json(verdict));
    }
    Err(failure(
        StatusCode::CONFLICT,
        format!("no reason to {what}: {} is {}: {}", release.id, verdict.verdict, verdict.text),
    ))
}

/// The newest release of a service.
async fn newest(state: &State, service: &str) -> Result<Arc<Release>, Failure> {
    let asked = service.to_owned();
    let found = state.ask(move |gate, _| gate.newest(&asked).map(Option::<&Arc<Release>>::cloned)).await?;
    let newest = found.ok_or_else(|| no_service(service))?;
    newest.ok_or_else(|| failure(StatusCode::CONFLICT, format!("{service} has no release yet")))
}
