//! The agent over real sockets on loopback.

mod common;

mod assigning;
mod counting;
mod depending;
mod diverting;
mod hanging;
mod leaving;
mod postgres;
mod proxying;
mod refusing;
mod reporting;
mod retrying;
mod securing;
mod tracing;
