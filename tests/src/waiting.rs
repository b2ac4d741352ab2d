//! Waiting for a condition instead of for a time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(20);

/// Looks at `condition` until it holds and returns what it found. `Err` is the state as it is, in words.
///
/// # Panics
///
/// When it does not hold within `deadline`: with `what` was awaited and the state last seen.
pub async fn until<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(state) if start.elapsed() >= deadline => {
                panic!("waited {:.1} s for {what}; last seen: {state}", start.elapsed().as_secs_f64())
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
