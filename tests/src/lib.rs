//! What the tests share: the built binaries, running processes, guarded services under load, and waiting for conditions.
//!
//! Nothing here sleeps for a guessed time: [`until`] waits for a condition and says what it last saw when it gives up.

mod alertmanager;
mod apart;
mod apiserver;
mod binary;
pub mod cluster;
mod collector;
mod folder;
mod guarded;
mod http;
mod ports;
mod process;
mod prometheus;
pub mod proof;
mod scripted;
mod stage;
mod story;
mod traffic;
mod turn;
mod waiting;

pub use alertmanager::Alertmanager;
pub use apart::Apart;
pub use apiserver::{ADMIN, ApiServer, LIMITED, Pods};
pub use binary::{binary, release_binary, shipped_agent};
pub use collector::{Collector, attribute};
pub use folder::Folder;
pub use guarded::Guarded;
pub use http::{Answer, Caller, get, get_with, post};
pub use ports::free_address;
pub use process::{Process, Ran, run};
pub use prometheus::Prometheus;
pub use scripted::{Scripted, targets};
pub use stage::{Plan, Stage};
pub use story::{Story, criterion, moment};
pub use traffic::{Asked, Traffic};
pub use turn::{Turn, turn};
pub use waiting::{POLL, until};
