//! What an incident costs: `blueback guard` between a load and four applications, two of which break.
//!
//! Real processes over loopback: the guard is the release build in a process of its own; applications and load are in
//! this one. Each round starts everything anew, lets healthy traffic run, switches to green, breaks green (before the
//! switch, or some time after it), and waits for the revert. A request failed when its client saw a 5xx status, no whole
//! answer, or none within 2 s.
//!
//! Beside it, what two pollers would have cost on the same traffic: the schedule of the load and the part of green's
//! requests that failed in it go on until the poller sees it. The pollers read counters that are scraped every 5 s (15 s),
//! every 10 s (60 s), as the ratio of increases over the samples of the last 60 s, and go back at the first measurement
//! above 5 % (latency: 1 % over 500 ms); phases are random, moving the traffic takes them no time at all.
//!
//! `cargo bench -p blueback-tests --bench incident`. `ROUNDS` (for the total outages at 100/s; a third of it, at least
//! one, for the others), `FILTER` (a part of a case's name), `LATE` (seconds from the switch to the late faults; 600 for
//! ten minutes) and `WARM` (seconds of healthy traffic before the switch) change the defaults.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use blueback::client::Gate;
use blueback::load::{Ended, Load, Plan, unix_ms};
use blueback::sample::{self, Fault, Sample};
use blueback_gate::api::types::{Phase, Release, Slot, SwitchRequest};
use tokio::time::{Instant, sleep_until, timeout};

const NAME: &str = "bench";
/// No incident is waited for longer than this after the fault.
const INCIDENT_MAX: Duration = Duration::from_secs(120);
/// After the revert, failures that are still under way are counted.
const AFTER: Duration = Duration::from_millis(2_500);
/// A request slower than this is bad by the default rule of latency.
const SLOW: Duration = Duration::from_millis(500);

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Errors(f64),
    /// 20 % of the requests take 800 ms longer.
    Slow,
    Hang,
    Crash,
}

#[derive(Clone, Debug)]
struct Case {
    name: String,
    harm: Harm,
    rate: f64,
    late: bool,
    rounds: usize,
}

/// What one round showed. Times are from the first request that could fail.
#[derive(Clone, Debug, Default)]
struct Round {
    failed: u64,
    shield_ms: Option<u64>,
    proven_ms: Option<u64>,
    reverted_ms: Option<u64>,
    poller_10: u64,
    poller_60: u64,
}

fn main() -> anyhow::Result<()> {
    let rounds: usize = setting("ROUNDS", 5)?;
    let late = Duration::from_secs(setting("LATE", 20)?);
    let warm = Duration::from_secs(setting("WARM", 5)?);
    let filter: String = setting("FILTER", String::new())?;
    let cases: Vec<Case> = cases(rounds, late).into_iter().filter(|case| case.name.contains(&filter)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut out = std::io::stdout();
        writeln!(
            out,
            "{:<34} {:>3} {:>13} {:>15} {:>15} {:>15} {:>11} {:>11}",
            "case (median, max)", "n", "failed", "shield ms", "proven ms", "reverted ms", "10 s poll", "60 s poll"
        )?;
        for case in cases {
            let mut seen = Vec::new();
            for number in 0..case.rounds {
                let round = round(&case, number as u64, late, warm).await;
                seen.push(round.with_context(|| format!("{}, round {number}", case.name))?);
            }
            writeln!(out, "{}", row(&case, &seen))?;
        }
        Ok(())
    })
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}: {text:?} is not accepted")),
        Err(_) => Ok(default),
    }
}

fn cases(rounds: usize, late: Duration) -> Vec<Case> {
    let few = (rounds / 3).max(1);
    let mut cases = Vec::new();
    let harms = [
        ("100 % errors", Harm::Errors(1.0)),
        ("50 % errors", Harm::Errors(0.5)),
        ("20 % errors", Harm::Errors(0.2)),
        ("6 % errors", Harm::Errors(0.06)),
        ("20 % slow", Harm::Slow),
        ("hang", Harm::Hang),
        ("crash", Harm::Crash),
    ];
    for (name, harm) in harms {
        for rate in [100.0, 10.0, 1_000.0] {
            // A hang of 1,000 requests a second for 2 s each is a test of the load generator.
            if harm == Harm::Hang && rate > 100.0 {
                continue;
            }
            let is_main = harm == Harm::Errors(1.0) && rate == 100.0;
            let rounds = if is_main { rounds } else { few };
            cases.push(Case { name: format!("{name} at {rate}/s, at the switch"), harm, rate, late: false, rounds });
            if is_main || (rate == 100.0 && harm != Harm::Crash) {
                let name = format!("{name} at {rate}/s, {} s in", late.as_secs());
                cases.push(Case { name, harm, rate, late: true, rounds });
            }
        }
    }
    cases
}

fn median(mut values: Vec<u64>) -> Option<(u64, u64)> {
    values.sort_unstable();
    Some((*values.get(values.len() / 2)?, *values.last()?))
}

fn row(case: &Case, rounds: &[Round]) -> String {
    let cell = |of: &dyn Fn(&Round) -> Option<u64>| {
        let values: Vec<u64> = rounds.iter().filter_map(of).collect();
        let missing = rounds.len() - values.len();
        let note = if missing > 0 { format!(" ({missing} never)") } else { String::new() };
        median(values).map_or_else(|| "never".to_owned(), |(median, max)| format!("{median}, {max}{note}"))
    };
    format!(
        "{:<34} {:>3} {:>13} {:>15} {:>15} {:>15} {:>11} {:>11}",
        case.name,
        rounds.len(),
        cell(&|round| Some(round.failed)),
        cell(&|round| round.shield_ms),
        cell(&|round| round.proven_ms),
        cell(&|round| round.reverted_ms),
        median(rounds.iter().map(|round| round.poller_10).collect()).map_or(0, |(median, _)| median),
        median(rounds.iter().map(|round| round.poller_60).collect()).map_or(0, |(median, _)| median),
    )
}

/// A free port of loopback; taken again before anybody else is likely to.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn applications(slot: &str, seed: u64) -> anyhow::Result<[Sample; 2]> {
    let start = |number: u64| {
        let config = sample::Config::new(&format!("{slot}-{number}"));
        Sample::start(sample::Config { seed: seed * 10 + number, ..config })
    };
    Ok([start(1).await?, start(2).await?])
}

fn addresses(samples: &[Sample; 2]) -> String {
    format!("{},{}", samples[0].addr(), samples[1].addr())
}

/// The guard's process, killed when dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn guard(listen: SocketAddr, api: SocketAddr, blue: &[Sample; 2], green: &[Sample; 2]) -> anyhow::Result<Guard> {
    let listen = listen.to_string();
    let api = api.to_string();
    Command::new(blueback_tests::release_binary("blueback")?)
        .args(["guard", "--name", NAME, "--listen", &listen, "--api", &api, "--serving", "blue"])
        .args(["--blue", &addresses(blue), "--green", &addresses(green)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Guard)
        .context("start blueback guard")
}

impl Harm {
    fn apply(self, green: &[Sample; 2]) {
        let fault = match self {
            Self::Errors(part) => Fault { error_rate: part, ..Fault::default() },
            Self::Slow => Fault { latency_ms: 800, slow_share: Some(0.2), ..Fault::default() },
            Self::Hang => Fault { hang: true, ..Fault::default() },
            Self::Crash => Fault { crash: true, ..Fault::default() },
        };
        for sample in green {
            sample.set_fault(fault);
        }
    }

    fn is_bad(self, ended: &Ended) -> bool {
        if self == Self::Slow { ended.latency() > SLOW } else { ended.is_failed() }
    }
}

async fn round(case: &Case, number: u64, late: Duration, warm: Duration) -> anyhow::Result<Round> {
    let blue = applications("blue", number + 1).await?;
    let green = applications("green", number + 101).await?;
    let (listen, api) = (free_port()?, free_port()?);
    let mut guard = guard(listen, api, &blue, &green)?;
    let gate = Gate::new(&format!("http://{api}"), None).map_err(anyhow::Error::msg)?;
    wait_until_ready(&gate).await?;

    let (load, mut results) = Load::start(Plan::new(listen, case.rate));
    let mut ended: Vec<Ended> = Vec::new();
    collect_until(&mut results, &mut ended, Instant::now() + warm).await;
    if !case.late {
        case.harm.apply(&green);
    }
    let request = SwitchRequest { to: Slot::Green, share: None, by: Some("bench".to_owned()), revision: None };
    let mut fault_ms = unix_ms();
    let release = gate.switch(NAME, &request).await?;
    if case.late {
        collect_until(&mut results, &mut ended, Instant::now() + late).await;
        fault_ms = unix_ms();
        case.harm.apply(&green);
    }
    let deadline = Instant::now() + INCIDENT_MAX;
    let mut last = release.clone();
    while last.phase != Phase::Reverted && Instant::now() < deadline {
        collect_until(&mut results, &mut ended, Instant::now() + Duration::from_millis(100)).await;
        ensure!(guard.0.try_wait()?.is_none(), "blueback guard has ended");
        last = gate.release(&release.id).await?;
    }
    collect_until(&mut results, &mut ended, Instant::now() + AFTER).await;
    let began_ms = load.began_ms();
    drop(load);
    drop(results);
    drop(guard);
    Ok(told(case, number, &last, &ended, began_ms, fault_ms))
}

async fn wait_until_ready(gate: &Gate) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(service) = gate.service(NAME).await
            && service.agents > 0
            && service.backends.iter().filter(|backend| backend.ready).count() == 4
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("blueback guard was not ready within 20 s");
        }
        sleep_until(Instant::now() + Duration::from_millis(20)).await;
    }
}

async fn collect_until(results: &mut tokio::sync::mpsc::Receiver<Ended>, ended: &mut Vec<Ended>, until: Instant) {
    while let Ok(Some(one)) = timeout(until.saturating_duration_since(Instant::now()), results.recv()).await {
        ended.push(one);
    }
}

fn told(case: &Case, number: u64, release: &Release, ended: &[Ended], began_ms: u64, fault_ms: u64) -> Round {
    let moment = |what: &str| {
        let at_ms = release.timeline.iter().find(|moment| moment.what == what && moment.at_ms >= fault_ms)?.at_ms;
        Some(at_ms - fault_ms)
    };
    let fault_at = Duration::from_millis(fault_ms.saturating_sub(began_ms));
    let failed = ended.iter().filter(|one| one.ended >= fault_at && case.harm.is_bad(one)).count() as u64;
    // The part that fails is known for these faults; the load's own numbers decide it for errors.
    let part = match case.harm {
        Harm::Errors(part) => part,
        Harm::Slow => 0.2,
        Harm::Hang | Harm::Crash => 1.0,
    };
    let since_switch = (fault_ms.saturating_sub(release.started_ms)) as f64 / 1_000.0;
    let poll = |every: f64, scrape: f64| poller(case, part, since_switch, number, every, scrape);
    Round {
        failed,
        shield_ms: moment("shielded"),
        proven_ms: moment("proven"),
        reverted_ms: moment("reverted"),
        poller_10: poll(10.0, 5.0),
        poller_60: poll(60.0, 15.0),
    }
}

/// Requests that fail until a poller goes back: measured every `every` seconds after the switch, scraped every `scrape`.
fn poller(case: &Case, part: f64, fault: f64, round: u64, every: f64, scrape: f64) -> u64 {
    let phase = coin(round, every as u64, 0) * scrape;
    let allowed = if case.harm == Harm::Slow { 0.01 } else { 0.05 };
    // A request that hangs is counted when its client gives up; a slow one when it ends.
    let lag = match case.harm {
        Harm::Hang => 2.0,
        Harm::Slow => 0.8,
        Harm::Errors(_) | Harm::Crash => 0.0,
    };
    let bad = |number: u64| number as f64 / case.rate >= fault && coin(round, number, 1) < part;
    // Counters as scraped at a time: green's requests and the bad ones.
    let counters = |at: f64| {
        let ended = ((at - lag).max(0.0) * case.rate) as u64;
        let failed = (0..ended).filter(|&number| bad(number)).count() as u64;
        (ended, failed)
    };
    let mut failed_until = 0;
    for measurement in 1..=100_u32 {
        let now = f64::from(measurement) * every;
        let newest = ((now - phase) / scrape).floor();
        let oldest = ((now - 60.0 - phase) / scrape).ceil().max(0.0);
        failed_until = (0..(now * case.rate) as u64).filter(|&number| bad(number)).count() as u64;
        if newest <= oldest {
            continue;
        }
        let (requests, failed) = counters(phase + newest * scrape);
        let (requests_before, failed_before) = counters(phase + oldest * scrape);
        let requests = requests.saturating_sub(requests_before);
        if requests > 0 && (failed - failed_before) as f64 > allowed * requests as f64 {
            break;
        }
    }
    failed_until
}

/// A number from 0 to 1 that depends on its arguments alone (SplitMix64).
fn coin(seed: u64, number: u64, salt: u64) -> f64 {
    let mut z = (seed ^ salt.rotate_left(32)).wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
