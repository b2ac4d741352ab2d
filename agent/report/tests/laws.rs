//! What must hold for every report, before any example.

mod common;

use blueback_report::buckets::{BUCKETS, LATENCY_US_MAX, crossing_us, highest_us, index_of, lowest_us};
use blueback_report::{Counts, Dependency, SeriesKey, Totals};
use hdrhistogram::Histogram;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{counts, dependency, report, route_command, totals};

fn merged<'a>(reports: impl IntoIterator<Item = &'a Totals>) -> Totals {
    let mut state = Totals::default();
    for report in reports {
        state.merge(report);
    }
    state
}

/// States of one agent: each contains the one before it.
fn history(steps: &[Totals]) -> Vec<Totals> {
    let mut state = Totals::default();
    let mut states = Vec::new();
    for step in steps {
        // Growth is added, so that counts really rise from state to state.
        for (key, latency) in &step.series {
            let entry = state.series.entry(key.clone()).or_default();
            entry.last_byte.add(&latency.last_byte);
            entry.first_byte.add(&latency.first_byte);
        }
        for (key, overdue) in &step.overdue {
            let entry = state.overdue.entry(key.clone()).or_default();
            entry.crossed += overdue.crossed;
            entry.settled += overdue.settled;
        }
        for (key, admitted) in &step.admitted {
            *state.admitted.entry(key.clone()).or_default() += admitted;
        }
        states.push(state.clone());
    }
    states
}

fn merged_dependencies<'a>(views: impl IntoIterator<Item = &'a Dependency>) -> Dependency {
    let mut state = Dependency::new("database".into());
    for view in views {
        state.merge(view);
    }
    state
}

proptest! {
    #[test]
    fn mirroring_twice_changes_nothing(report in report(), route in route_command()) {
        prop_assert_eq!(report.clone().mirrored().mirrored(), report);
        prop_assert_eq!(route.clone().mirrored().mirrored(), route);
    }

    #[test]
    fn mirroring_exchanges_the_slots_and_nothing_else(report in report()) {
        let mirrored = report.clone().mirrored();
        prop_assert_eq!(mirrored.totals.ended(), report.totals.ended());
        for (key, latency) in &report.totals.series {
            let other = SeriesKey { slot: key.slot.other(), ..key.clone() };
            prop_assert_eq!(mirrored.totals.series.get(&other), Some(latency));
        }
        prop_assert_eq!((mirrored.dependencies, mirrored.resources), (report.dependencies, report.resources));
    }

    #[test]
    fn the_mirror_of_a_merge_is_the_merge_of_the_mirrors(a in totals(), b in totals()) {
        let mut mirrored = merged([&a.clone().mirrored()]);
        let growth = mirrored.merge(&b.clone().mirrored());
        let mut plain = merged([&a]);
        prop_assert_eq!(plain.merge(&b).mirrored(), growth);
        prop_assert_eq!(plain.mirrored(), mirrored);
    }

    #[test]
    fn dependencies_merge_in_any_order_and_any_number_of_times(a in dependency(), b in dependency(), c in dependency()) {
        let all = merged_dependencies([&a, &b, &c]);
        prop_assert_eq!(&merged_dependencies([&c, &a, &b, &a]), &all);
        let mut left = merged_dependencies([&a]);
        left.merge(&merged_dependencies([&b, &c]));
        prop_assert_eq!(&left, &all);
    }

    #[test]
    fn what_changed_of_a_dependency_is_enough(a in dependency(), b in dependency()) {
        let (base, now) = (merged_dependencies([&a]), merged_dependencies([&a, &b]));
        let mut state = base.clone();
        state.merge(&now.since(&base));
        prop_assert_eq!(state, now);
    }

    #[test]
    fn merging_is_commutative(a in totals(), b in totals()) {
        prop_assert_eq!(merged([&a, &b]), merged([&b, &a]));
    }

    #[test]
    fn merging_is_associative(a in totals(), b in totals(), c in totals()) {
        let left = merged([&merged([&a, &b]), &c]);
        let right = merged([&a, &merged([&b, &c])]);
        prop_assert_eq!(left, right);
    }

    #[test]
    fn merging_twice_is_merging_once(a in totals(), b in totals()) {
        let once = merged([&a, &b]);
        let mut twice = once.clone();
        prop_assert!(twice.merge(&b).is_empty());
        prop_assert!(twice.merge(&a).is_empty());
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn nothing_merges_to_nothing_new(a in totals()) {
        let mut state = merged([&a]);
        let before = state.clone();
        prop_assert!(state.merge(&Totals::default()).is_empty());
        prop_assert_eq!(state, before);
    }

    /// However reports are lost, repeated and reordered: once the last one is in, the evidence is the same.
    #[test]
    fn delivery_of_the_last_report_is_enough(steps in vec(totals(), 1..6), order in vec(0..6_usize, 0..12)) {
        let states = history(&steps);
        let last = states.last().expect("there is at least one step");
        let faultless = merged(&states);
        let mut shuffled = Totals::default();
        let mut ended = 0;
        for report in order.iter().filter_map(|&index| states.get(index)).chain([last]) {
            ended += shuffled.merge(report).ended();
        }
        prop_assert_eq!(&shuffled, &faultless);
        prop_assert_eq!(ended, faultless.ended(), "growths add up to the whole, whatever the order");
    }

    /// Sending only what changed since an acknowledged report says as much as sending everything.
    #[test]
    fn what_changed_since_is_enough(steps in vec(totals(), 1..6), acknowledged in 0..6_usize) {
        let states = history(&steps);
        let base = states.get(acknowledged).cloned().unwrap_or_default();
        let last = states.last().expect("there is at least one step");
        let mut state = merged([&base]);
        state.merge(&last.since(&base));
        let mut whole = merged([&base]);
        whole.merge(last);
        prop_assert_eq!(state, whole);
    }

    #[test]
    fn a_bucket_holds_its_latency_within_one_percent(us in 0..=LATENCY_US_MAX) {
        let index = index_of(us);
        prop_assert!(index < BUCKETS);
        prop_assert!(lowest_us(index) <= us && us <= highest_us(index));
        prop_assert!((highest_us(index) - lowest_us(index)) as f64 <= 0.01 * us as f64);
    }

    /// hdrhistogram is the oracle of the layout.
    #[test]
    fn buckets_are_those_of_hdr(us in 1..=LATENCY_US_MAX) {
        let hdr = Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 2).expect("bounds that HDR accepts");
        prop_assert_eq!(lowest_us(index_of(us)), hdr.lowest_equivalent(us));
        prop_assert_eq!(highest_us(index_of(us)), hdr.highest_equivalent(us));
        prop_assert_eq!(hdr.distinct_values(), BUCKETS);
    }

    #[test]
    fn quantiles_are_within_one_percent(mut latencies in vec(1..10_000_000_u64, 1..300), per_mille in 1..=1000_usize) {
        let mut counts = Counts::default();
        for &us in &latencies {
            counts.record_n(us, 1);
        }
        latencies.sort_unstable();
        let rank = (latencies.len() * per_mille).div_ceil(1000).max(1);
        // The quantile as a float may be a hair above the rank it stands for; then the next latency is meant.
        let (exact, next) = (latencies[rank - 1] as f64, latencies[rank.min(latencies.len() - 1)] as f64);
        let estimate = counts.quantile_us(per_mille as f64 / 1000.0).expect("something was counted") as f64;
        let near = |exact: f64| (estimate - exact).abs() <= 0.01 * exact;
        prop_assert!(near(exact) || near(next), "p{per_mille}: {estimate} against {exact} or {next}");
    }

    /// A request in flight crosses a limit exactly when it would be counted over it, were it to end now.
    #[test]
    fn crossing_agrees_with_over(limit in 1..LATENCY_US_MAX, age in 0..LATENCY_US_MAX) {
        let mut counts = Counts::default();
        counts.record_n(age, 1);
        prop_assert_eq!(counts.over(limit) == 1, age > crossing_us(limit));
    }

    #[test]
    fn at_most_all_are_over(counts in counts(), limit in 0..LATENCY_US_MAX) {
        prop_assert!(counts.over(limit) <= counts.total());
        prop_assert!(counts.over(limit) <= counts.over(limit / 2));
    }
}

#[test]
fn exactly_the_limit_is_not_over_it() {
    for ms in [50, 100, 250, 500, 1_000, 30_000] {
        let mut counts = Counts::default();
        counts.record_n(ms * 1_000, 1);
        assert_eq!(counts.over(ms * 1_000), 0, "{ms} ms");
    }
}

#[test]
fn the_longest_latency_has_the_last_bucket() {
    assert_eq!(index_of(u64::MAX), index_of(LATENCY_US_MAX));
    assert!(index_of(u64::MAX) < BUCKETS);
}

#[test]
fn nothing_has_no_quantile() {
    assert_eq!(Counts::default().quantile_us(0.5), None);
}

#[test]
fn counts_beyond_all_reason_have_a_quantile() {
    let counts = Counts::from_sorted((0..BUCKETS).map(|index| (index, u64::MAX)), u64::MAX).expect("indices rise");
    assert!(counts.quantile_us(0.5).is_some());
    assert_eq!(counts.total(), u64::MAX);
}
