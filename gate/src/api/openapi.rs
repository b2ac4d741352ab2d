//! The description of the API, made from its handlers.

use axum::Json;
use utoipa::OpenApi;

use super::{handlers, hooks, incident, stream};

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Blueback gate",
        description = "Releases that are watched, their verdicts and evidence, and what an operator may ask for. Every \
            answer but /metrics, /live, /ready, incident documents and recordings is JSON; every error is a Problem.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        handlers::services,
        handlers::service,
        handlers::switch,
        handlers::revert,
        handlers::hold,
        handlers::resume,
        handlers::signals,
        hooks::alertmanager,
        hooks::argo,
        hooks::flagger_confirm,
        hooks::flagger_rollback,
        handlers::releases,
        handlers::release,
        handlers::evidence,
        handlers::recording,
        incident::markdown,
        incident::html,
        handlers::metrics,
        handlers::live,
        handlers::ready,
        stream::verdict,
        stream::events,
        serve,
    )
)]
pub struct Description;

impl Description {
    /// As JSON, for people and for `gate/openapi.json`.
    #[must_use]
    pub fn json() -> String {
        let mut json = Self::openapi().to_pretty_json().expect("the document has only keys that are text");
        json.push('\n');
        json
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = Object)))]
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}
