//! What a gate is told from outside. The only place that reads the environment.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use tracing_subscriber::EnvFilter;

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
        if !self.api.ip().is_loopback() && self.token.is_none() {
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
        if let Err(errors) = self.rules.rules() {
            wrong.extend(errors.iter().map(ToString::to_string));
        }
        wrong.extend(self.rules.wrong_signals());
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
    /// YAML file with revertWhen, passWhen, alertWhen, bake, decideWithin, checkpoints, falseAlarms, profile.
    #[arg(long, env = "BLUEBACK_GATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,
    /// File whose first line calls that change something must bring as `Authorization: Bearer`.
    #[arg(long, env = "BLUEBACK_GATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A service that is known before its agents come, as NAME=blue or NAME=green: the slot that serves.
    #[arg(long = "service", env = "BLUEBACK_GATE_SERVICES", value_name = "NAME=SLOT", value_delimiter = ',')]
    services: Vec<String>,
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
    tell: TellArgs,
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
        match self.api.parse() {
            Ok(api) => config.api = api,
            Err(_) => wrong.push(format!("--api {:?}: an address and port is accepted, as 127.0.0.1:{PORT}", self.api)),
        }
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
        let args = ["gate", "--api", "here", "--service", "shop", "--log-format", "xml"];
        let error = Args::try_parse_from(args).expect("the flags are known").read().expect_err("the values are not");
        let text = error.to_string();
        for part in ["--api \"here\"", "--service \"shop\"", "NAME=green", "--log-format \"xml\"", "text or json"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
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
