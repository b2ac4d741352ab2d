//! What can be typed. The only place that reads flags and the environment.
//!
//! Single values are parsed here, with an error that says what would be accepted. What needs several flags, a file or a
//! name lookup is checked by the command, which reports all it finds at once.

use std::path::PathBuf;
use std::time::Duration;

use blueback_gate::api::types::Slot;
use blueback_gate::ask::AskArgs;
use blueback_gate::tell::TellArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::Gate;
use crate::exit::Failure;
use crate::sample::Fault;
use crate::words;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "blueback",
    version,
    about = "Rollback gate for blue-green releases: sees every request, reverts in well under a second",
    arg_required_else_help = true,
    after_help = "Examples:
  blueback demo
  blueback guard --listen 0.0.0.0:8080 --blue 10.0.0.1:9001 --green 10.0.0.2:9001
  blueback switch --to green --await

Exit codes of await and switch --await:
  0 passed, 10 reverted, 11 held, 12 inconclusive, 13 no verdict within the timeout,
  1 the gate could not be reached or failed, 2 wrong usage"
)]
pub struct Cli {
    /// What to log to stderr: off, error, warn, info, debug, or a filter by module [default: warn; guard: info]
    #[arg(long, global = true, env = "BLUEBACK_LOG", value_name = "FILTER", value_parser = words::log_filter)]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What to log: as told, or what suits the command. A server says what it does; the others tell their story
    /// themselves, and the demo's gate would only say it twice.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        match (&self.log, &self.command) {
            (Some(filter), _) => filter,
            (None, Command::Guard(_)) => "info",
            (None, Command::Demo(_)) => "error",
            (None, _) => "warn",
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Guard a service in one process: front router and gate, no Kubernetes needed
    Guard(Box<GuardArgs>),
    /// Switch a service to green or blue, which starts a watched release
    Switch(SwitchArgs),
    /// Wait for the verdict of a release
    #[command(name = "await")]
    Await(AwaitArgs),
    /// Show what is guarded
    Status(StatusArgs),
    /// List releases, newest first
    Releases(ReleasesArgs),
    /// Tell the story of a release: verdict, timeline, rules and what was measured
    Explain(ExplainArgs),
    /// Watch a release live in the terminal, and decide about it
    Watch(WatchArgs),
    /// Send the traffic of a live release back to what served before
    Revert(DecideArgs),
    /// Stop a live release from passing or reverting by itself until resumed
    Hold(DecideArgs),
    /// Let a held release go on
    Resume(DecideArgs),
    /// Raise a signal that rules wait for, such as the result of smoke tests
    Signal(SignalArgs),
    /// Check rules files, ReleaseGates and chart values, and say how fast each rule can tell
    Check(CheckArgs),
    /// Judge a recording again, by its own rules or by others
    Replay(ReplayArgs),
    /// Export and import what judges saw
    Recordings(RecordingsArgs),
    /// Give the pods in Kubernetes manifests their agent, as the admission webhook would
    Inject(InjectArgs),
    /// See it work: two sample servers, load, a release that goes wrong, the revert; in under a minute
    Demo(DemoArgs),
    /// Serve as a sample application
    #[command(hide = true)]
    SampleApp(SampleArgs),
    /// Send open-loop load and account for every request
    #[command(hide = true)]
    Load(LoadArgs),
}

/// Which gate to talk to.
#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    /// URL of the gate
    #[arg(long, env = "BLUEBACK_GATE", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    pub gate: String,
    /// Certificates in PEM that vouch for an https gate
    #[arg(long, env = "BLUEBACK_GATE_CA_FILE", value_name = "FILE")]
    pub gate_ca_file: Option<PathBuf>,
    /// File that holds the token for the gate; BLUEBACK_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl GateArgs {
    /// The gate, with the token of the file or else of the environment.
    ///
    /// # Errors
    /// All that is wrong with either.
    pub fn client(&self) -> Result<Gate, Failure> {
        let token = match &self.token_file {
            Some(file) => read_token(file).map(Some).map_err(|error| format!("--token-file: {error}")),
            None => Ok(std::env::var("BLUEBACK_TOKEN").ok().filter(|token| !token.is_empty())),
        };
        let gate = Gate::new(&self.gate, None).map_err(|error| format!("--gate: {error}"));
        let authorities = self.gate_ca_file.as_deref().map(|file| {
            std::fs::read_to_string(file).map_err(|error| format!("--gate-ca-file {}: {error}", file.display()))
        });
        let authorities = match authorities.transpose() {
            Ok(None) if gate.as_ref().is_ok_and(Gate::is_secure) => {
                Err("--gate-ca-file: an https gate is known by its certificate; name the file that vouches for it"
                    .to_owned())
            }
            authorities => authorities,
        };
        match (token, gate, authorities) {
            (Ok(token), Ok(_), Ok(authorities)) => {
                let gate = Gate::new(&self.gate, token).map_err(Failure::usage)?;
                Ok(gate.known_by(authorities))
            }
            (token, gate, authorities) => {
                let wrong = [token.err(), gate.err(), authorities.err()];
                Err(Failure::Usage(wrong.into_iter().flatten().collect()))
            }
        }
    }
}

/// The token in a file, which must hold nothing else.
///
/// # Errors
/// In words, when it cannot be read or holds no token.
pub fn read_token(file: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{}: accepted: one token of visible ASCII characters", file.display()));
    }
    Ok(token.to_owned())
}

/// Who decides.
#[derive(Clone, Debug, Args)]
pub struct ByArgs {
    /// Who asks, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    pub by: String,
}

/// A slot as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SlotArg {
    /// The blue backends
    Blue,
    /// The green backends
    Green,
}

impl From<SlotArg> for Slot {
    fn from(slot: SlotArg) -> Self {
        match slot {
            SlotArg::Blue => Self::Blue,
            SlotArg::Green => Self::Green,
        }
    }
}

impl From<SlotArg> for blueback_report::Slot {
    fn from(slot: SlotArg) -> Self {
        match slot {
            SlotArg::Blue => Self::Blue,
            SlotArg::Green => Self::Green,
        }
    }
}

/// `guard`. Addresses are checked by the command, so that all errors are told at once.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback guard --listen 0.0.0.0:8080 --blue 127.0.0.1:9001 --green 127.0.0.1:9002
  blueback guard --listen 0.0.0.0:8080 --blue a1:80,a2:80 --green b1:80,b2:80 --rules rules.yaml --store /var/lib/blueback

SIGTERM or SIGINT drains: what is in flight is finished, then it ends.")]
pub struct GuardArgs {
    /// Where clients connect
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// The blue backends, separated by commas
    #[arg(long, value_name = "ADDRS")]
    pub blue: String,
    /// The green backends, separated by commas
    #[arg(long, value_name = "ADDRS")]
    pub green: String,
    /// Name of the service
    #[arg(long, value_name = "NAME", default_value = "app")]
    pub name: String,
    /// Which backends serve now
    #[arg(long, value_enum, value_name = "blue|green", default_value = "blue", hide_possible_values = true)]
    pub serving: SlotArg,
    /// Rules file (YAML); see `blueback check`
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Where the API listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub api: String,
    /// Folder that keeps releases over a restart; without it they are in memory only
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Threads that carry traffic; as many as there are cores unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Makes the choice of backends repeatable
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Path that tells whether a backend is ready; without it, that it accepts connections
    #[arg(long, value_name = "PATH")]
    pub probe: Option<String>,
    /// File that holds the token which the API asks of those who decide; without it the API must be on loopback
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Where a person looks at a trace: a URL with {trace_id} in it; example traces of a release are linked with it
    #[arg(long, value_name = "URL")]
    pub trace_url: Option<String>,
    /// URL of a Collector, such as http://collector:4318, that the front agent sends a span of its own to for each recorded trace
    #[arg(long, value_name = "URL")]
    pub agent_otlp: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Whom to tell.
    #[command(flatten)]
    pub tell: TellArgs,
}

/// How to wait.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Checkpoint to wait for: bake, a later one such as 30m, or done for all of them
    #[arg(long, value_name = "NAME", default_value = "bake")]
    pub until: String,
    /// Longest wait
    #[arg(long, value_name = "TIME", default_value = "40m", value_parser = words::duration)]
    pub timeout: Duration,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
    /// Write the result to this file as JUnit XML: a test case for the release and one for each rule
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the result to this file as Markdown, with a table of the rules
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Inside GitHub Actions: step summary, outputs (outcome, exit-code, release, text) and an error annotation
    #[arg(long)]
    pub github: bool,
    /// GitHub's file for the summary of a step.
    #[arg(long, env = "GITHUB_STEP_SUMMARY", hide = true)]
    pub github_step_summary: Option<PathBuf>,
    /// GitHub's file for the outputs of a step.
    #[arg(long, env = "GITHUB_OUTPUT", hide = true)]
    pub github_output: Option<PathBuf>,
}

/// `switch`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback switch --to green
  blueback switch shop --to green --share 10%
  blueback switch shop --to green --await --timeout 20m
  blueback switch shop --to green --revision \"$GIT_COMMIT\" --await --junit blueback.xml

Switching back to what served before reverts a live release. Switching to the same again with another share
changes its share. With --revision a second switch to the same revision begins no second release: it is the first one
again, and its verdict too. Prints the id of the release.")]
pub struct SwitchArgs {
    /// Service; may be left out when the gate guards one
    pub name: Option<String>,
    /// Which backends shall serve
    #[arg(long, value_enum, value_name = "blue|green", hide_possible_values = true)]
    pub to: SlotArg,
    /// Part of the requests they get
    #[arg(long, value_name = "SHARE", value_parser = words::share)]
    pub share: Option<f64>,
    /// What is released: a commit, an image, a version; a job that runs twice then begins one release
    #[arg(long, value_name = "SHA", value_parser = words::revision)]
    pub revision: Option<String>,
    /// Wait for the verdict, as `blueback await` does
    #[arg(long = "await")]
    pub wait: bool,
    /// How to wait.
    #[command(flatten)]
    pub waiting: WaitArgs,
    /// Who.
    #[command(flatten)]
    pub by: ByArgs,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `await`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback await --timeout 20m
  blueback await shop --until 30m --json
  blueback await shop --revision \"$GIT_COMMIT\" --junit blueback.xml --summary blueback.md

Exit codes: 0 passed, 10 reverted, 11 held, 12 inconclusive, 13 no verdict within the timeout,
1 the gate could not be reached or failed, 2 wrong usage. Survives a restart of the gate.")]
pub struct AwaitArgs {
    /// Service; may be left out when the gate guards one
    pub name: Option<String>,
    /// Release to wait for; the service's newest unless told
    #[arg(long, value_name = "ID")]
    pub release: Option<String>,
    /// The newest release of this revision; waited for while there is none yet
    #[arg(long, value_name = "SHA", value_parser = words::revision, conflicts_with = "release")]
    pub revision: Option<String>,
    /// How to wait.
    #[command(flatten)]
    pub waiting: WaitArgs,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  blueback status --gate http://127.0.0.1:7070")]
pub struct StatusArgs {
    /// Service; all of them unless told
    pub name: Option<String>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `releases`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  blueback releases shop --json")]
pub struct ReleasesArgs {
    /// Service; all of them unless told
    pub name: Option<String>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback explain
  blueback explain shop-3
  blueback explain shop-3 --html incident.html --markdown incident.md

The documents hold verdict, what was lost, what was done with times, timeline, evidence, what to look at and a rollback
checklist; the HTML has charts and needs nothing else.")]
pub struct ExplainArgs {
    /// Release, or a service for its newest one; may be left out when the gate guards one service
    pub release: Option<String>,
    /// One JSON document on stdout: the release and its evidence
    #[arg(long)]
    pub json: bool,
    /// Write the story with charts to this file, as one HTML page that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the story to this file as Markdown, for a ticket or a wiki
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `watch`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback watch
  blueback watch shop
  blueback watch shop-3

Keys: r reverts, h holds, c lets go on (each asks why), up and down scroll the timeline, q quits. Where stdout is no
terminal it prints a line for each thing that happens, until the release is over.")]
pub struct WatchArgs {
    /// Release, or a service for its newest one; may be left out when the gate guards one service
    pub release: Option<String>,
    /// Who.
    #[command(flatten)]
    pub by: ByArgs,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `revert`, `hold` and `resume`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback revert shop --why \"wrong prices since 14:02\"
  blueback hold --why \"database is being moved\"
  blueback resume --why \"database is back\"")]
pub struct DecideArgs {
    /// Service; may be left out when the gate guards one
    pub name: Option<String>,
    /// Why; told to everybody and kept
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    pub why: String,
    /// One JSON document on stdout: the release
    #[arg(long)]
    pub json: bool,
    /// Who.
    #[command(flatten)]
    pub by: ByArgs,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `signal`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback signal data-corruption shop --why \"order totals differ from the ledger\"
  blueback signal smoke-tests shop --passed --why \"14 of 14\"
  blueback signal smoke-tests --junit results/*.xml

With --passed, --failed or --junit the signal's name gets `-passed` or `-failed` at its end: by default
`signal smoke-tests-failed` reverts, and a release may not pass before `smoke-tests-passed` where tests are told.
Exit codes: 0 raised, whatever the tests came to; 1 no release is under way, or the gate failed; 2 wrong usage.")]
pub struct SignalArgs {
    /// The signal's name, as rules refer to it
    #[arg(value_name = "SIGNAL", value_parser = words::reason)]
    pub signal: String,
    /// Service; may be left out when the gate guards one
    pub name: Option<String>,
    /// What happened; told to everybody and kept
    #[arg(long, value_name = "TEXT", value_parser = words::reason, required_unless_present = "junit")]
    pub why: Option<String>,
    /// The tests passed
    #[arg(long, conflicts_with_all = ["failed", "junit"])]
    pub passed: bool,
    /// The tests failed
    #[arg(long, conflicts_with = "junit")]
    pub failed: bool,
    /// What the tests came to, as JUnit XML
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub junit: Vec<PathBuf>,
    /// One JSON document on stdout: the release
    #[arg(long)]
    pub json: bool,
    /// Who.
    #[command(flatten)]
    pub by: ByArgs,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback check rules.yaml
  blueback check values-production.yaml
  helm template shop ./chart | blueback check -
  blueback check rules.yaml --rps 200 --error-rate 0.05% --latency p50=20ms,p99=150ms
  blueback check rules.yaml --rps 20 --harm 100% --harm 2% --runs 500 --json

A file is a rules file, a chart's values with `releaseGates`, or manifests with ReleaseGates among them.
With --rps the judge itself is run on simulated traffic, release after release: the smallest harm that each rule finds
in time, how long it takes, and how often it is wrong about a healthy release. The same seed gives the same numbers.

A rules file is YAML; every field is optional:
  revertWhen:
    - error rate > 5%
    - latency p99 > 500ms for 1m
  passWhen:
    - error rate < 1%
  bake: 5m
  checkpoints: [30m, 2h, 24h]
  falseAlarms: 1 in 1000")]
pub struct CheckArgs {
    /// The files; - is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Requests a second of the service: simulate what the rules can tell of its traffic
    #[arg(long, value_name = "N", value_parser = words::rate)]
    pub rps: Option<f64>,
    /// Part of its requests that fails while nothing is wrong
    #[arg(long, value_name = "SHARE", default_value = "0.1%", requires = "rps", value_parser = words::small_share)]
    pub error_rate: f64,
    /// Its latency while nothing is wrong: the median, and the 99th percentile unless six times that
    #[arg(long, value_name = "p50=TIME[,p99=TIME]", default_value = "p50=20ms", requires = "rps",
        value_parser = words::latency)]
    pub latency: words::Latency,
    /// Part of the requests that is bad in a harm whose delay is asked; may be given several times
    #[arg(long = "harm", value_name = "SHARE", default_values = ["100%", "50%", "20%", "10%"], requires = "rps",
        value_parser = words::share)]
    pub harms: Vec<f64>,
    /// Simulated releases for each number; twice as many take twice the time
    #[arg(long, value_name = "N", default_value = "100", requires = "rps",
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub runs: u32,
    /// What all chance comes from
    #[arg(long, value_name = "N", default_value = "1", requires = "rps")]
    pub seed: u64,
    /// One JSON document on stdout
    #[arg(long, requires = "rps")]
    pub json: bool,
}

/// `replay`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback replay shop-3.recording
  blueback replay shop-3.recording --rules stricter.yaml

The traffic stays as it was recorded: rules that would have diverted sooner still see what came through.
Exit codes: 0 the verdicts agree, 14 they differ; 1 and 2 as everywhere.")]
pub struct ReplayArgs {
    /// What `blueback recordings export` wrote
    pub recording: PathBuf,
    /// Rules file (YAML) to judge it by, beside its own rules
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `recordings`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback recordings export shop-3 -o shop-3.recording
  blueback recordings export shop-3 --store /var/lib/blueback -o incident.recording --anonymise
  blueback recordings import incident.recording --store ./incidents")]
pub struct RecordingsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub verb: RecordingsVerb,
}

/// What to do with recordings.
#[derive(Clone, Debug, Subcommand)]
pub enum RecordingsVerb {
    /// Write the recording of a release to a file
    Export(ExportArgs),
    /// Put a file's release among those of a store
    Import(ImportArgs),
}

/// `recordings export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Id of the release
    pub release: String,
    /// The file to write; it must not be there yet
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace names of services, pods, routes and agents by numbers, and leave out people and what they wrote
    #[arg(long)]
    pub anonymise: bool,
    /// Folder of a store that no gate has open, instead of a gate
    #[arg(long, value_name = "DIR", conflicts_with_all = ["gate", "token_file"])]
    pub store: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub gate: GateArgs,
}

/// `recordings import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// What `blueback recordings export` wrote
    pub file: PathBuf,
    /// Folder of a store that no gate has open; it is made when it is not there
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
}

/// `inject`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  helm template shop ./chart | blueback inject --service cart --gate-url https://blueback-gate.blueback.svc:7070 \\
    --ca-file ca.crt | kubectl apply -f -
  blueback inject -f cart.yaml --service cart --port http > cart.injected.yaml

The Service's selector says which workloads are meant; when its manifest is not in the input, --port says it: all that
have the port. Documents in which nothing changes pass through as they are. Injecting twice changes nothing.")]
pub struct InjectArgs {
    /// YAML manifests; stdin unless told
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Service that is guarded
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// Port of the Service, by name or number; without the Service in the input, its target port
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// ReleaseGate that guards it [default: named as the Service]
    #[arg(long, value_name = "NAME")]
    pub release_gate: Option<String>,
    /// Namespace of objects that name none
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// URL of the gate, as pods reach it
    #[arg(long, value_name = "URL")]
    pub gate_url: Option<String>,
    /// Certificates in PEM that the gate's own is checked against
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The agent's image
    #[arg(long, value_name = "IMAGE", default_value = AGENT_IMAGE)]
    pub image: String,
    /// What the application depends on, as the agent probes it, such as database=postgres://db:5432; several times
    #[arg(long, value_name = "NAME=URL")]
    pub dependency: Vec<String>,
    /// URL of a Collector, such as http://collector:4318, that the agent sends a span of its own to for each recorded trace
    #[arg(long, value_name = "URL")]
    pub agent_otlp: Option<String>,
    /// Redirect a target port that is a number, by an init container with NET_ADMIN
    #[arg(long)]
    pub redirect: bool,
}

/// The agent's image of this version.
const AGENT_IMAGE: &str = concat!("ghcr.io/blueback/blueback-agent:", env!("CARGO_PKG_VERSION"));

/// What goes wrong in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultArg {
    /// Half of green's answers are errors
    Errors,
    /// Green becomes slow
    Latency,
    /// Green takes requests and never answers
    Hang,
    /// Green's process is gone: connections are refused
    Crash,
}

/// `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  blueback demo
  blueback demo --fault hang --rps 300
  blueback demo --keep

Exit codes: 0 the release was reverted as it should, 1 otherwise.")]
pub struct DemoArgs {
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Requests a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = words::rate)]
    pub rps: f64,
    /// What goes wrong in green
    #[arg(long, value_enum, default_value = "errors")]
    pub fault: FaultArg,
    /// Makes the sample servers and the choice of backends repeatable
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
}

/// `sample-app`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  blueback sample-app --listen 127.0.0.1:9001 --name green-1 --control 127.0.0.1:9101
  curl -d '{\"errorRate\": 0.2}' http://127.0.0.1:9101/fault

Faults: errorRate, clientErrorRate, slowShare (0 to 1), latencyMs, hang, unready (/readyz), crash. Port 0 takes a free one; the
addresses are the first two lines on stdout.")]
pub struct SampleArgs {
    /// Where it serves
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    pub listen: std::net::SocketAddr,
    /// Where faults are set
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    pub control: Option<std::net::SocketAddr>,
    /// Its name, in the header x-backend
    #[arg(long, value_name = "NAME", default_value = "sample")]
    pub name: String,
    /// What all chance comes from
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
    /// Shortest and longest time to answer, in microseconds
    #[arg(long, value_name = "US", num_args = 2, default_values_t = [2_000, 8_000])]
    pub latency_us: Vec<u64>,
    /// How it misbehaves from its start, as POST /fault takes it
    #[arg(long, value_name = "JSON")]
    pub fault: Option<Fault>,
}

/// How the requests of `load` travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConnectionsArg {
    /// HTTP/1.1 over eight kept-alive connections
    Kept,
    /// HTTP/1.1 with a connection for each request
    Fresh,
    /// HTTP/2 without TLS over two connections
    H2c,
}

/// `load`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  blueback load --url http://127.0.0.1:8080/ --rps 100 --seconds 60 --connections fresh --json

Open loop: the k-th request is due at k/rps, whatever became of those before. With --json, a line of totals each
--every, and a last one with \"done\": true; times are Unix milliseconds of when a request was due.
SIGTERM or SIGINT ends it early, with the same last line.")]
pub struct LoadArgs {
    /// Where to; the host is resolved once
    #[arg(long, value_name = "URL", value_parser = words::target)]
    pub url: words::Target,
    /// Requests a second
    #[arg(long, value_name = "N", default_value = "100", value_parser = words::rate)]
    pub rps: f64,
    /// For how long; until it is told to end unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// How the requests travel
    #[arg(long, value_enum, default_value = "kept")]
    pub connections: ConnectionsArg,
    /// Longest wait for a whole answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = words::duration)]
    pub patience: Duration,
    /// How often to tell
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = words::duration)]
    pub every: Duration,
    /// JSON, one document a line, on stdout
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
            assert!(help.contains(&format!("blueback {}", command.get_name())), "{}", command.get_name());
        }
    }
}
