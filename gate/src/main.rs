//! The gate as a process of its own.

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use blueback_gate::config::{Args, LogFormat};
use blueback_gate::{Config, Server};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Exit code for words that are not accepted; clap's is the same.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(url) = args.self_check() {
        return match check(url) {
            Ok(well) => {
                drop(writeln!(std::io::stdout(), "{well}"));
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error, ExitCode::FAILURE),
        };
    }
    let (config, format, filter) = match args.read() {
        Ok(words) => words,
        Err(error) => return fail(&error, ExitCode::from(WRONG_USAGE)),
    };
    log_to_stderr(format, filter);
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, ExitCode::FAILURE),
    }
}

/// Without a terminal to write to there is nobody to tell.
fn fail(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    drop(writeln!(std::io::stderr(), "error: {error:#}"));
    code
}

#[tokio::main(flavor = "current_thread")]
async fn check(url: &str) -> anyhow::Result<String> {
    blueback_gate::self_check::run(url).await
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::start(config).await.context("gate")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.shutdown().await;
    Ok(())
}

fn log_to_stderr(format: LogFormat, filter: EnvFilter) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        // Flat, so that a query names a field as it is called here.
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}
