//! Answers that go on for long, as streams of gRPC and of server-sent events do.
//!
//! A stream in flight is not diverted: only new ones are, and what was admitted before a share fell enters no test. A stream is
//! over the limit of a latency rule on the last byte while it lives, on blue as on green; so such a release is held
//! and told, and not reverted; a rule about the first byte is the one for such routes. A WebSocket is counted when it is upgraded,
//! and what flows over it afterwards is nobody's to judge: there is nothing to simulate.

use crate::scenario::{Ending, Scenario};
use crate::traffic::Harm;
use crate::world::{self, Story};

const SEEDS: u64 = 9;

fn told(harm: Harm, ending: Ending, streams: f64) -> Vec<Story> {
    let calm = Scenario::calm("streams", harm, ending, 100.0);
    let scenario = Scenario { streams, before_ms: 120_000, ..calm };
    let stories: Vec<Story> = (0..SEEDS).map(|seed| world::run(&scenario, seed)).collect();
    for (seed, story) in stories.iter().enumerate() {
        assert!(story.broken.is_empty(), "seed {seed}: {:?}", story.broken);
    }
    stories
}

#[test]
fn streams_that_blue_had_as_well_revert_nothing() {
    for (seed, story) in told(Harm::None, Ending::NoRevert, 0.05).iter().enumerate() {
        assert_eq!(story.verdict_ms("revert"), None, "seed {seed}: {story:#?}");
        assert_eq!(story.verdict, "hold", "seed {seed}: {story:#?}");
        assert!(story.text.contains("blue had the same fault"), "seed {seed}: {}", story.text);
    }
}

#[test]
fn streams_below_the_limit_of_the_rule_pass() {
    for (seed, story) in told(Harm::None, Ending::Pass, 0.002).iter().enumerate() {
        assert_eq!(story.verdict, "pass", "seed {seed}: {story:#?}");
    }
}

#[test]
fn an_outage_among_streams_is_reverted_in_time() {
    let mut proven = Vec::new();
    let from_ms = 20_000;
    for (seed, story) in told(Harm::Errors { part: 1.0, from_ms }, Ending::Revert, 0.005).iter().enumerate() {
        let revert_ms = story.verdict_ms("revert").unwrap_or_else(|| panic!("seed {seed}: {story:#?}"));
        assert!(story.rule.starts_with("error rate"), "seed {seed}: {}", story.rule);
        proven.push(revert_ms - from_ms);
    }
    proven.sort_unstable();
    assert!(proven[proven.len() / 2] <= 4_500, "{proven:?}");
}
