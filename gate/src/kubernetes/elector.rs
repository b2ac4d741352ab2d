//! Which of several gates acts.
//!
//! One Lease, read and written with its version, so that two gates that want it at once cannot both have it. Times are
//! the local monotonic clock's only: a gate counts how long *it* has seen the Lease unchanged, so clocks may differ. A
//! leader acts for [`Terms::act_ms`] from when it *sent* its last renewal; another gate may take over [`Terms::lease_ms`]
//! after it *saw* that renewal, which is later. So a leader that cannot renew stops acting before another can begin.
//!
//! What a leader that cannot renew does not stop is to talk to its agents: when the API server is away, nobody can take
//! over, and the shield must go on working. It only stops for them when it sees that another one leads.
//!
//! The number of transitions is the fence: each change of traffic carries it, and a leader refuses to change what carries a
//! higher one.
//!
//! The published electors were turned down: they count in whole seconds of the wall clock, and have no fence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use prometheus::IntCounter;
use tokio::sync::watch;
use tokio::time::Instant;

/// Name of the Lease.
pub const LEASE: &str = "blueback-gate";

/// How long is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Another gate may take over when it has seen no renewal for so long.
    pub lease_ms: u64,
    /// A leader acts for so long after it sent its last renewal.
    pub act_ms: u64,
    /// Time between two looks at the Lease.
    pub look_ms: u64,
}

impl Default for Terms {
    /// A gate that dies is replaced within six seconds, which the agents' rings cover many times over, for the price of two
    /// small requests a second.
    fn default() -> Self {
        Self { lease_ms: 5_000, act_ms: 3_500, look_ms: 1_000 }
    }
}

/// The Lease, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Version of the object; none before there is one.
    pub version: Option<String>,
    /// Who holds it.
    pub holder: String,
    /// How often that has changed.
    pub transitions: u64,
}

/// A gate's view of the election.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    terms: Terms,
    /// What the Lease was, and since when it has been so.
    seen: Option<(Held, u64)>,
    /// The leadership: its number, and until when it may act.
    mine: Option<(u64, u64)>,
}

impl Election {
    /// Of a gate with this name, which no other process ever has.
    #[must_use]
    pub fn new(me: String, terms: Terms) -> Self {
        Self { me, terms, seen: None, mine: None }
    }

    /// The Lease was read at `now`. Returns what is to be written, if anything.
    pub fn read(&mut self, held: Held, now: u64) -> Option<Held> {
        let since = match &self.seen {
            Some((before, since)) if *before == held => *since,
            _ => now,
        };
        self.seen = Some((held.clone(), since));
        if held.holder == self.me {
            return Some(held);
        }
        // Somebody else leads or has led: whatever was held here is over.
        self.mine = None;
        let over = held.holder.is_empty() || self.is_former_self(&held) || now >= since + self.terms.lease_ms;
        over.then(|| Held { holder: self.me.clone(), transitions: held.transitions + 1, ..held })
    }

    /// What [`Self::read`] returned was written, by a request that was sent at `sent`; this is what the Lease is now.
    pub fn written(&mut self, held: Held, sent: u64, now: u64) {
        self.mine = Some((held.transitions, sent + self.terms.act_ms));
        self.seen = Some((held, now));
    }

    /// The number of this gate's leadership while it may act.
    #[must_use]
    pub fn leads(&self, now: u64) -> Option<u64> {
        self.mine.filter(|(_, until)| now < *until).map(|(number, _)| number)
    }

    /// Another gate holds the Lease.
    #[must_use]
    pub fn other(&self) -> Option<&str> {
        let (held, _) = self.seen.as_ref()?;
        (held.holder != self.me && !held.holder.is_empty()).then_some(&held.holder)
    }

    /// A former process of the same pod: it is gone, as a pod's container is started again only when it has ended.
    fn is_former_self(&self, held: &Held) -> bool {
        let pod = |holder: &str| holder.split_once('_').map(|(pod, _)| pod.to_owned());
        pod(&held.holder).is_some_and(|of| Some(of) == pod(&self.me))
    }
}

/// Whether this gate leads, for everybody who acts.
#[derive(Clone, Debug)]
pub struct Leadership {
    state: watch::Receiver<Standing>,
    may_act: Arc<Mutex<Option<(u64, Instant)>>>,
}

/// Where a gate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads: with this number.
    Leads(u64),
    /// Another one does, at this address, where it is known.
    Follows(Option<String>),
}

impl Leadership {
    /// Refuses when this gate may not act now, or when a newer leader has acted upon what carries this fence. Returns the
    /// number that the change is to carry.
    ///
    /// # Errors
    /// Why it may not act.
    pub fn check(&self, fence: Option<u64>) -> anyhow::Result<u64> {
        let may_act = *self.may_act.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((number, _)) = may_act.filter(|(_, until)| Instant::now() < *until) else {
            bail!("this gate cannot renew its leadership, so it changes nothing");
        };
        if let Some(fence) = fence.filter(|fence| *fence > number) {
            bail!("a newer leader ({fence}, this one is {number}) has changed it");
        }
        Ok(number)
    }

    /// Where this gate stands, and every change of it.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.state.clone()
    }

    /// A gate that is alone, and leads.
    #[must_use]
    pub fn alone() -> Self {
        let far = Instant::now() + Duration::from_secs(60 * 60 * 24 * 365);
        let (_, state) = watch::channel(Standing::Leads(0));
        Self { state, may_act: Arc::new(Mutex::new(Some((0, far)))) }
    }
}

/// Takes part in the election.
pub struct Elector {
    leases: Api<Lease>,
    election: Election,
    terms: Terms,
    began: Instant,
    standing: watch::Sender<Standing>,
    may_act: Arc<Mutex<Option<(u64, Instant)>>>,
    /// Looks at the Lease that failed.
    failures: IntCounter,
}

impl Elector {
    /// Of a gate in this pod, which others reach at this address.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: &str,
        pod: &str,
        address: &str,
        terms: Terms,
        failures: IntCounter,
    ) -> (Self, Leadership) {
        let once = jiff::Timestamp::now().as_nanosecond() & 0xffff_ffff;
        let election = Election::new(format!("{pod}_{address}_{once:08x}"), terms);
        let (standing, state) = watch::channel(Standing::Follows(None));
        let may_act = Arc::new(Mutex::new(None));
        let leadership = Leadership { state, may_act: Arc::clone(&may_act) };
        let leases = Api::namespaced(client, namespace);
        (Self { leases, election, terms, began: Instant::now(), standing, may_act, failures }, leadership)
    }

    /// Takes part until the gate closes; then gives the Lease back, so that nobody has to wait for it.
    pub async fn run(mut self, mut closed: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(Duration::from_millis(self.terms.look_ms));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = closed.wait_for(|closed| *closed) => break,
            }
            let patience = Duration::from_millis(self.terms.act_ms);
            let looked = tokio::time::timeout(patience, self.look()).await;
            if !matches!(looked, Ok(Ok(()))) {
                self.failures.inc();
            }
            match looked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = %format!("{error:#}"), "Lease not read or written"),
                Err(_) => tracing::warn!("The API server does not answer about the Lease"),
            }
            self.tell();
        }
        *self.may_act.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.election.leads(self.now()).is_some()
            && let Some((held, _)) = self.election.seen.clone()
        {
            let empty = Held { holder: String::new(), ..held };
            // When it cannot be given back, it is over by itself.
            drop(tokio::time::timeout(Duration::from_secs(1), self.write(&empty)).await);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let lease = self.leases.get_opt(LEASE).await.context("read")?;
        let now = self.now();
        let Some(wanted) = self.election.read(lease.map(held).unwrap_or_default(), now) else { return Ok(()) };
        let sent = self.now();
        match self.write(&wanted).await {
            Ok(held) => {
                let now = self.now();
                self.election.written(held, sent, now);
                Ok(())
            }
            // Somebody else was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error).context("write"),
        }
    }

    async fn write(&self, wanted: &Held) -> Result<Held, kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                resource_version: wanted.version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(wanted.holder.clone()),
                lease_duration_seconds: i32::try_from(self.terms.lease_ms.div_ceil(1_000)).ok(),
                lease_transitions: i32::try_from(wanted.transitions).ok(),
                renew_time: Some(MicroTime(jiff::Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams { field_manager: Some("blueback".to_owned()), ..PostParams::default() };
        let written = match wanted.version {
            Some(_) => self.leases.replace(LEASE, &params, &lease).await?,
            None => self.leases.create(&params, &lease).await?,
        };
        Ok(held(written))
    }

    fn tell(&self) {
        let until = self.election.mine.map(|(number, until)| (number, self.began + Duration::from_millis(until)));
        *self.may_act.lock().unwrap_or_else(PoisonError::into_inner) = until;
        let standing = match (self.election.mine, self.election.other()) {
            (Some((number, _)), _) => Standing::Leads(number),
            (None, other) => Standing::Follows(other.and_then(address).map(ToOwned::to_owned)),
        };
        self.standing.send_if_modified(|known| {
            let news = *known != standing;
            if news {
                tracing::info!(?standing, "Election");
                *known = standing;
            }
            news
        });
    }
}

/// The address in a holder's name.
fn address(holder: &str) -> Option<&str> {
    holder.split('_').nth(1).filter(|address| !address.is_empty())
}

fn held(lease: Lease) -> Held {
    let spec = lease.spec.unwrap_or_default();
    Held {
        version: lease.metadata.resource_version,
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: spec.lease_transitions.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A Lease with versions, as the API server keeps it.
    #[derive(Default)]
    struct Server {
        held: Held,
        writes: u64,
    }

    impl Server {
        fn write(&mut self, wanted: Held) -> Option<Held> {
            if wanted.version != self.held.version {
                return None;
            }
            self.writes += 1;
            self.held = Held { version: Some(self.writes.to_string()), ..wanted };
            Some(self.held.clone())
        }
    }

    /// What a gate waits for.
    enum Doing {
        Idle { until: u64 },
        Reading { at: u64, back: u64, read: Option<Held> },
        Writing { sent: u64, at: u64, back: u64, wanted: Held, result: Option<Option<Held>> },
    }

    #[derive(Clone, Debug)]
    struct Delays(Vec<(u64, u64, u64, u64)>);

    fn delays() -> impl Strategy<Value = Delays> {
        prop::collection::vec((0..9_000_u64, 0..9_000_u64, 0..9_000_u64, 0..4_000_u64), 1..60).prop_map(Delays)
    }

    struct Gate {
        election: Election,
        doing: Doing,
        delays: Delays,
        turn: usize,
        led: bool,
    }

    impl Gate {
        fn new(name: &str, delays: Delays) -> Self {
            let election = Election::new(name.to_owned(), Terms::default());
            Self { election, doing: Doing::Idle { until: 0 }, delays, turn: 0, led: false }
        }

        fn step(&mut self, server: &mut Server, now: u64) {
            // Mostly quick, now and then as slow as it gets.
            let (to, back, write, pause) = self.delays.0[self.turn % self.delays.0.len()];
            let quick = |ms: u64| if ms.is_multiple_of(3) { ms } else { ms % 50 };
            self.doing = match std::mem::replace(&mut self.doing, Doing::Idle { until: 0 }) {
                Doing::Idle { until } if now < until => Doing::Idle { until },
                Doing::Idle { .. } => {
                    self.turn += 1;
                    let at = now + quick(to);
                    Doing::Reading { at, back: at + quick(back), read: None }
                }
                Doing::Reading { at, back, read: None } if now >= at => {
                    Doing::Reading { at, back, read: Some(server.held.clone()) }
                }
                Doing::Reading { back, read: Some(read), .. } if now >= back => match self.election.read(read, now) {
                    Some(wanted) => {
                        let at = now + quick(write);
                        Doing::Writing { sent: now, at, back: at + quick(back % 4_000), wanted, result: None }
                    }
                    None => Doing::Idle { until: now + pause },
                },
                Doing::Writing { sent, at, back, wanted, result: None } if now >= at => {
                    let result = Some(server.write(wanted.clone()));
                    Doing::Writing { sent, at, back, wanted, result }
                }
                Doing::Writing { sent, back, result: Some(result), .. } if now >= back => {
                    if let Some(held) = result {
                        self.election.written(held, sent, now);
                    }
                    Doing::Idle { until: now + pause }
                }
                waiting => waiting,
            };
            self.led |= self.election.leads(now).is_some();
        }
    }

    proptest! {
        #[test]
        fn two_gates_never_lead_at_once(a in delays(), b in delays()) {
            let mut server = Server::default();
            let (mut a, mut b) = (Gate::new("a_1", a), Gate::new("b_1", b));
            let mut fences = Vec::new();
            for now in (0..120_000).step_by(10) {
                a.step(&mut server, now);
                b.step(&mut server, now);
                let leads = (a.election.leads(now), b.election.leads(now));
                prop_assert!(leads.0.is_none() || leads.1.is_none(), "both lead at {now}: {leads:?}");
                fences.extend(leads.0.or(leads.1));
            }
            prop_assert!(fences.windows(2).all(|pair| pair[0] <= pair[1]), "a fence has fallen");
            prop_assert!(server.writes == 0 || a.led || b.led || fences.is_empty());
        }
    }

    fn held(holder: &str, version: u64, transitions: u64) -> Held {
        Held { version: Some(version.to_string()), holder: holder.to_owned(), transitions }
    }

    #[test]
    fn the_first_one_leads_and_renews() {
        let mut election = Election::new("a_1".to_owned(), Terms::default());
        let wanted = election.read(Held::default(), 0).expect("nobody holds it");
        assert_eq!((wanted.holder.as_str(), wanted.transitions), ("a_1", 1));
        election.written(held("a_1", 1, 1), 0, 10);
        assert_eq!((election.leads(3_499), election.leads(3_500)), (Some(1), None));
        let again = election.read(held("a_1", 1, 1), 1_000).expect("it is to be renewed");
        assert_eq!(again.transitions, 1);
        election.written(held("a_1", 2, 1), 1_000, 1_010);
        assert_eq!(election.leads(4_000), Some(1));
    }

    #[test]
    fn a_silent_leader_is_replaced_when_its_lease_is_over() {
        let mut election = Election::new("b_1".to_owned(), Terms::default());
        assert_eq!(election.read(held("a_1", 5, 3), 0), None);
        assert_eq!(election.other(), Some("a_1"));
        assert_eq!(election.read(held("a_1", 6, 3), 4_000), None);
        assert_eq!(election.read(held("a_1", 6, 3), 8_999), None);
        let wanted = election.read(held("a_1", 6, 3), 9_000).expect("it was silent for the whole lease");
        assert_eq!((wanted.holder.as_str(), wanted.transitions), ("b_1", 4));
    }

    #[test]
    fn who_sees_another_holder_leads_no_more() {
        let mut election = Election::new("a_1".to_owned(), Terms::default());
        election.written(held("a_1", 1, 1), 0, 0);
        assert_eq!(election.read(held("b_1", 2, 2), 100), None);
        assert_eq!(election.leads(101), None);
    }

    #[test]
    fn a_restarted_container_does_not_wait_for_itself() {
        let mut election = Election::new("pod-a_10.0.0.1:7070_2".to_owned(), Terms::default());
        election.read(held("pod-a_10.0.0.1:7070_1", 1, 1), 0).expect("its former process has ended");
        assert_eq!(address("pod-a_10.0.0.1:7070_1"), Some("10.0.0.1:7070"));
    }

    #[test]
    fn a_change_is_refused_when_the_term_is_over_or_the_fence_is_higher() {
        let leading = |until: Instant| {
            let (_, state) = watch::channel(Standing::Leads(7));
            Leadership { state, may_act: Arc::new(Mutex::new(Some((7, until)))) }
        };
        let now = Instant::now();
        let leads = leading(now + Duration::from_secs(3_600));
        assert_eq!(leads.check(Some(7)).expect("it leads"), 7);
        leads.check(Some(8)).expect_err("a newer leader has acted");
        leading(now).check(None).expect_err("the term is over");
    }
}
