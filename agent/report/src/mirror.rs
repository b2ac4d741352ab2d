//! Blue for green and green for blue, in all that agents and gates say.
//!
//! A sidecar that was assigned its slot calls its own side blue, whatever the gate calls it. Where the two differ, each message
//! is mirrored at the edge, so neither the agent's nor the gate's inside knows of it. Mirroring twice changes nothing; of a
//! share that holds down to 2⁻⁵³, as fine as the coins that agents toss.

use crate::{
    AdmissionKey, Exemplar, Hello, OverdueKey, Peer, PodShare, Report, Role, Route, SeriesKey, TargetState, Totals,
};

impl Hello {
    /// With blue and green exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        let role = match self.role {
            Role::Sidecar(slot) => Role::Sidecar(slot.other()),
            Role::Front => Role::Front,
        };
        Self { role, targets: mirrored_targets(self.targets), route: self.route.mirrored(), ..self }
    }
}

impl Route {
    /// With blue and green exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self {
            green_share: 1.0 - self.green_share,
            pods: self.pods.into_iter().map(|pod| PodShare { slot: pod.slot.other(), ..pod }).collect(),
            peers: self.peers.into_iter().map(|peer| Peer { slot: peer.slot.other(), ..peer }).collect(),
            ..self
        }
    }
}

impl Report {
    /// With blue and green exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self {
            totals: self.totals.mirrored(),
            in_flight: self.in_flight.into_iter().map(|(key, count)| (mirrored_admission(key), count)).collect(),
            targets: mirrored_targets(self.targets),
            exemplars: self.exemplars.into_iter().map(Exemplar::mirrored).collect(),
            ..self
        }
    }
}

impl Totals {
    /// With blue and green exchanged.
    #[must_use]
    pub fn mirrored(self) -> Self {
        let series = |key: SeriesKey| SeriesKey { slot: key.slot.other(), ..key };
        let overdue = |key: OverdueKey| OverdueKey { slot: key.slot.other(), ..key };
        Self {
            series: self.series.into_iter().map(|(key, latency)| (series(key), latency)).collect(),
            overdue: self.overdue.into_iter().map(|(key, count)| (overdue(key), count)).collect(),
            admitted: self.admitted.into_iter().map(|(key, count)| (mirrored_admission(key), count)).collect(),
        }
    }
}

fn mirrored_admission(key: AdmissionKey) -> AdmissionKey {
    AdmissionKey { slot: key.slot.other(), ..key }
}

fn mirrored_targets(targets: Vec<TargetState>) -> Vec<TargetState> {
    targets.into_iter().map(|target| TargetState { slot: target.slot.other(), ..target }).collect()
}
