//! A real Kubernetes cluster, as stories use it: `kubectl` in a namespace of their own, sample applications, load from a pod.
//!
//! Stories speak to the cluster by the commands that an operator types (`kubectl`, `helm`), through `tests/cluster/with` and
//! `exec`: a story reads as what a person would do. A client library would save some 50 ms a call, by which nothing is
//! measured: what is measured is read from the load's own account and from the gate's timeline.

mod app;
mod fault;
mod gate;
mod kubectl;
mod load;
mod namespace;

pub use app::{App, service};
pub use gate::{HOME, chart, condition, gate_installed, leader, release_gate};
pub use kubectl::{command, inside, kubectl, script};
pub use load::{LoadPod, answered};
pub use namespace::{Namespace, Pod};
