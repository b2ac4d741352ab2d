//! Stories on a real Kubernetes cluster. One story a file; `tests/cluster/run` brings up what they need.

mod by_hand;
mod outage;
mod restart;

use std::time::Duration;

use blueback::sample::Fault;

/// Longest wait for what takes seconds when all is well.
const SOON: Duration = Duration::from_secs(60);

/// Every request is answered 500.
fn outage() -> Fault {
    Fault { error_rate: 1.0, ..Fault::default() }
}

/// Figures for who reads the log of a run.
#[expect(clippy::print_stderr, reason = "a story says what it measured")]
fn tell(text: &str) {
    eprintln!("{text}");
}
