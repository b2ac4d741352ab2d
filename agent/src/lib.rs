//! The agent: times every request, reports to the gate, and sends requests where the gate says.
//!
//! A reverse proxy for HTTP/1.1 and HTTP/2 in two places: as a *sidecar* beside one backend, which it can leave aside and
//! answer from the other slot instead (divert), and as a *front* agent that splits requests over both slots. It fails open:
//! without a gate, requests flow as they were last told to.
//!
//! Threads: workers serve ([`proxy`]) and count ([`recorder`], [`inflight`]); one control thread sums up ([`reporter`],
//! [`ring`]), talks to the gate ([`stream`]), probes backends and answers scrapes. Between them are only atomics, the swapped
//! [`route`] table and a watch channel: no request ever waits for a report.

pub mod admin;
pub mod agent;
pub mod assignment;
pub mod cgroup;
pub mod clock;
pub mod config;
pub mod control;
pub mod dependency;
pub mod exemplars;
pub mod inflight;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod outbox;
pub mod probe;
pub mod proxy;
pub mod recorder;
pub mod redirect;
pub mod reporter;
pub mod ring;
pub mod route;
pub mod spans;
pub mod stream;
pub mod traceparent;

/// The client of `report.proto`'s service.
#[expect(unused_qualifications, clippy::allow_attributes_without_reason, reason = "generated; documented in report.proto")]
#[rustfmt::skip]
#[path = "generated/blueback.report.v1.rs"]
pub mod generated;

pub use agent::Agent;
pub use config::{AppProtocol, Config, ConfigError, ConfigErrors, Flags, Target};
pub use limits::Limits;
