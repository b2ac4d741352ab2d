//! What a seed draws: traffic, harm, agents, and the weather between them and the gate.

use blueback_report::Slot;

use crate::clock::Clock;
use crate::cluster::Plan;
use crate::network::{Cut, Weather};
use crate::random::Random;
use crate::traffic::Harm;

/// What the run must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Passed, and nothing is held against it.
    Pass,
    /// Reverted.
    Revert,
    /// Harm that reverting would not help, or not yet: anything but pass and revert at the end.
    Neither,
    /// Not reverted; nothing else is asked.
    NoRevert,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) harm: Harm,
    pub(crate) ending: Ending,
    /// Requests a second before and after the switch.
    pub(crate) rate: f64,
    pub(crate) rate_after: f64,
    pub(crate) fronts: usize,
    pub(crate) sidecars: bool,
    pub(crate) blue_pods: usize,
    pub(crate) green_pods: usize,
    pub(crate) candidate: Slot,
    pub(crate) share: f64,
    /// Milliseconds of virtual time before the switch and, at most, after it.
    pub(crate) before_ms: u64,
    pub(crate) after_ms: u64,
    /// Agents leave for good, this long after the switch.
    pub(crate) agents_gone_ms: Option<u64>,
    pub(crate) weather: Weather,
    /// The agents' clocks, in turn; without any they are right.
    pub(crate) clocks: Vec<Clock>,
    /// How often a client asks again, at once, when it gets an error.
    pub(crate) retries: u64,
    /// How much longer a healthy answer takes, on either side; failed ones are quick.
    pub(crate) takes_ms: u64,
    /// Limit of the rule about latency.
    pub(crate) latency_ms: u64,
    /// Part of the requests that are streams, on either side.
    pub(crate) streams: f64,
    /// No agent in front (`fronts` says how many agents the weather can hit): a platform splits the requests.
    pub(crate) cluster: Option<Plan>,
}

const S: u64 = 1_000;

impl Scenario {
    /// A calm run of this harm.
    pub(crate) fn calm(name: &'static str, harm: Harm, ending: Ending, rate: f64) -> Self {
        Self {
            name,
            harm,
            ending,
            rate,
            rate_after: rate,
            fronts: 1,
            sidecars: false,
            blue_pods: 2,
            green_pods: 2,
            candidate: Slot::Green,
            share: 1.0,
            before_ms: 30 * S,
            after_ms: 60 * S,
            agents_gone_ms: None,
            weather: Weather::default(),
            clocks: Vec::new(),
            retries: 0,
            takes_ms: 0,
            latency_ms: 500,
            streams: 0.0,
            cluster: None,
        }
    }

    pub(crate) fn draw(random: &mut Random) -> Self {
        let high = *random.pick(&[50.0, 100.0, 100.0, 200.0, 300.0, 1_000.0]);
        let any = *random.pick(&[10.0, 20.0, 50.0, 100.0, 100.0, 200.0, 500.0]);
        // Long enough after the switch that a late report of before it is not taken for harm at the switch.
        let from_ms = *random.pick(&[0, 0, 0, 2 * S, 7 * S]);
        let mut scenario = match random.between(0, 16) {
            0 | 1 => Self::calm("healthy", Harm::None, Ending::Pass, any),
            2 | 3 => Self::calm("outage", Harm::Errors { part: 1.0, from_ms: 0 }, Ending::Revert, any),
            4 => Self {
                after_ms: 160 * S,
                ..Self::calm(
                    "late outage",
                    Harm::Errors { part: 1.0, from_ms: 120 * S },
                    Ending::Revert,
                    *random.pick(&[20.0, 50.0, 100.0]),
                )
            },
            5 => Self {
                after_ms: 120 * S,
                ..Self::calm("20 %", Harm::Errors { part: 0.2, from_ms }, Ending::Revert, high)
            },
            6 => Self {
                after_ms: 240 * S,
                ..Self::calm("6 %", Harm::Errors { part: 0.06, from_ms }, Ending::Revert, high)
            },
            7 => Self {
                after_ms: 120 * S,
                ..Self::calm("slow", Harm::Slow { part: 0.2, from_ms, latency_ms: 900 }, Ending::Revert, high)
            },
            8 => {
                Self { after_ms: 60 * S, ..Self::calm("hang", Harm::Hang { from_ms }, Ending::Revert, high.min(300.0)) }
            }
            10 if random.chance(0.5) => {
                let harm = Harm::Ongoing { part: *random.pick(&[1.0, 0.5]), before_ms: 20 * S };
                Self { after_ms: 40 * S, ..Self::calm("ongoing", harm, Ending::NoRevert, high) }
            }
            9 | 10 => {
                let part = *random.pick(&[1.0, 0.5, 0.2]);
                Self {
                    after_ms: 40 * S,
                    ..Self::calm("shared", Harm::Shared { part, from_ms }, Ending::NoRevert, high)
                }
            }
            11 => {
                let part = *random.pick(&[0.0, 0.2, 1.0]);
                let harm = Harm::BlueDown { blue_ms: 0, part, from_ms: 6 * S };
                Self { after_ms: 40 * S, ..Self::calm("blue down", harm, Ending::NoRevert, any) }
            }
            12 => Self {
                green_pods: 5,
                after_ms: 40 * S,
                ..Self::calm(
                    "bad pod",
                    Harm::BadPod { pod: random.between(0, 5) as usize, from_ms },
                    Ending::Neither,
                    high,
                )
            },
            13 => Self {
                after_ms: 60 * S,
                ..Self::calm("burst", Harm::Burst { part: 1.0, from_ms: 5 * S, for_ms: S }, Ending::NoRevert, any)
            },
            14 => Self {
                rate_after: *random.pick(&[0.2, 1.0]),
                ..Self::calm("low traffic", Harm::None, Ending::Neither, 10.0)
            },
            _ => Self {
                agents_gone_ms: Some(random.between(0, 10 * S)),
                ..Self::calm("silence", Harm::None, Ending::Neither, any)
            },
        };
        scenario.fronts = random.between(1, 4) as usize;
        scenario.sidecars = random.chance(0.2);
        scenario.blue_pods = random.between(1, 4) as usize;
        if scenario.name != "bad pod" {
            scenario.green_pods = random.between(1, 4) as usize;
        }
        if random.chance(0.3) {
            scenario.candidate = Slot::Blue;
        }
        scenario
    }

    /// Adds what goes wrong between agents and gate; the fault-free run is the same scenario without it.
    pub(crate) fn in_bad_weather(mut self, random: &mut Random) -> Self {
        let agents = self.fronts as u64;
        // From a little before the switch to well into the harm.
        let when = |random: &mut Random| (self.before_ms + random.between(0, 24 * S) - 2 * S) * 1_000;
        let mut weather = Weather::default();
        let some = |random: &mut Random, most: f64| {
            if random.chance(0.6) { most * random.between(1, 101) as f64 / 100.0 } else { 0.0 }
        };
        weather.lost = some(random, 0.3);
        weather.repeated = some(random, 0.3);
        weather.swapped = some(random, 0.3);
        weather.garbled = some(random, 0.1);
        weather.jitter_us = *random.pick(&[0, 2_000, 20_000, 100_000]);
        for _ in 0..random.between(0, 4) {
            weather.cuts.push(Cut {
                at_us: when(random),
                agent: random.between(0, agents) as usize,
                for_us: random.between(0, 3_000_000),
                unnoticed_us: random.between(0, 4_000_000),
            });
        }
        if random.chance(0.3) {
            weather.kills.push((when(random), random.between(100_000, 4_000_000)));
        }
        if random.chance(0.2) {
            weather.restarts.push((when(random), random.between(0, agents) as usize));
        }
        self.weather = weather;
        self
    }
}
