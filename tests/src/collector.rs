//! A real OpenTelemetry Collector on loopback, that writes what it is sent into a file.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::tell;
use crate::{Folder, Process, until};

/// Longest wait for one to be up.
const UP_MAX: Duration = Duration::from_secs(30);

/// A running Collector.
#[derive(Debug)]
pub struct Collector {
    /// The process.
    pub process: Process,
    file: PathBuf,
}

impl Collector {
    /// The program, on the PATH or where `tests/cluster/build` keeps it. `None`, told on stderr, where it is not.
    ///
    /// # Panics
    ///
    /// When it is not there and this is CI: what is not tested there is tested nowhere.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let root = variable("KUBE_ROOT").or_else(|| Some(cache?.join("blueback/cluster")));
        let built = variable("KUBE_BIN").or_else(|| Some(root?.join("bin")));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(built);
        let found = folders.map(|folder| folder.join("otelcol")).find(|file| file.is_file());
        if found.is_none() {
            let missing = "no OpenTelemetry Collector: `tests/cluster/build otelcol` builds one, with Go";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            tell(&format!("not tested: {missing}"));
        }
        found
    }

    /// Starts one at `addr`, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start(program: &Path, addr: SocketAddr, folder: &Folder) -> Self {
        let file = folder.path().join(format!("otlp-{}.json", addr.port()));
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{addr}'}}}}}}}}\n\
             exporters: {{file: {{path: {}, flush_interval: 100ms}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n    metrics: {{receivers: [otlp], exporters: [file]}}\n",
            file.display()
        );
        let config = folder.write(&format!("otelcol-{}.yaml", addr.port()), &config);
        let config = format!("--config=file:{}", config.display());
        let mut process = Process::start_at(program, "otelcol", [config]);
        until(UP_MAX, "the Collector to listen", async || {
            let ended = process.ended();
            assert!(ended.is_none(), "it ended: {ended:?}");
            TcpStream::connect(addr).map_err(|error| error.to_string())
        })
        .await;
        Self { process, file }
    }

    /// Everything of one kind that it was sent, as OTLP's JSON: of `resourceSpans` the `scopeSpans` and their `spans`, and the like.
    fn sent(&self, kind: [&str; 3]) -> Vec<Value> {
        // Another line may be half written; it is read the next time.
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        lines
            .flat_map(|line| list(&line, kind[0]))
            .flat_map(|resource| list(&resource, kind[1]))
            .flat_map(|scope| list(&scope, kind[2]))
            .collect()
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Value> {
        self.sent(["resourceSpans", "scopeSpans", "spans"])
    }

    /// All pushes of a metric so far, oldest first.
    #[must_use]
    pub fn metric(&self, name: &str) -> Vec<Value> {
        let mut metrics = self.sent(["resourceMetrics", "scopeMetrics", "metrics"]);
        metrics.retain(|metric| metric["name"] == name);
        metrics
    }

    /// Waits until a span of this name is there, and returns all spans.
    ///
    /// # Panics
    ///
    /// When there is none within `deadline`.
    pub async fn span(&self, deadline: Duration, name: &str) -> Vec<Value> {
        until(deadline, &format!("the span '{name}'"), async || {
            let spans = self.spans();
            let there = spans.iter().any(|span| span["name"] == name);
            if there { Ok(spans) } else { Err(format!("{spans:#?}")) }
        })
        .await
    }
}

/// The value of an attribute of a span, an event or a point, as text.
#[must_use]
pub fn attribute(of: &Value, name: &str) -> Option<String> {
    let attributes = of["attributes"].as_array()?;
    let value = &attributes.iter().find(|attribute| attribute["key"] == name)?["value"];
    let value = value.as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
