//! Whom to ask: flags and environment of the gate, and of the embedded form.

use std::path::PathBuf;

use super::query::Backend;
use crate::rules_file::RulesFile;
use crate::tell::config::{check_secret, target};
use crate::tell::http::Target;

/// Whom to ask.
#[derive(Clone, Debug, Default)]
pub struct AskConfig {
    /// Prometheus, or what speaks as it does.
    pub prometheus: Option<Target>,
    /// File with the token that it asks for.
    pub prometheus_token: Option<PathBuf>,
    /// Loki.
    pub loki: Option<Target>,
    /// File with the token that it asks for.
    pub loki_token: Option<PathBuf>,
    /// Whose logs are meant, where Loki keeps those of several.
    pub loki_tenant: Option<String>,
}

impl AskConfig {
    /// There is nobody to be asked.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.prometheus.is_none() && self.loki.is_none()
    }

    /// Where this one is.
    #[must_use]
    pub fn place(&self, backend: Backend) -> Option<&Target> {
        match backend {
            Backend::Prometheus => self.prometheus.as_ref(),
            Backend::Loki => self.loki.as_ref(),
        }
    }

    /// What the rules ask of somebody who is not known here.
    #[must_use]
    pub fn lacking(&self, rules: &RulesFile) -> Vec<String> {
        let queries = rules.queries.iter().flatten().filter_map(|(name, query)| {
            let (backend, _) = query.asked()?;
            let flag = backend.as_str();
            self.place(backend)
                .is_none()
                .then(|| format!("queries: {name}: asks {flag}, and the gate has no --{flag} to ask"))
        });
        let logs = rules.critical_logs.as_ref().filter(|_| self.loki.is_none());
        let logs = logs.map(|_| "criticalLogs: the gate has no --loki to ask".to_owned());
        queries.chain(logs).collect()
    }
}

/// Whom to ask.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Asking the monitoring")]
pub struct AskArgs {
    /// URL of the Prometheus that answers `query` rules
    #[arg(long, env = "BLUEBACK_GATE_PROMETHEUS", value_name = "URL")]
    prometheus: Option<String>,
    /// File with the token that Prometheus asks for
    #[arg(long, env = "BLUEBACK_GATE_PROMETHEUS_TOKEN_FILE", value_name = "FILE")]
    prometheus_token_file: Option<PathBuf>,
    /// URL of the Loki that answers `query` rules and counts critical lines
    #[arg(long, env = "BLUEBACK_GATE_LOKI", value_name = "URL")]
    loki: Option<String>,
    /// File with the token that Loki asks for
    #[arg(long, env = "BLUEBACK_GATE_LOKI_TOKEN_FILE", value_name = "FILE")]
    loki_token_file: Option<PathBuf>,
    /// Tenant whose logs are meant, where Loki keeps those of several
    #[arg(long, env = "BLUEBACK_GATE_LOKI_TENANT", value_name = "TENANT")]
    loki_tenant: Option<String>,
}

impl AskArgs {
    /// Turns words into values; what is wrong is added to `wrong`.
    pub fn read(self, wrong: &mut Vec<String>) -> AskConfig {
        for (flag, file) in
            [("--prometheus-token-file", &self.prometheus_token_file), ("--loki-token-file", &self.loki_token_file)]
        {
            check_secret(flag, file.as_deref(), wrong);
        }
        let is_header = |tenant: &String| !tenant.is_empty() && tenant.bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(tenant) = self.loki_tenant.as_ref().filter(|tenant| !is_header(tenant)) {
            wrong.push(format!("--loki-tenant {tenant:?}: visible ASCII characters are accepted"));
        }
        AskConfig {
            prometheus: self.prometheus.and_then(|url| target("--prometheus", &url, wrong)),
            prometheus_token: self.prometheus_token_file,
            loki: self.loki.and_then(|url| target("--loki", &url, wrong)),
            loki_token: self.loki_token_file,
            loki_tenant: self.loki_tenant,
        }
    }
}
