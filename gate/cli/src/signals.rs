//! Being asked to end: SIGTERM (a supervisor) or SIGINT (Ctrl-C).

use tokio::signal::unix::{SignalKind, signal};

/// Waits for either. When a handler cannot be set, the default of the system (to end at once) is left in place.
pub async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}
