//! Whole releases against the published table.

use super::*;
use crate::power::figures::quantile_of;

fn times(scenario: &Scenario, runs: u64, of: fn(&Told) -> Option<u64>) -> Vec<u64> {
    let since = scenario.harm.map_or(0, |(_, from_ms)| from_ms);
    let told = (0..runs).map(|run| tell(scenario, Random::of(11, &[run])));
    let mut times: Vec<u64> = told.filter_map(|told| of(&told)).map(|at| at - since).collect();
    times.sort_unstable();
    times
}

fn outage(rps: f64, from_ms: u64) -> Scenario {
    let until_ms = from_ms + 60_000;
    Scenario { harm: Some((Harm::Errors(1.0), from_ms)), ..Scenario::healthy(Rules::default_rules(), rps, until_ms) }
}

#[test]
fn a_total_outage_at_the_switch_is_reverted_when_the_published_table_says() {
    let scenario = outage(100.0, 0);
    let reverted = times(&scenario, 21, |told| told.revert_ms);
    let median = quantile_of(&reverted, 21, 0.5).expect("an outage is always reverted");
    assert!((1_250..=1_500).contains(&median), "{reverted:?}");
    let shielded = times(&scenario, 21, |told| told.shield_ms);
    assert!(quantile_of(&shielded, 21, 0.5).is_some_and(|at| at <= 300), "{shielded:?}");
}

#[test]
fn an_outage_two_minutes_in_takes_longer_to_prove() {
    let reverted = times(&outage(100.0, 120_000), 5, |told| told.revert_ms);
    let median = quantile_of(&reverted, 5, 0.5).expect("an outage is always reverted");
    assert!((3_000..=4_750).contains(&median), "{reverted:?}");
}

#[test]
fn a_fault_of_both_sides_is_no_reason_to_revert() {
    let scenario = Scenario { is_shared: true, ..outage(100.0, 0) };
    for run in 0..5 {
        let told = tell(&scenario, Random::of(3, &[run]));
        assert_eq!((told.revert_ms, told.shared_ms.is_some()), (None, true), "{told:?}");
    }
}

#[test]
fn a_healthy_release_passes_and_is_left_alone() {
    let scenario = Scenario {
        health: Health { errors: 0.000_1, p50_ms: 10.0, p99_ms: 60.0, ..Health::default() },
        ..Scenario::healthy(Rules::default_rules(), 200.0, 900_000)
    };
    let mut run = Run::new(&scenario, Random::of(5, &[]));
    run.go(&scenario, scenario.until_ms, Until::Decided);
    assert_eq!((run.told().revert_ms, run.told().shields), (None, 0));
    assert!(run.told().pass_ms.is_some_and(|at| at >= 300_000), "{:?}", run.judge().verdict());
}

#[test]
fn slow_requests_are_seen_when_they_end() {
    let scenario = Scenario { harm: Some((Harm::Slow(1.0), 0)), ..outage(100.0, 0) };
    let told = tell(&scenario, Random::of(7, &[]));
    assert!(told.shield_ms.is_some_and(|at| (500..1_500).contains(&at)), "{told:?}");
    assert!(told.revert_ms.is_some(), "{told:?}");
}

#[test]
fn tails_are_those_of_the_normal_distribution() {
    for (z, tail) in
        [(0.0, 0.5), (1.0, 0.158_655_253_9), (2.326_347_874, 0.01), (4.0, 3.167_124_2e-5), (-1.0, 0.841_344_746_1)]
    {
        assert!((upper_tail(z) - tail).abs() < 1e-9, "{z}: {}", upper_tail(z));
    }
    let health = Health::default();
    assert!((health.above(120.0) - 0.01).abs() < 1e-9 && (health.above(20.0) - 0.5).abs() < 1e-9);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let scenario = Scenario { harm: Some((Harm::Errors(0.2), 5_000)), ..outage(50.0, 5_000) };
    assert_eq!(tell(&scenario, Random::of(9, &[1])), tell(&scenario, Random::of(9, &[1])));
}
