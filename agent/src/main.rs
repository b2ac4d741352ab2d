//! The agent's binary.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use blueback_agent::redirect::Redirect;
use blueback_agent::{Agent, Flags};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// What clap itself exits with when flags are wrong.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("redirect") {
        return redirect(words);
    }
    let flags = Flags::parse();
    tell_logs();
    let config = match flags.into_config() {
        Ok(config) => config,
        Err(errors) => {
            for error in errors.0 {
                error!("{error}");
            }
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.context("runtime").and_then(|runtime| {
        runtime.block_on(async {
            // Before anything listens: whoever sees that it does may end it.
            let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
            let agent = Agent::start(config).await?;
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(signal, "Draining");
            agent.drain().await;
            Ok(())
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `blueback-agent redirect FROM=TO…`, as an init container.
fn redirect(words: impl Iterator<Item = String>) -> ExitCode {
    tell_logs();
    let redirects: Result<Vec<Redirect>, String> = words.map(|word| word.parse()).collect();
    let redirects = match redirects {
        Ok(redirects) => redirects,
        Err(problem) => {
            error!("{problem}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match blueback_agent::redirect::apply(&redirects) {
        Ok(()) => {
            info!(?redirects, "Redirected");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
}
