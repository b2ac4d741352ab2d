//! Where requests go: the table that the gate's commands replace, and the choice made from it for each request.
//!
//! The table is swapped whole ([`ArcSwap`]), so a worker sees one epoch with its shares or the next one, never a mix. The
//! choice is an independent coin a request: the judge's tests rest on that, so it never looks at the request, the client
//! or the outcome.
//!
//! When the gate is gone, the last command stands for as long as the agent lives. Falling back to some default after a
//! while was turned down: it could send traffic to the slot that a gate has just reverted from.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use blueback_report::{Peer, Route, Slot, TargetState};
use tracing::info;

use crate::config::Target;

/// Route class of requests that no prefix matches.
pub const CLASS_DEFAULT: u16 = 0;
/// Route class of requests whose own class found no room.
pub const CLASS_OTHER: u16 = 1;

/// Name of the other slot's side in reports, where the gate says which agents that is: which of them answered is counted there.
pub const AWAY: &str = "away";

/// Where a backend listens.
#[derive(Debug)]
pub enum Place {
    /// Where the configuration says.
    Fixed(SocketAddr),
    /// At any of the other slot's agents that the gate named last.
    Peers(ArcSwap<Box<[SocketAddr]>>),
}

/// A backend that requests can be sent to.
#[derive(Debug)]
pub struct Backend {
    /// The set it belongs to.
    pub slot: Slot,
    /// Where it listens.
    pub place: Place,
    /// Its name in reports.
    pub pod: Arc<str>,
    ready: AtomicBool,
}

impl Backend {
    /// Where it listens, if that never changes.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Fixed(address) => Some(address),
            Place::Peers(_) => None,
        }
    }

    /// Takes the peers of its slot for its place, if the gate is to say what that is.
    fn set_peers(&self, peers: &[Peer]) {
        let Place::Peers(addresses) = &self.place else { return };
        let of_slot = peers.iter().filter(|peer| peer.slot == self.slot).map(|peer| peer.address).collect::<Box<[_]>>();
        self.set_ready(!of_slot.is_empty());
        if **addresses.load() != of_slot {
            info!(slot = %self.slot, peers = of_slot.len(), "Peers to divert to");
            addresses.store(Arc::new(of_slot));
        }
    }

    /// Answered its last probe; of peers: there are some, for the gate names only such as are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Sets what the last probe found, and returns what the one before had.
    pub fn set_ready(&self, ready: bool) -> bool {
        self.ready.swap(ready, Relaxed)
    }
}

/// The route in force, as workers read it.
#[derive(Debug)]
pub struct Table {
    /// The command itself.
    pub route: Route,
    /// For each backend, the share of its turn that it keeps.
    kept: Box<[f64]>,
    /// Path prefixes that are route classes, longest first, with their class numbers.
    classes: Box<[(Arc<str>, u16)]>,
}

impl Table {
    /// The class of a path: that of the longest prefix that ends where a segment ends.
    #[must_use]
    pub fn classify(&self, path: &str) -> u16 {
        let matches = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
        };
        self.classes.iter().find(|(prefix, _)| matches(prefix)).map_or(CLASS_DEFAULT, |&(_, class)| class)
    }
}

/// The backends and the table in force; shared by all threads.
#[derive(Debug)]
pub struct Router {
    backends: Box<[Backend]>,
    by_slot: [Box<[usize]>; 2],
    table: ArcSwap<Table>,
    epoch: AtomicU64,
}

impl Router {
    /// All requests to `serving` until the first command.
    #[must_use]
    pub fn new(targets: &[Target], serving: Slot) -> Self {
        Self::with_peers(targets, serving, None)
    }

    /// The same, with a last backend in slot `away` that is wherever the gate says.
    #[must_use]
    pub fn with_peers(targets: &[Target], serving: Slot, away: Option<Slot>) -> Self {
        let backend =
            |slot, pod: &str, place| Backend { slot, place, pod: Arc::from(pod), ready: AtomicBool::new(false) };
        let fixed = targets.iter().map(|target| backend(target.slot, &target.pod, Place::Fixed(target.address)));
        let peers = away.map(|slot| backend(slot, AWAY, Place::Peers(ArcSwap::default())));
        let backends: Box<[Backend]> = fixed.chain(peers).collect();
        let of = |slot| (0..backends.len()).filter(|&index| backends[index].slot == slot).collect();
        let by_slot = [of(Slot::Blue), of(Slot::Green)];
        let table =
            Table { route: Route::all_to(serving, 0), kept: vec![1.0; backends.len()].into(), classes: Box::default() };
        Self { backends, by_slot, table: ArcSwap::from_pointee(table), epoch: AtomicU64::new(0) }
    }

    /// All backends; a backend's number is its place here.
    #[must_use]
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Numbers of a slot's backends.
    #[must_use]
    pub fn of_slot(&self, slot: Slot) -> &[usize] {
        &self.by_slot[slot as usize]
    }

    /// The epoch in force.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// State of the backends, as reports say it.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetState> {
        self.backends
            .iter()
            .map(|backend| TargetState { slot: backend.slot, pod: backend.pod.clone(), ready: backend.is_ready() })
            .collect()
    }

    /// Puts a newer route in force. Returns the numbers of the backends that get less than before, or `None` when the command
    /// was not newer. Of the route that is in force already only its peers are taken: they come and go between commands.
    ///
    /// A command that changes no share at all but lets go means everyone: something before us moved the traffic, and clients
    /// that are kept alive would not notice. All backends are returned then.
    ///
    /// Called by one thread only: the one that talks to the gate.
    pub fn command(&self, route: &Route) -> Option<Arc<[usize]>> {
        let current = self.table.load();
        if route.epoch >= current.route.epoch {
            self.backends.iter().for_each(|backend| backend.set_peers(&route.peers));
        }
        if route.epoch <= current.route.epoch {
            return None;
        }
        let kept: Box<[f64]> = self
            .backends
            .iter()
            .map(|backend| {
                let same = |pod: &&blueback_report::PodShare| pod.slot == backend.slot && pod.pod == backend.pod;
                route.pods.iter().find(same).map_or(1.0, |pod| pod.share)
            })
            .collect();
        let share = |slot: Slot, route: &Route| match slot {
            Slot::Blue => 1.0 - route.green_share,
            Slot::Green => route.green_share,
        };
        let moved_elsewhere = route.let_go_ms.is_some()
            && (route.green_share - current.route.green_share).abs() < f64::EPSILON
            && route.pods == current.route.pods;
        let lost = (0..self.backends.len()).filter(|&index| {
            let slot = self.backends[index].slot;
            moved_elsewhere || share(slot, route) * kept[index] < share(slot, &current.route) * current.kept[index]
        });
        let lost = lost.collect();
        self.table.store(Arc::new(Table { route: route.clone(), kept, classes: current.classes.clone() }));
        self.epoch.store(route.epoch, Relaxed);
        Some(lost)
    }

    /// Replaces the route classes: path prefixes with their class numbers.
    pub fn classify_by(&self, mut classes: Vec<(Arc<str>, u16)>) {
        classes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let current = self.table.load();
        self.table.store(Arc::new(Table {
            route: current.route.clone(),
            kept: current.kept.clone(),
            classes: classes.into(),
        }));
    }
}

/// A worker's way of choosing: its coin and its turns.
#[derive(Debug)]
pub struct Picker {
    state: Cell<u64>,
    turn: [Cell<usize>; 2],
}

impl Picker {
    /// Same seed, same choices.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Cell::new(seed), turn: [Cell::new(0), Cell::new(0)] }
    }

    /// The backend for the next request, by its number.
    #[must_use]
    pub fn pick(&self, router: &Router, table: &Table) -> usize {
        let slot = if self.coin() < table.route.green_share { Slot::Green } else { Slot::Blue };
        let Some(first) = self.next_of(router, slot) else {
            return self.next_of(router, slot.other()).expect("a configuration without any backend is refused");
        };
        let kept = table.kept[first];
        if kept < 1.0 && self.coin() >= kept { self.next_of(router, slot.other()).unwrap_or(first) } else { first }
    }

    /// The slot's next backend by turn, ready ones before others: when none is ready, traffic flows first.
    #[must_use]
    pub fn next_of(&self, router: &Router, slot: Slot) -> Option<usize> {
        let of_slot = router.of_slot(slot);
        let turn = &self.turn[slot as usize];
        let first = turn.get();
        let at = |step: usize| of_slot[(first + step) % of_slot.len()];
        let step = (0..of_slot.len()).find(|&step| router.backends[at(step)].is_ready()).unwrap_or(0);
        (!of_slot.is_empty()).then(|| {
            turn.set((first + step + 1) % of_slot.len());
            at(step)
        })
    }

    /// Uniform in [0, 1).
    pub fn coin(&self) -> f64 {
        // SplitMix64: one addition and three multiplications, and any seed is a good one.
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use blueback_report::PodShare;

    use super::*;

    fn router(blue: usize, green: usize) -> Router {
        let target = |slot: Slot, index: usize| Target {
            slot,
            address: SocketAddr::from(([127, 0, 0, 1], 9000 + index as u16)),
            pod: format!("{slot}-{index}"),
        };
        let targets: Vec<Target> =
            (0..blue).map(|i| target(Slot::Blue, i)).chain((0..green).map(|i| target(Slot::Green, i))).collect();
        let router = Router::new(&targets, Slot::Blue);
        for backend in router.backends() {
            backend.set_ready(true);
        }
        router
    }

    fn route(epoch: u64, green_share: f64) -> Route {
        Route { epoch, green_share, pods: Vec::new(), let_go_ms: None, peers: Vec::new() }
    }

    fn counts(router: &Router, seed: u64, requests: usize) -> Vec<usize> {
        let picker = Picker::new(seed);
        let mut counts = vec![0; router.backends().len()];
        for _ in 0..requests {
            counts[picker.pick(router, &router.table())] += 1;
        }
        counts
    }

    /// Five standard deviations: wrong once in two million seeds.
    fn assert_binomial(seen: usize, of: usize, share: f64) {
        let (n, seen) = (of as f64, seen as f64);
        let bound = 5.0 * (n * share * (1.0 - share)).sqrt();
        assert!((seen - n * share).abs() <= bound, "{seen} of {n} at a share of {share}");
    }

    #[test]
    fn all_requests_go_to_the_serving_slot_before_the_first_command() {
        assert_eq!(counts(&router(1, 1), 1, 1_000), [1_000, 0]);
    }

    #[test]
    fn shares_of_nothing_and_everything_are_exact() {
        let router = router(1, 1);
        router.command(&route(1, 1.0));
        assert_eq!(counts(&router, 2, 10_000), [0, 10_000]);
        router.command(&route(2, 0.0));
        assert_eq!(counts(&router, 2, 10_000), [10_000, 0]);
    }

    #[test]
    fn the_split_is_a_fair_coin_and_repeats_with_its_seed() {
        let router = router(2, 2);
        for (epoch, share) in [(1, 0.01), (2, 0.1), (3, 0.5), (4, 0.93)] {
            router.command(&route(epoch, share));
            let first = counts(&router, 7, 40_000);
            assert_binomial(first[2] + first[3], 40_000, share);
            assert!(first[2].abs_diff(first[3]) <= 1, "turns within a slot: {first:?}");
            assert_eq!(first, counts(&router, 7, 40_000));
            assert_ne!(first, counts(&router, 8, 40_000));
        }
    }

    #[test]
    fn a_shielded_pod_sends_the_rest_of_its_turns_to_the_other_slot() {
        let router = router(1, 2);
        let shielded = PodShare { slot: Slot::Green, pod: Arc::from("green-0"), share: 0.1 };
        router.command(&Route { pods: vec![shielded], ..route(1, 1.0) });
        let counts = counts(&router, 3, 40_000);
        assert_binomial(counts[1], 20_000, 0.1);
        assert_eq!(counts[2], 20_000);
        assert_eq!(counts[0], 20_000 - counts[1]);
    }

    #[test]
    fn a_pod_that_is_not_ready_is_skipped_unless_none_is() {
        let router = router(3, 0);
        router.backends()[1].set_ready(false);
        assert_eq!(counts(&router, 4, 1_000)[1], 0);
        for backend in router.backends() {
            backend.set_ready(false);
        }
        assert_eq!(counts(&router, 4, 900), [300, 300, 300]);
    }

    #[test]
    fn a_slot_without_backends_leaves_its_share_to_the_other() {
        let router = router(0, 1);
        assert_eq!(counts(&router, 5, 100), [100]);
    }

    #[test]
    fn an_epoch_that_is_not_newer_is_ignored() {
        let router = router(1, 1);
        assert!(router.command(&route(5, 1.0)).is_some());
        assert_eq!(router.command(&route(5, 0.0)), None);
        assert_eq!(router.command(&route(4, 0.0)), None);
        assert_eq!((router.epoch(), router.table().route.green_share), (5, 1.0));
    }

    /// A switch takes from blue and a shield from green; who gets more has nobody to let go.
    #[test]
    fn only_backends_that_get_less_have_lost() {
        let router = router(1, 2);
        let lost = |route: &Route| router.command(route).expect("each command is newer").to_vec();
        let shielded = |share| PodShare { slot: Slot::Green, pod: "green-1".into(), share };
        assert_eq!(lost(&route(1, 1.0)), [0], "a switch");
        assert_eq!(lost(&Route { pods: vec![shielded(0.1)], ..route(2, 1.0) }), [2], "one pod is shielded");
        assert_eq!(lost(&route(3, 1.0)), [] as [usize; 0], "and opened again");
        assert_eq!(lost(&route(4, 0.1)), [1, 2], "all of green is shielded");
        assert_eq!(lost(&route(5, 0.0)), [1, 2], "and reverted");
    }

    #[test]
    fn a_let_go_that_moves_no_share_is_for_everyone() {
        let router = router(1, 1);
        let lost = |route: &Route| router.command(route).expect("each command is newer").to_vec();
        assert_eq!(lost(&Route { let_go_ms: Some(500), ..route(1, 0.0) }), [0, 1]);
        assert_eq!(lost(&route(2, 0.0)), [] as [usize; 0], "without one nobody is let go");
        assert_eq!(lost(&Route { let_go_ms: Some(500), ..route(3, 1.0) }), [0], "a switch is for those who lose by it");
    }

    #[test]
    fn peers_come_and_go_with_commands_and_between_them() {
        let home = Target { slot: Slot::Blue, address: SocketAddr::from(([127, 0, 0, 1], 80)), pod: "shop-1".into() };
        let router = Router::with_peers(&[home], Slot::Blue, Some(Slot::Green));
        let away = &router.backends()[1];
        let peer = |slot, port| Peer {
            slot,
            pod: format!("shop-{port}").into(),
            address: SocketAddr::from(([10, 0, 0, 1], port)),
        };
        let addresses = || match &away.place {
            Place::Peers(peers) => peers.load().iter().map(SocketAddr::port).collect::<Vec<_>>(),
            Place::Fixed(_) => panic!("the gate says where it is"),
        };
        assert!(!away.is_ready() && addresses().is_empty());
        router.command(&Route { peers: vec![peer(Slot::Green, 2), peer(Slot::Blue, 3)], ..route(2, 0.5) });
        assert_eq!((away.is_ready(), addresses()), (true, vec![2]), "only those of the other slot");
        assert_eq!(router.command(&Route { peers: vec![peer(Slot::Green, 4)], ..route(2, 1.0) }), None);
        assert_eq!((addresses(), router.table().route.green_share), (vec![4], 0.5), "of the same epoch only the peers");
        router.command(&Route { peers: vec![peer(Slot::Green, 5)], ..route(1, 0.5) });
        assert_eq!(addresses(), [4], "of an older one nothing");
        router.command(&route(3, 0.5));
        assert_eq!((away.is_ready(), addresses()), (false, vec![]));
    }

    #[test]
    fn the_longest_prefix_that_ends_with_a_segment_is_the_class() {
        let router = router(1, 0);
        router.classify_by(vec![("/a".into(), 2), ("/a/b".into(), 3), ("/c/".into(), 4)]);
        let table = router.table();
        for (path, class) in [
            ("/a", 2),
            ("/a/", 2),
            ("/ab", 0),
            ("/a/x", 2),
            ("/a/b", 3),
            ("/a/b/c", 3),
            ("/a/bc", 2),
            ("/c", 0),
            ("/c/d", 4),
            ("/", 0),
        ] {
            assert_eq!(table.classify(path), class, "{path}");
        }
    }
}
