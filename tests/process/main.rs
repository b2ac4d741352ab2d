//! Stories: the real binaries on loopback, real servers, real requests. One story a file.

mod agent_killed;
mod alertmanager;
mod api;
mod bad_backend;
mod bad_reports;

mod bad_usage;
mod blue_down;
mod burst;
mod canary;
mod client_errors;
mod connections;
mod crash;
mod drain;
mod errors_20;
mod errors_6;
mod gate_killed;
mod hang;
mod healthy;
mod hold;
mod late_outage;
mod latency;
mod manual_revert;
mod otlp;
mod outage;
mod queries;
mod quiet;
mod scraped;
mod shared_fault;
mod traced;

use std::time::Duration;

use blueback::sample::Fault;

/// Longest wait for what takes a second or a few when all is well.
const SOON: Duration = Duration::from_secs(20);
/// Longest wait for a verdict that needs many requests.
const LATER: Duration = Duration::from_secs(60);

/// Every request is answered 500.
const OUTAGE: Fault = errors(1.0);

/// This share of the requests is answered 500.
const fn errors(share: f64) -> Fault {
    Fault {
        error_rate: share,
        client_error_rate: 0.0,
        latency_ms: 0,
        slow_share: None,
        hang: false,
        unready: false,
        crash: false,
    }
}

/// Refuses connections and cuts those that are there.
const CRASH: Fault = Fault { crash: true, ..errors(0.0) };
