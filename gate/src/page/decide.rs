//! A person decides: revert, hold or resume, and says why.

use askama::Template;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::Form;
use super::views::{Shell, href};
use super::{Trouble, html};
use crate::api::State;
use crate::api::handlers::no_release;
use crate::event::Command;

/// The form on a page of its own: for browsers without script, whose other page reloads itself, and for a second try.
#[derive(Template)]
#[template(path = "decide.html")]
struct DecidePage<'a> {
    shell: Shell,
    service: &'a str,
    action: String,
    why: &'a str,
    by: &'a str,
    trouble: &'a str,
    back: String,
}

/// What was typed.
#[derive(Debug, Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    why: String,
    #[serde(default)]
    by: String,
}

/// Asks what to do with a release.
pub(super) async fn ask(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let asked = id.clone();
    let release = state.ask(move |gate, _| gate.release(&asked).cloned()).await?.ok_or_else(|| no_release(&id))?;
    let shell = Shell::new(&format!("Decide about {id}"), &state, &headers);
    let page = DecidePage {
        shell,
        service: &release.service,
        action: href("services", &release.service),
        why: "",
        by: "",
        trouble: "",
        back: href("releases", &id),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Does it.
pub(super) async fn decide(
    Shared(state): Shared<State>,
    Path((service, verb)): Path<(String, String)>,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Response {
    let Typed { why, by } = typed;
    let command = match verb.as_str() {
        "revert" => Command::Revert { why: why.clone() },
        "hold" => Command::Hold { why: why.clone() },
        "resume" => Command::Resume { why: why.clone() },
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let who = Some(by.trim()).filter(|by| !by.is_empty()).map(str::to_owned);
    match state.operate(&service, command, who).await {
        Ok(release) => Redirect::to(&href("releases", &release.id)).into_response(),
        Err(failure) => {
            let shell = Shell::new(&format!("Decide about {service}"), &state, &headers);
            let page = DecidePage {
                shell,
                service: &service,
                action: href("services", &service),
                why: &why,
                by: &by,
                trouble: failure.text(),
                back: "/".to_owned(),
            };
            html(failure.status(), &page)
        }
    }
}
