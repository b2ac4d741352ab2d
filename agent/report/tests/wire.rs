//! The door from the wire: what goes out comes back, and nothing that comes in does harm.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::wire::proto;
use blueback_report::{
    AdmissionKey, Health, Hello, Invalid, Limit, Measure, PodShare, Report, Role, Route, SERIES_MAX, Slot, TargetState,
    Watch,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::common::totals;

fn report() -> impl Strategy<Value = Report> {
    (totals(), any::<u64>(), any::<bool>(), 0..1_000_u64).prop_map(|(totals, at_ms, replayed, unrecorded)| {
        let in_flight: BTreeMap<AdmissionKey, u64> = totals
            .admitted
            .iter()
            .map(|(key, &admitted)| (key.clone(), admitted / 2))
            .filter(|&(_, in_flight)| in_flight > 0)
            .collect();
        Report {
            at_ms,
            epoch: 7,
            replayed,
            totals,
            in_flight,
            targets: vec![TargetState { slot: Slot::Green, pod: Arc::from("pod-1"), ready: true }],
            health: Health { unrecorded, ..Health::default() },
        }
    })
}

fn through_the_wire(report: &Report) -> Result<Report, Invalid> {
    let bytes = proto::Report::from(report).encode_to_vec();
    proto::Report::decode(bytes.as_slice()).expect("what was encoded decodes").try_into()
}

proptest! {
    #[test]
    fn a_report_survives_the_wire(mut report in report()) {
        // A series without any count is not sent: it says nothing.
        report.totals.series.retain(|_, latency| !latency.is_empty());
        for latency in report.totals.series.values_mut() {
            for counts in [&mut latency.last_byte, &mut latency.first_byte] {
                if counts.is_empty() {
                    counts.sum_us = 0;
                }
            }
        }
        prop_assert_eq!(through_the_wire(&report), Ok(report));
    }

    /// Total on hostile bytes: a value or an error, never a panic.
    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(message) = proto::FromAgent::decode(bytes.as_slice()) {
            match message.message {
                Some(proto::from_agent::Message::Hello(hello)) => drop(Hello::try_from(hello)),
                Some(proto::from_agent::Message::Report(report)) => drop(Report::try_from(report)),
                None => (),
            }
        }
    }

    /// The same for messages that are almost right, which random bytes hardly ever are.
    #[test]
    fn a_damaged_report_gives_a_value_or_an_error(report in report(), damage in vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut bytes = proto::Report::from(&report).encode_to_vec();
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
        }
        if let Ok(damaged) = proto::Report::decode(bytes.as_slice()) {
            drop(Report::try_from(damaged));
        }
    }
}

fn series() -> proto::Series {
    proto::Series {
        slot: proto::Slot::Green as i32,
        pod: "pod-1".into(),
        protocol: proto::Protocol::Http1 as i32,
        age: proto::Age::Current as i32,
        outcome: proto::Outcome::Ok as i32,
        last_byte: Some(proto::Histogram { gap: vec![1], count: vec![1], sum_us: 1 }),
        ..Default::default()
    }
}

#[test]
fn what_is_wrong_is_named() {
    let histogram =
        |gap: &[u32], count: &[u64]| Some(proto::Histogram { gap: gap.to_vec(), count: count.to_vec(), sum_us: 0 });
    let cases: [(proto::Report, &str); 9] = [
        (
            proto::Report { series: vec![series(); SERIES_MAX + 1], ..Default::default() },
            "series: 2049 entries, at most 2048 are accepted",
        ),
        (
            proto::Report { series: vec![proto::Series { slot: 9, ..series() }], ..Default::default() },
            "slot: 9 is not one of the numbers that report.proto gives it",
        ),
        (
            proto::Report { series: vec![proto::Series { outcome: 0, ..series() }], ..Default::default() },
            "outcome: 0 is not one of the numbers that report.proto gives it",
        ),
        (
            proto::Report { series: vec![proto::Series { pod: String::new(), ..series() }], ..Default::default() },
            "series.pod: a name of 0 bytes, 1 to 253 are accepted",
        ),
        (
            proto::Report { series: vec![proto::Series { route: "x".repeat(254), ..series() }], ..Default::default() },
            "series.route: a name of 254 bytes, 0 to 253 are accepted",
        ),
        (
            proto::Report {
                series: vec![proto::Series { last_byte: histogram(&[1, 2], &[1]), ..series() }],
                ..Default::default()
            },
            "last_byte: 2 gaps and 1 counts that name no rising buckets below 3328",
        ),
        (
            proto::Report {
                series: vec![proto::Series { last_byte: histogram(&[1, 0], &[1, 1]), ..series() }],
                ..Default::default()
            },
            "last_byte: 2 gaps and 2 counts that name no rising buckets below 3328",
        ),
        (
            proto::Report {
                series: vec![proto::Series { first_byte: histogram(&[u32::MAX], &[1]), ..series() }],
                ..Default::default()
            },
            "first_byte: 1 gaps and 1 counts that name no rising buckets below 3328",
        ),
        (
            proto::Report {
                admissions: vec![proto::Admission {
                    slot: proto::Slot::Blue as i32,
                    pod: "pod-1".into(),
                    admitted: 1,
                    in_flight: 2,
                    ..Default::default()
                }],
                ..Default::default()
            },
            "admission.in_flight: 2 is more than the 1 it is a part of",
        ),
    ];
    for (wire, expected) in cases {
        let error = Report::try_from(wire).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn commands_survive_the_wire() {
    let route = Route {
        epoch: 3,
        green_share: 0.25,
        pods: vec![PodShare { slot: Slot::Green, pod: Arc::from("pod-1"), share: 0.1 }],
        let_go_ms: Some(0),
    };
    assert_eq!(Route::try_from(proto::Route::from(&route)), Ok(route.clone()));
    let watch = Watch {
        cadence_ms: 100,
        limits: vec![Limit { measure: Measure::FirstByte, us: 500_000 }],
        routes: vec![Arc::from("/checkout")],
    };
    assert_eq!(Watch::try_from(proto::Watch::from(&watch)), Ok(watch));
    for role in [Role::Front, Role::Sidecar(Slot::Green)] {
        let hello = Hello {
            agent: Arc::from("pod-1/0123456789abcdef"),
            service: Arc::from("shop"),
            role,
            targets: vec![TargetState { slot: Slot::Blue, pod: Arc::from("pod-1"), ready: false }],
            route: route.clone(),
            version: "0.1.0".into(),
        };
        assert_eq!(Hello::try_from(proto::Hello::from(&hello)), Ok(hello));
    }
}

#[test]
fn a_share_is_between_zero_and_one() {
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let wire = proto::Route { green_share: wrong, ..Default::default() };
        assert!(matches!(Route::try_from(wire), Err(Invalid::Share { .. })), "{wrong}");
    }
}

/// A request crosses a limit under one epoch and ends under the next one: its age has settled more than it has crossed.
#[test]
fn a_hang_that_ends_after_the_share_fell_is_accepted() {
    let overdue = |age: proto::Age, crossed, settled| proto::Overdue {
        slot: proto::Slot::Green as i32,
        pod: "pod-1".into(),
        age: age as i32,
        limit: Some(proto::Limit { measure: proto::Measure::LastByte as i32, us: 500_000 }),
        crossed,
        settled,
        ..Default::default()
    };
    let wire = proto::Report {
        overdue: vec![overdue(proto::Age::Current, 1, 0), overdue(proto::Age::Previous, 0, 1)],
        ..Default::default()
    };
    let report = Report::try_from(wire).expect("it is what agents send");
    assert_eq!(report.totals.overdue.len(), 2);
}
