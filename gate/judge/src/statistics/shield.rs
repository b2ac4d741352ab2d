//! The shield: diverts green's traffic to blue, all but a trickle, while the verdict is pending.
//!
//! The share falls at once. It rises only at the end of a block of the durable test, because the test's bound needs a
//! share that the block's own outcomes did not choose; the one exception is blue's capacity, which does not depend on
//! green's outcomes. Steps back to green respect what green's pods can take as well.

use super::decision::BLUE_LEVEL;
use super::shield_test::{BAD_MIN, ShieldTest, reports_of};

/// Where the shield is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything that is meant for green goes to green.
    Open,
    /// All but a trickle goes to blue.
    Shielded,
    /// Green was clear on the trickle and gets a quarter.
    Probing,
    /// Blue has the same fault: diverting does not help, so all but a trickle goes to green.
    Shared,
    /// It comes and goes: a trickle, until a person decides.
    Held,
    /// Traffic went back to blue for good.
    Reverted,
}

/// The trickle in requests a second: ten fill nine of ten blocks of 250 ms. Below five the verdict takes too long, above
/// twenty the harm grows and nothing is gained.
pub const TRICKLE_RPS: f64 = 10.0;
/// The trickle is at least this share.
pub const TRICKLE_SHARE_MIN: f64 = 0.01;
/// The second step up, and the most a trickle may be: the harm of a wrong step is a quarter of a second of a quarter.
pub const PROBE_SHARE: f64 = 0.25;
/// Green must be without relapse for this long before a step up; longer than ordinary bursts. Doubles with each shield.
pub const QUIET_MS: u64 = 5_000;
/// The third shield within [`SHIELDS_WINDOW_MS`] is held: intermittent failure ends in a stated time.
pub const SHIELDS_MAX: usize = 3;
/// See [`SHIELDS_MAX`].
pub const SHIELDS_WINDOW_MS: u64 = 600_000;
/// A shield that did not reopen for this long is held.
pub const HELD_AFTER_MS: u64 = 300_000;
/// With less room on blue a shield saves too little to be worth the risk to blue.
pub const ROOM_MIN: f64 = 0.1;

const RECENT: usize = 100;
const LAST_SECOND: usize = 10;

/// Criteria as a set: bit i stands for criterion i.
pub type Hits = u64;

/// What one report brings.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Green's `(n, x)` of each criterion.
    pub green: &'a [(f64, f64)],
    /// Blue's.
    pub blue: &'a [(f64, f64)],
    /// Requests a second at green's door, diverted ones included.
    pub rate: f64,
    /// Largest share of them that blue may be given.
    pub room: f64,
    /// Largest share of them that green's pods can take back. It binds after a shield, not during one.
    pub green_room: f64,
    /// The blame test fired.
    pub blame: bool,
    /// Relative criteria that are proven while blue had no traffic.
    pub robust: Hits,
}

/// Evidence that a criterion is good again.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Clear {
    criterion: usize,
    sum: f64,
    good: f64,
    bad: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rise {
    Up,
    Shared,
}

/// The state machine, for one group of pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Shield {
    p0s: Vec<f64>,
    level: u32,
    green: Vec<ShieldTest>,
    blue: Vec<ShieldTest>,
    state: State,
    share: f64,
    /// The share that is wanted; blue's room may force a larger one, green's a smaller one.
    base: f64,
    /// Falls at once and rises at the end of a block, as the share does.
    green_room: f64,
    now_ms: u64,
    /// A ring of the last reports, flat: report by report, criterion by criterion.
    recent: Vec<(f64, f64)>,
    next: usize,
    shields: Vec<u64>,
    rise: Option<Rise>,
    clear: Vec<Clear>,
    zero_at_ms: u64,
    since_ms: u64,
    quiet_ms: u64,
    unshielded: Hits,
    generation: u64,
}

crate::save::saved_enum!(State { Open = 0, Shielded = 1, Probing = 2, Shared = 3, Held = 4, Reverted = 5 });
crate::save::saved_enum!(Rise { Up = 0, Shared = 1 });
crate::save::saved!(Clear { criterion, sum, good, bad });
crate::save::saved!(Shield {
    p0s,
    level,
    green,
    blue,
    state,
    share,
    base,
    green_room,
    now_ms,
    recent,
    next,
    shields,
    rise,
    clear,
    zero_at_ms,
    since_ms,
    quiet_ms,
    unshielded,
    generation,
});

impl Shield {
    /// For the limits of the criteria, a false-alarm probability for each of them, and a level from
    /// [`super::shield_test::shield_level`].
    #[must_use]
    pub fn new(p0s: &[f64], alpha: f64, level: u32) -> Self {
        let tests: Vec<_> = p0s.iter().map(|&p0| ShieldTest::new(p0, alpha)).collect();
        Self {
            p0s: p0s.to_vec(),
            level,
            green: tests.clone(),
            blue: tests,
            state: State::Open,
            share: 1.0,
            base: 1.0,
            green_room: 1.0,
            now_ms: 0,
            recent: vec![(0.0, 0.0); RECENT * p0s.len()],
            next: 0,
            shields: Vec::new(),
            rise: None,
            clear: Vec::new(),
            zero_at_ms: 0,
            since_ms: 0,
            quiet_ms: 0,
            unshielded: 0,
            generation: 0,
        }
    }

    /// Raises it at `now_ms` for `hits`, from evidence found elsewhere: how a pod is shielded. `last` holds the pod's counts
    /// of the last second, by criterion.
    pub fn raise_for(&mut self, now_ms: u64, hits: Hits, last: &[(f64, f64)], rate: f64) {
        self.now_ms = now_ms;
        self.recent.fill((0.0, 0.0));
        self.remember(last);
        self.raise(hits, rate);
        self.share = self.base;
    }

    /// Green's sharp tests, one a criterion.
    #[must_use]
    pub fn tests(&self) -> &[ShieldTest] {
        &self.green
    }

    /// Rises whenever green's sharp tests start anew, so that tests beside them can do the same.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Green's part of its traffic, 0 to 1.
    #[must_use]
    pub const fn share(&self) -> f64 {
        self.share
    }

    /// Green was good again, and its pods cannot take what it may have.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        matches!(self.state, State::Probing | State::Open) && self.base > self.green_room
    }

    /// Since when it is not open, in milliseconds.
    #[must_use]
    pub const fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// The criteria that raised it.
    #[must_use]
    pub fn raised_by(&self) -> Hits {
        self.clear.iter().fold(0, |set, clear| set | 1 << clear.criterion)
    }

    /// The criteria whose sharp test fires although there is no shield, because blue has no room for the traffic.
    #[must_use]
    pub const fn unshielded(&self) -> Hits {
        self.unshielded
    }

    /// Wholly bad reports that raise it.
    #[must_use]
    pub const fn reports(&self) -> u32 {
        reports_of(self.level)
    }

    /// The sharp tests are at work, so that tests beside them must be fed the same reports.
    #[must_use]
    pub fn is_testing(&self) -> bool {
        matches!(self.state, State::Open | State::Probing) && self.rise.is_none()
    }

    /// A durable decision was made: nothing goes to green any more.
    pub fn revert(&mut self) {
        self.state = State::Reverted;
        self.share = 0.0;
    }

    /// A person reopens it: everything goes to green, and what was is forgotten, except the level.
    pub fn reopen(&mut self) {
        self.state = State::Open;
        (self.base, self.green_room, self.share, self.rise) = (1.0, 1.0, 1.0, None);
        self.shields.clear();
        self.clear.clear();
        self.restart();
    }

    /// Time passes in which nothing is judged; blue's capacity is still respected.
    pub fn rest(&mut self, now_ms: u64, room: f64) {
        self.now_ms = now_ms;
        self.settle(room);
    }

    /// One report, at `now_ms`. When the sharp test fires, `whole` says whether the whole of green is to be shielded; if
    /// not, the caller shields somebody, and the evidence starts anew without them.
    pub fn look(&mut self, now_ms: u64, look: &Look<'_>, whole: impl FnOnce(Hits) -> bool) {
        if self.state == State::Reverted {
            return;
        }
        let seconds = now_ms.saturating_sub(self.now_ms) as f64 / 1_000.0;
        self.now_ms = now_ms;
        self.remember(look.green);
        let hits = self.test(seconds, look);
        self.green_room = self.green_room.min(look.green_room);
        self.unshielded = if look.room < ROOM_MIN { hits } else { 0 };
        if hits != 0 && look.room >= ROOM_MIN {
            if self.state != State::Open || hits & !look.robust == 0 || whole(hits) {
                self.raise(hits, look.rate);
            } else {
                self.recent.fill((0.0, 0.0));
                self.restart();
            }
        } else if matches!(self.state, State::Shielded | State::Probing | State::Shared) {
            self.watch(seconds, look);
        }
        self.settle(look.room);
    }

    /// A block of the durable test ended: the only moment at which the share may rise.
    pub fn block_ended(&mut self, rate: f64, room: f64, green_room: f64) {
        if self.state == State::Reverted {
            return;
        }
        self.green_room = green_room;
        if let Some(rise) = self.rise.take() {
            self.step(rise, rate);
        }
        self.settle(room);
    }

    fn settle(&mut self, room: f64) {
        self.share = match self.state {
            State::Probing | State::Open if self.is_limited() => self.green_room.max(TRICKLE_SHARE_MIN).max(1.0 - room),
            State::Shielded | State::Probing | State::Held => self.base.max(1.0 - room),
            State::Open | State::Shared => self.base,
            State::Reverted => 0.0,
        };
    }

    fn remember(&mut self, green: &[(f64, f64)]) {
        let width = self.p0s.len();
        for (place, &counts) in self.recent[self.next * width..][..width].iter_mut().zip(green) {
            *place = counts;
        }
        self.next = (self.next + 1) % RECENT;
    }

    fn sum_recent(&self, criterion: usize, reports: usize) -> (f64, f64) {
        let width = self.p0s.len();
        (1..=reports).fold((0.0, 0.0), |(n, x), back| {
            let counts = self.recent[(self.next + RECENT - back) % RECENT * width + criterion];
            (n + counts.0, x + counts.1)
        })
    }

    fn test(&mut self, seconds: f64, look: &Look<'_>) -> Hits {
        if self.rise.is_some() {
            return if self.state == State::Open { look.robust } else { 0 };
        }
        match self.state {
            State::Open | State::Probing => {
                let mut hits = if self.state == State::Open { look.robust } else { 0 };
                let reports = self.reports();
                for criterion in 0..self.green.len() {
                    let (n, x) = look.green.get(criterion).copied().unwrap_or_default();
                    self.green[criterion].report(seconds, n, x, reports);
                    if self.green[criterion].fires() && self.sum_recent(criterion, RECENT).1 >= BAD_MIN {
                        hits |= 1 << criterion;
                    }
                }
                hits
            }
            State::Shared if look.blame => self.raised_by(),
            _ => 0,
        }
    }

    fn trickle(&self, rate: f64) -> f64 {
        let by_rate = if rate > 0.0 { TRICKLE_RPS / rate } else { 1.0 };
        TRICKLE_SHARE_MIN.max(by_rate).min(PROBE_SHARE)
    }

    fn raise(&mut self, hits: Hits, rate: f64) {
        if matches!(self.state, State::Open | State::Shared) {
            self.since_ms = self.now_ms;
        }
        self.shields.retain(|&at| self.now_ms - at <= SHIELDS_WINDOW_MS);
        self.shields.push(self.now_ms);
        let count = self.shields.len();
        self.state = if count >= SHIELDS_MAX { State::Held } else { State::Shielded };
        self.base = self.trickle(rate);
        self.rise = None;
        self.quiet_ms = QUIET_MS << (count - 1).min(8);
        self.zero_at_ms = self.now_ms;
        self.clear = (0..self.p0s.len())
            .filter(|&criterion| hits >> criterion & 1 == 1)
            .map(|criterion| {
                // "Still as bad as when it was raised" is refuted in a few requests, "below the limit" would need hundreds.
                let (n, x) = self.sum_recent(criterion, LAST_SECOND);
                let half = if n > 0.0 { 0.5 * x / n } else { 0.0 };
                let bad = (2.0 * self.p0s[criterion]).max(half).min(0.5);
                let good = (-bad / 4.0).ln_1p() - (-bad).ln_1p();
                Clear { criterion, sum: 0.0, good, bad: 0.25_f64.ln() }
            })
            .collect();
        self.blue.iter_mut().for_each(ShieldTest::restart);
    }

    fn watch(&mut self, seconds: f64, look: &Look<'_>) {
        for clear in &mut self.clear {
            let (n, x) = look.green.get(clear.criterion).copied().unwrap_or_default();
            clear.sum = (clear.sum + (n - x) * clear.good + x * clear.bad).min(2.0 * BLUE_LEVEL);
            if clear.sum <= 0.0 {
                clear.sum = 0.0;
                self.zero_at_ms = self.now_ms;
            }
        }
        let is_clear = self.clear.iter().all(|clear| clear.sum >= BLUE_LEVEL);
        if is_clear && self.now_ms - self.zero_at_ms >= self.quiet_ms && self.rise.is_none() {
            self.rise = Some(Rise::Up);
        }
        if self.state == State::Shared {
            return;
        }
        if self.now_ms - self.since_ms > HELD_AFTER_MS && self.rise.is_none() {
            self.state = State::Held;
            self.base = self.base.min(self.trickle(look.rate));
            return;
        }
        for clear in &self.clear {
            let (n, x) = look.blue.get(clear.criterion).copied().unwrap_or_default();
            if n <= 0.0 {
                continue;
            }
            let test = &mut self.blue[clear.criterion];
            test.report(seconds, n, x, 2);
            if test.fires() && !look.blame && self.rise != Some(Rise::Shared) {
                self.rise = Some(Rise::Shared);
                // Not green's fault, so this shield does not count.
                self.shields.pop();
            }
        }
    }

    fn step(&mut self, rise: Rise, rate: f64) {
        if rise == Rise::Shared {
            self.state = State::Shared;
            self.base = 1.0 - self.trickle(rate);
        } else if self.state == State::Shielded && self.base < PROBE_SHARE {
            self.state = State::Probing;
            self.base = PROBE_SHARE;
        } else {
            if self.state != State::Shared {
                // It cleared: the next one needs twice as many bad reports, so a service that bursts teaches the judge.
                self.level += 1;
            }
            self.state = State::Open;
            self.base = 1.0;
        }
        self.zero_at_ms = self.now_ms;
        for clear in &mut self.clear {
            clear.sum = 0.0;
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.green.iter_mut().for_each(ShieldTest::restart);
        self.generation += 1;
    }
}
