//! Everything that is not a request: one thread for the stream to the gate, the health probes and the admin port.
//!
//! It shares with the workers only atomics, the swapped route table and the orders below, so however slow it gets, requests
//! do not wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use blueback_report::{Hello, Role, Route};
use tokio::sync::watch;
use tracing::info;

use crate::assignment::Assignment;
use crate::reporter::Reporter;
use crate::route::{Picker, Router};
use crate::spans::Fate;

/// What workers are told beside the route table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// How often connections were to be let go.
    pub let_go: u64,
    /// Within how many milliseconds, the last time.
    pub let_go_ms: u32,
    /// Numbers of the backends that got less by it.
    pub lost: Arc<[usize]>,
    /// Finish what is in flight and stop.
    pub drain: bool,
}

/// The stream as metrics show it.
#[derive(Debug, Default)]
pub struct GateState {
    /// A gate has welcomed us and is still there.
    pub connected: Cell<bool>,
    /// Streams opened again.
    pub reconnects: Cell<u64>,
    /// Reports sent.
    pub sent: Cell<u64>,
    /// Reports replaced by a newer one before they were sent.
    pub replaced: Cell<u64>,
    /// Acknowledgements received.
    pub acknowledged: Cell<u64>,
}

impl GateState {
    /// Adds what was sent and replaced.
    pub fn count(&self, sent: u64, replaced: u64) {
        self.sent.set(self.sent.get() + sent);
        self.replaced.set(self.replaced.get() + replaced);
    }
}

/// State of the control thread.
#[derive(Debug)]
pub struct Control {
    /// What was counted.
    pub reporter: RefCell<Reporter>,
    /// Where requests go.
    pub router: Arc<Router>,
    /// The stream.
    pub gate: GateState,
    /// Set from SIGTERM on: not ready any more.
    pub draining: Arc<AtomicBool>,
    /// Who we are.
    pub identity: Identity,
    /// Which slot the gate has assigned, where it is to.
    pub assignment: Assignment,
    /// What became of the agent's own spans, where it makes them.
    pub spans: Option<Arc<Fate>>,
    orders: watch::Sender<Orders>,
    finish: watch::Receiver<bool>,
    jitter: Picker,
}

/// What a Hello says that never changes.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Instance: pod and a random start number.
    pub agent: Arc<str>,
    /// The guarded service.
    pub service: Arc<str>,
    /// Where the agent stands.
    pub role: Role,
    /// The slot in the role is only what this sidecar calls its own side; the gate is to say what it is.
    pub unassigned: bool,
}

impl Control {
    /// `orders` go to the workers; `finish` says when to send the last report and stop.
    #[must_use]
    pub fn new(
        reporter: Reporter,
        router: Arc<Router>,
        identity: Identity,
        draining: Arc<AtomicBool>,
        orders: watch::Sender<Orders>,
        finish: watch::Receiver<bool>,
        seed: u64,
    ) -> Self {
        let (reporter, gate, jitter) = (RefCell::new(reporter), GateState::default(), Picker::new(seed));
        let assignment = Assignment::new(identity.unassigned);
        Self { reporter, router, gate, draining, identity, assignment, spans: None, orders, finish, jitter }
    }

    /// Shows what becomes of spans, where the agent makes them.
    #[must_use]
    pub fn with_spans(self, spans: Option<Arc<Fate>>) -> Self {
        Self { spans, ..self }
    }

    /// How this agent introduces itself now.
    #[must_use]
    pub fn hello(&self) -> Hello {
        Hello {
            agent: self.assignment.instance(&self.identity.agent),
            service: self.identity.service.clone(),
            role: self.identity.role,
            targets: self.router.targets(),
            // Who is where is known better by the gate.
            route: Route { peers: Vec::new(), ..self.router.table().route.clone() },
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Puts a route in force, and tells workers whom to let go.
    pub fn command(&self, route: &Route) {
        let Some(lost) = self.router.command(route) else { return };
        info!(epoch = route.epoch, green_share = route.green_share, pods = route.pods.len(), "Route in force");
        if let Some(ms) = route.let_go_ms {
            self.orders.send_modify(|orders| {
                orders.let_go += 1;
                orders.let_go_ms = ms;
                orders.lost = lost;
            });
        }
    }

    /// The gate has merged the report of `at_ms`.
    pub fn acknowledged(&self, at_ms: u64) {
        self.gate.acknowledged.set(self.gate.acknowledged.get() + 1);
        self.reporter.borrow_mut().acknowledge(at_ms);
    }

    /// Ready for requests: not stopping, and a sidecar's application answers (a front agent: any backend does).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let wanted = |slot| match self.identity.role {
            Role::Sidecar(own) => slot == own,
            Role::Front => true,
        };
        let mut backends = self.router.backends().iter();
        !self.draining.load(Relaxed) && backends.any(|backend| wanted(backend.slot) && backend.is_ready())
    }

    /// Uniform in [0, 1).
    #[must_use]
    pub fn coin(&self) -> f64 {
        self.jitter.coin()
    }

    /// The last report is to be sent.
    #[must_use]
    pub fn finishing(&self) -> bool {
        *self.finish.borrow()
    }

    /// Resolves when the last report is to be sent, or when the agent was dropped.
    pub async fn finish_asked(&self) {
        let mut finish = self.finish.clone();
        // An error says that the agent was dropped: the same.
        let _ = finish.wait_for(|finish| *finish).await;
    }
}

/// Adds a slice to the ring every second.
pub async fn slices(control: Rc<Control>) {
    let mut turn = tokio::time::interval(Duration::from_secs(1));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        control.reporter.borrow_mut().slice();
    }
}
