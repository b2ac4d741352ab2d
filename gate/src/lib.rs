//! The central service: merges the agents' reports, judges a release, reverts it, and tells.
//!
//! [`Gate`] is the event loop as plain data: [`Event`]s in, [`Effect`]s out, the time a parameter. Around it stand the
//! things that touch the world: [`Server`] with its intake, its HTTP API and its executors, and the store.

pub mod anonymise;
pub mod api;
pub mod ask;
pub mod charts;
pub mod clock;
pub mod config;
mod course;
pub mod door;
pub mod effect;
pub mod event;
pub mod evidence;
pub mod examples;
pub mod executors;
pub mod figures;
pub mod gate;
pub mod hear;
mod history;
pub mod incident;
pub mod intake;
pub mod kubernetes;
pub mod ledger;
pub mod listen;
pub mod metrics;
mod operator;
mod others;
pub mod otlp;
mod page;
pub mod platform;
pub mod recording;
pub mod recording_file;
pub mod records;
mod release;
pub mod replay;
mod restore;
mod revert;
pub mod rules_file;
pub mod self_check;
pub mod server;
mod service;
pub mod store;
pub mod tell;
mod timeline;
pub mod tls;
pub mod trace;
mod view;
pub mod wording;

pub use clock::{Clock, Timestamp};
pub use config::Config;
pub use effect::Effect;
pub use event::{Command, Event};
pub use evidence::Evidence;
pub use gate::{Gate, ServiceConfig, Settings};
pub use rules_file::RulesFile;
pub use server::Server;
