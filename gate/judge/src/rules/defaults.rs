//! What holds unless told otherwise, and why.
//!
//! The defaults name evidence that not every installation has (a dependency called `database`, a cgroup, a cluster). Those that
//! say harm are quiet without it by themselves; those that must be shown to pass end in `if known`, so that they apply where
//! there is such evidence and say `not applicable` where there is none.

/// What reverts a release unless told otherwise.
///
/// - `error rate > 5%`: one request in twenty is what users notice and no deployment explains away; proven acts in seconds.
/// - `error rate > 5% for 5m`: the same limit exactly as written, for those who audit words.
/// - `error rate worse than blue`: what the release made worse is its fault long before it is 5 %, and with 6 % it is proven ten
///   times sooner.
/// - `latency p99 > 500ms` and `for 5m`: beyond it a page feels broken for one visitor in a hundred.
/// - `pods ready < 1% for 5s`: with no pod ready, requests are refused before any agent beside a pod could count them. Five seconds are
///   longer than one probe that was late.
/// - `database down for 15s`: longer than a failover of a managed database, shorter than what callers' retries bridge.
/// - `failures cascading`: a release whose own requests look well may still starve the services it calls.
/// - `signal critical-service-down`: which services are critical is for the alert that watches them to know; its webhook raises it.
/// - `signal data-corruption`, `signal security`: harm that no request can show, and that time makes worse.
/// - `signal smoke-tests-failed`: whoever runs smoke tests after the switch says so here.
pub const REVERT_WHEN: [&str; 12] = [
    "error rate > 5%",
    "error rate > 5% for 5m",
    "error rate worse than blue",
    "latency p99 > 500ms",
    "latency p99 > 500ms for 5m",
    "pods ready < 1% for 5s",
    "database down for 15s",
    "failures cascading",
    "signal critical-service-down",
    "signal data-corruption",
    "signal security",
    "signal smoke-tests-failed",
];

/// What a release must show to pass unless told otherwise.
///
/// - `error rate < 0.1%`: fifty times better than what would revert it.
/// - `latency p95 < 100ms`: quick for nearly everybody.
/// - `pods ready > 99%`: every pod, and one in a hundred may be starting, as an autoscaler is never done.
/// - `database latency p95 < 50ms`: a release that makes queries slow shows it here before its own latency does.
/// - `signal smoke-tests-passed`: where smoke tests are run, they are part of the evidence.
/// - `critical logs < 1`: a critical line is one that somebody is woken for.
/// - `cpu < 70%`, `memory < 80%`: room for a pod to be lost, and for a leak to be seen before it kills.
pub const PASS_WHEN: [&str; 8] = [
    "error rate < 0.1%",
    "latency p95 < 100ms",
    "pods ready > 99% if known",
    "database latency p95 < 50ms if known",
    "signal smoke-tests-passed if known",
    "critical logs < 1 if known",
    "cpu < 70% if known",
    "memory < 80% if known",
];

/// What is told unless told otherwise: pods that die are worth a look even while their requests are served by others.
pub const ALERT_WHEN: [&str; 2] = ["pods crash looping", "pods out of memory"];

/// Five minutes: longer than start-up effects, caches and one round of most scheduled jobs, and short enough to wait for.
pub const BAKE: &str = "5m";
/// Half an hour: at three requests a second the pass test of 0.1 % can be met in it; with less traffic, say so.
pub const DECIDE_WITHIN: &str = "30m";
/// After half an hour slow leaks show, after two hours load has changed, after a day every daily job has run.
pub const CHECKPOINTS: [&str; 3] = ["30m", "2h", "24h"];
/// One healthy release in a thousand: with three releases a day, a false rollback a year.
pub const FALSE_ALARMS: &str = "1 in 1000";
