//! Single stories whose times are known from the tables of the judge's mathematics (medians over seeds, reports of 100 ms).

use crate::scenario::{Ending, Scenario};
use crate::traffic::Harm;
use crate::world::{self, Story};

const SEEDS: u64 = 9;
const MINUTE_MS: u64 = 60_000;

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Runs the story with several seeds; median of failed requests, of the time to the shield and of the time to the verdict.
fn told(scenario: &Scenario, from_ms: u64) -> (u64, u64, u64) {
    let stories: Vec<Story> = (0..SEEDS).map(|seed| world::run(scenario, seed)).collect();
    for (seed, story) in stories.iter().enumerate() {
        assert!(story.broken.is_empty(), "seed {seed}: {:?}", story.broken);
        assert_eq!(story.verdict, "revert", "seed {seed}: {story:#?}");
        let early = story.shields.iter().find(|(at_ms, state)| *at_ms < from_ms && state != "open");
        assert_eq!(early, None, "seed {seed}: a shield before anything was wrong");
    }
    let median_of = |of: &dyn Fn(&Story) -> Option<u64>| {
        median(stories.iter().map(|story| of(story).expect("it happened") - from_ms).collect())
    };
    (
        median(stories.iter().map(|story| story.failed).collect()),
        median_of(&|story| story.shield_ms("shielded").or(story.verdict_ms("revert"))),
        median_of(&|story| story.verdict_ms("revert")),
    )
}

fn at_100(harm: Harm, minutes: u64) -> Scenario {
    let calm = Scenario::calm("story", harm, Ending::Revert, 100.0);
    // Ten minutes before, so that the judge knows what blue is like.
    Scenario { before_ms: 10 * MINUTE_MS, after_ms: (minutes + 1) * MINUTE_MS, ..calm }
}

#[track_caller]
fn check(scenario: &Scenario, from_ms: u64, failed_max: u64, shield_ms_max: u64, proven_ms_max: u64) {
    let seen @ (failed, shield_ms, proven_ms) = told(scenario, from_ms);
    assert!(
        failed <= failed_max && shield_ms <= shield_ms_max && proven_ms <= proven_ms_max,
        "failed requests, ms to the shield, ms to the verdict: {seen:?}; at most {:?}",
        (failed_max, shield_ms_max, proven_ms_max)
    );
}

#[test]
fn an_outage_at_the_switch() {
    check(&at_100(Harm::Errors { part: 1.0, from_ms: 0 }, 0), 0, 40, 350, 1_600);
}

#[test]
fn an_outage_two_minutes_in() {
    let from_ms = 2 * MINUTE_MS;
    check(&at_100(Harm::Errors { part: 1.0, from_ms }, 2), from_ms, 70, 350, 4_500);
}

#[test]
fn an_outage_ten_minutes_in() {
    let from_ms = 10 * MINUTE_MS;
    check(&at_100(Harm::Errors { part: 1.0, from_ms }, 10), from_ms, 70, 350, 4_500);
}

#[test]
fn a_fifth_of_the_requests_fails() {
    check(&at_100(Harm::Errors { part: 0.2, from_ms: 0 }, 1), 0, 16, 550, 6_000);
}

#[test]
fn six_in_a_hundred_fail_where_five_are_allowed() {
    check(&at_100(Harm::Errors { part: 0.06, from_ms: 0 }, 2), 0, 17, 2_150, 25_000);
}

#[test]
fn a_fifth_of_the_requests_is_slow() {
    check(&at_100(Harm::Slow { part: 0.2, from_ms: 0, latency_ms: 900 }, 1), 0, 0, 1_250, 8_000);
}

/// At the switch, latency rules wait for three seconds of warm-up, and the verdict comes three seconds after the published 4.25 s
/// (median of 41 seeds: 7.25 s, of the trickle's chance). Ten minutes in nothing warms up, and what is left of the difference to 8.25 s
/// (9.0 s) are reports on their way and blocks of half a second.
#[test]
fn a_fifth_of_the_requests_is_slow_ten_minutes_in() {
    let from_ms = 10 * MINUTE_MS;
    check(&at_100(Harm::Slow { part: 0.2, from_ms, latency_ms: 900 }, 10), from_ms, 0, 1_550, 10_000);
}

#[test]
fn a_switch_in_the_middle_of_a_fault_of_both_is_held() {
    for (seed, part) in (0..SEEDS).zip([1.0, 0.5, 0.3].into_iter().cycle()) {
        let harm = Harm::Ongoing { part, before_ms: 20_000 };
        let story = world::run(&Scenario { ending: Ending::NoRevert, ..at_100(harm, 0) }, seed);
        assert!(story.broken.is_empty(), "seed {seed}: {:?}", story.broken);
        assert!(matches!(&*story.verdict, "hold" | "suspect"), "seed {seed}, {part}: {story:#?}");
    }
}

#[test]
fn a_gate_that_restarts_has_the_same_evidence_to_the_last_bit() {
    for seed in 0..3 {
        let scenario = at_100(Harm::Errors { part: 0.06, from_ms: 2_000 }, 1);
        let story = world::run_checking_restarts(&scenario, seed);
        assert!(story.broken.is_empty(), "seed {seed}: {:?}", story.broken);
    }
}
