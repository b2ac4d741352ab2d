//! What a request costs: the agent beside HAProxy and nginx, where they are installed, in the same run.
//!
//! One core holds everything (the tightest figures: no wake-ups across cores): the proxy, a backend and an open-loop
//! client with 32 kept-alive HTTP/1.1 connections. Processor time of the proxy comes from the scheduler
//! (`/proc/PID/task/*/schedstat`), divided by the requests answered in the window. Rounds are interleaved and their order
//! rotates; a ratio is taken within its round, then the median over rounds.
//!
//! `cargo bench -p blueback-tests --bench proxy`; `ROUNDS`, `SECONDS`, `RATE` and `CORE` change the defaults, `HAPROXY`
//! and `NGINX` name other binaries.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: u32 = 32;
const WARM_UP: Duration = Duration::from_millis(400);
const REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nhost: shop.example\r\nuser-agent: bench/1.0\r\naccept: application/json\r\n\
accept-language: en\r\nx-request-id: 7f6a1c0e-2f7e-4f4e-9a52-6d1f5f1f9b11\r\ncookie: session=0123456789abcdef0123456789abcdef\r\n\
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";

fn main() -> anyhow::Result<()> {
    let rounds: usize = setting("ROUNDS", 5)?;
    let window = Duration::from_secs_f64(setting("SECONDS", 2.0)?);
    let rate: u32 = setting("RATE", 2_000)?;
    let core: u32 = setting("CORE", 1)?;
    // Threads made from here on stay on this core, as do children.
    Command::new("taskset")
        .args(["-pc", &core.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(rounds, window, rate))
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}: {text:?} is not a number")),
        Err(_) => Ok(default),
    }
}

async fn compare(rounds: usize, window: Duration, rate: u32) -> anyhow::Result<()> {
    let backend = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = backend.local_addr()?;
    tokio::spawn(serve(backend));

    let folder = Folder::new()?;
    let mut proxies = Vec::new();
    for (name, command) in commands(upstream, &folder.0)? {
        proxies.push(Proxy::start(name, command).await?);
    }
    let mut rows: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for turn in 0..proxies.len() {
            let proxy = &proxies[(round + turn) % proxies.len()];
            let cost = proxy.cost_us(window, rate).await.with_context(|| format!("load through {}", proxy.name))?;
            rows.entry(proxy.name).or_default().push(cost);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "CPU of the proxy per request, HTTP/1.1, 1 KiB, {rate}/s, {CONNECTIONS} connections, one core, {rounds} rounds"
    )?;
    writeln!(
        out,
        "{:<24} {:>12} {:>18} {:>10} {:>10} {:>10}",
        "proxy", "us/request", "[min..max]", "x haproxy", "idle MiB", "RSS MiB"
    )?;
    for proxy in &proxies {
        let costs = &rows[proxy.name];
        let ratio = rows.get("haproxy").map_or(f64::NAN, |peer| median(costs.iter().zip(peer).map(|(a, b)| a / b)));
        let (least, most) =
            costs.iter().fold((f64::MAX, 0.0_f64), |(least, most), &cost| (least.min(cost), most.max(cost)));
        writeln!(
            out,
            "{:<24} {:>12.1} {:>18} {:>10.2} {:>10.1} {:>10.1}",
            proxy.version,
            median(costs.iter().copied()),
            format!("[{least:.1}..{most:.1}]"),
            ratio,
            proxy.idle_mib,
            proxy.resident_mib()?
        )?;
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Answers each request head with 1 KiB.
async fn serve(listener: TcpListener) {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n".to_vec();
    answer.extend([b'x'; 1024]);
    while let Ok((mut stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let mut buffer = vec![0; 4096];
            let mut held = 0;
            while let Ok(read) = stream.read(&mut buffer[held..]).await {
                if read == 0 {
                    break;
                }
                held += read;
                if buffer[..held].ends_with(b"\r\n\r\n") {
                    held = 0;
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            }
        });
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("blueback-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Launch {
    command: Command,
    listen: SocketAddr,
    version: String,
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn version_of(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let number = text
        .split(|c: char| c.is_whitespace() || c == '/')
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))?;
    Some(number.chars().take(8).collect())
}

fn commands(upstream: SocketAddr, folder: &Path) -> anyhow::Result<Vec<(&'static str, Launch)>> {
    let mut found = Vec::new();

    let listen = free_port()?;
    let mut command = Command::new(blueback_tests::shipped_agent()?);
    command.args(["--service", "bench", "--role", "sidecar", "--slot", "blue", "--pod", "bench-1"]);
    command.args(["--listen", &listen.to_string(), "--app", &upstream.to_string()]);
    found.push(("agent", Launch { command, listen, version: "blueback-agent".into() }));

    let haproxy = std::env::var("HAPROXY").unwrap_or_else(|_| "haproxy".into());
    if let Some(version) = version_of(&haproxy, "-v") {
        let listen = free_port()?;
        let config = folder.join("haproxy.cfg");
        fs::write(
            &config,
            format!(
                "global\n nbthread 1\n maxconn 4096\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n \
                 timeout server 60s\n http-reuse always\nfrontend f\n bind {listen}\n default_backend b\nbackend b\n \
                 server s {upstream} pool-max-conn 256\n"
            ),
        )?;
        let mut command = Command::new(haproxy);
        command.arg("-db").arg("-f").arg(config);
        found.push(("haproxy", Launch { command, listen, version: format!("haproxy {version}") }));
    }

    let nginx = std::env::var("NGINX").unwrap_or_else(|_| "nginx".into());
    if let Some(version) = version_of(&nginx, "-v") {
        let listen = free_port()?;
        let config = folder.join("nginx.conf");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {0}/{kind};", folder.display()))
            .concat();
        fs::write(
            &config,
            format!(
                "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/nginx.log crit;\nevents {{}}\nhttp {{ \
                 access_log off; keepalive_requests 1000000000; {temporary} upstream b {{ server {upstream}; keepalive 256; \
                 keepalive_requests 1000000000; }} server {{ listen {listen}; location / {{ proxy_pass http://b; \
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}\n",
                folder.display()
            ),
        )?;
        let mut command = Command::new(nginx);
        command.arg("-e").arg(folder.join("nginx.log")).arg("-c").arg(config);
        found.push(("nginx", Launch { command, listen, version: format!("nginx {version}") }));
    }
    Ok(found)
}

struct Proxy {
    name: &'static str,
    version: String,
    listen: SocketAddr,
    child: Child,
    /// Resident memory before any load.
    idle_mib: f64,
}

impl Proxy {
    async fn start(name: &'static str, mut launch: Launch) -> anyhow::Result<Self> {
        let child = launch.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context(name)?;
        let mut proxy = Self { name, version: launch.version, listen: launch.listen, child, idle_mib: 0.0 };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(proxy.listen).await.is_err() {
            ensure!(Instant::now() < deadline, "{name} does not listen on {}", proxy.listen);
            tokio::task::yield_now().await;
        }
        proxy.idle_mib = proxy.resident_mib()?;
        Ok(proxy)
    }

    /// The process and its children.
    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    fn cpu_ns(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for pid in self.processes() {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let stat = fs::read_to_string(task?.path().join("schedstat"))?;
                sum += stat.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
            }
        }
        Ok(sum)
    }

    fn resident_mib(&self) -> anyhow::Result<f64> {
        let mut kib = 0.0;
        for pid in self.processes() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            kib += line.trim().trim_end_matches(" kB").parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }

    /// Processor time of the proxy for one request, in microseconds, at `rate` requests a second.
    async fn cost_us(&self, window: Duration, rate: u32) -> anyhow::Result<f64> {
        let start = Instant::now() + Duration::from_millis(50);
        let gap = Duration::from_secs(1) * CONNECTIONS / rate;
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|n| tokio::spawn(client(self.listen, start + gap * n / CONNECTIONS, gap, start + WARM_UP, window)))
            .collect();
        tokio::time::sleep_until((start + WARM_UP).into()).await;
        let before = self.cpu_ns()?;
        let mut answered = 0;
        for client in clients {
            answered += client.await??;
        }
        let used = self.cpu_ns()? - before;
        let wanted = f64::from(rate) * window.as_secs_f64();
        ensure!(f64::from(answered) > 0.95 * wanted, "only {answered} of {wanted} requests were answered in time");
        Ok(used as f64 / 1_000.0 / f64::from(answered))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection: a request each `gap`; returns how many were answered in the window that starts at `from`.
async fn client(to: SocketAddr, start: Instant, gap: Duration, from: Instant, window: Duration) -> anyhow::Result<u32> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 8192];
    let mut answered = 0;
    let mut due = start;
    while due < from + window {
        tokio::time::sleep_until(due.into()).await;
        stream.write_all(REQUEST).await?;
        let mut held = 0;
        let mut whole = usize::MAX;
        while held < whole {
            let read = stream.read(&mut buffer[held..]).await?;
            ensure!(read > 0, "the proxy closed the connection");
            held += read;
            if whole == usize::MAX
                && let Some(head) = buffer[..held].windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                ensure!(buffer.starts_with(b"HTTP/1.1 200"), "the proxy did not answer 200");
                whole = head + 4 + 1024;
            }
        }
        answered += u32::from(due >= from);
        due += gap;
    }
    Ok(answered)
}
