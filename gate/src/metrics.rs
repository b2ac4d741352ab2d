//! Every metric of the gate, and nothing but metrics. Labels are bounded: services and releases by the gate's bounds,
//! all others by enumerations.
//!
//! What is said of a guarded service is built anew for each scrape from [`Figures`], so nothing stays of what is gone.

use std::sync::Mutex;
use std::time::Duration;

use blueback_exposition::{Distribution, Family, Kind, Series};
use blueback_report::Outcome;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::api::types::Phase;
use crate::ask::query::Backend;
use crate::event::Step;
use crate::figures::{Dropped, Figures, ServiceFigures, ShieldFigure};

/// Upper edges for times that should be a few milliseconds.
const FAST_SECONDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5];
/// Upper edges for steps of a revert.
const STEP_SECONDS: [f64; 8] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];
/// Upper edges for latencies of applications; the handbook's limits of 100 ms and 500 ms are among them.
const LATENCY_SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// What comes of a pod at its creation.
const INJECTIONS: [&str; 4] = ["injected", "skipped", "refused", "failed"];
/// Why an agent is not let in.
const REFUSALS: [&str; 4] = ["unauthenticated", "foreign_pod", "unknown_gate", "unavailable"];
/// What is asked of the API server.
const VERBS: [&str; 4] = ["watch", "patch", "lease", "review"];
/// Those who are told.
const RECEIVERS: [&str; 5] = ["alertmanager", "webhook", "grafana", "traces", "metrics"];
/// What came of an attempt to tell them; dropped is what will not be tried again.
const RESULTS: [&str; 3] = ["sent", "failed", "dropped"];
/// What comes of a question to the monitoring.
const ANSWERS: [&str; 3] = ["answered", "no_data", "failed"];
/// Words of a verdict.
const VERDICTS: [&str; 6] = ["watching", "suspect", "revert", "pass", "hold", "inconclusive"];
/// Phases of a release.
const PHASES: [(Phase, &str); 8] = [
    (Phase::Watching, "watching"),
    (Phase::Passed, "passed"),
    (Phase::Done, "done"),
    (Phase::Reverting, "reverting"),
    (Phase::Reverted, "reverted"),
    (Phase::Held, "held"),
    (Phase::Inconclusive, "inconclusive"),
    (Phase::Superseded, "superseded"),
];
/// The sides of a service, in the order of its figures.
const SIDES: [&str; 2] = ["blue", "green"];

/// All metrics.
pub struct Metrics {
    registry: Registry,
    last: Mutex<crate::figures::Counters>,
    merged: IntCounter,
    dropped: IntCounterVec,
    moments_dropped: IntCounter,
    releases: IntGaugeVec,
    effect_seconds: HistogramVec,
    effect_retries: IntCounterVec,
    /// 1 while this gate may act.
    pub leader: IntGauge,
    notifications: IntCounterVec,
    queries: IntCounterVec,
    /// How much longer reports take than the quickest of their agent.
    pub report_lag_seconds: Histogram,
    /// How long a turn of the event loop takes.
    pub turn_seconds: Histogram,
    /// Events waiting.
    pub events_queued: IntGauge,
    /// How often the queue of events was full.
    pub queue_full: IntCounter,
    /// Streams ended because the agent did not listen.
    pub agent_overrun: IntCounter,
    /// Streams ended because they could not be read.
    pub streams_broken: IntCounter,
    /// How long a transaction of the store takes.
    pub store_seconds: Histogram,
    /// Transactions that failed.
    pub store_failures: IntCounter,
    /// Writes that found no room to wait.
    pub writes_lost: IntCounter,
    /// Bytes of recordings that found no room in the store.
    pub recording_bytes_refused: IntCounter,
    /// Pods that came to the admission webhook, by what came of them.
    pub injections: IntCounterVec,
    /// Calls to the API server that failed, by verb: `watch`, `patch`, `lease` or `review`.
    pub kubernetes_failures: IntCounterVec,
    /// Conditions of ReleaseGates: 1 while true.
    pub condition: IntGaugeVec,
    /// Agents that were not let in, by reason.
    pub agents_refused: IntCounterVec,
    /// When the certificate that serves ends, in Unix seconds; absent without TLS.
    pub certificate_expiry: IntGaugeVec,
}

impl Metrics {
    /// All of them, at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Make(&registry);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("its names are its own");
        let build = make.gauges("build_info", "1, with the version.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let leader = make.gauge("leader", "1 while this gate may act.");
        leader.set(1);
        Self {
            merged: make.counter("reports_merged_total", "Reports merged."),
            dropped: make.counters_of(
                "reports_dropped_total",
                "Reports dropped, by reason.",
                "reason",
                Dropped::ALL.map(Dropped::as_str),
            ),
            moments_dropped: make.counter("moments_dropped_total", "Moments that a timeline had no room for."),
            releases: make.gauges("releases", "Releases known, by phase.", &["phase"]),
            effect_seconds: make.histograms("effect_seconds", "Time to carry out a step of a revert.", &["step"]),
            effect_retries: make.counters_of(
                "effect_failures_total",
                "Attempts at a step that failed.",
                "step",
                Step::ALL.map(Step::as_str),
            ),
            leader,
            notifications: {
                let told = make.counters("notifications_total", "Attempts to tell somebody.", &["receiver", "result"]);
                for (receiver, result) in RECEIVERS.iter().flat_map(|it| RESULTS.iter().map(move |result| (it, result)))
                {
                    told.with_label_values(&[receiver, result]).reset();
                }
                told
            },
            queries: {
                let asked = make.counters("queries_total", "Questions to the monitoring.", &["backend", "result"]);
                for (backend, result) in
                    Backend::ALL.iter().flat_map(|it| ANSWERS.iter().map(move |result| (it.as_str(), result)))
                {
                    asked.with_label_values(&[backend, result]).reset();
                }
                asked
            },
            report_lag_seconds: make.fast("report_lag_seconds", "Delay of a report beyond its agent's quickest."),
            turn_seconds: make.fast("turn_seconds", "Time of one turn of the event loop."),
            events_queued: make.gauge("events_queued", "Events that wait for the loop."),
            queue_full: make.counter("events_queue_full_total", "Events that found the queue full."),
            agent_overrun: make.counter("agent_overruns_total", "Streams ended as the agent did not listen."),
            streams_broken: make.counter("streams_broken_total", "Streams ended as they could not be read."),
            store_seconds: make.fast("store_commit_seconds", "Time of one transaction of the store."),
            store_failures: make.counter("store_failures_total", "Transactions of the store that failed."),
            writes_lost: make.counter("store_writes_lost_total", "Writes that found no room to wait."),
            recording_bytes_refused: make
                .counter("recording_refused_bytes_total", "Bytes of recordings without room in the store."),
            injections: make.counters_of(
                "injections_total",
                "Pods seen at their creation, by what came of them.",
                "result",
                INJECTIONS,
            ),
            kubernetes_failures: make.counters_of(
                "kubernetes_failures_total",
                "Calls to the API server that failed.",
                "verb",
                VERBS,
            ),
            condition: make.gauges("condition", "1 while a ReleaseGate's condition is true.", &["gate", "condition"]),
            agents_refused: make.counters_of(
                "agents_refused_total",
                "Agents that were not let in, by reason.",
                "reason",
                REFUSALS,
            ),
            certificate_expiry: make.gauges(
                "certificate_expiry_timestamp_seconds",
                "End of the certificate that serves.",
                &[],
            ),
            last: Mutex::default(),
            registry,
        }
    }

    /// A step of a revert is done.
    pub fn step_done(&self, step: Step, took: Duration) {
        self.effect_seconds.with_label_values(&[step.as_str()]).observe(took.as_secs_f64());
    }

    /// An attempt at a step failed.
    pub fn step_failed(&self, step: Step) {
        self.effect_retries.with_label_values(&[step.as_str()]).inc();
    }

    /// An attempt to tell somebody came to this.
    pub fn told(&self, receiver: &str, result: &str) {
        self.notifications.with_label_values(&[receiver, result]).inc();
    }

    /// A question to the monitoring came to this.
    pub fn asked(&self, backend: &str, result: &str) {
        self.queries.with_label_values(&[backend, result]).inc();
    }

    /// Everything, in Prometheus' text form.
    #[cfg(test)]
    pub(crate) fn text(&self, figures: &Figures) -> String {
        let text = blueback_exposition::Format::Text.write(&self.gather(figures));
        String::from_utf8(text).expect("the text form is UTF-8")
    }

    /// Everything, for [`blueback_exposition`] to write down.
    #[must_use]
    pub fn gather(&self, figures: &Figures) -> Vec<Family> {
        let (mut families, guarded) = self.gather_apart(figures);
        families.extend(guarded);
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }

    /// The same in two parts: what is counted since the process began, and what is counted since this gate leads.
    pub(crate) fn gather_apart(&self, figures: &Figures) -> (Vec<Family>, Vec<Family>) {
        // Held to the end: two scrapes at once must not add the same growth twice.
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = &figures.counters;
        self.merged.inc_by(now.merged - last.merged);
        self.moments_dropped.inc_by(now.moments_dropped - last.moments_dropped);
        for why in Dropped::ALL {
            self.dropped.with_label_values(&[why.as_str()]).inc_by(now.dropped(why) - last.dropped(why));
        }
        last.clone_from(now);
        for (phase, word) in PHASES {
            let count = figures.phases.iter().filter(|known| **known == phase).count();
            self.releases.with_label_values(&[word]).set(count as i64);
        }
        let own = self.registry.gather().into_iter().map(Family::from).collect();
        (own, Guarded::new().gather(&figures.services))
    }
}

/// What is said of each guarded service; made for one scrape.
struct Guarded {
    requests: IntCounterVec,
    rule_value: GaugeVec,
    rule_limit: GaugeVec,
    rule_evidence: GaugeVec,
    rule_threshold: GaugeVec,
    rule_met: IntGaugeVec,
    phase: IntGaugeVec,
    phase_since: GaugeVec,
    started: GaugeVec,
    info: IntGaugeVec,
    verdict: IntGaugeVec,
    ended: IntCounterVec,
    share: GaugeVec,
    shield: IntGaugeVec,
    failed_attempts: IntGaugeVec,
    agents: IntGaugeVec,
    pods: IntGaugeVec,
    dependency: IntGaugeVec,
    usage: GaugeVec,
    registry: Registry,
}

impl Guarded {
    fn new() -> Self {
        let registry = Registry::new();
        let make = Make(&registry);
        let rule = ["gate", "rule", "list"].as_slice();
        Self {
            requests: make.counters(
                "side_requests_total",
                "Requests that ended, of each side.",
                &["gate", "side", "outcome"],
            ),
            rule_value: make.reals("rule_value", "What a rule measures, in base units.", rule),
            rule_limit: make.reals("rule_limit", "What a rule allows, in base units.", rule),
            rule_evidence: make.reals("rule_evidence", "ln E of a proven rule.", rule),
            rule_threshold: make.reals("rule_evidence_threshold", "ln(1/alpha), which its evidence must reach.", rule),
            rule_met: make.gauges("rule_met", "1 while the rule holds.", rule),
            phase: make.gauges("release_phase", "1 for the phase of the newest release.", &["gate", "phase"]),
            phase_since: make.reals(
                "release_phase_since_timestamp_seconds",
                "When the newest release entered its phase.",
                &["gate"],
            ),
            started: make.reals("release_started_timestamp_seconds", "When the newest release began.", &["gate"]),
            info: make.gauges("release_info", "1, with the id of the newest release.", &["gate", "release"]),
            verdict: make.gauges("verdict", "1 for the verdict of the watched release.", &["gate", "verdict"]),
            ended: make.counters("releases_total", "Releases that ended, by verdict.", &["gate", "verdict"]),
            share: make.reals("share_ratio", "Share of the requests that a side is meant to get.", &["gate", "side"]),
            shield: make.gauges("shield", "1 for the state of the shield.", &["gate", "state"]),
            failed_attempts: make.gauges(
                "revert_failed_attempts",
                "Failed attempts at the step in hand of a running revert.",
                &["gate", "step"],
            ),
            agents: make.gauges("agents", "Agents with a stream.", &["gate", "side"]),
            pods: make.gauges("pods", "Pods of a side.", &["gate", "side", "ready"]),
            dependency: make.gauges(
                "dependency_up",
                "1 while at least half of the agents that probe a dependency reach it.",
                &["gate", "dependency"],
            ),
            usage: make.reals(
                "resource_ratio",
                "Used of what is allowed: the mean of a side's pods.",
                &["gate", "side", "resource"],
            ),
            registry,
        }
    }

    fn gather(&self, services: &[ServiceFigures]) -> Vec<Family> {
        let name = Make::name("side_latency_seconds");
        let mut latency = Family::new(name, "Time to the last byte, of each side.", Kind::Histogram);
        for service in services {
            self.of_sides(service, &mut latency);
            self.of_rules(service);
            self.of_release(service);
        }
        let mut families: Vec<Family> = self.registry.gather().into_iter().map(Family::from).collect();
        families.push(latency);
        families
    }

    fn of_sides(&self, service: &ServiceFigures, latency: &mut Family) {
        let gate = service.name.as_str();
        for (place, side) in SIDES.into_iter().enumerate() {
            let counts = &service.sides[place];
            for each in Outcome::ALL {
                let seen = counts.requests[each as usize];
                self.requests.with_label_values(&[gate, side, each.as_str()]).inc_by(seen);
            }
            let seen = Distribution::of_latency(&counts.latency, &LATENCY_SECONDS);
            let seen = Series::distribution(&[("gate", gate), ("side", side)], seen);
            latency.series.push(seen.with_exemplars(service.examples[place].exposed()));
            self.share.with_label_values(&[gate, side]).set(service.shares[place]);
            self.agents.with_label_values(&[gate, side]).set(i64::from(service.agents[place]));
            for (ready, word) in ["false", "true"].into_iter().enumerate() {
                self.pods.with_label_values(&[gate, side, word]).set(i64::from(service.pods[place][ready]));
            }
            let (cpu, memory) = service.usage[place];
            for (resource, used) in [("cpu", cpu), ("memory", memory)] {
                if let Some(used) = used {
                    self.usage.with_label_values(&[gate, side, resource]).set(used);
                }
            }
        }
        for (dependency, up) in &service.dependencies {
            self.dependency.with_label_values(&[gate, dependency]).set(i64::from(*up));
        }
        self.agents.with_label_values(&[gate, "front"]).set(i64::from(service.front_agents));
    }

    fn of_rules(&self, service: &ServiceFigures) {
        for criterion in &service.criteria {
            let labels = [service.name.as_str(), criterion.rule.as_str(), criterion.list.as_str()];
            let base = |value: f64| if criterion.unit == "ms" { value / 1_000.0 } else { value };
            if let Some(value) = criterion.candidate.value {
                self.rule_value.with_label_values(&labels).set(base(value));
            }
            if criterion.limit > 0.0 {
                self.rule_limit.with_label_values(&labels).set(base(criterion.limit));
            }
            if let (Some(evidence), Some(threshold)) = (criterion.evidence, criterion.threshold) {
                self.rule_evidence.with_label_values(&labels).set(evidence);
                self.rule_threshold.with_label_values(&labels).set(threshold);
            }
            self.rule_met.with_label_values(&labels).set(i64::from(criterion.fired_ms.is_some()));
        }
    }

    fn of_release(&self, service: &ServiceFigures) {
        let gate = service.name.as_str();
        let endings = &service.endings;
        for (verdict, count) in
            [("revert", endings.reverted), ("pass", endings.passed), ("superseded", endings.superseded)]
        {
            self.ended.with_label_values(&[gate, verdict]).inc_by(count);
        }
        if let Some(seen) = &service.verdict {
            for word in VERDICTS {
                self.verdict.with_label_values(&[gate, word]).set(i64::from(word == seen));
            }
        }
        let Some(release) = &service.release else { return };
        for (phase, word) in PHASES {
            self.phase.with_label_values(&[gate, word]).set(i64::from(phase == release.phase));
        }
        for (state, word) in ShieldFigure::ALL {
            self.shield.with_label_values(&[gate, word]).set(i64::from(state == release.shield));
        }
        for step in Step::ALL {
            let failed = release.failed_attempts.filter(|(failed, _)| *failed == step);
            let attempts = failed.map_or(0, |(_, attempts)| attempts);
            self.failed_attempts.with_label_values(&[gate, step.as_str()]).set(i64::from(attempts));
        }
        self.info.with_label_values(&[gate, &release.id]).set(1);
        self.started.with_label_values(&[gate]).set(release.started_ms as f64 / 1_000.0);
        self.phase_since.with_label_values(&[gate]).set(release.phase_since_ms as f64 / 1_000.0);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Declares metrics.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn name(name: &str) -> String {
        format!("blueback_gate_{name}")
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(Self::name(name), help)
    }

    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("names and labels are constants that the registry accepts");
        self.0.register(Box::new(metric.clone())).expect("each name is declared once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(Self::opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Self::opts(name, help), labels))
    }

    /// With these values of its one label at zero: what has not happened yet is no gap.
    fn counters_of<const N: usize>(&self, name: &str, help: &str, label: &str, values: [&str; N]) -> IntCounterVec {
        let counters = self.counters(name, help, &[label]);
        for value in values {
            counters.with_label_values(&[value]).reset();
        }
        counters
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(Self::opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    fn reals(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Self::opts(name, help), labels))
    }

    fn fast(&self, name: &str, help: &str) -> Histogram {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(FAST_SECONDS.to_vec());
        self.register(Histogram::with_opts(opts))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(STEP_SECONDS.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }
}

#[cfg(test)]
mod tests {
    use blueback_report::Counts;

    use super::*;
    use crate::figures::Counters;

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|told| told == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn counters_follow_the_loop() {
        let metrics = Metrics::new();
        let counters = Counters { merged: 5, ..Counters::default() };
        let mut figures = Figures { counters, ..Figures::default() };
        figures.counters.drop_one(Dropped::Future);
        drop(metrics.gather(&figures));
        figures.counters.merged = 7;
        let told = [
            "blueback_gate_reports_merged_total 7",
            "blueback_gate_reports_dropped_total{reason=\"future\"} 1",
            "blueback_gate_reports_dropped_total{reason=\"unknown_pod\"} 0",
            "blueback_gate_injections_total{result=\"refused\"} 0",
            "blueback_gate_kubernetes_failures_total{verb=\"lease\"} 0",
        ];
        assert_lines(&metrics.text(&figures), &told);
    }

    #[test]
    fn a_service_is_told_by_its_sides_and_forgotten_with_it() {
        let metrics = Metrics::new();
        let mut service = ServiceFigures { name: "shop".to_owned(), shares: [0.75, 0.25], ..ServiceFigures::default() };
        let mut latency = Counts::default();
        latency.record_n(80_000, 3);
        latency.record_n(700_000, 1);
        service.sides[1].add(Outcome::Ok, &latency);
        service.pods[1] = [1, 4];
        service.dependencies = vec![("database".into(), false)];
        service.usage[1] = (Some(0.5), None);
        let mut figures = Figures { services: vec![service], ..Figures::default() };
        let told = [
            "blueback_gate_side_requests_total{gate=\"shop\",outcome=\"ok\",side=\"green\"} 4",
            "blueback_gate_side_requests_total{gate=\"shop\",outcome=\"unreachable\",side=\"blue\"} 0",
            "blueback_gate_side_latency_seconds_bucket{gate=\"shop\",side=\"green\",le=\"0.1\"} 3",
            "blueback_gate_side_latency_seconds_bucket{gate=\"shop\",side=\"green\",le=\"+Inf\"} 4",
            "blueback_gate_side_latency_seconds_count{gate=\"shop\",side=\"green\"} 4",
            "blueback_gate_share_ratio{gate=\"shop\",side=\"green\"} 0.25",
            "blueback_gate_pods{gate=\"shop\",ready=\"true\",side=\"green\"} 4",
            "blueback_gate_dependency_up{dependency=\"database\",gate=\"shop\"} 0",
            "blueback_gate_resource_ratio{gate=\"shop\",resource=\"cpu\",side=\"green\"} 0.5",
        ];
        assert_lines(&metrics.text(&figures), &told);
        figures.services.clear();
        assert!(!metrics.text(&figures).contains("gate=\"shop\""), "a service that is gone leaves nothing");
    }
}
