//! The central service: merges the agents' reports, judges a release, reverts it, and tells.
//!
//! [`Gate`] is the event loop as plain data: [`Event`]s in, [`Effect`]s out, the time a parameter. Around it stand the
//! things that touch the world: [`Server`] with its intake, its HTTP API and its executors, and the store.

pub mod api;
pub mod clock;
pub mod config;
pub mod effect;
pub mod event;
pub mod evidence;
pub mod executors;
pub mod figures;
pub mod gate;
mod history;
pub mod intake;
pub mod ledger;
pub mod metrics;
mod operator;
mod others;
pub mod recording;
pub mod records;
mod release;
mod restore;
mod revert;
pub mod rules_file;
pub mod self_check;
pub mod server;
mod service;
pub mod store;
mod timeline;
mod view;

pub use clock::{Clock, Timestamp};
pub use config::Config;
pub use effect::Effect;
pub use event::{Command, Event};
pub use evidence::Evidence;
pub use gate::{Gate, ServiceConfig, Settings};
pub use rules_file::RulesFile;
pub use server::Server;
