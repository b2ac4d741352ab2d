//! The pages: all gates, and one release.

use askama::Template;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::fragments::{self, Fragments};
use super::{Trouble, html};
use crate::api::State;
use crate::api::types::Phase;
use crate::wording;

/// Releases on the first page.
pub(super) const RELEASES_SHOWN_MAX: usize = 20;
/// Other releases of the same service beside a release.
const OTHERS_SHOWN_MAX: usize = 10;

/// What stands around every page.
pub(super) struct Shell {
    pub(super) title: String,
    /// Whoever looks may decide.
    pub(super) may_decide: bool,
    /// There is a token to be known.
    pub(super) has_token: bool,
    pub(super) version: &'static str,
}

impl Shell {
    pub(super) fn new(title: &str, state: &State, headers: &HeaderMap) -> Self {
        Self { may_decide: state.may_change(headers), has_token: state.has_token(), ..Self::plain(title) }
    }

    /// For a page on which nothing can be decided.
    pub(super) fn plain(title: &str) -> Self {
        Self { title: title.to_owned(), may_decide: false, has_token: false, version: env!("CARGO_PKG_VERSION") }
    }
}

/// A phase: a word, a sign for those who glance, a class for its colour.
#[derive(Clone, Copy)]
pub(super) struct Badge {
    pub(super) word: &'static str,
    pub(super) sign: &'static str,
    pub(super) class: &'static str,
}

impl Badge {
    pub(super) const fn of(phase: Phase) -> Self {
        let (sign, class) = match phase {
            Phase::Watching => ("●", "is-watching"),
            Phase::Passed | Phase::Done => ("✓", "is-good"),
            Phase::Reverting | Phase::Reverted => ("↩", "is-bad"),
            Phase::Held => ("‖", "is-odd"),
            Phase::Inconclusive => ("?", "is-odd"),
            Phase::Superseded => ("→", "is-over"),
        };
        Self { word: wording::phase(phase), sign, class }
    }
}

/// A link to something by its name.
pub(super) fn href(folder: &str, name: &str) -> String {
    format!("/{folder}/{}", wording::segment(name))
}

#[derive(Template)]
#[template(path = "gates.html")]
struct GatesPage {
    shell: Shell,
    gates: String,
    history: String,
}

/// All gates and the newest releases.
pub(super) async fn gates(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Response, Trouble> {
    let mut parts = fragments::of_gates(&state, RELEASES_SHOWN_MAX).await?;
    let mut part = |id: &str| parts.iter_mut().find(|(name, _)| *name == id).map(|(_, html)| std::mem::take(html));
    let page = GatesPage {
        gates: part("gates").unwrap_or_default(),
        history: part("history").unwrap_or_default(),
        shell: Shell::new("Gates", &state, &headers),
    };
    Ok(html(StatusCode::OK, &page))
}

#[derive(Template)]
#[template(path = "release.html")]
struct ReleasePage<'a> {
    shell: Shell,
    made: &'a Fragments,
    others: String,
    has_others: bool,
    is_over: bool,
    /// Path of this page, and of the same release in the API.
    here: String,
    api: String,
    action: String,
    why: &'static str,
    by: &'static str,
    login: String,
    switched: String,
    candidate: &'static str,
    baseline: &'static str,
}

/// One release.
pub(super) async fn release(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let made = fragments::of_release(&state, &id).await?;
    let release = &made.release;
    let service = release.service.clone();
    let others = state
        .ask(move |gate, _| {
            let others = gate.releases().filter(|other| other.service == service && other.id != id);
            others.take(OTHERS_SHOWN_MAX).cloned().collect::<Vec<_>>()
        })
        .await?;
    let here = href("releases", &release.id);
    let page = ReleasePage {
        shell: Shell::new(&format!("{} {}", release.id, wording::phase(release.phase)), &state, &headers),
        others: fragments::history(&others, true),
        has_others: !others.is_empty(),
        is_over: fragments::is_over(release),
        api: format!("/v1{here}"),
        action: href("services", &release.service),
        why: "",
        by: "",
        login: format!("/login?next={here}"),
        here,
        switched: wording::time(release.started_ms),
        candidate: wording::slot(release.candidate),
        baseline: wording::slot(release.baseline),
        made: &made,
    };
    Ok(html(StatusCode::OK, &page))
}
