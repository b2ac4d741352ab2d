//! A real Prometheus: Debian's, on loopback, with a configuration and storage of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::tell;
use crate::{Folder, Process, get, until};

/// Longest wait for one to be up.
const UP_MAX: Duration = Duration::from_secs(60);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The process.
    pub process: Process,
}

/// Whether it is 3.9 or later. Of one that does not say, it is not.
fn is_late(program: &Path) -> bool {
    let told = Command::new(program).arg("--version").output().map(|told| told.stdout).unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    let version = told.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    let mut numbers = version.split(['.', '-', '+']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(3), Some(9))
}

impl Prometheus {
    /// The program, where it is installed. `None`, told on stderr, where it is not.
    ///
    /// # Panics
    ///
    /// When it is not installed and this is CI: what is not tested there is tested nowhere.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file());
        if found.is_none() {
            let missing = "no Prometheus on the PATH: apt-get install -y --no-install-recommends prometheus";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            tell(&format!("not tested: {missing}"));
        }
        found
    }

    /// Starts one that scrapes these every second, each under its name as `job`, and waits until it answers. With `native` it takes
    /// native histograms, and by that Debian's leaves the buckets of the same histograms out.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start(
        program: &Path,
        addr: SocketAddr,
        folder: &Folder,
        scraped: &[(&str, SocketAddr)],
        rules: &[PathBuf],
        native: bool,
    ) -> Self {
        let jobs = scraped
            .iter()
            .map(|(job, target)| format!("  - job_name: {job}\n    static_configs: [{{targets: ['{target}']}}]\n"));
        let files: String = rules.iter().map(|file| format!("  - {}\n", file.display())).collect();
        // Native histograms are a flag of 2.40 to 3.8; later ones are told for each scrape.
        let (asked, features) = match native {
            true if is_late(program) => (", scrape_native_histograms: true", "exemplar-storage"),
            true => ("", "exemplar-storage,native-histograms"),
            false => ("", "exemplar-storage"),
        };
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s{asked}}}\nrule_files:\n{files}scrape_configs:\n{}",
            jobs.collect::<String>()
        );
        let name = format!("prometheus-{}", addr.port());
        let file = folder.write(&format!("{name}.yaml"), &config);
        let mut arguments = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.path().join(name).display()),
            format!("--web.listen-address={addr}"),
        ];
        arguments.push(format!("--enable-feature={features}"));
        let mut process = Process::start_at(program, "prometheus", arguments);
        process.until_ready(addr, UP_MAX).await;
        Self { addr, process }
    }

    /// The series that a query answers with now.
    ///
    /// # Errors
    ///
    /// In words, when it does not answer.
    pub async fn query(&self, promql: &str) -> Result<Vec<Value>, String> {
        let path = format!("/api/v1/query?query={}", blueback_gate::wording::segment(promql));
        let answer = get(self.addr, &path).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(answer.text);
        }
        let result = &answer.json()["data"]["result"];
        Ok(result.as_array().cloned().unwrap_or_default())
    }

    /// Waits until the exemplars of the series that a selector names have a trace, and returns its exemplar.
    ///
    /// # Panics
    ///
    /// When they do not have it within `deadline`.
    pub async fn exemplar(&self, deadline: Duration, selector: &str, trace_id: &str) -> Value {
        until(deadline, &format!("{trace_id} in {selector}"), async || {
            let query = blueback_gate::wording::segment(selector);
            let path = format!("/api/v1/query_exemplars?query={query}&start=0&end=4102444800");
            let answer = get(self.addr, &path).await.map_err(|error| error.to_string())?;
            if answer.status != 200 {
                return Err(answer.text);
            }
            let answer = answer.json();
            let series = answer["data"].as_array().into_iter().flatten();
            let mut exemplars = series.flat_map(|series| series["exemplars"].as_array().into_iter().flatten());
            let found = exemplars.find(|exemplar| exemplar["labels"]["trace_id"] == trace_id).cloned();
            found.ok_or_else(|| format!("{answer:#}"))
        })
        .await
    }

    /// Waits until a query has an answer that is wanted.
    ///
    /// # Panics
    ///
    /// When it has none within `deadline`.
    pub async fn answers(&self, deadline: Duration, promql: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(deadline, promql, async || {
            let series = self.query(promql).await?;
            let found = series.iter().find(|series| wanted(series)).cloned();
            found.ok_or_else(|| format!("{series:#?}"))
        })
        .await
    }
}
