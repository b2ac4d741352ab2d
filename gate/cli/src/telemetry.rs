//! Logs, to stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging by `filter` (`info`, `blueback_gate=debug`), which was checked when it was read.
pub fn start(filter: &str) {
    // Fails only when a logger is there already, as in a test of the whole; then that one is right.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
