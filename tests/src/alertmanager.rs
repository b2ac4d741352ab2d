//! A real Alertmanager: Debian's, on loopback, with a configuration and storage of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::tell;
use crate::{Folder, Process, get, until};

/// Longest wait for one to be up.
const UP_MAX: Duration = Duration::from_secs(30);
/// What the program is called: by Debian, and by its makers.
const NAMES: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Alertmanager {
    /// The program, where it is installed. `None`, told on stderr, where it is not.
    ///
    /// # Panics
    ///
    /// When it is not installed and this is CI: what is not tested there is tested nowhere.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
        let found = found.filter(|program| program.is_file()).min();
        if found.is_none() {
            let missing =
                "no Alertmanager on the PATH: apt-get install -y --no-install-recommends prometheus-alertmanager";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            tell(&format!("not tested: {missing}"));
        }
        found
    }

    /// Starts one at `addr`, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start(program: &Path, addr: SocketAddr, folder: &Folder, config: &str) -> Self {
        let file = folder.write(&format!("alertmanager-{}.yaml", addr.port()), config);
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", folder.path().join(format!("alertmanager-{}", addr.port())).display()),
            format!("--web.listen-address={addr}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let mut process = Process::start_at(program, "alertmanager", arguments);
        process.until_ready(addr, UP_MAX).await;
        Self { addr, process }
    }

    /// Waits until one of its alerts is as wanted.
    ///
    /// # Panics
    ///
    /// When none is within `deadline`.
    pub async fn alert(&self, deadline: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(deadline, what, async || {
            let alerts = self.get("/api/v2/alerts").await?;
            let found = alerts.as_array().into_iter().flatten().find(|alert| wanted(alert)).cloned();
            found.ok_or_else(|| format!("{alerts:#}"))
        })
        .await
    }

    /// Waits until none of its alerts is active under this name.
    ///
    /// # Panics
    ///
    /// When one still is after `deadline`.
    pub async fn resolved(&self, deadline: Duration, name: &str) {
        until(deadline, &format!("the end of {name}"), async || {
            let alerts = self.get("/api/v2/alerts").await?;
            let active = alerts.as_array().into_iter().flatten().any(|alert| alert["labels"]["alertname"] == name);
            if active { Err(format!("{alerts:#}")) } else { Ok(()) }
        })
        .await;
    }

    /// What its API answers.
    ///
    /// # Errors
    ///
    /// In words, when it does not.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = get(self.addr, path).await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text) }
    }
}
