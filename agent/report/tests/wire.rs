//! The door from the wire: what goes out comes back, and nothing that comes in does harm.

mod common;

use std::sync::Arc;

use blueback_report::wire::proto;
use blueback_report::{
    DEPENDENCIES_MAX, Hello, Introduction, Invalid, Limit, Measure, PEERS_MAX, Report, Role, Route, SERIES_MAX, Slot,
    TargetState, Unassigned, Watch, Welcome,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::common::{report, route_command, slot};

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
        for dependency in &mut report.dependencies {
            if dependency.latency.is_empty() {
                dependency.latency.sum_us = 0;
            }
        }
        prop_assert_eq!(through_the_wire(&report), Ok(report));
    }

    #[test]
    fn a_route_survives_the_wire(route in route_command()) {
        prop_assert_eq!(Route::try_from(proto::Route::from(&route)), Ok(route));
    }

    /// An agent that does not know its slot and a gate that assigns it speak of the same thing.
    #[test]
    fn an_unassigned_hello_is_what_it_would_be_with_the_slot_known(route in route_command(), own in slot()) {
        let known = hello(Role::Sidecar(own), route);
        let home_is_blue = if own == Slot::Blue { known.clone() } else { known.clone().mirrored() };
        let unassigned = Unassigned::new(home_is_blue);
        let wire = proto::Hello::from(&unassigned);
        prop_assert_eq!(Hello::try_from(wire.clone()), Err(Invalid::Unassigned));
        let Ok(Introduction::Unassigned(received)) = Introduction::try_from(wire) else {
            return Err(TestCaseError::fail("it is a sidecar without a slot"));
        };
        prop_assert_eq!((received.agent(), received.service()), (&known.agent, &known.service));
        prop_assert_eq!(received.assigned(own), known);
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

fn hello(role: Role, route: Route) -> Hello {
    Hello {
        agent: Arc::from("pod-1/0123456789abcdef"),
        service: Arc::from("shop"),
        role,
        targets: vec![TargetState { slot: Slot::Blue, pod: Arc::from("pod-1"), ready: false }],
        route,
        version: "0.1.0".into(),
    }
}

#[test]
fn greetings_and_watches_survive_the_wire() {
    let watch = Watch {
        cadence_ms: 100,
        limits: vec![Limit { measure: Measure::FirstByte, us: 500_000 }],
        routes: vec![Arc::from("/checkout")],
    };
    assert_eq!(Watch::try_from(proto::Watch::from(&watch)), Ok(watch));
    for role in [Role::Front, Role::Sidecar(Slot::Blue), Role::Sidecar(Slot::Green)] {
        let hello = hello(role, Route::all_to(Slot::Green, 3));
        assert_eq!(Hello::try_from(proto::Hello::from(&hello)), Ok(hello));
    }
    for slot in [None, Some(Slot::Blue), Some(Slot::Green)] {
        let welcome = Welcome { merged_ms: 7, slot };
        assert_eq!(Welcome::try_from(proto::Welcome::from(welcome)), Ok(welcome));
    }
    assert!(Welcome::try_from(proto::Welcome { merged_ms: 0, slot: 9 }).is_err());
}

#[test]
fn what_is_wrong_with_a_route_or_a_gauge_is_named() {
    let route =
        |peer: proto::Peer, count| Route::try_from(proto::Route { peers: vec![peer; count], ..Default::default() });
    let peer = proto::Peer { slot: proto::Slot::Green as i32, pod: "pod-1".into(), address: "10.0.0.1:15080".into() };
    assert!(route(peer.clone(), PEERS_MAX).is_ok());
    let report = |dependencies, cpu_ratio| {
        let resources = Some(proto::Resources { cpu_ratio, memory_ratio: None });
        Report::try_from(proto::Report { dependencies, resources, ..Default::default() })
    };
    let dependency = proto::Dependency { name: "database".into(), ..Default::default() };
    assert!(report(vec![dependency.clone(); DEPENDENCIES_MAX], Some(1.5)).is_ok());
    let cases = [
        (route(peer.clone(), PEERS_MAX + 1).err(), "route.peers: 65 entries, at most 64 are accepted"),
        (
            route(proto::Peer { address: "shop:80".into(), ..peer.clone() }, 1).err(),
            "route.peer.address: \"shop:80\" is not IP:PORT",
        ),
        (
            route(proto::Peer { pod: String::new(), ..peer }, 1).err(),
            "route.peer.pod: a name of 0 bytes, 1 to 253 are accepted",
        ),
        (
            report(vec![dependency.clone(); DEPENDENCIES_MAX + 1], None).err(),
            "dependencies: 17 entries, at most 16 are accepted",
        ),
        (
            report(vec![proto::Dependency { failures: 1, ..dependency }], None).err(),
            "dependency.failures: 1 is more than the 0 it is a part of",
        ),
        (report(Vec::new(), Some(-0.1)).err(), "resources.cpu_ratio: -0.1 is not a ratio, 0 or more is accepted"),
        (report(Vec::new(), Some(f64::NAN)).err(), "resources.cpu_ratio: NaN is not a ratio, 0 or more is accepted"),
    ];
    for (error, expected) in cases {
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(expected));
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
