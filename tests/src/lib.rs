//! What the tests share: the built binaries, running processes, and waiting for conditions.

mod binary;

pub use binary::{binary, release_binary};
