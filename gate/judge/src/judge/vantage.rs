//! Releases seen by sidecars alone: the platform gives green all the traffic, and green's agents divert what the judge does not
//! allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{AdmissionKey, Age, Outcome, Protocol, Role, SeriesKey, Slot, Totals};

use super::stories::name;
use crate::{Judge, Observation, PodState, Rules, ShieldState, Spec, Start};

/// One pod each, so that pods stay out of it.
struct Scene {
    rps: u64,
    /// How this slot answers at this time.
    answer: fn(Slot, u64) -> Outcome,
    /// Agents stand beside blue's pods, too.
    blue_agents: bool,
    /// What is diverted arrives.
    delivers: fn(u64) -> bool,
    until_ms: u64,
}

impl Default for Scene {
    fn default() -> Self {
        Self { rps: 100, answer: |_, _| Outcome::Ok, blue_agents: true, delivers: |_| true, until_ms: 10_000 }
    }
}

struct Played {
    judge: Judge,
    changes: Vec<(u64, String)>,
    /// Requests that blue answered.
    blue: u64,
    /// The smallest part that green kept.
    least: f64,
}

impl Played {
    fn at(&self, what: &str) -> Option<u64> {
        self.changes.iter().find(|(_, change)| change.contains(what)).map(|&(at, _)| at)
    }
}

fn pods() -> Vec<PodState> {
    [Slot::Green, Slot::Blue].map(|slot| PodState { slot, pod: name(slot, 0), ready: true }).to_vec()
}

fn count(totals: &mut Totals, slot: Slot, epoch: u64, outcome: Outcome, ended: u64) {
    if ended == 0 {
        return;
    }
    let key = SeriesKey {
        slot,
        pod: name(slot, 0),
        route: Arc::from(""),
        protocol: Protocol::Http1,
        age: Age::Current,
        outcome,
    };
    totals.series.entry(key).or_default().last_byte.record_n(3_000, ended);
    *totals.admitted.entry(AdmissionKey { epoch, slot, pod: name(slot, 0), route: Arc::from("") }).or_default() +=
        ended;
}

fn play(scene: &Scene) -> Played {
    let history = (0..30).map(|_| {
        let mut second = Totals::default();
        count(&mut second, Slot::Blue, 1, Outcome::Ok, scene.rps);
        second
    });
    let start = Start { candidate: Slot::Green, target_share: 1.0, pods: pods(), history: history.collect::<Vec<_>>() };
    let mut judge = Judge::new(Rules::parse(&Spec::default()).expect("the defaults are sound"), start);
    judge.observe(0, Observation::Share { epoch: 2, candidate_share: 1.0 });
    let mut played = Played { judge, changes: Vec::new(), blue: 0, least: 1.0 };
    let (mut epoch, mut share, mut carry) = (2, 1.0_f64, 0.0);
    for now_ms in (100..=scene.until_ms).step_by(100) {
        let requests = scene.rps / 10;
        carry += requests as f64 * (1.0 - share);
        let diverted = (carry as u64).min(requests);
        carry -= diverted as f64;
        let arrived = if (scene.delivers)(now_ms) { diverted } else { 0 };
        let mut green = Totals::default();
        count(&mut green, Slot::Green, epoch, (scene.answer)(Slot::Green, now_ms), requests - arrived);
        count(&mut green, Slot::Blue, epoch, (scene.answer)(Slot::Blue, now_ms), arrived);
        played.blue += arrived;
        let mut blue = Totals::default();
        count(&mut blue, Slot::Blue, epoch, (scene.answer)(Slot::Blue, now_ms), arrived);
        let nothing = BTreeMap::new();
        let report = |judge: &mut Judge, agent, slot, totals: &Totals| {
            let role = Role::Sidecar(slot);
            judge.observe(now_ms, Observation::Growth { agent, role, epoch, totals, in_flight: &nothing });
        };
        report(&mut played.judge, 1, Slot::Green, &green);
        if scene.blue_agents {
            report(&mut played.judge, 2, Slot::Blue, &blue);
        }
        if diverted > 0 {
            let undelivered = diverted - arrived;
            played.judge.observe(now_ms, Observation::Diverted { requests: diverted, undelivered });
        }
        played.judge.deliberate(now_ms);
        let change = format!("{} {}", played.judge.verdict().word(), played.judge.shield().as_str());
        if played.changes.last().is_none_or(|(_, last)| *last != change) {
            played.changes.push((now_ms, change));
        }
        let allowed = played.judge.allowance().all;
        played.least = played.least.min(allowed);
        if (allowed - share).abs() > 1e-9 {
            (share, epoch) = (allowed, epoch + 1);
            played.judge.observe(now_ms, Observation::Share { epoch, candidate_share: share });
        }
    }
    played
}

fn green_fails(slot: Slot, _: u64) -> Outcome {
    if slot == Slot::Green { Outcome::ServerError } else { Outcome::Ok }
}

#[test]
fn a_bad_green_is_reverted_on_what_its_sidecars_see() {
    for blue_agents in [true, false] {
        let played = play(&Scene { answer: green_fails, blue_agents, ..Scene::default() });
        assert!(played.at("shielded").is_some_and(|at| at <= 300), "{:?}", played.changes);
        assert!(played.at("revert").is_some_and(|at| at <= 1_700), "{blue_agents}: {:?}", played.changes);
        assert_eq!(played.judge.allowance().all, 0.0);
    }
}

#[test]
fn what_is_diverted_counts_once_whoever_tells() {
    for blue_agents in [true, false] {
        let answer = |slot: Slot, now_ms: u64| {
            if slot == Slot::Green && now_ms <= 400 { Outcome::ServerError } else { Outcome::Ok }
        };
        let played = play(&Scene { answer, blue_agents, until_ms: 4_000, ..Scene::default() });
        assert_eq!(played.at("revert"), None, "{:?}", played.changes);
        let seen = played.judge.criteria()[0].blue.n;
        // The first report of a blue agent says what was before.
        assert!(played.blue > 100 && seen <= played.blue && seen + 20 >= played.blue, "{seen} of {}", played.blue);
    }
}

#[test]
fn an_outage_of_both_is_seen_through_what_is_diverted() {
    for blue_agents in [true, false] {
        let answer = |_, now_ms: u64| if now_ms > 2_000 { Outcome::ServerError } else { Outcome::Ok };
        let played = play(&Scene { answer, blue_agents, until_ms: 30_000, ..Scene::default() });
        assert!(played.at("hold shared").is_some_and(|at| at < 4_000), "{blue_agents}: {:?}", played.changes);
        assert_eq!(played.at("revert"), None, "{blue_agents}: {:?}", played.changes);
    }
}

#[test]
fn a_healthy_switch_passes() {
    let played = play(&Scene { until_ms: 301_000, ..Scene::default() });
    assert_eq!(
        played.changes.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>(),
        ["watching open", "pass open"]
    );
    assert_eq!(played.least, 1.0);
}

#[test]
fn a_shield_that_does_not_arrive_is_lifted() {
    // A fifth of green fails: too little to be proven at once.
    let answer = |slot: Slot, now_ms: u64| {
        if slot == Slot::Green && (now_ms / 100).is_multiple_of(5) { Outcome::ServerError } else { Outcome::Ok }
    };
    let played = play(&Scene { answer, delivers: |_| false, until_ms: 5_000, ..Scene::default() });
    let raised = played.at("shielded").expect("it is raised");
    assert!(played.least < 0.3, "{}", played.least);
    let text = played.judge.verdict().to_string();
    assert!(played.judge.allowance().all == 1.0 || played.judge.shield() == ShieldState::Reverted, "{text}");
    assert!(text.contains("did not reach blue") || played.at("revert").is_some(), "{raised}: {text}");
}
