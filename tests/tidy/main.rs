//! The repository's promises about itself.

mod generated;

use std::path::PathBuf;

/// The repository's root.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the repository").to_path_buf()
}
