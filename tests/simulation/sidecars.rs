//! Releases with nothing but sidecars, as on Kubernetes, where no agent stands in front.
//!
//! The same laws as with front agents: healthy and shared-fault releases are not reverted, harm is, within the published times, and
//! what fails until then is bounded, also while pods come and go and the network is bad. A connection that clients keep reaches
//! green later than the switch, and a shield then diverts it without breaking it.

use blueback_report::Slot;

use crate::cluster::{Act, Plan};
use crate::random::Random;
use crate::scenario::{Ending, Scenario};
use crate::seeds::{self, Broken};
use crate::traffic::Harm;
use crate::world::{self, Story};

const SEEDS: u64 = 150;
const MINUTE_MS: u64 = 60_000;

/// A scenario of the seed with sidecars alone.
fn drawn(random: &mut Random) -> Scenario {
    let mut scenario = Scenario::draw(random);
    scenario.sidecars = false;
    scenario.candidate = Slot::Green;
    scenario.blue_pods = random.between(2, 6) as usize;
    scenario.green_pods = if scenario.name == "bad pod" { 5 } else { random.between(2, 6) as usize };
    scenario.fronts = scenario.blue_pods + scenario.green_pods;
    // A pod that fails must not be the one that leaves.
    scenario.cluster = Some(Plan::draw(random, scenario.name != "bad pod"));
    scenario
}

#[test]
fn the_verdict_is_the_same_on_a_bad_network() {
    seeds::each(SEEDS, |seed| {
        let mut random = Random::new(seed ^ 0x51de);
        let calm = drawn(&mut random);
        let mut rough = calm.clone().in_bad_weather(&mut random);
        // Agents end with their pods here, and others begin.
        rough.weather.restarts.clear();
        let (expected, seen) = (world::run(&calm, seed), world::run(&rough, seed));
        seeds::tell(&rough, &expected, &seen);
        let mut laws = seeds::laws(&calm, &expected, &seen);
        // Four fifths of a second until it is diverted, and then the trickle until it is proven.
        let failed_max = (0.8 * calm.rate) as u64 + 100;
        if calm.ending == Ending::Revert && expected.failed > failed_max {
            laws.push(format!("calm: {} requests failed, at most {failed_max} were to", expected.failed));
        }
        Broken { what: rough.name, laws }
    });
}

/// At 100 requests a second, half of them over kept connections, two minutes after the judge began to know blue.
pub(crate) fn at_100(harm: Harm, ending: Ending, pods: usize) -> Scenario {
    let calm = Scenario::calm("sidecars", harm, ending, 100.0);
    let cluster = Some(Plan { kept: 0.5, ..Plan::default() });
    Scenario { before_ms: 2 * MINUTE_MS, blue_pods: pods, green_pods: pods, fronts: 2 * pods, cluster, ..calm }
}

#[track_caller]
pub(crate) fn told(scenario: &Scenario) -> Vec<Story> {
    let stories: Vec<Story> = (0..9).map(|seed| world::run(scenario, seed)).collect();
    for (seed, story) in stories.iter().enumerate() {
        assert!(story.broken.is_empty(), "seed {seed}: {:?}", story.broken);
    }
    stories
}

#[track_caller]
pub(crate) fn check(scenario: &Scenario, failed_max: u64, shield_ms_max: u64, proven_ms_max: u64) {
    let median = |mut values: Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let stories = told(scenario);
    let of = |what: &dyn Fn(&Story) -> Option<u64>| {
        median(stories.iter().map(|story| what(story).unwrap_or_else(|| panic!("{story:#?}"))).collect())
    };
    let from_ms = scenario.harm.begins_ms();
    let shield = of(&|story| story.shield_ms("shielded").or(story.verdict_ms("revert")));
    let seen = (of(&|story| Some(story.failed)), shield - from_ms, of(&|story| story.verdict_ms("revert")) - from_ms);
    assert!(
        seen.0 <= failed_max && seen.1 <= shield_ms_max && seen.2 <= proven_ms_max,
        "failed requests, ms to the shield, ms to the verdict: {seen:?}; at most {:?}",
        (failed_max, shield_ms_max, proven_ms_max)
    );
}

#[test]
fn an_outage_twenty_seconds_in() {
    let harm = Harm::Errors { part: 1.0, from_ms: 20_000 };
    check(&at_100(harm, Ending::Revert, 3), 70, 350, 4_500);
}

#[test]
fn an_outage_at_the_switch() {
    check(&at_100(Harm::Errors { part: 1.0, from_ms: 0 }, Ending::Revert, 3), 60, 600, 2_500);
}

#[test]
fn a_fifth_of_the_requests_fails_while_green_is_restarted() {
    let mut scenario = at_100(Harm::Errors { part: 0.2, from_ms: 5_000 }, Ending::Revert, 3);
    if let Some(plan) = &mut scenario.cluster {
        plan.roll(Slot::Green, 2_000_000, 3);
    }
    check(&scenario, 30, 850, 10_000);
}

/// The bad pod gets a fifth of the requests, some more where clients keep to it, and is left its part of the trickle, two a
/// second.
#[test]
fn one_bad_pod_of_five_is_shielded_alone() {
    let harm = Harm::BadPod { pod: 2, from_ms: 10_000 };
    let scenario = Scenario { after_ms: 40_000, ..at_100(harm, Ending::Neither, 5) };
    for (seed, story) in told(&scenario).iter().enumerate() {
        assert_eq!(story.verdict_ms("revert"), None, "seed {seed}: {story:#?}");
        assert!(story.text.contains("green-2"), "seed {seed}: {}", story.text);
        // Without a shield it were 600.
        assert!(story.failed <= 130, "seed {seed}: {} failed", story.failed);
    }
}

#[test]
fn scaling_and_restarts_of_a_healthy_release_revert_nothing() {
    let acts = [Act::Add(Slot::Green), Act::Remove(Slot::Blue), Act::Add(Slot::Green), Act::Remove(Slot::Green)];
    let mut scenario = at_100(Harm::None, Ending::Pass, 3);
    if let Some(plan) = &mut scenario.cluster {
        plan.acts = (1..).map(|second: u64| second * 2_000_000).zip(acts).collect();
        plan.roll(Slot::Green, 10_000_000, 3);
        plan.roll(Slot::Blue, 10_000_000, 2);
    }
    for (seed, story) in told(&scenario).iter().enumerate() {
        assert_eq!(story.verdict, "pass", "seed {seed}: {story:#?}");
    }
}

/// Green is idle while it is shielded, and an autoscaler may take pods of it and give blue some. Both are seen, and nothing
/// is held against green for it; but it gets no more back than the pods that are left can take, and passes a bake time after
/// it has all.
#[test]
fn an_autoscaler_that_follows_the_shield_reverts_nothing() {
    let harm = Harm::Burst { part: 1.0, from_ms: 5_000, for_ms: 1_000 };
    let mut scenario = Scenario { after_ms: 110_000, ..at_100(harm, Ending::NoRevert, 4) };
    if let Some(plan) = &mut scenario.cluster {
        plan.acts = vec![
            (6_500_000, Act::Add(Slot::Blue)),
            (7_000_000, Act::Remove(Slot::Green)),
            (8_000_000, Act::Remove(Slot::Green)),
            (17_000_000, Act::Add(Slot::Green)),
        ];
    }
    for (seed, story) in told(&scenario).iter().enumerate() {
        assert!(story.shield_ms("shielded").is_some(), "seed {seed}: {story:#?}");
        assert_eq!(story.shields.last().map(|(_, state)| state.as_str()), Some("open"), "seed {seed}: {story:#?}");
        assert_eq!(story.verdict, "pass", "seed {seed}: {story:#?}");
    }
}
