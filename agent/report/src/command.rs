//! What the gate says to an agent after its Welcome: where requests go, and what to look at.

use core::net::SocketAddr;
use std::sync::Arc;

use crate::wire::{Invalid, bounded, name, proto, share};
use crate::{LIMITS_MAX, Limit, PEERS_MAX, ROUTES_MAX, Slot, TARGETS_MAX};

/// Where requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Rises with each change; an agent ignores one that is not newer than what it has.
    pub epoch: u64,
    /// Share of the requests for the green slot, 0 to 1.
    pub green_share: f64,
    /// Backends that get less than their turn; the rest of it goes to the other slot.
    pub pods: Vec<PodShare>,
    /// Let clients' kept-alive connections go within this many milliseconds; `None`: keep them.
    pub let_go_ms: Option<u32>,
    /// Where a sidecar diverts to that was not told at its start.
    pub peers: Vec<Peer>,
}

/// An agent that a sidecar of the other slot diverts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The set it belongs to.
    pub slot: Slot,
    /// Name of its pod.
    pub pod: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A backend that gets less than its turn.
#[derive(Clone, Debug, PartialEq)]
pub struct PodShare {
    /// The set it belongs to.
    pub slot: Slot,
    /// Its name.
    pub pod: Arc<str>,
    /// The share of its turn that it keeps, 0 to 1.
    pub share: f64,
}

/// What to look at, and how often to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Milliseconds between reports; at least [`CADENCE_MS_MIN`].
    pub cadence_ms: u32,
    /// Limits to hold requests in flight against.
    pub limits: Vec<Limit>,
    /// Path prefixes that are route classes of their own.
    pub routes: Vec<Arc<str>>,
}

/// Shortest accepted cadence, in milliseconds.
pub const CADENCE_MS_MIN: u32 = 10;

impl Route {
    /// All requests to one slot, nobody let go.
    #[must_use]
    pub const fn all_to(slot: Slot, epoch: u64) -> Self {
        let green_share = match slot {
            Slot::Blue => 0.0,
            Slot::Green => 1.0,
        };
        Self { epoch, green_share, pods: Vec::new(), let_go_ms: None, peers: Vec::new() }
    }
}

impl Peer {
    fn from_wire(peer: &proto::Peer) -> Result<Self, Invalid> {
        let address = peer.address.parse();
        let invalid =
            |_| Invalid::Address { field: "route.peer.address", value: peer.address.chars().take(64).collect() };
        Ok(Self {
            slot: Slot::from_wire(peer.slot)?,
            pod: name("route.peer.pod", &peer.pod, 1)?,
            address: address.map_err(invalid)?,
        })
    }

    fn to_wire(&self) -> proto::Peer {
        proto::Peer { slot: self.slot.to_wire(), pod: self.pod.to_string(), address: self.address.to_string() }
    }
}

impl TryFrom<proto::Route> for Route {
    type Error = Invalid;

    fn try_from(route: proto::Route) -> Result<Self, Invalid> {
        bounded("route.pods", route.pods.len(), TARGETS_MAX)?;
        bounded("route.peers", route.peers.len(), PEERS_MAX)?;
        Ok(Self {
            epoch: route.epoch,
            green_share: share("route.green_share", route.green_share)?,
            pods: route
                .pods
                .iter()
                .map(|pod| {
                    Ok(PodShare {
                        slot: Slot::from_wire(pod.slot)?,
                        pod: name("route.pod", &pod.pod, 1)?,
                        share: share("route.pod.share", pod.share)?,
                    })
                })
                .collect::<Result<_, _>>()?,
            let_go_ms: route.let_go_ms,
            peers: route.peers.iter().map(Peer::from_wire).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Route> for proto::Route {
    fn from(route: &Route) -> Self {
        Self {
            epoch: route.epoch,
            green_share: route.green_share,
            pods: route
                .pods
                .iter()
                .map(|pod| proto::PodShare { slot: pod.slot.to_wire(), pod: pod.pod.to_string(), share: pod.share })
                .collect(),
            let_go_ms: route.let_go_ms,
            peers: route.peers.iter().map(Peer::to_wire).collect(),
        }
    }
}

impl TryFrom<proto::Watch> for Watch {
    type Error = Invalid;

    fn try_from(watch: proto::Watch) -> Result<Self, Invalid> {
        bounded("watch.limits", watch.limits.len(), LIMITS_MAX)?;
        bounded("watch.routes", watch.routes.len(), ROUTES_MAX)?;
        Ok(Self {
            cadence_ms: watch.cadence_ms.max(CADENCE_MS_MIN),
            limits: watch.limits.into_iter().map(|limit| Limit::from_wire(Some(limit))).collect::<Result<_, _>>()?,
            routes: watch.routes.iter().map(|route| name("watch.route", route, 1)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Watch> for proto::Watch {
    fn from(watch: &Watch) -> Self {
        Self {
            cadence_ms: watch.cadence_ms,
            limits: watch.limits.iter().map(|limit| limit.to_wire()).collect(),
            routes: watch.routes.iter().map(ToString::to_string).collect(),
        }
    }
}
