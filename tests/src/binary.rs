//! The product's own binaries, as the tests run them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// Path of a binary of the workspace, built in the profile of the tests.
///
/// # Errors
///
/// When the build fails.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    build(&BUILT, &["--workspace"])?;
    Ok(target_folder()?.join("debug").join(name))
}

/// Path of a binary of the workspace, built with optimisation: for benchmarks.
///
/// # Errors
///
/// When the build fails.
pub fn release_binary(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    build(&BUILT, &["--workspace", "--release"])?;
    Ok(target_folder()?.join("release").join(name))
}

/// Path of the agent as it is shipped.
///
/// # Errors
///
/// When the build fails.
pub fn shipped_agent() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    build(&BUILT, &["--package", "blueback-agent", "--profile", "dist"])?;
    Ok(target_folder()?.join("dist").join("blueback-agent"))
}

/// Cargo builds a package's binaries for its own tests only, so the tests of this package ask for them; when they are
/// fresh this takes a fraction of a second.
fn build(built: &OnceLock<Result<(), String>>, options: &[&str]) -> anyhow::Result<()> {
    let result = built.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--bins", "--locked"])
            .args(options)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    match result {
        Ok(()) => Ok(()),
        Err(error) => bail!("building the binaries failed: {error}"),
    }
}

/// The folder that cargo builds into: the test runs from a file inside it.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    Ok(folder.context("the test does not run from cargo's target folder")?.to_path_buf())
}
