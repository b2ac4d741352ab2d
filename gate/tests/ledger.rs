//! Laws of the ledger.

use blueback_gate::Timestamp;
use blueback_gate::figures::Dropped;
use blueback_gate::ledger::{CLOCK_MS, Counted, GONE_KEPT_MS, Ledger, PLACELESS_MS_MAX, add};
use blueback_report::{Outcome, Report, Slot, Totals};
use proptest::prelude::*;

use crate::world::{BEGIN_MS, Front, targets};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(BEGIN_MS + ms)
}

/// An agent's counts at each tenth of a second, the first one empty.
fn reports(counts: &[(bool, bool, u64)]) -> Vec<Report> {
    let mut front = Front::new("front/1", 1, Slot::Blue, at(0));
    let mut reports = vec![Report { targets: targets(true), ..Report::default() }];
    for (place, &(green, fails, count)) in counts.iter().enumerate() {
        let slot = if green { Slot::Green } else { Slot::Blue };
        front.count(slot, if fails { Outcome::ServerError } else { Outcome::Ok }, count);
        reports.push(front.report(at((place as u64 + 1) * 100)));
    }
    reports
}

fn connected() -> Ledger {
    let mut ledger = Ledger::default();
    let front = Front::new("front/1", 1, Slot::Blue, at(0));
    ledger.hello(1, &front.hello(), at(0)).expect("there is room");
    ledger
}

fn growth(ledger: &mut Ledger, reports: impl IntoIterator<Item = (Report, Timestamp)>) -> Totals {
    let (mut merged, mut sum) = (Vec::new(), Totals::default());
    for (report, now) in reports {
        ledger.merge(1, report, now, &mut merged).expect("the report is sound");
    }
    for report in merged {
        if let Counted::Growth(growth) = report.counts {
            add(&mut sum, &growth);
        }
    }
    sum
}

proptest! {
    #[test]
    fn any_order_and_repetition_adds_up_to_the_same(
        counts in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u64..50), 1..20),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let reports = reports(&counts);
        let in_order = growth(&mut connected(), reports.iter().cloned().map(|report| (report, at(3_000))));
        // The first one says what is known; then any of them in any order, and the last one at last.
        let mixed = order.iter().map(|index| index.get(&reports).clone());
        let sequence = [reports[0].clone()].into_iter().chain(mixed).chain(reports.last().cloned());
        let mixed = growth(&mut connected(), sequence.map(|report| (report, at(3_000))));
        prop_assert_eq!(in_order, mixed);
    }
}

#[test]
fn the_first_report_is_known_and_no_growth() {
    let reports = reports(&[(true, true, 1_000), (true, false, 5)]);
    let mut ledger = connected();
    let grown = growth(&mut ledger, reports[1..].iter().cloned().map(|report| (report, at(3_000))));
    assert_eq!(grown.ended(), 5);
    assert_eq!(ledger.by_connection(1).expect("it is connected").totals.ended(), 1_005);
}

#[test]
fn slices_of_the_ring_are_placed_at_their_own_time() {
    let mut ledger = connected();
    let mut merged = Vec::new();
    for report in reports(&[(true, false, 5), (true, false, 5)]) {
        let slice = Report { at_ms: report.at_ms * 10, replayed: true, ..report };
        ledger.merge(1, slice, at(5_000), &mut merged).expect("the slice is sound");
    }
    assert!(merged.is_empty(), "the agent's clock is not known yet");
    let live = Report { at_ms: 2_500, targets: targets(true), ..Report::default() };
    ledger.merge(1, live, at(5_000), &mut merged).expect("the report is sound");
    let placed: Vec<_> = merged.iter().map(|report| report.placed).collect();
    assert_eq!(placed, [at(2_500), at(3_500), at(4_500), at(5_000)]);
}

#[test]
fn slices_do_not_wait_for_ever() {
    let mut ledger = connected();
    let mut merged = Vec::new();
    for report in reports(&[(true, false, 5)]) {
        ledger.merge(1, Report { replayed: true, ..report }, at(0), &mut merged).expect("the slice is sound");
    }
    let mut late = Vec::new();
    ledger.tick(at(PLACELESS_MS_MAX - 1), &mut late);
    assert!(late.is_empty());
    ledger.tick(at(PLACELESS_MS_MAX), &mut late);
    assert_eq!(late.len(), 2);
}

#[test]
fn an_agent_that_is_gone_is_remembered_for_as_long_as_its_ring() {
    let mut ledger = connected();
    let all = reports(&[(true, false, 5)]);
    growth(&mut ledger, all.into_iter().map(|report| (report, at(100))));
    assert_eq!(ledger.gone(1, at(1_000)).as_deref(), Some("front/1"));
    ledger.tick(at(GONE_KEPT_MS + 999), &mut Vec::new());
    assert_eq!(ledger.get("front/1").map(|agent| agent.merged_ms), Some(100));
    ledger.tick(at(GONE_KEPT_MS + 1_000), &mut Vec::new());
    assert!(ledger.get("front/1").is_none());
}

#[test]
fn a_new_stream_establishes_the_clock_anew() {
    let mut ledger = connected();
    let mut merged = Vec::new();
    let live = |at_ms| Report { at_ms, targets: targets(true), ..Report::default() };
    ledger.merge(1, live(1_000), at(1_000), &mut merged).expect("the report is sound");
    let future = ledger.merge(1, live(9_000), at(1_100), &mut merged);
    assert_eq!(future, Err(Dropped::Future));
    // The gate's clock was set back meanwhile; a report on a new stream is as good as the first.
    let front = Front::new("front/1", 1, Slot::Blue, at(0));
    ledger.hello(2, &front.hello(), at(1_200)).expect("there is room");
    ledger.merge(2, live(9_000), at(1_300), &mut merged).expect("the report is sound");
}

/// A live report of this time that says nothing.
fn live(at_ms: u64) -> Report {
    Report { at_ms, targets: targets(true), ..Report::default() }
}

/// Where a slice of the ring of this time is placed, if it comes at `now`.
fn placed(ledger: &mut Ledger, connection: u64, at_ms: u64, now: Timestamp) -> Timestamp {
    let mut merged = Vec::new();
    let slice = Report { replayed: true, ..live(at_ms) };
    ledger.merge(connection, slice, now, &mut merged).expect("the slice is sound");
    merged.last().expect("its time is known").placed
}

#[test]
fn a_clock_that_was_set_forward_is_believed_at_its_second_report() {
    let mut ledger = connected();
    let mut merged = Vec::new();
    ledger.merge(1, live(1_000), at(1_000), &mut merged).expect("the report is sound");
    let mut told = |at_ms, now_ms| ledger.merge(1, live(at_ms), at(now_ms), &mut merged);
    assert_eq!(told(31_100, 1_100), Err(Dropped::Future));
    // One that arrives twice says nothing more, and one that is right says that the other was wrong.
    assert_eq!(told(31_100, 1_150), Err(Dropped::Future));
    assert_eq!(told(1_200, 1_200), Ok(()));
    assert_eq!(told(31_300, 1_300), Err(Dropped::Future));
    // Nor do two that contradict each other.
    assert_eq!(told(91_400, 1_400), Err(Dropped::Future));
    assert_eq!(told(91_500, 1_500), Ok(()));
    assert_eq!(told(91_600, 1_600), Ok(()));
    assert_eq!(placed(&mut ledger, 1, 91_300, at(1_700)), at(1_300));
}

#[test]
fn a_clock_that_was_set_back_is_followed() {
    let mut ledger = connected();
    let mut merged = Vec::new();
    ledger.merge(1, live(40_000), at(1_000), &mut merged).expect("the report is sound");
    // An agent's reports never go back in time: while its clock is behind, each is a millisecond after the last.
    let set_back = |now_ms: u64| (40_000 + now_ms / 100 - 10).max(now_ms + 9_000);
    for now_ms in (1_100..=1_000 + 2 * CLOCK_MS + 30_000).step_by(100) {
        ledger.merge(1, live(set_back(now_ms)), at(now_ms), &mut merged).expect("the report is sound");
    }
    let now_ms = 1_000 + 2 * CLOCK_MS + 30_000;
    assert_eq!(placed(&mut ledger, 1, now_ms + 8_800, at(now_ms)), at(now_ms - 200));
}

#[test]
fn a_slow_and_a_fast_clock_are_followed_for_hours() {
    // Five times what the kernel corrects at most (500 parts in a million).
    for drift in [-0.0025, 0.0025] {
        let mut ledger = connected();
        let mut merged = Vec::new();
        let clock = |now_ms: u64| (now_ms as f64 * (1.0 + drift)) as u64;
        for now_ms in (1_000..6 * 3_600_000).step_by(1_000) {
            ledger.merge(1, live(clock(now_ms)), at(now_ms), &mut merged).expect("the report is sound");
        }
        let now_ms = 6 * 3_600_000;
        let placed = placed(&mut ledger, 1, clock(now_ms - 5_000), at(now_ms)).unix_ms() - BEGIN_MS;
        assert!(placed.abs_diff(now_ms - 5_000) <= 200, "{drift}: {placed} for {}", now_ms - 5_000);
    }
}

#[test]
fn a_clock_that_was_set_forward_between_two_streams_loses_no_slice() {
    let mut ledger = connected();
    let mut merged = Vec::new();
    ledger.merge(1, live(1_000), at(1_000), &mut merged).expect("the report is sound");
    let front = Front::new("front/1", 1, Slot::Blue, at(0));
    ledger.hello(2, &front.hello(), at(2_000)).expect("there is room");
    merged.clear();
    let slice = Report { replayed: true, ..live(31_500) };
    ledger.merge(2, slice, at(2_000), &mut merged).expect("the slice is sound");
    assert!(merged.is_empty(), "the agent's clock is another one, and not known yet");
    ledger.merge(2, live(32_000), at(2_000), &mut merged).expect("the report is sound");
    let places: Vec<_> = merged.iter().map(|report| report.placed).collect();
    assert_eq!(places, [at(1_500), at(2_000)]);
}
