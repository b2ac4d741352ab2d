//! The commands, one a file. Each returns how it ended; what it has to say, it has said.

mod await_;
mod check;
mod decide;
mod demo;
mod explain;
mod guard;
mod inject;
mod list;
mod load;
mod recordings;
mod replay;
mod sample_app;
mod signal;
mod switch;
mod watch;

use blueback_gate::api::types::{Release, Service};

use crate::args::{Cli, Command};
use crate::client::{Gate, GateError, complaint};
use crate::exit::{Exit, Failure};
use crate::follow::patiently;
use crate::out;

pub use await_::{Until, ending};
pub use decide::Verb;
pub use guard::{Guard, GuardConfig};

/// Does what was typed.
pub async fn run(cli: Cli) -> Exit {
    let done = match cli.command {
        Command::Guard(args) => guard::run(*args).await,
        Command::Switch(args) => switch::run(args).await,
        Command::Await(args) => await_::run(args).await,
        Command::Status(args) => list::status(args).await,
        Command::Releases(args) => list::releases(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Revert(args) => decide::run(Verb::Revert, args).await,
        Command::Hold(args) => decide::run(Verb::Hold, args).await,
        Command::Resume(args) => decide::run(Verb::Resume, args).await,
        Command::Signal(args) => signal::run(args).await,
        Command::Check(args) => check::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Recordings(args) => recordings::run(args).await,
        Command::Inject(args) => inject::run(args),
        Command::Demo(args) => demo::run(args).await,
        Command::SampleApp(args) => sample_app::run(args).await,
        Command::Load(args) => load::run(args).await,
    };
    done.unwrap_or_else(|failure| {
        for complaint in failure.complaints() {
            out::story(&format!("error: {complaint}"));
        }
        failure.exit()
    })
}

/// What the gate refuses for a name or a value is wrong usage; the rest is a failure.
fn failed(error: GateError) -> Failure {
    match error {
        GateError::Refused { status, problem } if status.as_u16() == 400 || status.as_u16() == 404 => {
            Failure::usage(complaint(&problem))
        }
        error => Failure::Failed(error.into()),
    }
}

/// The service that was named, or the only one. Waits a while for a gate that is being started.
async fn find_service(gate: &Gate, name: Option<&str>) -> Result<Service, Failure> {
    if let Some(name) = name {
        // Who may look at this one may not be allowed to list them all.
        match patiently(async || gate.service(name).await).await {
            Err(error) if error.is_unknown() => {}
            answer => return answer.map_err(failed),
        }
    }
    let mut services = patiently(async || gate.services().await).await.map_err(failed)?;
    let names = || services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    let place = match name {
        Some(name) => services
            .iter()
            .position(|service| service.name == name)
            .ok_or_else(|| format!("NAME: '{name}' is not guarded; accepted: {}", names())),
        None if services.len() == 1 => Ok(0),
        None if services.is_empty() => Err("the gate guards no service yet: no agent has reported one".to_owned()),
        None => Err(format!("NAME: the gate guards {} services; accepted: {}", services.len(), names())),
    };
    place.map(|place| services.swap_remove(place)).map_err(Failure::usage)
}

/// The newest release of a service.
async fn newest_release(gate: &Gate, service: &Service) -> Result<Release, Failure> {
    let Some(id) = &service.release else {
        return Err(Failure::usage(format!(
            "'{0}' has no release yet; `blueback switch {0} --to green` starts one",
            service.name
        )));
    };
    gate.release(id).await.map_err(failed)
}

/// A value as one JSON document.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.into()))
}
