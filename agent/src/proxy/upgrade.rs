//! Connections that stopped speaking HTTP (WebSocket and its like): bytes both ways until both sides have closed.
//!
//! The request counts as ended with its 101: how long people keep a WebSocket open says nothing about the application.

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::task::spawn_local;

use super::Worker;
use super::client::Busy;
use super::upstream::Lease;

/// Copies until both sides have closed; each side's end of sending is passed on as such.
pub(super) fn spawn(worker: Rc<Worker>, client: OnUpgrade, backend: OnUpgrade, busy: Busy, lease: Option<Lease>) {
    worker.tunnels.set(worker.tunnels.get() + 1);
    worker.show_tunnels();
    spawn_local(async move {
        if let (Ok(client), Ok(backend)) = (client.await, backend.await) {
            // A tunnel that breaks is for its two ends to notice.
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(backend)).await;
        }
        drop((busy, lease));
        worker.tunnels.set(worker.tunnels.get() - 1);
        worker.show_tunnels();
        worker.ended.notify_one();
    });
}
