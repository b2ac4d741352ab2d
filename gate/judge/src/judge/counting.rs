//! What is counted, when, and once: the ways of counting that would destroy the bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{
    AdmissionKey, Age, Limit, Measure, Outcome, Overdue, OverdueKey, Protocol, Role, SeriesKey, Slot, Totals,
};

use super::stories::name;
use crate::Rules;
use crate::metric::{Cell, Metric};
use crate::tally::{Samples, Tally};

#[test]
fn a_request_that_crosses_and_settles_is_bad_once() {
    let overdue = |crossed, settled| Overdue { crossed, settled };
    let mut cell = Cell::default();
    cell.ended(true, 10, 2);
    cell.overdue(true, &overdue(5, 0));
    assert_eq!(cell.counts(), (17.0, 7.0), "two ended over the limit unseen, five cross");
    let mut cell = Cell::default();
    cell.ended(true, 10, 2);
    cell.overdue(true, &overdue(0, 2));
    assert_eq!(cell.counts(), (10.0, 0.0), "both were counted when they crossed");
    let mut cell = Cell::default();
    cell.ended(false, 4, 7);
    cell.ended(true, 1, 0);
    cell.overdue(true, &overdue(1, 7));
    assert_eq!(
        cell.counts(),
        (2.0, 1.0),
        "what crossed under a current share and ends under an older one takes nothing away"
    );
}

fn close(tally: &mut Tally, now_ms: u64) -> Samples {
    let mut samples = Samples::default();
    tally.block(now_ms, &mut samples);
    samples
}

/// One pod's growth: requests of an age that ended well or failed, and what was admitted under which epoch.
fn grown(ended: &[(Slot, Age, Outcome, u64)], admitted: &[(u64, Slot, u64)]) -> Totals {
    let mut totals = Totals::default();
    for &(slot, age, outcome, count) in ended {
        let key = SeriesKey { slot, pod: name(slot, 0), route: Arc::from(""), protocol: Protocol::Http1, age, outcome };
        totals.series.entry(key).or_default().last_byte.record_n(2_000, count);
    }
    for &(epoch, slot, count) in admitted {
        totals.admitted.insert(AdmissionKey { epoch, slot, pod: name(slot, 0), route: Arc::from("") }, count);
    }
    totals
}

#[test]
fn a_share_that_falls_in_a_block_is_counted_fairly() {
    let rules = Rules::default_rules();
    let metric = rules.iter().find_map(|(_, rule)| Metric::of(rule)).expect("the first rule is about errors");
    let mut tally = Tally::new(Slot::Green, 1.0, vec![metric]);
    let nothing = BTreeMap::new();
    let grow = |tally: &mut Tally, now_ms: u64, epoch: u64, totals: &Totals| {
        tally.grow(now_ms, 7, Role::Front, epoch, totals, &nothing);
    };
    let failed = Outcome::ServerError;
    tally.set_share(1, 1.0);
    grow(&mut tally, 100, 1, &grown(&[(Slot::Green, Age::Current, failed, 25)], &[(1, Slot::Green, 25)]));
    let block = close(&mut tally, 250);
    assert_eq!((block.green[0], block.withheld[0]), ((25.0, 25.0), 0.0));
    // The share falls to a tenth in mid-block: of those that went to blue, all would have gone to green.
    tally.set_share(2, 0.1);
    let ended = [(Slot::Green, Age::Current, failed, 2), (Slot::Green, Age::Previous, failed, 10)];
    let older = (Slot::Green, Age::Older, failed, 3);
    grow(&mut tally, 400, 2, &grown(&[ended[0], ended[1], older], &[(2, Slot::Blue, 9), (2, Slot::Green, 1)]));
    let block = close(&mut tally, 500);
    assert_eq!((block.green[0], block.withheld[0]), ((12.0, 12.0), 9.0));
    // From the next block on only what the new share admitted counts, and nothing is withheld any more.
    grow(&mut tally, 600, 2, &grown(&ended, &[(2, Slot::Blue, 9)]));
    let block = close(&mut tally, 750);
    assert_eq!((block.green[0], block.withheld[0]), ((2.0, 2.0), 0.0));
    // Everything is in the totals.
    assert_eq!(tally.green_all()[0].bad(), 25 + 15 + 12);
}

#[test]
fn requests_in_flight_of_a_young_share_count_as_good() {
    let rules = Rules::default_rules();
    let metrics: Vec<_> = rules.iter().filter_map(|(_, rule)| Metric::of(rule)).take(4).collect();
    let mut tally = Tally::new(Slot::Green, 1.0, metrics);
    let flying: BTreeMap<_, _> =
        [(AdmissionKey { epoch: 1, slot: Slot::Green, pod: name(Slot::Green, 0), route: Arc::from("") }, 40)].into();
    let mut totals = grown(&[(Slot::Green, Age::Current, Outcome::ServerError, 1)], &[]);
    let key = OverdueKey {
        slot: Slot::Green,
        pod: name(Slot::Green, 0),
        route: Arc::from(""),
        age: Age::Current,
        limit: Limit { measure: Measure::LastByte, us: 500_000 },
    };
    totals.overdue.insert(key, Overdue { crossed: 10, settled: 0 });
    tally.grow(100, 1, Role::Front, 1, &totals, &flying);
    let block = close(&mut tally, 250);
    assert_eq!(block.green[0], (41.0, 1.0));
    assert_eq!(block.green[3], (41.0, 10.0), "those that crossed are not good as well");
    assert_eq!(close(&mut tally, 11_000).green[0], (0.0, 0.0), "an old share needs no such help");
}
