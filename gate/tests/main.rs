//! The gate from outside: stories told in values, the store, and the real server over a socket.

mod api;
mod definitions;
mod evidence;
mod examples;
mod hooks;
mod ledger;
mod page;
mod platform;
mod queries;
mod recordings;
mod restart;
mod script;
mod store;
mod stories;
mod tls;
mod world;
