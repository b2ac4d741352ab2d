//! `blueback status` and `blueback releases`.

use std::cmp::Reverse;

use super::{failed, find_service, json};
use crate::args::{ReleasesArgs, StatusArgs};
use crate::exit::{Exit, Failure};
use crate::{out, render};

pub(super) async fn status(args: StatusArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let services = match &args.name {
        Some(name) => vec![find_service(&gate, Some(name)).await?],
        None => gate.services().await.map_err(failed)?,
    };
    if args.json {
        out::result(&json(&services)?);
    } else if services.is_empty() {
        out::story("the gate guards no service yet: no agent has reported one");
    } else {
        out::result(&render::status(&services));
    }
    Ok(Exit::Passed)
}

pub(super) async fn releases(args: ReleasesArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let name = match &args.name {
        Some(name) => Some(find_service(&gate, Some(name)).await?.name),
        None => None,
    };
    let mut releases = gate.releases(name.as_deref()).await.map_err(failed)?;
    releases.sort_by_key(|release| Reverse(release.started_ms));
    if args.json {
        out::result(&json(&releases)?);
    } else if releases.is_empty() {
        out::story("no release yet; `blueback switch --to green` starts one");
    } else {
        out::result(&render::releases(&releases));
    }
    Ok(Exit::Passed)
}
