//! How an agent and a gate greet each other.
//!
//! A sidecar that was injected into a pod does not know its slot: the pod's template is the same before and after a switch.
//! It calls its own side blue and the other green, and the gate says what they are. [`Unassigned`] keeps such a Hello apart
//! from one that can be taken at its word: the only way to its content is to assign a slot.

use std::sync::Arc;

use crate::wire::{self, Invalid, TargetState, proto};
use crate::{Role, Route, Slot};

/// How an agent introduces itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// Instance: pod UID and a random start id.
    pub agent: Arc<str>,
    /// The guarded service it belongs to.
    pub service: Arc<str>,
    /// Where it stands.
    pub role: Role,
    /// The backends it can send to.
    pub targets: Vec<TargetState>,
    /// The route in force.
    pub route: Route,
    /// Version of the agent.
    pub version: String,
}

/// What a sidecar says that does not know its slot: all of it as if its own side was blue.
#[derive(Clone, Debug, PartialEq)]
pub struct Unassigned(Hello);

/// A Hello as it comes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Introduction {
    /// Of an agent that knows where it stands.
    Known(Hello),
    /// Of a sidecar that wants to be told its slot.
    Unassigned(Unassigned),
}

/// What a gate answers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The newest agent time it has merged from this instance; zero when it knows nothing of it.
    pub merged_ms: u64,
    /// The slot of a sidecar.
    pub slot: Option<Slot>,
}

impl Unassigned {
    /// The Hello of a sidecar whose own side is called blue in it; its role is taken for that of a blue sidecar.
    #[must_use]
    pub fn new(hello: Hello) -> Self {
        Self(Hello { role: Role::Sidecar(Slot::Blue), ..hello })
    }

    /// Instance: pod UID and a random start id.
    #[must_use]
    pub fn agent(&self) -> &Arc<str> {
        &self.0.agent
    }

    /// The guarded service it belongs to.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        &self.0.service
    }

    /// What it says, with its own side called `slot`.
    #[must_use]
    pub fn assigned(self, slot: Slot) -> Hello {
        match slot {
            Slot::Blue => self.0,
            Slot::Green => self.0.mirrored(),
        }
    }
}

impl TryFrom<proto::Hello> for Introduction {
    type Error = Invalid;

    fn try_from(hello: proto::Hello) -> Result<Self, Invalid> {
        let (role, known) = match proto::Role::try_from(hello.role) {
            Ok(proto::Role::Sidecar) if hello.slot == proto::Slot::Unspecified as i32 => {
                (Role::Sidecar(Slot::Blue), false)
            }
            Ok(proto::Role::Sidecar) => (Role::Sidecar(Slot::from_wire(hello.slot)?), true),
            Ok(proto::Role::Front) => (Role::Front, true),
            _ => return Err(Invalid::Unknown { field: "role", value: hello.role }),
        };
        let hello = Hello {
            agent: wire::name("agent", &hello.agent, 1)?,
            service: wire::name("service", &hello.service, 1)?,
            role,
            targets: wire::targets(&hello.targets)?,
            route: hello.route.ok_or(Invalid::Missing { field: "route" })?.try_into()?,
            version: wire::name("version", &hello.version, 0)?.to_string(),
        };
        Ok(if known { Self::Known(hello) } else { Self::Unassigned(Unassigned(hello)) })
    }
}

/// For a gate that assigns no slots.
impl TryFrom<proto::Hello> for Hello {
    type Error = Invalid;

    fn try_from(hello: proto::Hello) -> Result<Self, Invalid> {
        match Introduction::try_from(hello)? {
            Introduction::Known(hello) => Ok(hello),
            Introduction::Unassigned(_) => Err(Invalid::Unassigned),
        }
    }
}

impl From<&Hello> for proto::Hello {
    fn from(hello: &Hello) -> Self {
        let (role, slot) = match hello.role {
            Role::Sidecar(slot) => (proto::Role::Sidecar, slot.to_wire()),
            Role::Front => (proto::Role::Front, proto::Slot::Unspecified as i32),
        };
        Self {
            agent: hello.agent.to_string(),
            service: hello.service.to_string(),
            role: role as i32,
            slot,
            targets: hello.targets.iter().map(TargetState::to_wire).collect(),
            route: Some((&hello.route).into()),
            version: hello.version.clone(),
        }
    }
}

impl From<&Unassigned> for proto::Hello {
    fn from(unassigned: &Unassigned) -> Self {
        Self { slot: proto::Slot::Unspecified as i32, ..(&unassigned.0).into() }
    }
}

impl TryFrom<proto::Welcome> for Welcome {
    type Error = Invalid;

    fn try_from(welcome: proto::Welcome) -> Result<Self, Invalid> {
        let known = welcome.slot != proto::Slot::Unspecified as i32;
        let slot = known.then(|| Slot::from_wire(welcome.slot)).transpose()?;
        Ok(Self { merged_ms: welcome.merged_ms, slot })
    }
}

impl From<Welcome> for proto::Welcome {
    fn from(welcome: Welcome) -> Self {
        let slot = welcome.slot.map_or(proto::Slot::Unspecified as i32, Slot::to_wire);
        Self { merged_ms: welcome.merged_ms, slot }
    }
}
