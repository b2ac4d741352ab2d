//! Services whose traffic a platform splits, by snapshots alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_gate::api::types::Phase;
use blueback_gate::effect::{Effect, Job, ToAgent};
use blueback_gate::event::{Command, Event, Step};
use blueback_gate::platform::{Backend, Group, Pod, Snapshot};
use blueback_gate::{Gate, Settings, Timestamp};
use blueback_report::{Health, Hello, Report, Role, Route, Slot, TargetState};

const CART: &str = "shop/cart";

struct World {
    gate: Gate,
    now: Timestamp,
    /// Steps that an executor was asked for.
    jobs: Vec<Job>,
    /// The newest route of each stream.
    routes: BTreeMap<u64, Route>,
    closed: Vec<u64>,
    slots: Arc<BTreeMap<Arc<str>, Slot>>,
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_unix_ms(1_000_000);
        let gate = Gate::new(Settings::default(), now);
        Self { gate, now, jobs: Vec::new(), routes: BTreeMap::new(), closed: Vec::new(), slots: Arc::default() }
    }

    /// A selector was switched to green, and the release is being taken back. Of each side there is one agent: 1 is blue's, 2 green's.
    fn reverting() -> Self {
        let mut world = Self::new();
        world.see(BLUE);
        world.agent(1, "a-1", Slot::Blue);
        world.agent(2, "b-1", Slot::Green);
        world.see(GREEN);
        world.tick(1_000);
        world.operator(Command::Revert { why: "a test".to_owned() });
        assert_eq!((world.home(1, Slot::Blue), world.home(2, Slot::Green)), (1.0, 0.0));
        world
    }

    fn apply(&mut self, event: Event) {
        for effect in self.gate.apply(event, self.now) {
            match effect {
                Effect::Send { connection, message: ToAgent::Route(route) } => {
                    self.routes.insert(connection, route);
                }
                Effect::Close { connection, .. } => self.closed.push(connection),
                Effect::Assign { slots, .. } => self.slots = slots,
                Effect::ChangeTraffic(job)
                | Effect::ShiftTraffic(job)
                | Effect::VerifyBaseline(job)
                | Effect::ReleaseCandidate(job)
                | Effect::Announce(job) => self.jobs.push(job),
                _ => {}
            }
        }
    }

    /// Nobody guards any more.
    fn stand_down(&mut self) {
        for effect in self.gate.stand_down() {
            let Effect::Send { connection, message: ToAgent::Route(route) } = effect else { panic!("{effect:?}") };
            self.routes.insert(connection, route);
        }
    }

    fn tick(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now = self.now.plus_ms(50);
            self.apply(Event::Tick);
        }
    }

    /// Groups in order of age, with the share of those that are selected; two ready pods each.
    fn see(&mut self, groups: &[(&str, Option<f64>)]) {
        let pods = groups.iter().flat_map(|(key, _)| {
            (1..=2).map(move |number| Pod {
                name: format!("{key}-{number}").into(),
                uid: format!("uid-{key}-{number}").into(),
                group: (*key).to_owned(),
                ready: true,
                agent: Some(([10, 0, 0, number], 15080).into()),
                restarts: 0,
                out_of_memory: 0,
                trouble: None,
            })
        });
        let backend = |key: &str| Backend {
            name: "cart".to_owned(),
            selector: BTreeMap::from([("color".to_owned(), key.to_owned())]),
            weight: 1,
        };
        let snapshot = Snapshot {
            backends: groups.iter().filter(|(_, share)| share.is_some()).map(|(key, _)| backend(key)).collect(),
            groups: groups
                .iter()
                .zip(1..)
                .map(|((key, share), born_ms)| Group {
                    key: (*key).to_owned(),
                    name: (*key).into(),
                    born_ms,
                    selected: share.is_some(),
                    share: share.unwrap_or(0.0),
                })
                .collect(),
            pods: pods.collect(),
            ..Snapshot::default()
        };
        self.apply(Event::Platform { service: CART.into(), snapshot: Box::new(snapshot) });
    }

    fn agent(&mut self, connection: u64, pod: &str, slot: Slot) {
        let hello = Hello {
            agent: format!("uid-{pod}/start").into(),
            service: CART.into(),
            role: Role::Sidecar(slot),
            targets: vec![TargetState { slot, pod: pod.into(), ready: true }],
            route: Route::all_to(Slot::Blue, 0),
            version: String::new(),
        };
        self.apply(Event::AgentHello { connection, hello });
        self.report(connection);
    }

    /// The agent has taken the route that it was sent.
    fn report(&mut self, connection: u64) {
        let epoch = self.routes.get(&connection).map_or(0, |route| route.epoch);
        let at_ms = self.now.unix_ms() - 900_000;
        let report = Report { at_ms, epoch, health: Health::default(), ..Report::default() };
        self.apply(Event::AgentReport { connection, report });
    }

    fn phase(&self, id: &str) -> Option<Phase> {
        self.gate.release(id).map(|release| release.phase)
    }

    fn moments(&self, id: &str) -> Vec<String> {
        let release = self.gate.release(id);
        release.into_iter().flat_map(|release| &release.timeline).map(|moment| moment.what.clone()).collect()
    }

    /// The executor does what it was asked for, step by step.
    fn carry_out(&mut self) {
        while !self.jobs.is_empty() {
            for job in std::mem::take(&mut self.jobs) {
                let done = Event::EffectDone { release: job.release, step: job.step, text: String::new() };
                self.apply(done);
            }
            for connection in self.routes.keys().copied().collect::<Vec<_>>() {
                self.tick(250);
                self.report(connection);
            }
            self.tick(500);
        }
    }

    fn operator(&mut self, command: Command) {
        self.apply(Event::Operator { ticket: 1, service: CART.into(), command, by: None });
    }

    /// Part of its requests that an agent keeps.
    fn home(&self, connection: u64, slot: Slot) -> f64 {
        let share = self.routes[&connection].green_share;
        if slot == Slot::Green { share } else { 1.0 - share }
    }
}

const BLUE: &[(&str, Option<f64>)] = &[("a", Some(1.0)), ("b", None)];
const GREEN: &[(&str, Option<f64>)] = &[("a", None), ("b", Some(1.0))];

#[test]
fn a_switch_that_is_seen_is_a_release() {
    let mut world = World::new();
    world.see(BLUE);
    world.agent(1, "a-1", Slot::Blue);
    world.agent(2, "b-1", Slot::Green);
    assert_eq!(world.phase("shop/cart-1"), None);
    assert_eq!(world.slots.get("uid-b-2"), Some(&Slot::Green));
    let peers: Vec<_> = world.routes[&2].peers.iter().map(|peer| (peer.slot, peer.pod.to_string())).collect();
    assert_eq!(peers, [(Slot::Blue, "a-1".to_owned()), (Slot::Blue, "a-2".to_owned())]);

    world.see(GREEN);
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Watching));
    assert!(world.jobs.is_empty(), "nobody needs to change what is so");
    // Everybody keeps what the platform sends it, and only blue lets go, gently.
    assert_eq!((world.home(1, Slot::Blue), world.home(2, Slot::Green)), (1.0, 1.0));
    assert!(world.routes[&1].let_go_ms.is_some_and(|ms| ms > 0));
    assert_eq!(world.routes[&2].let_go_ms, None);
}

#[test]
fn a_revert_diverts_and_puts_the_platform_back() {
    let mut world = World::reverting();
    assert_eq!((world.routes[&1].let_go_ms, world.routes[&2].let_go_ms), (None, Some(0)));
    let job = world.jobs.iter().find(|job| job.step == Step::Switched).expect("the platform is to be changed");
    let platform = job.record.platform.as_ref().expect("it is a platform's");
    assert_eq!(platform.home[0].selector["color"], "a");
    assert_eq!((platform.candidate.as_deref(), job.share), (Some("b"), 0.0));
    // What is still seen, and what comes of the change, starts nothing.
    world.see(GREEN);
    world.see(BLUE);
    world.report(2);
    world.carry_out();
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Reverted), "{:?}", world.moments("shop/cart-1"));
    world.see(BLUE);
    assert_eq!(world.phase("shop/cart-2"), None);
    // Somebody applies the old manifest again: no release, and green's agents go on diverting.
    world.see(GREEN);
    assert_eq!(world.phase("shop/cart-2"), None);
    assert_eq!(world.home(2, Slot::Green), 0.0);
    // A newer version is a release.
    world.see(&[("a", None), ("b", None), ("c", Some(1.0))]);
    assert_eq!(world.phase("shop/cart-2"), Some(Phase::Watching));
}

#[test]
fn a_gate_that_is_taken_away_leaves_nobody_diverting() {
    let mut world = World::reverting();
    let before = world.routes[&2].epoch;
    world.stand_down();
    assert_eq!((world.home(1, Slot::Blue), world.home(2, Slot::Green)), (1.0, 1.0));
    assert!(world.routes.values().all(|route| route.epoch > before && route.let_go_ms.is_none()));
}

#[test]
fn a_rolling_update_steps_and_may_return() {
    let mut world = World::new();
    world.see(&[("a", Some(1.0))]);
    world.see(&[("a", Some(0.75)), ("b", Some(0.25))]);
    let share = |world: &World| world.gate.release("shop/cart-1").map(|release| release.target_share);
    assert_eq!(share(&world), Some(0.25));
    world.see(&[("a", Some(0.5)), ("b", Some(0.5))]);
    assert_eq!(share(&world), Some(0.5));
    world.see(&[("a", Some(1.0))]);
    world.carry_out();
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Reverted), "{:?}", world.moments("shop/cart-1"));
    assert!(world.moments("shop/cart-1").contains(&"reverted".to_owned()));
}

#[test]
fn a_third_version_takes_the_place_of_one_that_has_not_passed() {
    let mut world = World::new();
    world.see(BLUE);
    world.see(GREEN);
    world.see(&[("a", None), ("b", None), ("c", Some(1.0))]);
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Superseded));
    let second = world.gate.release("shop/cart-2").expect("it is watched");
    let text = &second.timeline[0].text;
    assert!(text.contains("green (c)") && text.contains("blue (a) served before"), "{text}");
}

#[test]
fn an_operators_switch_asks_the_platform_and_waits_for_it() {
    let mut world = World::new();
    world.see(BLUE);
    world.operator(Command::Switch { to: Slot::Green, share: None });
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Watching));
    let job = world.jobs.first().expect("the platform is asked");
    assert_eq!((job.step, job.share), (Step::Shifted, 1.0));
    // What is seen until then is what was.
    world.see(&[("a", Some(0.9)), ("b", None)]);
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Watching));
    world.see(GREEN);
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Watching));
    world.see(BLUE);
    assert_eq!(world.phase("shop/cart-1"), Some(Phase::Reverting), "somebody has set it back");
}

#[test]
fn an_agent_whose_slot_has_changed_comes_again() {
    let mut world = World::new();
    world.see(&[("a", Some(1.0)), ("b", None)]);
    world.agent(2, "b-1", Slot::Green);
    world.see(&[("a", Some(1.0)), ("b", None), ("c", None)]);
    assert_eq!(world.closed, [2], "the newest group has the slot now");
    assert_eq!(world.slots.get("b-1"), None);
    world.closed.clear();
    world.agent(3, "a-1", Slot::Green);
    assert_eq!(world.closed, [3], "it says a slot that its pod has not");
}

#[test]
fn a_share_that_a_selector_cannot_give_is_refused() {
    let mut world = World::new();
    world.see(BLUE);
    world.operator(Command::Switch { to: Slot::Green, share: Some(0.1) });
    assert_eq!(world.phase("shop/cart-1"), None);
}
