//! The one command that people and CI type.

use std::process::ExitCode;

use blueback::args::Cli;
use blueback::commands;
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    blueback::telemetry::start(cli.log_filter());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            blueback::out::story(&format!("error: no threads: {error}"));
            return blueback::exit::Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(Box::pin(commands::run(cli)));
    // What is still running has been drained or does not matter any more.
    runtime.shutdown_background();
    exit.into()
}
