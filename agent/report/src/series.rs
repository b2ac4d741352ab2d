//! What a count is about.

use std::sync::Arc;

/// One of the two sets of backends, by the label it carries. Which of them is new is for the gate to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Labelled blue.
    Blue,
    /// Labelled green.
    Green,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// `blue` or `green`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside one backend of this slot.
    Sidecar(Slot),
    /// In front of both slots, splitting by share.
    Front,
}

/// How a request was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 without gRPC.
    Http2,
    /// gRPC, by its content type.
    Grpc,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Answered as asked.
    Ok,
    /// Answered, and the client was at fault (4xx).
    ClientError,
    /// Answered, and the application was at fault (5xx).
    ServerError,
    /// Not answered: refused, reset, cut off or timed out.
    Unreachable,
    /// The client left before the end.
    ClientGone,
}

impl Outcome {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 5] = [Self::Ok, Self::ClientError, Self::ServerError, Self::Unreachable, Self::ClientGone];

    /// One word, for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Unreachable => "unreachable",
            Self::ClientGone => "client_gone",
        }
    }

    /// The application's own fault: the only kind that counts against green.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::ServerError | Self::Unreachable)
    }
}

/// How many share epochs ago a request was admitted, seen when it ended.
///
/// After the share falls, slow requests of before would arrive among few new ones and look like a high rate; so tests
/// count what was admitted under the share in force, and the rest only enters totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// Under the share in force.
    Current,
    /// Under the share before it.
    Previous,
    /// Earlier still.
    Older,
}

impl Age {
    /// Of a request admitted in epoch `admitted` that ended in epoch `now`.
    #[must_use]
    pub const fn of(admitted: u64, now: u64) -> Self {
        match now.saturating_sub(admitted) {
            0 => Self::Current,
            1 => Self::Previous,
            _ => Self::Older,
        }
    }
}

/// Which moment of a response a latency is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Until the last byte of the response.
    LastByte,
    /// Until the first byte of the response.
    FirstByte,
}

/// A latency that is watched while requests are still in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    /// What is timed.
    pub measure: Measure,
    /// The limit in microseconds.
    pub us: u64,
}

/// Requests that ended: who answered, on which route, how, and when they were admitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// Which set of backends answered.
    pub slot: Slot,
    /// Which backend of it.
    pub pod: Arc<str>,
    /// Route class; empty for the default one.
    pub route: Arc<str>,
    /// How it was spoken.
    pub protocol: Protocol,
    /// When it was admitted.
    pub age: Age,
    /// How it ended.
    pub outcome: Outcome,
}

/// Requests in flight for longer than a limit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverdueKey {
    /// Which set of backends was asked.
    pub slot: Slot,
    /// Which backend of it.
    pub pod: Arc<str>,
    /// Route class; empty for the default one.
    pub route: Arc<str>,
    /// When they were admitted.
    pub age: Age,
    /// The limit they crossed.
    pub limit: Limit,
}

/// Requests sent to a backend under one share epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdmissionKey {
    /// The epoch.
    pub epoch: u64,
    /// Which set of backends was asked.
    pub slot: Slot,
    /// Which backend of it.
    pub pod: Arc<str>,
    /// Route class; empty for the default one.
    pub route: Arc<str>,
}
