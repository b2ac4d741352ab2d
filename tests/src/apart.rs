//! The form with a process for each part: a gate, an agent beside each application, and a front agent where wanted.

use std::net::SocketAddr;
use std::ops::Deref;

use crate::stage::{Plan, SERVICE, Stage};
use crate::{Process, free_address};

/// A service whose parts are processes of their own.
#[derive(Debug)]
pub struct Apart {
    /// The applications, the load, and the gate's API.
    pub stage: Stage,
    /// `blueback-gate`.
    pub hub: Process,
    /// The front agent, unless clients connect to green's agent themselves.
    pub front: Option<Process>,
    /// The agents beside the applications: blue's, then green's.
    pub sidecars: Vec<Process>,
    /// Where they listen, in the same order.
    pub beside: Vec<SocketAddr>,
    flags: Vec<String>,
}

impl Apart {
    /// A front agent in front of the agents beside the applications. One backend a slot.
    ///
    /// # Panics
    ///
    /// When something does not come up.
    pub async fn start(plan: Plan) -> Self {
        Self::start_with(plan, Vec::new()).await
    }

    /// The same, with further flags for `blueback-gate`.
    ///
    /// # Panics
    ///
    /// When something does not come up.
    pub async fn start_with(plan: Plan, flags: Vec<String>) -> Self {
        let mut apart = Self::beside(&plan, flags).await;
        apart.front = Some(apart.start_front());
        apart.stage.open().await;
        apart
    }

    /// No front agent: clients connect to the agents beside the applications, as through a Service of Kubernetes. The
    /// stage's own load stays off.
    ///
    /// # Panics
    ///
    /// When something does not come up.
    pub async fn start_without_front(plan: Plan) -> Self {
        let apart = Self::beside(&plan, Vec::new()).await;
        apart.service_until("both agents", |service| service.agents == 2).await;
        apart
    }

    async fn beside(plan: &Plan, flags: Vec<String>) -> Self {
        let stage = Stage::set(plan).await;
        let hub = gate(&stage, &flags);
        let beside = vec![free_address(), free_address()];
        let sidecars =
            [("blue", &stage.blue[0], beside[0], beside[1]), ("green", &stage.green[0], beside[1], beside[0])].map(
                |(slot, sample, listen, other)| {
                    agent(
                        &stage,
                        "sidecar",
                        listen,
                        &[
                            ("--slot", slot.to_owned()),
                            ("--pod", format!("{slot}-1")),
                            ("--app", sample.addr().to_string()),
                            ("--divert", other.to_string()),
                        ],
                    )
                },
            );
        Self { stage, hub, front: None, sidecars: sidecars.into(), beside, flags }
    }

    /// Starts the front agent, again after it was killed.
    #[must_use]
    pub fn start_front(&self) -> Process {
        let (blue, green) = (self.beside[0].to_string(), self.beside[1].to_string());
        agent(&self.stage, "front", self.listen, &[("--blue", blue), ("--green", green), ("--pod", "front".to_owned())])
    }

    /// Starts the gate on its store and address, again after it was killed.
    #[must_use]
    pub fn start_gate(&self) -> Process {
        gate(&self.stage, &self.flags)
    }
}

impl Deref for Apart {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

fn gate(stage: &Stage, flags: &[String]) -> Process {
    let mut arguments = vec!["--api".to_owned(), stage.api.to_string()];
    arguments.extend(["--service".to_owned(), format!("{SERVICE}=blue")]);
    arguments.extend(["--store".to_owned(), stage.folder.path().join("store").display().to_string()]);
    arguments.extend(stage.rules());
    arguments.extend_from_slice(flags);
    Process::start("blueback-gate", arguments)
}

fn agent(stage: &Stage, role: &str, listen: SocketAddr, more: &[(&str, String)]) -> Process {
    let mut arguments = ["--service", SERVICE, "--role", role].map(str::to_owned).to_vec();
    arguments.extend(["--listen".to_owned(), listen.to_string()]);
    arguments.extend(["--gate".to_owned(), format!("http://{}", stage.api)]);
    arguments.extend(more.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]));
    Process::start("blueback-agent", arguments)
}
