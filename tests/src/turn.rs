//! Few stories run at once: they measure time, and a machine that builds has few cores.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Stories at once. Three keep two cores busy, since a story mostly waits; more would disturb each other's clocks.
const TURNS: usize = 3;

static FREE: Semaphore = Semaphore::const_new(TURNS);

/// The right to run a story, until dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: SemaphorePermit<'static>,
}

/// Waits for a turn.
pub async fn turn() -> Turn {
    Turn { _permit: FREE.acquire().await.expect("the semaphore is never closed") }
}
