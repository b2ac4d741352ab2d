//! What the published design of the judge claims without having simulated it: a blue that is cold, diverted requests that do not
//! arrive, failures that are quicker than answers, and more than two rules broken at once.

use crate::cluster::Plan;
use crate::scenario::{Ending, Scenario};
use crate::sidecars::{at_100, check, told};
use crate::traffic::Harm;

const MINUTE_MS: u64 = 60_000;

/// All agents in front, two minutes after the judge began to know blue.
fn in_front(harm: Harm, ending: Ending) -> Scenario {
    Scenario { before_ms: 2 * MINUTE_MS, ..Scenario::calm("claims", harm, ending, 100.0) }
}

/// Blue had nothing to do for longer than a cache remembers, so it is given a quarter, half and all of it in steps. Each is a share
/// of its own, so more than the computed third of a second of green's failures is lost, and the verdict takes twice as long
/// as with a warm blue (medians: 127 failed, 8.0 s; warm: 57, 4.1 s).
#[test]
fn an_outage_when_blue_is_cold() {
    let from_ms = 16 * MINUTE_MS;
    let harm = Harm::Errors { part: 1.0, from_ms };
    check(&Scenario { after_ms: 17 * MINUTE_MS, ..in_front(harm, Ending::Revert) }, 145, 350, 8_500);
}

/// Green's agents cannot reach blue's: they answer at home, and say so. The shield is given up for half a minute after
/// a second, nothing is lost by it, and the verdict comes as soon as without a shield.
#[test]
fn a_shield_that_does_not_reach_blue_is_given_up() {
    let harm = Harm::Errors { part: 0.2, from_ms: 20_000 };
    let mut scenario = at_100(harm, Ending::Revert, 3);
    scenario.cluster = Some(Plan { severed: true, ..Plan::default() });
    for (seed, story) in told(&scenario).iter().enumerate() {
        assert_eq!(story.verdict, "revert", "seed {seed}: {story:#?}");
        assert!(story.verdict_ms("revert") <= Some(32_000), "seed {seed}: {story:#?}");
    }
    // A burst is over before it is proven, so a shield that saves nobody must not end the release.
    scenario.harm = Harm::Burst { part: 1.0, from_ms: 5_000, for_ms: 1_000 };
    scenario.ending = Ending::NoRevert;
    for (seed, story) in told(&scenario).iter().enumerate() {
        assert_eq!(story.verdict_ms("revert"), None, "seed {seed}: {story:#?}");
        assert!(story.shield_ms("shielded").is_some(), "seed {seed}: {story:#?}");
    }
}

/// Answers take two seconds on either side, and failures none: at the beginning of a share all that has ended has failed.
fn slow_answers(harm: Harm, ending: Ending) -> Scenario {
    Scenario { takes_ms: 2_000, latency_ms: 5_000, ..in_front(harm, ending) }
}

#[test]
fn quick_failures_before_slow_answers_are_no_outage() {
    // As blue always did.
    let harm = Harm::Ongoing { part: 0.01, before_ms: 2 * MINUTE_MS };
    for (seed, story) in told(&slow_answers(harm, Ending::NoRevert)).iter().enumerate() {
        assert!(story.shields.iter().all(|(_, state)| state == "open"), "seed {seed}: {story:#?}");
        assert_eq!(story.verdict_ms("suspect"), None, "seed {seed}: {story:#?}");
    }
}

/// What counting requests in flight as good costs: with answers of two seconds two hundred of them dilute what has failed.
#[test]
fn quick_failures_before_slow_answers_are_found_all_the_same() {
    check(&slow_answers(Harm::Errors { part: 1.0, from_ms: 0 }, Ending::Revert), 40, 350, 1_600);
    check(&slow_answers(Harm::Errors { part: 0.2, from_ms: 0 }, Ending::Revert), 60, 4_000, 12_000);
    check(&slow_answers(Harm::Errors { part: 0.2, from_ms: 20_000 }, Ending::Revert), 40, 1_500, 12_000);
}

#[test]
fn three_rules_are_broken_at_once() {
    let harm = Harm::Mixed { failed: 0.2, slow: 0.2, from_ms: 20_000, latency_ms: 900 };
    check(&in_front(harm, Ending::Revert), 30, 850, 6_000);
}
