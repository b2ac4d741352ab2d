//! Every metric of the gate, and nothing but metrics. Labels are bounded: services and releases by the gate's bounds,
//! all others by enumerations.

use std::sync::Mutex;
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::api::types::Phase;
use crate::event::Step;
use crate::figures::{Dropped, Figures};

/// Upper edges for times that should be a few milliseconds.
const FAST_SECONDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5];
/// Upper edges for steps of a revert.
const STEP_SECONDS: [f64; 8] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];
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

/// All metrics.
pub struct Metrics {
    registry: Registry,
    last: Mutex<Figures>,
    agents: IntGauge,
    merged: IntCounter,
    dropped: IntCounterVec,
    moments_dropped: IntCounter,
    releases: IntGaugeVec,
    verdict: IntGaugeVec,
    evidence: GaugeVec,
    threshold: GaugeVec,
    share: GaugeVec,
    requests: IntCounterVec,
    failures: IntCounterVec,
    latency: GaugeVec,
    effect_seconds: HistogramVec,
    effect_retries: IntCounterVec,
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
}

impl Metrics {
    /// All of them, at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Make(&registry);
        let dropped = make.counters("reports_dropped_total", "Reports dropped, by reason.", &["reason"]);
        for why in Dropped::ALL {
            dropped.with_label_values(&[why.as_str()]).reset();
        }
        Self {
            agents: make.gauge("agents", "Agents with a stream."),
            merged: make.counter("reports_merged_total", "Reports merged."),
            dropped,
            moments_dropped: make.counter("moments_dropped_total", "Moments that a timeline had no room for."),
            releases: make.gauges("releases", "Releases known, by phase.", &["phase"]),
            verdict: make.gauges("verdict", "1 for the verdict of the watched release.", &["service", "verdict"]),
            evidence: make.reals("evidence_nats", "ln E of a proven rule.", &["service", "rule"]),
            threshold: make.reals("evidence_threshold_nats", "ln(1/alpha) of a proven rule.", &["service", "rule"]),
            share: make.reals("green_share_ratio", "Share of the requests that green gets.", &["service"]),
            requests: make.counters("requests_total", "Requests that ended.", &["service", "slot"]),
            failures: make.counters(
                "requests_failed_total",
                "Requests that failed by the application's fault.",
                &["service", "slot"],
            ),
            latency: make.reals(
                "request_duration_seconds",
                "Quantile of the time to the last byte, last ten seconds.",
                &["service", "slot", "quantile"],
            ),
            effect_seconds: make.histograms("effect_seconds", "Time to carry out a step of a revert.", &["step"]),
            effect_retries: make.counters("effect_failures_total", "Attempts at a step that failed.", &["step"]),
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

    /// Everything, in Prometheus' text form.
    #[must_use]
    pub fn render(&self, figures: Figures) -> String {
        // Held to the end: two scrapes at once must not add the same growth twice.
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (now, before) = (&figures.counters, &last.counters);
        self.agents.set(figures.agents as i64);
        self.merged.inc_by(now.merged - before.merged);
        self.moments_dropped.inc_by(now.moments_dropped - before.moments_dropped);
        for why in Dropped::ALL {
            let grown = now.dropped(why) - before.dropped(why);
            self.dropped.with_label_values(&[why.as_str()]).inc_by(grown);
        }
        for (phase, word) in PHASES {
            let count = figures.phases.iter().filter(|known| **known == phase).count();
            self.releases.with_label_values(&[word]).set(count as i64);
        }
        // What is gone must not stay as it was.
        self.verdict.reset();
        self.evidence.reset();
        self.threshold.reset();
        self.latency.reset();
        for service in &figures.services {
            self.render_service(service, last.services.iter().find(|known| known.name == service.name));
        }
        *last = figures;
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("the names are checked when registered");
        String::from_utf8(text).expect("the text form is UTF-8")
    }

    fn render_service(
        &self,
        service: &crate::figures::ServiceFigures,
        before: Option<&crate::figures::ServiceFigures>,
    ) {
        let name = service.name.as_str();
        self.share.with_label_values(&[name]).set(service.green_share);
        if let Some(seen) = &service.verdict {
            for word in VERDICTS {
                self.verdict.with_label_values(&[name, word]).set(i64::from(word == seen));
            }
        }
        for criterion in &service.criteria {
            if let (Some(evidence), Some(threshold)) = (criterion.evidence, criterion.threshold) {
                let labels = [name, criterion.rule.as_str()];
                self.evidence.with_label_values(&labels).set(evidence);
                self.threshold.with_label_values(&labels).set(threshold);
            }
        }
        for (place, side) in service.sides.iter().enumerate() {
            let known = before.and_then(|before| before.sides.get(place));
            let slot = side.slot.as_str();
            let grown = |now: u64, before: Option<u64>| now.saturating_sub(before.unwrap_or(0));
            let labels = [name, slot];
            self.requests.with_label_values(&labels).inc_by(grown(side.ended, known.map(|known| known.ended)));
            self.failures.with_label_values(&labels).inc_by(grown(side.failed, known.map(|known| known.failed)));
            for (quantile, ms) in [("0.5", side.latest.p50_ms), ("0.99", side.latest.p99_ms)] {
                if let Some(ms) = ms {
                    self.latency.with_label_values(&[name, slot, quantile]).set(ms / 1_000.0);
                }
            }
        }
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
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("blueback_gate_{name}"), help)
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
    use super::*;
    use crate::figures::Counters;

    #[test]
    fn counters_follow_the_loop() {
        let metrics = Metrics::new();
        let mut figures = Figures { agents: 3, ..Figures::default() };
        figures.counters = Counters { merged: 5, ..Counters::default() };
        figures.counters.drop_one(Dropped::Future);
        drop(metrics.render(figures.clone()));
        figures.counters.merged = 7;
        let text = metrics.render(figures);
        for line in [
            "blueback_gate_agents 3",
            "blueback_gate_reports_merged_total 7",
            "blueback_gate_reports_dropped_total{reason=\"future\"} 1",
            "blueback_gate_reports_dropped_total{reason=\"unknown_pod\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
