//! `blueback demo`: an incident on loopback, for real.
//!
//! Two sample servers, the guard exactly as `blueback guard` starts it, open-loop load through it, and a client of its
//! API as `blueback await` is one. Nothing is scripted after the fault is set: what is printed is what happened, and the
//! demo fails when the gate does.

mod measured;
mod report;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use blueback_gate::RulesFile;
use blueback_gate::api::types::{Phase, Release, Service, Slot, SwitchRequest};
use owo_colors::OwoColorize as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::guard::{Guard, GuardConfig};
use crate::args::{DemoArgs, FaultArg};
use crate::client::Gate;
use crate::exit::{Exit, Failure};
use crate::follow::Follow;
use crate::load::{Ended, Load, Plan, unix_ms};
use crate::sample::{Config, Fault, Sample};
use crate::{out, render, signals};

use measured::Measured;
use report::Report;

/// Where the API is, unless somebody else is there: where every command looks for it.
const API: &str = "127.0.0.1:7070";
/// Name of the guarded service.
const NAME: &str = "demo";
/// Fastest load: beyond it generator, proxy and servers in one process mostly measure one another.
const RPS_MAX: f64 = 2_000.0;
/// Longest wait until the guard sees both servers.
const READY_MAX: Duration = Duration::from_secs(10);
/// Traffic on blue before the switch: what blue normally does is evidence too.
const WARM_UP: Duration = Duration::from_secs(5);
/// Healthy traffic on green before the fault, so that there is something to lose.
const HEALTHY: Duration = Duration::from_secs(4);
/// Longest wait for the revert after the fault.
const REVERT_MAX: Duration = Duration::from_secs(25);
/// Traffic after the revert, to see that it is served.
const AFTERWARDS: Duration = Duration::from_secs(3);

pub(super) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    if args.rps > RPS_MAX {
        return Err(Failure::usage(format!("--rps: {}; accepted in the demo: at most {RPS_MAX}", args.rps)));
    }
    let mut stage = Stage::build(args.seed).await?;
    let played = tokio::select! {
        played = Box::pin(stage.play(&args)) => Some(played),
        () = signals::asked_to_end() => None,
    };
    let exit = match played {
        Some(Ok((exit, load))) => {
            if args.keep {
                stage.keep(args.fault).await?;
                signals::asked_to_end().await;
            }
            load.stop().await;
            Ok(exit)
        }
        Some(Err(error)) => Err(Failure::Failed(error)),
        None => Ok(Exit::Failed),
    };
    stage.strike().await;
    exit
}

/// The parts that run.
struct Stage {
    blue: Sample,
    green: Sample,
    guard: Guard,
    gate: Gate,
}

/// The revert is whole: all its steps are told.
fn is_told(release: &Release) -> bool {
    release.timeline.iter().any(|moment| moment.what == "verified")
}

impl Stage {
    async fn build(seed: u64) -> anyhow::Result<Self> {
        let sample = |name: &str, seed| Sample::start(Config { seed, ..Config::new(name) });
        let blue = sample("blue", seed).await.context("start the blue server")?;
        let green = sample("green", seed.wrapping_add(1)).await.context("start the green server")?;
        let usual: SocketAddr = API.parse().context("the address of the API")?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        // Probed by listening: a gate that is already there keeps its port.
        let api = match TcpListener::bind(usual).await {
            Ok(_) => usual,
            Err(_) => {
                out::story(&format!("{API} is taken; the API gets a free port"));
                free
            }
        };
        let guard = Guard::start(GuardConfig {
            agent_otlp: None,
            ask: blueback_gate::ask::AskConfig::default(),
            tell: blueback_gate::tell::TellConfig::default(),
            name: NAME.to_owned(),
            listen: free,
            blue: vec![blue.addr()],
            green: vec![green.addr()],
            serving: blueback_report::Slot::Blue,
            rules: RulesFile::default(),
            api,
            trace_url: None,
            store: None,
            workers: None,
            seed: Some(seed),
            probe: None,
            token: None,
        })
        .await?;
        let gate = Gate::new(&format!("http://{}", guard.api_addr()), None).map_err(anyhow::Error::msg)?;
        Ok(Self { blue, green, guard, gate })
    }

    /// Waits until the gate knows the agent and both servers are ready.
    async fn ready(&self) -> anyhow::Result<()> {
        let is_ready = |service: &Service| {
            service.agents > 0 && service.backends.len() == 2 && service.backends.iter().all(|backend| backend.ready)
        };
        let wait = async {
            loop {
                if self.gate.service(NAME).await.is_ok_and(|service| is_ready(&service)) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(READY_MAX, wait)
            .await
            .with_context(|| format!("the guard did not see both servers ready within {} s", READY_MAX.as_secs()))
    }

    /// The incident, from the first request to the table. The load goes on.
    async fn play(&self, args: &DemoArgs) -> anyhow::Result<(Exit, Load)> {
        self.ready().await?;
        let (load, results) = Load::start(Plan::new(self.guard.listen_addr(), args.rps));
        out::story(&format!(
            "{} requests a second to {}, where blue serves; the API is at {}",
            args.rps,
            self.guard.listen_addr(),
            self.gate.url()
        ));
        let mut play = Play { measured: Measured::new(load.began_ms(), slow_limit(args.fault)), results };
        play.wait(WARM_UP).await;

        let request =
            SwitchRequest { to: Slot::Green, share: None, by: Some("blueback demo".to_owned()), revision: None };
        let release = self.gate.switch(NAME, &request).await.context("switch to green")?;
        let mut story = Story::new(&self.gate, release);
        play.follow(&mut story, HEALTHY, |_| false).await?;
        out::story(&format!("{:>12}  {}", "", describe(args.fault).yellow()));
        let fault_ms = unix_ms();
        self.green.set_fault(fault(args.fault));
        play.follow(&mut story, REVERT_MAX, |release| release.phase == Phase::Reverted && is_told(release)).await?;
        let back_ms = unix_ms();
        play.wait(AFTERWARDS).await;

        let release = self.gate.release(&story.release.id).await.context("read the release")?;
        let report = Report::new(&release, &play.measured, args.rps, fault_ms, back_ms);
        out::story("");
        out::result(&report.to_string());
        Ok((if report.is_as_it_should_be() { Exit::Passed } else { Exit::Failed }, load))
    }

    /// Makes green healthy again, and says what can be tried.
    async fn keep(&mut self, of: FaultArg) -> anyhow::Result<()> {
        if of == FaultArg::Crash {
            let config = Config { listen: self.green.addr(), ..Config::new("green") };
            self.green = Sample::start(config).await.context("start the green server again")?;
        }
        self.green.set_fault(Fault::default());
        let gate = self.gate.url();
        let option = if gate.ends_with(API) { String::new() } else { format!(" --gate {gate}") };
        out::story("\nEverything is still running, and green is healthy again. To try:");
        for verb in ["status", "explain", "releases", "switch --to green --await", "revert --why \"I want to\""] {
            out::story(&format!("  blueback {verb}{option}"));
        }
        if let Some(control) = self.green.control_addr() {
            out::story(&format!("  curl -d '{{\"errorRate\": 0.2}}' http://{control}/fault"));
        }
        out::story(&format!("  curl -i http://{}/\nCtrl-C ends it.", self.guard.listen_addr()));
        Ok(())
    }

    async fn strike(self) {
        self.guard.drain().await;
        self.blue.drain().await;
        self.green.drain().await;
    }
}

/// The release as it is told.
struct Story {
    release: Release,
    follow: Follow,
    told: usize,
}

impl Story {
    fn new(gate: &Gate, release: Release) -> Self {
        let follow = Follow::new(gate.clone(), release.id.clone());
        let mut story = Self { release: release.clone(), follow, told: 0 };
        story.tell(release);
        story
    }

    fn tell(&mut self, release: Release) {
        for event in release.timeline.iter().skip(self.told) {
            out::story(&render::moment(event));
        }
        self.told = release.timeline.len();
        self.release = release;
    }
}

/// Everything that happens while time passes.
struct Play {
    measured: Measured,
    results: mpsc::Receiver<Ended>,
}

impl Play {
    /// Takes in results for so long.
    async fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(Some(ended)) = timeout_at(end, self.results.recv()).await {
            self.measured.add(&ended);
        }
    }

    /// The same, while telling the story of the release; ends early when `until` says so.
    async fn follow(
        &mut self,
        story: &mut Story,
        time: Duration,
        until: impl Fn(&Release) -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while !until(&story.release) {
            tokio::select! {
                newer = story.follow.next() => {
                    if let Some(release) = newer.context("follow the release")? {
                        story.tell(release);
                    }
                }
                Some(ended) = self.results.recv() => self.measured.add(&ended),
                () = tokio::time::sleep_until(end) => break,
            }
        }
        Ok(())
    }
}

/// In words.
const fn describe(fault: FaultArg) -> &'static str {
    match fault {
        FaultArg::Errors => "now half of green's answers are errors",
        FaultArg::Latency => "now green is slow: 1.5 s",
        FaultArg::Hang => "now green hangs: it takes requests and does not answer",
        FaultArg::Crash => "now green is gone: it refuses connections",
    }
}

/// As the sample application takes it.
fn fault(fault: FaultArg) -> Fault {
    match fault {
        FaultArg::Errors => Fault { error_rate: 0.5, ..Fault::default() },
        FaultArg::Latency => Fault { latency_ms: 1_500, ..Fault::default() },
        FaultArg::Hang => Fault { hang: true, ..Fault::default() },
        FaultArg::Crash => Fault { crash: true, ..Fault::default() },
    }
}

/// From which latency on a request counts as failed here: that of the default rule, where latency is the fault.
const fn slow_limit(fault: FaultArg) -> Option<Duration> {
    match fault {
        FaultArg::Latency => Some(Duration::from_millis(500)),
        FaultArg::Errors | FaultArg::Hang | FaultArg::Crash => None,
    }
}
