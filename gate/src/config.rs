//! What a gate is told from outside. The only place that reads the environment.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::bail;
use axum::http::Uri;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::ask::{AskArgs, AskConfig};
use crate::examples::TraceUrl;
pub use crate::gate::ServiceConfig;
use crate::rules_file::RulesFile;
use crate::tell::{TellArgs, TellConfig};

/// Port of the API unless told otherwise.
pub const PORT: u16 = 7070;
/// Shortest accepted token, in bytes: what a careless hand types is shorter.
pub const TOKEN_BYTES_MIN: usize = 16;

/// What a gate needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the API, of the agents' door and of the metrics.
    pub api: SocketAddr,
    /// Folder of the store; in memory when absent.
    pub store: Option<PathBuf>,
    /// Rules for new releases.
    pub rules: RulesFile,
    /// Services known in advance; others are learnt from their agents.
    pub services: Vec<ServiceConfig>,
    /// What calls that change something must bring as `Authorization: Bearer`. Required when the API can be reached
    /// from other machines.
    pub token: Option<String>,
    /// Whom to tell what becomes of releases.
    pub tell: TellConfig,
    /// Whom to ask what rules want to know.
    pub ask: AskConfig,
    /// Where a person looks at a trace.
    pub trace_url: Option<TraceUrl>,
    /// Guards what ReleaseGates in a cluster name; the embedded gate when absent.
    pub kubernetes: Option<crate::kubernetes::Settings>,
    /// Ports beside the API, and what is needed for TLS and for webhooks.
    pub entrances: Entrances,
}

/// Ports beside the API, and what is needed for TLS and for webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrances {
    /// Service that leads to the gate: its certificate bears this name, and agents call it.
    pub service_name: String,
    /// Folder with `ca.crt`, `tls.crt` and `tls.key`; without it nothing is encrypted.
    pub tls_dir: Option<PathBuf>,
    /// Secret that the gate keeps its own certificates in, mounted at `tls_dir`; without it somebody else makes them.
    pub tls_secret: Option<String>,
    /// Address of the admission webhooks.
    pub webhooks: Option<SocketAddr>,
    /// Address of a plain port with `/metrics`, `/live` and `/ready`.
    pub metrics: Option<SocketAddr>,
    /// Image of injected agents.
    pub agent_image: Option<String>,
    /// Collector that injected agents send spans of their own to.
    pub agent_otlp: Option<String>,
    /// Configuration of mutating webhooks that is told our authority.
    pub mutating_webhook: Option<String>,
    /// Configuration of validating webhooks that is told our authority.
    pub validating_webhook: Option<String>,
}

impl Entrances {
    /// What does not go together.
    fn check(&self, kubernetes: bool, wrong: &mut Vec<String>) {
        for (flag, given) in [
            ("--tls-secret", self.tls_secret.is_some()),
            ("--webhooks", self.webhooks.is_some()),
            ("--mutating-webhook", self.mutating_webhook.is_some()),
            ("--validating-webhook", self.validating_webhook.is_some()),
        ] {
            if given && self.tls_dir.is_none() {
                wrong.push(format!(
                    "{flag}: is accepted only with --tls-dir, the folder that certificates are read from"
                ));
            }
            if given && !kubernetes {
                wrong.push(format!("{flag}: is accepted only with --kubernetes"));
            }
        }
    }
}

impl Default for Config {
    /// On loopback, because everybody who reaches it may revert; nothing kept, the judge's own rules.
    fn default() -> Self {
        Self {
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            store: None,
            rules: RulesFile::default(),
            services: Vec::new(),
            token: None,
            tell: TellConfig::default(),
            ask: AskConfig::default(),
            trace_url: None,
            kubernetes: None,
            entrances: Entrances::default(),
        }
    }
}

impl Config {
    /// Holds every field against what is accepted.
    ///
    /// # Errors
    /// All that is wrong, at once: field, value, and what would be accepted.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        // In a cluster the API server says who may.
        if !self.api.ip().is_loopback() && self.token.is_none() && self.kubernetes.is_none() {
            wrong.push(format!(
                "--api {}: without --token-file only a loopback address is accepted, as everybody who reaches the API may \
                 revert (for example 127.0.0.1:{PORT})",
                self.api
            ));
        }
        if let Some(token) = self.token.as_ref().filter(|token| token.len() < TOKEN_BYTES_MIN) {
            let bytes = token.len();
            wrong.push(format!("--token-file: a token of {bytes} bytes; at least {TOKEN_BYTES_MIN} are accepted"));
        }
        for service in &self.services {
            let bytes = service.name.len();
            if !(1..=blueback_report::NAME_BYTES_MAX).contains(&bytes) {
                wrong.push(format!(
                    "service {:?}: a name of {bytes} bytes; 1 to {} are accepted",
                    service.name,
                    blueback_report::NAME_BYTES_MAX
                ));
            }
        }
        self.entrances.check(self.kubernetes.is_some(), &mut wrong);
        if let Err(errors) = self.rules.rules() {
            wrong.extend(errors.iter().map(ToString::to_string));
        }
        wrong.extend(self.rules.wrong_sources());
        wrong.extend(self.ask.lacking(&self.rules));
        if wrong.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for line in wrong {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        bail!("{}", text.trim_end().to_owned())
    }
}

/// The central service: merges the agents' reports, judges a release, reverts it, and tells.
#[derive(Debug, Parser)]
#[command(name = "blueback-gate", version)]
pub struct Args {
    /// Address of the API, of the agents' door and of /metrics; loopback unless --token-file is given.
    #[arg(long, env = "BLUEBACK_GATE_API", value_name = "ADDR", default_value = "127.0.0.1:7070")]
    api: String,
    /// Folder that outlives the gate; without it a restart forgets everything but what agents can replay.
    #[arg(long, env = "BLUEBACK_GATE_STORE", value_name = "DIR")]
    store: Option<PathBuf>,
    /// YAML file with revertWhen, passWhen, alertWhen, bake, decideWithin, checkpoints, falseAlarms, profile, signals, queries.
    #[arg(long, env = "BLUEBACK_GATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,
    /// File whose first line calls that change something must bring as `Authorization: Bearer`.
    #[arg(long, env = "BLUEBACK_GATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A service that is known before its agents come, as NAME=blue or NAME=green: the slot that serves.
    #[arg(long = "service", env = "BLUEBACK_GATE_SERVICES", value_name = "NAME=SLOT", value_delimiter = ',')]
    services: Vec<String>,
    /// Guard what the ReleaseGates of a Kubernetes cluster name, by the pod's own service account or the kubeconfig.
    #[arg(long, env = "BLUEBACK_GATE_KUBERNETES")]
    kubernetes: bool,
    /// File that says how the cluster is reached; the pod's own service account when absent.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespaces whose ReleaseGates are looked after; all of them when absent.
    #[arg(long, env = "BLUEBACK_GATE_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Name of the gate's own pod.
    #[arg(long, env = "BLUEBACK_GATE_POD_NAME", value_name = "NAME", default_value = "blueback-gate")]
    pod_name: String,
    /// Namespace of the gate's own pod; the Lease of several gates is there.
    #[arg(long, env = "BLUEBACK_GATE_POD_NAMESPACE", value_name = "NAMESPACE", default_value = "default")]
    pod_namespace: String,
    /// Address of the gate's own pod, where agents and the other gates reach it when it leads.
    #[arg(long, env = "BLUEBACK_GATE_POD_IP", value_name = "IP")]
    pod_ip: Option<String>,
    /// Deployment of the gate's own pod. When it is deleted, agents are told to send everything to the application beside them.
    #[arg(long, env = "BLUEBACK_GATE_DEPLOYMENT", value_name = "NAME")]
    deployment: Option<String>,
    /// Where a person looks at a trace: a URL with {trace_id} in it. Example traces of a release are linked with it.
    #[arg(long, env = "BLUEBACK_GATE_TRACE_URL", value_name = "URL")]
    trace_url: Option<String>,
    /// Ports beside the API.
    #[command(flatten)]
    entrances: EntranceArgs,
    /// Form of the log: text or json.
    #[arg(long, env = "BLUEBACK_GATE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: String,
    /// What to log, as in RUST_LOG.
    #[arg(long, env = "BLUEBACK_GATE_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// Serve nothing: drill the judge, ask the gate whose /ready is at this URL, and end with 0 when both are well.
    #[arg(long, env = "BLUEBACK_GATE_SELF_CHECK", value_name = "URL")]
    self_check: Option<String>,
    // Last, as its heading would go on over what follows.
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    tell: TellArgs,
}

/// Ports beside the API, and what is needed for TLS and for webhooks.
#[derive(Debug, clap::Args)]
struct EntranceArgs {
    /// Service that leads to the gate: its certificate bears this name, and agents call it.
    #[arg(long, env = "BLUEBACK_GATE_SERVICE_NAME", value_name = "NAME", default_value = "blueback-gate")]
    service_name: String,
    /// Folder with ca.crt, tls.crt and tls.key, read again when they change; without it nothing is encrypted.
    #[arg(long, env = "BLUEBACK_GATE_TLS_DIR", value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Secret mounted at --tls-dir that the gate keeps its own certificates in; without it somebody else makes them.
    #[arg(long, env = "BLUEBACK_GATE_TLS_SECRET", value_name = "NAME")]
    tls_secret: Option<String>,
    /// Address of the admission webhooks, /inject and /validate, over TLS.
    #[arg(long, env = "BLUEBACK_GATE_WEBHOOKS", value_name = "ADDR")]
    webhooks: Option<String>,
    /// Address of a plain port with /metrics, /live and /ready.
    #[arg(long, env = "BLUEBACK_GATE_METRICS", value_name = "ADDR")]
    metrics: Option<String>,
    /// Image of injected agents, unless a ReleaseGate names another.
    #[arg(long, env = "BLUEBACK_GATE_AGENT_IMAGE", value_name = "IMAGE")]
    agent_image: Option<String>,
    /// URL of a Collector, as http://collector:4318, that injected agents send a span of their own to for each recorded trace.
    #[arg(long, env = "BLUEBACK_GATE_AGENT_OTLP", value_name = "URL")]
    agent_otlp: Option<String>,
    /// MutatingWebhookConfiguration whose caBundle the gate keeps.
    #[arg(long, env = "BLUEBACK_GATE_MUTATING_WEBHOOK", value_name = "NAME")]
    mutating_webhook: Option<String>,
    /// ValidatingWebhookConfiguration whose caBundle the gate keeps.
    #[arg(long, env = "BLUEBACK_GATE_VALIDATING_WEBHOOK", value_name = "NAME")]
    validating_webhook: Option<String>,
}

impl EntranceArgs {
    fn read(self, wrong: &mut Vec<String>) -> Entrances {
        if let Some(url) = self.agent_otlp.as_deref().filter(|url| !is_plain(url)) {
            wrong.push(format!(
                "--agent-otlp {url:?}: the http URL of a Collector is accepted, as http://collector:4318"
            ));
        }
        let mut address = |flag: &str, value: Option<String>| {
            let value = value?;
            let address = value.parse().ok();
            if address.is_none() {
                wrong.push(format!("{flag} {value:?}: an address and port is accepted, as 0.0.0.0:7443"));
            }
            address
        };
        Entrances {
            service_name: self.service_name,
            webhooks: address("--webhooks", self.webhooks),
            metrics: address("--metrics", self.metrics),
            tls_dir: self.tls_dir,
            tls_secret: self.tls_secret,
            agent_image: self.agent_image,
            agent_otlp: self.agent_otlp,
            mutating_webhook: self.mutating_webhook,
            validating_webhook: self.validating_webhook,
        }
    }
}

/// An http URL of a host.
fn is_plain(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|url| url.scheme_str() == Some("http") && url.authority().is_some())
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Args {
    /// The gate to look at instead of being one.
    #[must_use]
    pub fn self_check(&self) -> Option<&str> {
        self.self_check.as_deref()
    }

    /// Turns words into values.
    ///
    /// # Errors
    /// All that is wrong, at once: field, value, and what would be accepted.
    pub fn read(self) -> anyhow::Result<(Config, LogFormat, EnvFilter)> {
        let mut wrong: Vec<String> = Vec::new();
        let mut config = Config { store: self.store, ..Config::default() };
        if self.kubernetes {
            config.kubernetes = Some(crate::kubernetes::Settings {
                kubeconfig: self.kubeconfig,
                namespaces: self.namespaces,
                pod_name: self.pod_name,
                pod_namespace: self.pod_namespace,
                pod_ip: self.pod_ip,
                deployment: self.deployment,
            });
        }
        match self.api.parse() {
            Ok(api) => config.api = api,
            Err(_) => wrong.push(format!("--api {:?}: an address and port is accepted, as 127.0.0.1:{PORT}", self.api)),
        }
        config.entrances = self.entrances.read(&mut wrong);
        if let Some(file) = self.rules {
            match RulesFile::read(&file) {
                Ok(rules) => config.rules = rules,
                Err(error) => wrong.push(format!("--rules: {error:#}")),
            }
        }
        if let Some(file) = self.token_file {
            match std::fs::read_to_string(&file) {
                Ok(text) => config.token = Some(text.lines().next().unwrap_or_default().trim().to_owned()),
                Err(error) => {
                    wrong.push(format!("--token-file {}: {error}; a readable file is accepted", file.display()));
                }
            }
        }
        config.trace_url = self.trace_url.and_then(|text| match text.parse() {
            Ok(url) => Some(url),
            Err(accepted) => {
                wrong.push(format!("--trace-url {text:?}: {accepted}"));
                None
            }
        });
        config.ask = self.ask.read(&mut wrong);
        config.tell = self.tell.read(&mut wrong);
        for word in self.services {
            let serving = match word.split_once('=') {
                Some((name, "blue")) => Some((name, blueback_report::Slot::Blue)),
                Some((name, "green")) => Some((name, blueback_report::Slot::Green)),
                _ => None,
            };
            match serving {
                Some((name, serving)) => config.services.push(ServiceConfig { name: name.to_owned(), serving }),
                None => wrong.push(format!("--service {word:?}: NAME=blue or NAME=green is accepted")),
            }
        }
        let format = match self.log_format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                wrong.push(format!("--log-format {other:?}: text or json is accepted"));
                LogFormat::Text
            }
        };
        let filter = EnvFilter::try_new(&self.log).unwrap_or_else(|error| {
            wrong.push(format!("--log {:?}: {error}; a level (error, warn, info, debug, trace) is accepted", self.log));
            EnvFilter::default()
        });
        if let Err(error) = config.check() {
            wrong.push(error.to_string());
        }
        if wrong.is_empty() { Ok((config, format, filter)) } else { bail!("{}", wrong.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once() {
        let args =
            ["gate", "--api", "here", "--service", "shop", "--log-format", "xml", "--trace-url", "https://tempo/trace"];
        let error = Args::try_parse_from(args).expect("the flags are known").read().expect_err("the values are not");
        let text = error.to_string();
        for part in
            ["--api \"here\"", "--service \"shop\"", "NAME=green", "--log-format \"xml\"", "text or json", "{trace_id}"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn certificates_come_from_a_folder() {
        let args = ["gate", "--tls-secret", "tls", "--webhooks", "0.0.0.0:7443", "--metrics", "nowhere"];
        let error = Args::try_parse_from(args).expect("the flags are known").read().expect_err("there is no folder");
        let text = error.to_string();
        for part in ["--tls-secret", "--webhooks", "--tls-dir", "--metrics \"nowhere\""] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let args = ["gate", "--tls-secret", "tls", "--tls-dir", "/tls"];
        let error = Args::try_parse_from(args).expect("the flags are known").read().expect_err("there is no cluster");
        assert!(error.to_string().contains("--kubernetes"), "{error}");
        let args = ["gate", "--kubernetes", "--tls-secret", "tls", "--tls-dir", "/tls", "--metrics", "0.0.0.0:7071"];
        let (config, ..) = Args::try_parse_from(args).expect("the flags are known").read().expect("they go together");
        assert_eq!(config.entrances.metrics, Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7071))));
    }

    #[test]
    fn others_reach_the_api_only_with_a_token() {
        let open = Config { api: "0.0.0.0:7070".parse().expect("it is an address"), ..Config::default() };
        let error = open.check().expect_err("everybody could revert");
        assert!(error.to_string().contains("0.0.0.0:7070"), "{error}");
        let short = Config { token: Some("secret".to_owned()), ..open.clone() };
        short.check().expect_err("the token is short");
        let closed = Config { token: Some("0123456789abcdef".to_owned()), ..open };
        closed.check().expect("it has a token");
    }
}
