//! Agents whose clocks are off, drift and are set in the middle of a release: nothing may come of it.
//!
//! What an agent says live counts when it arrives, so verdicts and their times are the same to the millisecond, whatever its
//! clock shows. A report that seems to come from the future by more than five seconds is dropped, and the next one that goes
//! with it is believed: a clock that is set forward costs one report, and what was in it comes with the next. Only what is
//! replayed is placed by the agent's clock.

use crate::clock::{Clock, Steps};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::seeds::{self, Broken};
use crate::world::{self, Story};

const SEEDS: u64 = 60;
/// A report that comes later than it would have, and the longest block of a release's first minutes around it.
const LATE_MS_MAX: u64 = 600;

/// The scenario of a seed and the same with clocks that are off.
fn drawn(seed: u64, steps: Steps) -> (Scenario, Scenario, Random) {
    let mut random = Random::new(seed ^ 0xc10c);
    let right = Scenario::draw(&mut random);
    let mut off = right.clone();
    // Around the switch and well into the harm.
    let (from_us, until_us) = ((right.before_ms - 10_000) * 1_000, (right.before_ms + 20_000) * 1_000);
    off.clocks = (0..32).map(|_| Clock::draw(&mut random, from_us, until_us, steps)).collect();
    (right, off, random)
}

type Times = Vec<(u64, String)>;

fn times(story: &Story) -> (&Times, &Times, &str, u64) {
    (&story.verdicts, &story.shields, &story.rule, story.failed)
}

#[test]
fn clocks_that_are_off_drift_and_lose_time_change_nothing() {
    seeds::each(SEEDS, |seed| {
        let steps = if seed % 2 == 0 { Steps::None } else { Steps::Back };
        let (right, off, _) = drawn(seed, steps);
        let (expected, seen) = (world::run(&right, seed), world::run(&off, seed));
        let mut broken = seen.broken.clone();
        if times(&seen) != times(&expected) {
            broken.push(format!("{:?} with right clocks, {:?} with others", times(&expected), times(&seen)));
        }
        Broken { what: off.name, laws: broken }
    });
}

#[test]
fn a_clock_that_is_set_forward_costs_no_more_than_a_report() {
    seeds::each(SEEDS, |seed| {
        let (right, off, _) = drawn(seed, Steps::Any);
        let (expected, seen) = (world::run(&right, seed), world::run(&off, seed));
        let mut broken = seen.broken.clone();
        if seen.verdict != expected.verdict {
            broken.push(format!("{} with right clocks, {} with others", expected.verdict, seen.verdict));
        }
        // Near a limit a single request more or less in a block is worth seconds, either way; gross harm has no such luck.
        if matches!(off.name, "outage" | "late outage" | "hang") {
            let (at, expected_at) = (seen.verdict_ms("revert"), expected.verdict_ms("revert"));
            if at.zip(expected_at).is_none_or(|(at, expected_at)| at.abs_diff(expected_at) > LATE_MS_MAX) {
                broken.push(format!("reverted after {expected_at:?} ms with right clocks, {at:?} ms with others"));
            }
        }
        Broken { what: off.name, laws: broken }
    });
}

#[test]
fn clocks_that_are_off_change_no_verdict_on_a_bad_network() {
    seeds::each(2 * SEEDS, |seed| {
        let (right, off, mut random) = drawn(seed, Steps::Any);
        let rough = off.in_bad_weather(&mut random);
        let (expected, seen) = (world::run(&right, seed), world::run(&rough, seed));
        Broken { what: rough.name, laws: seeds::laws(&right, &expected, &seen) }
    });
}
