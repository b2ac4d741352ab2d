//! What both forms of a guarded service have: sample applications and load in this process, and a gate to talk to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use blueback::client::Gate;
use blueback::load::{self, Wire};
use blueback::sample::{self, Fault, Sample};
use blueback_gate::api::types::{Service, Slot};

use crate::{Folder, Ran, Story, Traffic, Turn, free_address, run, turn, until};

/// Longest wait for processes to be up: the machine may be building something else.
const UP_MAX: Duration = Duration::from_secs(30);
/// Longest run of a command of the product.
const COMMAND_MAX: Duration = Duration::from_secs(90);
/// Name of the guarded service.
pub(crate) const SERVICE: &str = "shop";

/// What is guarded, and by which rules.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Backends of the blue slot.
    pub blue: usize,
    /// Backends of the green slot.
    pub green: usize,
    /// The rules file; the defaults of the product without one.
    pub rules: Option<&'static str>,
    /// Requests a second; none at all when zero.
    pub rate: f64,
    /// How they travel.
    pub wire: Wire,
    /// Answers that blue gives before the story begins.
    pub warm_up: usize,
}

impl Default for Plan {
    /// One backend a slot, 100 requests a second on kept-alive connections, two seconds of history.
    fn default() -> Self {
        Self { blue: 1, green: 1, rules: None, rate: 100.0, wire: Wire::KeepAlive(8), warm_up: 200 }
    }
}

/// A service under load; blue serves.
#[derive(Debug)]
pub struct Stage {
    /// The backends of the blue slot.
    pub blue: Vec<Sample>,
    /// The backends of the green slot.
    pub green: Vec<Sample>,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the gate's API is.
    pub api: SocketAddr,
    /// The gate's API.
    pub gate: Gate,
    /// The load.
    pub traffic: Traffic,
    /// What the story writes.
    pub folder: Folder,
    rules: Option<PathBuf>,
    warm_up: usize,
    _turn: Turn,
}

impl Stage {
    /// Applications that answer, and a load that waits for [`Stage::open`].
    pub(crate) async fn set(plan: &Plan) -> Self {
        let turn = turn().await;
        let folder = Folder::new();
        let rules = plan.rules.map(|text| folder.write("rules.yaml", text));
        let (listen, api) = (free_address(), free_address());
        let gate = Gate::new(&format!("http://{api}"), None).expect("an address makes a URL");
        let traffic = Traffic::new(load::Plan { wire: plan.wire, ..load::Plan::new(listen, plan.rate) });
        Self {
            blue: samples("blue", plan.blue).await,
            green: samples("green", plan.green).await,
            listen,
            api,
            gate,
            traffic,
            folder,
            rules,
            warm_up: plan.warm_up,
            _turn: turn,
        }
    }

    /// Waits until the gate knows every backend as ready, then begins the load and waits until blue has served enough.
    pub(crate) async fn open(&mut self) {
        let backends = self.blue.len() + self.green.len();
        self.service_until("every backend to be ready", |service| {
            service.agents > 0 && service.backends.iter().filter(|backend| backend.ready).count() >= backends
        })
        .await;
        self.traffic.begin();
        self.traffic.answered_by("blue", self.warm_up).await;
    }

    /// `--rules FILE`, where there is one.
    pub(crate) fn rules(&self) -> Vec<String> {
        self.rules.iter().flat_map(|path| ["--rules".to_owned(), path.display().to_string()]).collect()
    }

    /// Waits until the service is as a story needs it.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub async fn service_until(&self, what: &str, condition: impl Fn(&Service) -> bool) -> Service {
        until(UP_MAX, what, async || match self.gate.service(SERVICE).await {
            Ok(service) if condition(&service) => Ok(service),
            Ok(service) => Err(format!("{service:#?}")),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// All backends of the green slot misbehave like this from now on.
    pub fn green_does(&self, fault: Fault) {
        self.green.iter().for_each(|sample| sample.set_fault(fault));
    }

    /// All backends of the blue slot misbehave like this from now on.
    pub fn blue_does(&self, fault: Fault) {
        self.blue.iter().for_each(|sample| sample.set_fault(fault));
    }

    /// Runs `blueback VERB --gate URL ARGUMENTS`.
    pub async fn command(&self, verb: &str, arguments: &[&str]) -> Ran {
        let url = format!("http://{}", self.api);
        let arguments = [verb, "--gate", &url].into_iter().chain(arguments.iter().copied());
        run("blueback", arguments, COMMAND_MAX).await
    }

    /// Switches to green with `blueback switch`, and returns the story of the release.
    ///
    /// # Panics
    ///
    /// When the switch is refused.
    pub async fn switch(&self, arguments: &[&str]) -> Story {
        let all: Vec<&str> = [SERVICE, "--to", "green"].into_iter().chain(arguments.iter().copied()).collect();
        let ran = self.command("switch", &all).await;
        assert_eq!(ran.code, Some(0), "blueback switch: {}{}", ran.stdout, ran.stderr);
        self.newest().await
    }

    /// The story of the newest release.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn newest(&self) -> Story {
        let service = self.gate.service(SERVICE).await.expect("the gate answers");
        let id = service.release.expect("there is a release");
        Story::new(self.gate.clone(), self.api, id)
    }

    /// The slot that serves.
    ///
    /// # Panics
    ///
    /// When the gate does not say.
    pub async fn serving(&self) -> Slot {
        self.gate.service(SERVICE).await.expect("the gate answers").serving
    }
}

/// Sample applications `NAME-1`, `NAME-2`, ….
async fn samples(name: &str, number: usize) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(number);
    for seed in 1..=number {
        let name = format!("{name}-{seed}");
        let listen = free_address();
        let config = sample::Config { listen, control: None, seed: seed as u64, ..sample::Config::new(&name) };
        samples.push(Sample::start(config).await.expect("a free port can be bound"));
    }
    samples
}
