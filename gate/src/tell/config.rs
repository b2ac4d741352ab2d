//! Whom to tell: flags and environment of the gate, and of the embedded form.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::grafana::GrafanaConfig;
use super::http::Target;
use super::template::Template;
use super::webhook::{Proof, WebhookConfig};
use crate::otlp::{OtlpArgs, OtlpConfig};

/// Where the runbooks are unless told otherwise.
pub const RUNBOOKS: &str = "https://github.com/blueback/blueback/blob/main/alerts/runbooks";
/// Most Alertmanagers: a cluster has three.
pub const ALERTMANAGERS_MAX: usize = 16;

/// Links for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Where people reach the gate.
    pub external: Option<String>,
}

impl Links {
    /// The page of a release.
    #[must_use]
    pub fn release(&self, id: &str) -> Option<String> {
        self.external.as_ref().map(|external| format!("{external}/releases/{}", id.replace('/', "%2F")))
    }

    /// A runbook by its number.
    #[must_use]
    pub fn runbook(&self, number: &str) -> String {
        format!("{RUNBOOKS}/{number}.md")
    }

    /// What a CloudEvent names as its source.
    #[must_use]
    pub fn source(&self, service: &str) -> String {
        let path = format!("/v1/services/{}", service.replace('/', "%2F"));
        self.external.as_ref().map_or_else(|| path.clone(), |external| format!("{external}{path}"))
    }
}

/// Whom to tell.
#[derive(Clone, Debug, Default)]
pub struct TellConfig {
    /// Every Alertmanager.
    pub alertmanagers: Vec<Target>,
    /// File with the token that they ask for.
    pub alertmanager_token: Option<PathBuf>,
    /// The webhook.
    pub webhook: Option<WebhookConfig>,
    /// Grafana.
    pub grafana: Option<GrafanaConfig>,
    /// Certificates beside those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// Links for people.
    pub links: Links,
    /// Where telemetry goes.
    pub otlp: Option<OtlpConfig>,
}

impl TellConfig {
    /// Nobody is to be told.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.alertmanagers.is_empty() && self.webhook.is_none() && self.grafana.is_none()
    }
}

/// Whom to tell.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Telling people")]
pub struct TellArgs {
    /// URLs of all Alertmanagers, separated by commas; each is told everything
    #[arg(long, env = "BLUEBACK_GATE_ALERTMANAGER", value_name = "URL", value_delimiter = ',')]
    alertmanager: Vec<String>,
    /// File with the token that the Alertmanagers ask for
    #[arg(long, env = "BLUEBACK_GATE_ALERTMANAGER_TOKEN_FILE", value_name = "FILE")]
    alertmanager_token_file: Option<PathBuf>,
    /// URL that is sent each real change of a release, as a CloudEvent
    #[arg(long, env = "BLUEBACK_GATE_WEBHOOK_URL", value_name = "URL", hide_env_values = true)]
    webhook_url: Option<String>,
    /// File with the secret that proves to the webhook who sends
    #[arg(long, env = "BLUEBACK_GATE_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
    /// What is done with the secret: a signature of each message, or a bearer token
    #[arg(long, env = "BLUEBACK_GATE_WEBHOOK_PROOF", value_enum, value_name = "hmac|bearer", default_value_t)]
    webhook_proof: Proof,
    /// File with a JSON body of one's own for the webhook, with $(field) in it
    #[arg(long, env = "BLUEBACK_GATE_WEBHOOK_TEMPLATE", value_name = "FILE")]
    webhook_template: Option<PathBuf>,
    /// URL of Grafana, for annotations
    #[arg(long, env = "BLUEBACK_GATE_GRAFANA", value_name = "URL")]
    grafana: Option<String>,
    /// File with the token of a service account of Grafana
    #[arg(long, env = "BLUEBACK_GATE_GRAFANA_TOKEN_FILE", value_name = "FILE")]
    grafana_token_file: Option<PathBuf>,
    /// Certificates in PEM that receivers may have, beside those that the operating system trusts
    #[arg(long, env = "BLUEBACK_GATE_TELL_CA_FILE", value_name = "FILE")]
    tell_ca_file: Option<PathBuf>,
    /// URL where people reach this gate, for links
    #[arg(long, env = "BLUEBACK_GATE_EXTERNAL_URL", value_name = "URL")]
    external_url: Option<String>,
    // Last, as its heading would go on over what follows.
    #[command(flatten)]
    otlp: OtlpArgs,
}

impl TellArgs {
    /// Turns words into values; what is wrong is added to `wrong`.
    pub fn read(self, wrong: &mut Vec<String>) -> TellConfig {
        if self.alertmanager.len() > ALERTMANAGERS_MAX {
            wrong.push(format!("--alertmanager: {}; up to {ALERTMANAGERS_MAX} are accepted", self.alertmanager.len()));
        }
        let alertmanagers = self.alertmanager.iter().filter_map(|url| target("--alertmanager", url, wrong)).collect();
        for (flag, file) in [
            ("--alertmanager-token-file", &self.alertmanager_token_file),
            ("--webhook-secret-file", &self.webhook_secret_file),
            ("--grafana-token-file", &self.grafana_token_file),
        ] {
            check_secret(flag, file.as_deref(), wrong);
        }
        let template = self.webhook_template.as_deref().and_then(|file| template(file, wrong));
        if self.webhook_url.is_none() && (self.webhook_template.is_some() || self.webhook_secret_file.is_some()) {
            wrong.push("--webhook-template, --webhook-secret-file: accepted only with --webhook-url".to_owned());
        }
        let (secret, proof) = (self.webhook_secret_file, self.webhook_proof);
        let webhook = self.webhook_url.and_then(|url| target("--webhook-url", &url, wrong));
        let webhook = webhook.map(|target| WebhookConfig { target, secret, proof, template });
        let grafana = self.grafana.and_then(|url| target("--grafana", &url, wrong));
        let grafana = grafana.map(|target| GrafanaConfig { target, token: self.grafana_token_file });
        let external = self.external_url.map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &external {
            target("--external-url", url, wrong);
        }
        TellConfig {
            alertmanagers,
            alertmanager_token: self.alertmanager_token_file,
            webhook,
            grafana,
            ca_file: self.tell_ca_file,
            links: Links { external },
            otlp: self.otlp.read(wrong),
        }
    }
}

pub(crate) fn target(flag: &str, url: &str, wrong: &mut Vec<String>) -> Option<Target> {
    Target::parse(url.trim()).map_err(|error| wrong.push(format!("{flag}: {error}"))).ok()
}

/// A secret is read when it is needed; that it can be read is better known now.
pub(crate) fn check_secret(flag: &str, file: Option<&Path>, wrong: &mut Vec<String>) {
    let Some(file) = file else { return };
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().bytes().all(|byte| byte.is_ascii_graphic()) && !text.trim().is_empty() => {}
        Ok(_) => wrong.push(format!("{flag} {}: one line of visible ASCII characters is accepted", file.display())),
        Err(error) => wrong.push(format!("{flag} {}: {error}; a readable file is accepted", file.display())),
    }
}

fn template(file: &Path, wrong: &mut Vec<String>) -> Option<Arc<Template>> {
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let template = read.and_then(|text| Template::parse(&text));
    template.map_err(|error| wrong.push(format!("--webhook-template {}: {error}", file.display()))).ok().map(Arc::new)
}
