//! `blueback explain`: the story of a release.

use std::path::Path;

use blueback_gate::api::types::{Evidence, Release};
use blueback_gate::incident;
use serde::Serialize;

use super::{failed, find_service, json, newest_release};
use crate::args::ExplainArgs;
use crate::client::{Gate, GateError};
use crate::exit::{Exit, Failure};
use crate::{out, render};

/// All of it as JSON.
#[derive(Debug, Serialize)]
struct Story {
    release: Release,
    evidence: Evidence,
}

pub(super) async fn run(args: ExplainArgs) -> Result<Exit, Failure> {
    let gate = args.gate.client()?;
    let release = find(&gate, args.release.as_deref()).await?;
    let evidence = match gate.evidence(&release.id).await {
        Ok(evidence) => evidence,
        // A release of before a restart is remembered without its evidence.
        Err(error @ GateError::Refused { .. }) => {
            out::story(&format!("its evidence is gone: {error}"));
            Evidence { release: release.id.clone(), ..Evidence::default() }
        }
        Err(error) => return Err(failed(error)),
    };
    if let Some(file) = &args.html {
        write(file, "--html", &incident::html(&release, &evidence))?;
    }
    if let Some(file) = &args.markdown {
        write(file, "--markdown", &incident::markdown(&release, &evidence))?;
    }
    if (args.html.is_some() || args.markdown.is_some()) && !args.json {
        return Ok(Exit::Passed);
    }
    out::result(&if args.json { json(&Story { release, evidence })? } else { render::explain(&release, &evidence) });
    Ok(Exit::Passed)
}

fn write(file: &Path, flag: &str, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| Failure::usage(format!("{flag}: {}: {error}", file.display())))?;
    out::story(&format!("written: {}", file.display()));
    Ok(())
}

/// By its id; by the name of a service, its newest; without a name, the newest of the only service.
pub(super) async fn find(gate: &Gate, name: Option<&str>) -> Result<Release, Failure> {
    let Some(name) = name else {
        return newest_release(gate, &find_service(gate, None).await?).await;
    };
    match gate.release(name).await {
        Ok(release) => Ok(release),
        Err(error) if error.is_unknown() => {
            let services = gate.services().await.map_err(failed)?;
            match services.iter().find(|service| service.name == name) {
                Some(service) => newest_release(gate, service).await,
                None => Err(Failure::usage(format!(
                    "RELEASE: the gate knows neither a release nor a service '{name}'; `blueback releases` lists them"
                ))),
            }
        }
        Err(error) => Err(failed(error)),
    }
}
