//! The one command that people and CI type.
//!
//! A library as well, so that tests and benches use the same load generator and sample application as the demo.

pub mod args;
pub mod checked;
pub mod ci;
pub mod client;
pub mod commands;
pub mod exit;
pub mod follow;
pub mod load;
pub mod manifests;
pub mod out;
pub mod poller;
pub mod power;
pub mod render;
pub mod sample;
pub mod signals;
pub mod sse;
pub mod telemetry;
pub mod watch;
pub mod words;
