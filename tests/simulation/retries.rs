//! Clients that ask again at once when they get an error: an outage makes them ask four times as often, and each attempt is a
//! request like any other to the agents.
//!
//! Checked here: attempts of one request fail together, which makes no healthy release look bad and no bad one
//! good; a shared outage is not taken for green's, though the attempts add up on both sides; and blue is asked no more
//! than what it had before, because an attempt that is diverted succeeds and is not repeated.

use crate::cluster::Plan;
use crate::scenario::{Ending, Scenario};
use crate::traffic::Harm;
use crate::world::{self, Story};

const SEEDS: u64 = 9;
const RATE: f64 = 100.0;
/// At any second: what blue was asked before the switch, the attempts of what the trickle fails, and the chance in arrivals.
const BLUE_BUSIEST_MAX: u64 = 135;

fn told(harm: Harm, ending: Ending, from_sidecars: bool) -> Vec<Story> {
    let calm = Scenario { retries: 3, before_ms: 120_000, ..Scenario::calm("retries", harm, ending, RATE) };
    let cluster = from_sidecars.then(|| Plan { kept: 0.5, ..Plan::default() });
    let scenario = Scenario { fronts: if from_sidecars { 4 } else { 1 }, cluster, ..calm };
    let stories: Vec<Story> = (0..SEEDS).map(|seed| world::run(&scenario, seed)).collect();
    for (seed, story) in stories.iter().enumerate() {
        assert!(story.broken.is_empty(), "seed {seed}: {:?}", story.broken);
        let is_asked = match ending {
            Ending::Pass => story.verdict == "pass",
            Ending::Revert => story.verdict == "revert",
            Ending::Neither | Ending::NoRevert => story.verdict != "revert",
        };
        assert!(is_asked, "seed {seed}: {story:#?}");
    }
    stories
}

#[track_caller]
fn reverted(harm: Harm, from_sidecars: bool, proven_ms_max: u64, given_up_max: u64) {
    let stories = told(harm, Ending::Revert, from_sidecars);
    let mut proven: Vec<u64> = stories.iter().filter_map(|story| story.verdict_ms("revert")).collect();
    proven.sort_unstable();
    let proven_ms = proven[proven.len() / 2] - harm.begins_ms();
    let given_up = stories.iter().map(|story| story.given_up).max().unwrap_or(0);
    let busiest = stories.iter().map(|story| story.blue_busiest).max().unwrap_or(0);
    assert!(
        proven_ms <= proven_ms_max && given_up <= given_up_max && busiest <= BLUE_BUSIEST_MAX,
        "ms to the verdict, requests given up, most in a second at blue: {:?}; at most {:?}",
        (proven_ms, given_up, busiest),
        (proven_ms_max, given_up_max, BLUE_BUSIEST_MAX)
    );
}

#[test]
fn an_outage_with_retries_is_reverted_as_soon_as_without() {
    reverted(Harm::Errors { part: 1.0, from_ms: 20_000 }, false, 4_500, 40);
}

#[test]
fn an_outage_with_retries_is_reverted_from_sidecars_as_well() {
    reverted(Harm::Errors { part: 1.0, from_ms: 20_000 }, true, 4_500, 60);
}

#[test]
fn a_fifth_that_fails_at_each_attempt_is_reverted() {
    reverted(Harm::Errors { part: 0.2, from_ms: 0 }, false, 6_000, 16);
}

#[test]
fn a_healthy_release_with_retries_passes() {
    told(Harm::None, Ending::Pass, false);
    told(Harm::None, Ending::Pass, true);
}

#[test]
fn a_shared_outage_with_retries_is_nobodys_in_particular() {
    for part in [1.0, 0.5, 0.2] {
        told(Harm::Shared { part, from_ms: 7_000 }, Ending::NoRevert, false);
    }
}
