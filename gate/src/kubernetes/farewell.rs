//! Notices that the gate is taken out of the cluster.
//!
//! A gate that is only away changes nothing: agents keep the route they have, and the next gate goes on. But when its Deployment is
//! deleted nobody comes after it, and an agent that diverts would do so for ever. The watch was open before, so it still says that
//! when the gate's roles are gone already.

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use tokio::sync::mpsc;

use super::watches::Steady;
use crate::server::Message;

/// Tells when the Deployment, having been there, is not or is about to go. One that was never seen says nothing.
pub(super) async fn tell(deployments: Api<Deployment>, name: String, messages: mpsc::Sender<Message>) {
    let seen = watch_object(deployments, &name).backoff(Steady);
    pin_mut!(seen);
    let mut was_there = false;
    while let Some(seen) = seen.next().await {
        match seen {
            Ok(Some(deployment)) if deployment.metadata.deletion_timestamp.is_none() => was_there = true,
            Ok(_) if was_there => {
                // A loop that has ended sends nobody anywhere.
                let _ = messages.send(Message::StandDown).await;
                return;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, deployment = name, "The gate's own Deployment cannot be watched"),
        }
    }
}
