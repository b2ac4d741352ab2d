//! The embedded form: `blueback guard` as a process of its own.

use std::ops::Deref;

use blueback::sample::Sample;

use crate::Process;
use crate::stage::{Plan, SERVICE, Stage};

/// A service guarded by `blueback guard`.
#[derive(Debug)]
pub struct Guarded {
    /// The applications, the load, and the gate's API.
    pub stage: Stage,
    /// `blueback guard`.
    pub guard: Process,
}

impl Guarded {
    /// Starts everything and waits until blue serves under load.
    ///
    /// # Panics
    ///
    /// When something does not come up.
    pub async fn start(plan: Plan) -> Self {
        Self::start_with(plan, |_| Vec::new()).await
    }

    /// The same, with further flags for `blueback guard`.
    ///
    /// # Panics
    ///
    /// When something does not come up.
    pub async fn start_with(plan: Plan, flags: impl FnOnce(&Stage) -> Vec<String>) -> Self {
        let stage = Stage::set(&plan).await;
        let flags = flags(&stage);
        let guard = guard(&stage, flags);
        let mut guarded = Self { stage, guard };
        guarded.stage.open().await;
        guarded
    }
}

impl Deref for Guarded {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

fn guard(stage: &Stage, flags: Vec<String>) -> Process {
    let mut arguments = ["guard", "--name", SERVICE].map(str::to_owned).to_vec();
    for (flag, value) in [
        ("--listen", stage.listen.to_string()),
        ("--api", stage.api.to_string()),
        ("--blue", addresses(&stage.blue)),
        ("--green", addresses(&stage.green)),
        ("--store", stage.folder.path().join("store").display().to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.extend(stage.rules());
    arguments.extend(flags);
    Process::start("blueback", arguments)
}

/// Addresses as flags take them.
fn addresses(samples: &[Sample]) -> String {
    samples.iter().map(|sample| sample.addr().to_string()).collect::<Vec<_>>().join(",")
}
