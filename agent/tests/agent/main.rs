//! The agent over real sockets on loopback.

mod common;

mod counting;
mod diverting;
mod hanging;
mod leaving;
mod proxying;
mod refusing;
mod reporting;
mod retrying;
