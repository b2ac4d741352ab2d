//! Being asked to end: SIGTERM (a supervisor) or SIGINT (Ctrl-C).

use tokio::signal::unix::{SignalKind, signal};

/// Waits for either, from this call on and not from the first poll: whoever is told that a server listens may end it at once.
/// When a handler cannot be set, the default of the system (to end at once) is left in place.
pub fn asked_to_end() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = handlers else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    }
}
