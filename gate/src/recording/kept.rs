//! Where a release was at one moment: enough to go on from there without what was recorded before.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use blueback_judge::Judge;
use blueback_report::{Role, Totals};

use super::{WireTotals, role_from_wire, role_to_wire, totals_from_wire, totals_to_wire};

/// Version of the form.
const VERSION: u32 = 1;

/// A release in mid-course.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The judge, as [`Judge::save`] writes it.
    pub judge: Vec<u8>,
    /// The agents that the judge knows by their numbers.
    pub agents: Vec<KeptAgent>,
}

/// An agent at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptAgent {
    /// Its number.
    pub agent: u32,
    /// Its instance.
    pub instance: Arc<str>,
    /// Where it stands.
    pub role: Role,
    /// Everything it had counted.
    pub totals: Totals,
    /// The newest time merged, by its own clock.
    pub merged_ms: u64,
    /// Gate time of its clock's zero, in Unix milliseconds.
    pub zero_ms: i64,
    /// It had gone.
    pub gone: bool,
}

impl Kept {
    /// The judge goes on from here.
    ///
    /// # Errors
    /// When another version of the judge has written it.
    pub fn judge(&self) -> anyhow::Result<Judge> {
        Judge::load(&self.judge).context("the judge as it was kept")
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireKept {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    judge: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    agents: Vec<WireKeptAgent>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireKeptAgent {
    #[prost(uint32, tag = "1")]
    agent: u32,
    #[prost(string, tag = "2")]
    instance: String,
    #[prost(enumeration = "blueback_report::wire::proto::Slot", tag = "3")]
    sidecar_of: i32,
    #[prost(message, optional, tag = "4")]
    totals: Option<WireTotals>,
    #[prost(uint64, tag = "5")]
    merged_ms: u64,
    #[prost(sint64, tag = "6")]
    zero_ms: i64,
    #[prost(bool, tag = "7")]
    gone: bool,
}

impl From<Kept> for WireKept {
    fn from(kept: Kept) -> Self {
        let agents = kept.agents.into_iter().map(|known| WireKeptAgent {
            agent: known.agent,
            instance: known.instance.to_string(),
            sidecar_of: role_to_wire(known.role),
            totals: Some(totals_to_wire(known.totals)),
            merged_ms: known.merged_ms,
            zero_ms: known.zero_ms,
            gone: known.gone,
        });
        Self { version: VERSION, judge: kept.judge, agents: agents.collect() }
    }
}

impl TryFrom<WireKept> for Kept {
    type Error = anyhow::Error;

    fn try_from(wire: WireKept) -> anyhow::Result<Self> {
        ensure!(wire.version == VERSION, "version {} of what was kept, {VERSION} is known", wire.version);
        let agent = |known: WireKeptAgent| -> anyhow::Result<KeptAgent> {
            Ok(KeptAgent {
                agent: known.agent,
                instance: known.instance.into(),
                role: role_from_wire(known.sidecar_of)?,
                totals: totals_from_wire(known.totals)?,
                merged_ms: known.merged_ms,
                zero_ms: known.zero_ms,
                gone: known.gone,
            })
        };
        let agents = wire.agents.into_iter().map(agent).collect::<Result<_, _>>()?;
        Ok(Self { judge: wire.judge, agents })
    }
}
