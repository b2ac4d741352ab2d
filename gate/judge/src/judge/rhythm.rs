//! What happens when: report intervals, seconds and blocks, in order.

use super::Judge;
use crate::criteria::{Criterion, Standing, Test};
use crate::rules::{List, Moment};
use crate::statistics::decision::Decision;
use crate::statistics::schedule::block_ms;
use crate::statistics::shield::{Hits, Look, ROOM_MIN, State};
use crate::tally::Samples;
use crate::text;
use crate::verdict::Checkpoint;

/// The shield looks at each report interval: half of the harm at 1,000 requests a second is done before the second one.
pub(super) const TICK_MS: u64 = 100;
/// A longer stretch in which nobody asked is taken as one: nothing was seen in it that could be told apart.
const GAP_MS_MAX: u64 = 600_000;
/// Name of the first pass.
pub(super) const BAKE_NAME: &str = "bake";
/// A smaller change of blue's room is none. Each change of the share is a new epoch, and a request that outlives two of them is
/// in no test: a share that follows every tenth of a second would blind the tests to everything slow.
const ROOM_STEP: f64 = 0.1;
/// Requests of blue in the last ten seconds that make it a control while no shield is near.
const CONTROL_REQUESTS_MIN: u64 = 20;
/// How long a shield makes blue a control, however few requests it had.
const CONTROL_MS: u64 = 10_000;
/// A minute of green's own must have passed before it can have been a good one.
const FORGIVEN_MS: u64 = 60_000;
/// A metric without a bad request for so long begins a new incident with the next one.
const INCIDENT_QUIET_MS: u64 = 10_000;

impl Judge {
    /// Everything that ends before `now_ms`.
    pub(super) fn advance_before(&mut self, now_ms: u64) {
        if now_ms > 0 {
            self.advance_to(now_ms - 1);
        }
    }

    /// Everything that ends at `now_ms` or before.
    pub(super) fn advance_to(&mut self, now_ms: u64) {
        self.skip_gap(now_ms);
        loop {
            let next = self.next_tick_ms.min(self.next_block_ms);
            if next > now_ms || self.is_reverted() {
                return;
            }
            self.is_stale = true;
            self.now_ms = self.now_ms.max(next);
            if next == self.next_tick_ms {
                self.next_tick_ms += TICK_MS;
                self.tick(next);
                if next.is_multiple_of(1_000) {
                    self.second(next);
                }
            }
            if next == self.next_block_ms {
                self.block(next);
            }
            self.revert_if_due(next);
        }
    }

    fn skip_gap(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.next_tick_ms) <= GAP_MS_MAX {
            return;
        }
        // Whole seconds keep intervals, seconds and blocks in step.
        let resume_ms = (now_ms - GAP_MS_MAX) / 1_000 * 1_000;
        self.next_tick_ms = self.next_tick_ms.max(resume_ms);
        self.next_block_ms = self.next_block_ms.max(resume_ms);
    }

    fn measured_room(&self) -> f64 {
        use crate::statistics::divert::{Capacity, divertible};
        match self.proven_per_pod {
            _ if self.pods.blue_ready == 0 => 0.0,
            // Nothing is known about blue's capacity, and it is ready: it served all of it a moment ago.
            None => 1.0,
            Some(proven_per_pod) => divertible(&Capacity {
                rate: self.tally.rate(),
                ready: self.pods.blue_ready,
                proven_per_pod,
                own: self.tally.blue_own(),
            }),
        }
    }

    /// Requests a second at one pod's door.
    pub(super) fn rate_per_pod(&self) -> f64 {
        self.tally.rate() / self.tally.pods_used().max(1) as f64
    }

    /// Follows blue's room, in steps, and warms a cold blue up.
    fn follow_room(&mut self, now_ms: u64) -> f64 {
        self.ramp.hear(now_ms, self.tally.blue_requests());
        let Self { ramp, guards, criteria, tally, .. } = self;
        ramp.advance(now_ms, tally.blue_all(), |metric, all| {
            let of_metric = |guard: &usize| criteria[*guard].guard().filter(|proven| proven.metric == metric);
            let limit = guards.iter().filter_map(of_metric).map(|proven| proven.p0).fold(f64::INFINITY, f64::min);
            all.rate().is_none_or(|rate| rate <= limit)
        });
        let measured = if self.deliveries.fail() { 0.0 } else { self.measured_room() };
        if measured == 0.0 || measured == 1.0 || (measured - self.room).abs() >= ROOM_STEP {
            self.room = measured;
        }
        let part = self.ramp.part();
        // Blue has room for a shield, and only the way there is slower.
        if part < 1.0 && self.room >= ROOM_MIN { (self.room * part).max(ROOM_MIN) } else { self.room }
    }

    /// Follows what green's pods can take back.
    fn follow_green_room(&mut self, now_ms: u64) {
        // In a fault that blue shares, those that are ready bear nearly all of it.
        if self.is_all_back() || self.shield.state() == State::Shared {
            self.reopening.done();
        }
        self.reopening.advance(now_ms, self.shield.is_limited() && self.pods.green_ready > 0);
        self.green_room = self.reopening.room(self.tally.rate(), self.pods.green_ready);
    }

    fn tick(&mut self, now_ms: u64) {
        let mut samples = std::mem::take(&mut self.scratch.tick);
        self.tally.tick(now_ms, &mut samples);
        for (incident, &(_, bad)) in self.incidents.iter_mut().zip(&samples.green) {
            if bad > 0.0 {
                if incident.last_ms.is_none_or(|last| now_ms - last > INCIDENT_QUIET_MS) {
                    incident.since_ms = now_ms - TICK_MS;
                }
                incident.last_ms = Some(now_ms);
            }
        }
        for criterion in &mut self.criteria {
            if let Test::Plain(plain) = &mut criterion.test {
                plain.look(now_ms);
            }
        }
        self.hear(now_ms);
        let room = self.follow_room(now_ms);
        self.follow_green_room(now_ms);
        if self.held.is_some() {
            self.shield.rest(now_ms, room);
        } else {
            self.look_at_shields(now_ms, &samples, room);
        }
        self.scratch.tick = samples;
    }

    /// What each guard counts.
    fn by_guard(&self, counts: &[(f64, f64)], out: &mut Vec<(f64, f64)>) {
        out.clear();
        out.extend(self.guards.iter().map(|&guard| counts[self.criteria[guard].test.metric().unwrap_or(0)]));
    }

    fn look_at_shields(&mut self, now_ms: u64, samples: &Samples, room: f64) {
        let rate = self.tally.rate();
        let mut pods = std::mem::take(&mut self.scratch.pods);
        let (mut green, mut blue) = (std::mem::take(&mut self.scratch.green), std::mem::take(&mut self.scratch.blue));
        pods.resize_with(samples.pods.len(), Vec::new);
        for (counts, pod) in samples.pods.iter().zip(&mut pods) {
            self.by_guard(counts, pod);
        }
        self.by_guard(&samples.blue, &mut blue);
        green.clear();
        green.resize(self.guards.len(), (0.0, 0.0));
        for (_, counts) in pods.iter().enumerate().filter(|&(pod, _)| !self.pod_shields.is_up(pod)) {
            for (sum, own) in green.iter_mut().zip(counts) {
                *sum = (sum.0 + own.0, sum.1 + own.1);
            }
        }
        let look = Look {
            green: &green,
            blue: &blue,
            rate: self.tally.rate_at_most(),
            room,
            green_room: self.green_room,
            blame: self.is_blamed(),
            robust: self.relative_without_control(now_ms),
        };
        self.pod_shields.report(TICK_MS as f64 / 1_000.0, &self.shield, &green, &pods);
        let mut one_pod: Option<(usize, Hits)> = None;
        let was_open = self.shield.state() == State::Open;
        let Self { pod_shields, tally, shield, .. } = self;
        shield.look(now_ms, &look, |hits| {
            let used: Vec<usize> = (0..pods.len()).filter(|&pod| tally.pods()[pod].is_used).collect();
            one_pod = pod_shields.scope(hits, &used).map(|pod| (pod, hits));
            one_pod.is_none()
        });
        let around = Look { green_room: 1.0, blame: false, robust: 0, ..look };
        self.pod_shields.look(now_ms, &pods, &around);
        if let Some((pod, hits)) = one_pod {
            self.pod_shields.raise(pod, now_ms, hits, around.rate);
        }
        if was_open && self.shield.state() != State::Open {
            self.pod_shields.drop_all();
            self.reopening.shielded(rate, self.pods.green_ready);
        }
        let is_up = !self.is_all_back() || self.pod_shields.worst().is_some();
        if is_up {
            let rises = self.shield_up_ms.is_none_or(|at| now_ms - at > TICK_MS);
            if rises && self.ramp.is_cold(now_ms) {
                self.ramp.begin(now_ms, self.tally.blue_all());
                // With this look already, before anything is sent.
                let room = self.follow_room(now_ms);
                self.shield.rest(now_ms, room);
            }
            self.shield_up_ms = Some(now_ms);
        }
        (self.scratch.pods, self.scratch.green, self.scratch.blue) = (pods, green, blue);
    }

    /// No shield is up, and green's pods have all that is meant for them.
    pub(super) fn is_all_back(&self) -> bool {
        self.shield.state() == State::Open && self.shield.share() >= 1.0
    }

    /// Notes when green was last heard of.
    fn hear(&mut self, now_ms: u64) {
        if self.tally.green_requests() > self.silence.requests {
            self.silence.requests = self.tally.green_requests();
            self.silence.since_ms = now_ms;
            self.silence.rate = self.tally.rate();
        }
        self.silence.rate = self.silence.rate.max(self.tally.rate());
    }

    fn second(&mut self, now_ms: u64) {
        self.trail.note(now_ms / 1_000, self.tally.green_all(), self.tally.blue_all());
        self.deliveries.second(now_ms);
        for criterion in &mut self.criteria {
            match &mut criterion.test {
                Test::Persistent(persistent) => persistent.second(now_ms, &self.trail),
                Test::Pass(pass) => pass.second(now_ms, &self.tally.green_all()[pass.metric], &self.trail),
                Test::Cascade(cascade) => cascade.second(now_ms),
                Test::Proven(_) | Test::Signal(_) | Test::Plain(_) => (),
            }
        }
        self.pass_if_due(now_ms);
        self.progress = self.say_progress(now_ms);
    }

    fn block(&mut self, now_ms: u64) {
        let mut samples = std::mem::take(&mut self.scratch.block);
        self.tally.block(now_ms, &mut samples);
        let start_ms = std::mem::replace(&mut self.block_start_ms, now_ms);
        self.next_block_ms = now_ms + block_ms(self.rules.profile(), now_ms.saturating_sub(self.step_ms));
        let pods = self.tally.pods();
        let times = (self.step_ms, start_ms, now_ms);
        for criterion in &mut self.criteria {
            if let Test::Proven(proven) = &mut criterion.test {
                let requests = self.tally.green_all()[proven.metric].requests();
                proven.block(times, &samples, pods, requests, self.pods.blue_ready > 0);
            }
        }
        self.scratch.block = samples;
        self.revert_if_due(now_ms);
        if self.held.is_some() || self.is_reverted() {
            return;
        }
        let (rate, room) = (self.tally.rate(), self.room);
        let was = self.shield.state();
        self.shield.block_ended(rate, room, self.green_room);
        self.pod_shields.block_ended(rate, room);
        if was != State::Open && self.shield.state() == State::Open {
            self.reopened(was == State::Shared);
        }
        self.forgive(now_ms);
    }

    /// The shield is open again: what fired while it was shared must not revert a green that is healthy again.
    fn reopened(&mut self, was_shared: bool) {
        for &guard in &self.guards {
            if let Test::Proven(proven) = &mut self.criteria[guard].test {
                if was_shared && proven.is_latched() {
                    proven.begin_epoch();
                } else {
                    proven.forget_blame();
                }
            }
        }
    }

    /// The same where no shield was possible: a fault that blue shared, or that blue was too ill to take over from, is over when
    /// a whole minute was within the limit.
    fn forgive(&mut self, now_ms: u64) {
        if self.shield.state() != State::Open {
            return;
        }
        for guard in 0..self.guards.len() {
            let control = self.control(now_ms, self.guards[guard]);
            let Test::Proven(proven) = &mut self.criteria[self.guards[guard]].test else { continue };
            let is_vetoed = self.pods.blue_ready == 0 || proven.decide(now_ms, control) == Decision::HoldSharedFault;
            let minute = self.trail.green(proven.metric, 60, 0);
            let is_over =
                minute.requests() >= CONTROL_REQUESTS_MIN && minute.rate().is_some_and(|rate| rate <= proven.p0);
            if is_over && now_ms >= FORGIVEN_MS {
                proven.is_well();
            }
            if proven.is_latched() && is_vetoed && is_over {
                proven.begin_epoch();
            }
        }
    }

    /// Blue has traffic enough to be compared with, by the metric of this criterion.
    pub(super) fn control(&self, now_ms: u64, criterion: usize) -> bool {
        let Some(metric) = self.criteria[criterion].test.metric() else { return false };
        let requests = self.tally.blue_all()[metric].since(&self.trail.blue_at(metric, CONTROL_MS / 1_000)).requests();
        let near_shield = self.shield_up_ms.is_some_and(|at| now_ms.saturating_sub(at) <= CONTROL_MS);
        requests >= if near_shield { 1 } else { CONTROL_REQUESTS_MIN }
    }

    /// Green is to blame for what raised the shield.
    fn is_blamed(&self) -> bool {
        let raised_by = self.shield.raised_by();
        self.guards.iter().enumerate().any(|(bit, &guard)| {
            raised_by >> bit & 1 == 1
                && matches!(&self.criteria[guard].test, Test::Proven(proven) if proven.is_blamed())
        })
    }

    fn relative_without_control(&self, now_ms: u64) -> Hits {
        self.guards.iter().enumerate().fold(0, |hits, (bit, &guard)| match &self.criteria[guard].test {
            Test::Proven(proven)
                if proven.is_relative && proven.fired_ms().is_some() && !self.control(now_ms, guard) =>
            {
                hits | 1 << bit
            }
            _ => hits,
        })
    }

    fn pass_if_due(&mut self, now_ms: u64) {
        let bake_ms = self.rules.bake_ms();
        let is_new = |name: &str| self.passed.iter().all(|passed| passed.name != name);
        // A checkpoint before the bake time is passed with it.
        let is_due = |moment: &Moment| moment.at_ms.max(bake_ms) <= now_ms && is_new(&moment.name);
        let mut due = self.rules.checkpoints().iter().enumerate().filter(|(_, moment)| is_due(moment)).peekable();
        let bake = bake_ms <= now_ms && is_new(BAKE_NAME);
        if (!bake && due.peek().is_none()) || !self.may_pass(now_ms) {
            return;
        }
        let moments = due.filter(|&(index, _)| self.is_shown(Some(index))).map(|(_, moment)| moment.name.clone());
        let names: Vec<String> = bake.then(|| BAKE_NAME.to_owned()).into_iter().chain(moments).collect();
        let text = self.pass_text(now_ms);
        for name in names {
            let text = format!("passed {name} after {}: {text}", text::time(now_ms));
            self.passed.push(Checkpoint { name, at_ms: now_ms, text });
        }
    }

    /// Each rule that must be shown, of all passes or of this checkpoint, is.
    fn is_shown(&self, checkpoint: Option<usize>) -> bool {
        let must = |criterion: &&Criterion| {
            criterion.list == List::Pass && criterion.checkpoint == checkpoint && !criterion.rule.dry_run
        };
        let is_met = |criterion: &Criterion| matches!(criterion.standing(), Standing::Holds | Standing::NotApplicable);
        self.criteria.iter().filter(must).all(is_met)
    }

    fn may_pass(&self, now_ms: u64) -> bool {
        let is_quiet = self.shield_up_ms.is_none_or(|at| now_ms.saturating_sub(at) >= self.rules.bake_ms());
        self.held.is_none()
            && is_quiet
            && self.shield.unshielded() == 0
            && self.silent_ms(now_ms).is_none()
            && self.tally.green_requests() > 0
            && self.harms(now_ms).next().is_none()
            && self.is_shown(None)
    }
}
