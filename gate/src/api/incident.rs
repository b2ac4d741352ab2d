//! The document of an incident, over the API.

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderName, header};

use super::State;
use super::handlers::no_release;
use super::problem::Failure;
use super::types::{Evidence, Problem, Release};
use crate::incident;

type Document = Result<([(HeaderName, &'static str); 2], String), Failure>;

/// A document is opened by whoever finds it, so it may do nothing at all: its style is its own, and there is no script.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn told(state: &State, id: &str) -> Result<(Release, Evidence), Failure> {
    let asked = id.to_owned();
    let found = state
        .ask(move |gate, now| {
            let release = gate.release(&asked)?;
            Some((Release::clone(release), gate.evidence(&asked, now).unwrap_or_default()))
        })
        .await?;
    found.ok_or_else(|| no_release(id))
}

/// What happened in a release, how it is known, what was done and what is left to do, as Markdown.
#[utoipa::path(get, path = "/v1/releases/{id}/incident.md",
    params(("id" = String, Path, description = "The release")),
    responses((status = 200, content_type = "text/markdown", body = String), (status = 404, body = Problem)))]
pub(super) async fn markdown(Shared(state): Shared<State>, Path(id): Path<String>) -> Document {
    let (release, evidence) = told(&state, &id).await?;
    let kind = (header::CONTENT_TYPE, "text/markdown; charset=utf-8");
    Ok(([kind, (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], incident::markdown(&release, &evidence)))
}

/// The same as HTML with charts, which needs nothing else.
#[utoipa::path(get, path = "/v1/releases/{id}/incident.html",
    params(("id" = String, Path, description = "The release")),
    responses((status = 200, content_type = "text/html", body = String), (status = 404, body = Problem)))]
pub(super) async fn html(Shared(state): Shared<State>, Path(id): Path<String>) -> Document {
    let (release, evidence) = told(&state, &id).await?;
    let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    Ok(([kind, (header::CONTENT_SECURITY_POLICY, POLICY)], incident::html(&release, &evidence)))
}
