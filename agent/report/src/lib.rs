//! What agents say to the gate.
//!
//! Everything counted is cumulative since the agent started and merges by pointwise maximum, so loss, repetition and
//! reordering of reports change nothing as long as the last one arrives. What changed by a merge comes back as
//! [`Totals`] of its own, and that growth is the judge's evidence.
//!
//! No I/O, no clock, no async: bytes in, values out.

pub mod buckets;
pub mod command;
pub mod dependency;
pub mod exemplar;
pub mod hello;
pub mod mirror;
pub mod series;
pub mod totals;
pub mod wire;

pub use buckets::Counts;
pub use command::{Peer, PodShare, Route, Watch};
pub use dependency::{Dependency, Resources};
pub use exemplar::{EXEMPLARS_MAX, Exemplar, RANGES, range_of};
pub use hello::{Hello, Introduction, Unassigned, Welcome};
pub use series::{AdmissionKey, Age, Limit, Measure, Outcome, OverdueKey, Protocol, Role, SeriesKey, Slot};
pub use totals::{Latency, Overdue, Totals};
pub use wire::{Health, Invalid, Report, TargetState};

/// Longest accepted name of a service, pod, route or agent, in bytes (a DNS name's bound, RFC 1035).
pub const NAME_BYTES_MAX: usize = 253;
/// Largest accepted message, in bytes: a full report of [`SERIES_MAX`] busy series stays below it.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Most series in one report; an agent collapses further ones into the route `other` before it comes to this.
pub const SERIES_MAX: usize = 2_048;
/// Most backends an agent may name.
pub const TARGETS_MAX: usize = 256;
/// Most limits watched at once: an agent marks each request in flight with one bit a limit.
pub const LIMITS_MAX: usize = 16;
/// Most route classes beside the default one.
pub const ROUTES_MAX: usize = 32;
/// Most agents of the other slot that a route names: a sidecar spreads what it diverts well over far fewer.
pub const PEERS_MAX: usize = 64;
/// Most dependencies one agent asks.
pub const DEPENDENCIES_MAX: usize = 16;
/// Share epochs of which admissions are kept, newest first; older ones can no longer be in any open block.
pub const EPOCHS_KEPT: u64 = 8;
