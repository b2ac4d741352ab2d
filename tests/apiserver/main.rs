//! Stories with a real API server, and nothing else of a cluster: what the gate makes of the objects in it, and what it
//! changes. Run by `cargo test -p blueback-tests --test apiserver`; needs etcd and kube-apiserver.

mod agents;
mod entrances;
mod forms;
mod leaders;
mod ownership;
mod refusals;
mod schema;
mod shop;
mod switch;
