//! What the agent shows to Prometheus. Every name is declared here and nowhere else.
//!
//! Made from the reporter's counts at each scrape, so requests pay nothing for it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use blueback_exposition::{Distribution, Family, Kind, Series};
use blueback_report::{Counts, Dependency, Exemplar, Outcome, Report, Slot};
use prometheus::Registry;

use crate::control::Control;
use crate::recorder::{Recorder, Refused};

/// Upper edges of the latency histogram, from what a cache answers in to what a client gives up at.
const EDGES_SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Renders `/metrics`.
#[derive(Debug)]
pub struct Metrics {
    /// Process metrics: processor time, memory, files, start time.
    process: Registry,
    control: Rc<Control>,
}

impl Metrics {
    /// Of this agent.
    #[must_use]
    pub fn new(control: Rc<Control>) -> Self {
        let process = Registry::new();
        let collector = prometheus::process_collector::ProcessCollector::for_self();
        process.register(Box::new(collector)).expect("it is the only collector of this registry");
        Self { process, control }
    }

    /// Everything, for [`blueback_exposition`] to write down.
    #[must_use]
    pub fn gather(&self) -> Vec<Family> {
        let mut families = self.families();
        families.extend(self.process.gather().into_iter().map(Family::from));
        families
    }

    fn families(&self) -> Vec<Family> {
        let report = self.control.reporter.borrow_mut().state();
        let table = self.control.router.table();
        let gate = &self.control.gate;
        let reporter = self.control.reporter.borrow();
        let own = |count: fn(&Recorder) -> u64| {
            reporter.recorders().iter().map(|recorder| count(recorder)).sum::<u64>() as f64
        };
        let refused = Refused::ALL.map(|why| {
            let count: u64 =
                reporter.recorders().iter().map(|recorder| recorder.own.refused[why as usize].load(Relaxed)).sum();
            Series::number(&[("why", why.as_str())], count as f64)
        });
        let ready = report.targets.iter().map(|target| {
            Series::number(&[("slot", target.slot.as_str()), ("pod", &target.pod)], f64::from(u8::from(target.ready)))
        });
        let one = |name, help, value| family(name, help, Kind::Counter, vec![Series::number(&[], value)]);
        let level = |name, help, value| family(name, help, Kind::Gauge, vec![Series::number(&[], value)]);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut families = requests(&report, now_ms.saturating_sub(report.at_ms));
        families.extend([
            in_flight(&report),
            family(
                "blueback_agent_build_info",
                "1, with the version.",
                Kind::Gauge,
                vec![Series::number(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)],
            ),
            family(
                "blueback_agent_backend_ready",
                "Whether the backend answers its probe.",
                Kind::Gauge,
                ready.collect(),
            ),
            level("blueback_agent_connections", "Client connections open.", own(|r| r.own.connections.load(Relaxed))),
            one(
                "blueback_agent_connections_total",
                "Client connections accepted.",
                own(|r| r.own.accepted.load(Relaxed)),
            ),
            one(
                "blueback_agent_backend_connections_total",
                "Connections opened to backends.",
                own(|r| r.own.connected.load(Relaxed)),
            ),
            level("blueback_agent_tunnels", "Upgraded connections open.", own(|r| r.own.tunnels.load(Relaxed))),
            one(
                "blueback_agent_retries_total",
                "Requests sent again on a fresh connection, as a kept one had closed.",
                own(|r| r.own.retried.load(Relaxed)),
            ),
            family(
                "blueback_agent_refused_total",
                "Requests and connections that the agent itself refused.",
                Kind::Counter,
                refused.to_vec(),
            ),
            family(
                "blueback_agent_spans_total",
                "Spans of the agent's own, by what became of them.",
                Kind::Counter,
                self.spans(),
            ),
            family(
                "blueback_agent_dependency_up",
                "Whether the dependency answered its last check.",
                Kind::Gauge,
                dependencies(&report, |dependency| f64::from(u8::from(dependency.up))),
            ),
            family(
                "blueback_agent_dependency_checks_total",
                "Checks of the dependency.",
                Kind::Counter,
                dependencies(&report, |dependency| dependency.checks as f64),
            ),
            family(
                "blueback_agent_dependency_failures_total",
                "Checks that the dependency did not answer as it should.",
                Kind::Counter,
                dependencies(&report, |dependency| dependency.failures as f64),
            ),
            family(
                "blueback_agent_cgroup_cpu_ratio",
                "Processor time used by the watched control group, of its limit.",
                Kind::Gauge,
                report.resources.cpu_ratio.map(|ratio| Series::number(&[], ratio)).into_iter().collect(),
            ),
            family(
                "blueback_agent_cgroup_memory_ratio",
                "Working set of the watched control group, of its limit.",
                Kind::Gauge,
                report.resources.memory_ratio.map(|ratio| Series::number(&[], ratio)).into_iter().collect(),
            ),
            level("blueback_agent_epoch", "Epoch of the route in force.", report.epoch as f64),
            level("blueback_agent_green_share_ratio", "Share of requests for the green slot.", table.route.green_share),
            level(
                "blueback_agent_gate_connected",
                "Whether a gate hears us.",
                f64::from(u8::from(gate.connected.get())),
            ),
            one(
                "blueback_agent_gate_reconnects_total",
                "Streams to the gate opened again.",
                gate.reconnects.get() as f64,
            ),
            one("blueback_agent_reports_sent_total", "Reports sent.", gate.sent.get() as f64),
            one(
                "blueback_agent_reports_replaced_total",
                "Reports replaced by a newer one before they were sent.",
                gate.replaced.get() as f64,
            ),
            one(
                "blueback_agent_reports_acknowledged_total",
                "Acknowledgements of the gate.",
                gate.acknowledged.get() as f64,
            ),
            one(
                "blueback_agent_unrecorded_total",
                "Requests not recorded, or not seen in flight, as a bound was reached.",
                report.health.unrecorded as f64,
            ),
            one(
                "blueback_agent_collapsed_total",
                "Requests recorded under the route other, as a bound was reached.",
                report.health.collapsed as f64,
            ),
            one(
                "blueback_agent_divert_failed_total",
                "Requests served at home, as the other slot could not be reached.",
                report.health.divert_failed as f64,
            ),
        ]);
        families
    }

    fn spans(&self) -> Vec<Series> {
        let fates = self.control.spans.iter().flat_map(|fate| [("sent", &fate.sent), ("dropped", &fate.dropped)]);
        fates.map(|(result, count)| Series::number(&[("result", result)], count.load(Relaxed) as f64)).collect()
    }
}

/// Totals of one slot and route, by outcome, with the latencies of all of them.
#[derive(Default)]
struct Sum {
    by_outcome: BTreeMap<Outcome, u64>,
    latency: Counts,
}

/// Of requests for which `counted` holds, oldest first. `since_ms` is when the agent started, in Unix milliseconds.
fn exemplars(
    report: &Report,
    since_ms: u64,
    counted: impl Fn(&Exemplar) -> bool,
) -> Vec<blueback_exposition::Exemplar> {
    let told = report.exemplars.iter().filter(|known| counted(known));
    let mut told: Vec<_> = told.map(|known| (known, since_ms.saturating_add(known.at_ms)).into()).collect();
    told.sort_by_key(|known: &blueback_exposition::Exemplar| known.at_ms);
    told
}

fn requests(report: &Report, since_ms: u64) -> Vec<Family> {
    let mut sums: BTreeMap<(Slot, &str), Sum> = BTreeMap::new();
    for (key, latency) in &report.totals.series {
        let sum = sums.entry((key.slot, &*key.route)).or_default();
        *sum.by_outcome.entry(key.outcome).or_default() += latency.last_byte.total();
        sum.latency.add(&latency.last_byte);
    }
    let requests = sums.iter().flat_map(|(&(slot, route), sum)| {
        sum.by_outcome.iter().map(move |(&outcome, &count)| {
            let labels = [("slot", slot.as_str()), ("route", route), ("outcome", outcome.as_str())];
            let is_of = |known: &Exemplar| known.slot == slot && &*known.route == route && known.outcome == outcome;
            let exemplars = exemplars(report, since_ms, is_of).into_iter();
            let exemplars = exemplars.map(|known| blueback_exposition::Exemplar { value: 1.0, ..known });
            Series::number(&labels, count as f64).with_exemplars(exemplars.collect())
        })
    });
    let requests = requests.collect();
    let durations = sums.iter().map(|(&(slot, route), sum)| {
        let distribution = Distribution::of_latency(&sum.latency, &EDGES_SECONDS);
        let exemplars = exemplars(report, since_ms, |known| known.slot == slot && &*known.route == route);
        Series::distribution(&[("slot", slot.as_str()), ("route", route)], distribution).with_exemplars(exemplars)
    });
    vec![
        family(
            "blueback_agent_requests_total",
            "Requests that ended, by who answered and how.",
            Kind::Counter,
            requests,
        ),
        family(
            "blueback_agent_request_duration_seconds",
            "Time until the last byte of the response.",
            Kind::Histogram,
            durations.collect(),
        ),
    ]
}

fn dependencies(report: &Report, value: fn(&Dependency) -> f64) -> Vec<Series> {
    report.dependencies.iter().map(|known| Series::number(&[("dependency", &*known.name)], value(known))).collect()
}

fn in_flight(report: &Report) -> Family {
    let mut sums: BTreeMap<(Slot, &str), u64> = BTreeMap::new();
    for key in report.totals.admitted.keys() {
        *sums.entry((key.slot, &*key.pod)).or_default() += report.in_flight.get(key).copied().unwrap_or(0);
    }
    let gauges = sums
        .into_iter()
        .map(|((slot, pod), count)| Series::number(&[("slot", slot.as_str()), ("pod", pod)], count as f64));
    family("blueback_agent_in_flight_requests", "Requests not yet answered.", Kind::Gauge, gauges.collect())
}

fn family(name: &str, help: &str, kind: Kind, series: Vec<Series>) -> Family {
    Family { series, ..Family::new(name, help, kind) }
}
