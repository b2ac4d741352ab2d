//! A rule that acts as soon as it is proven, and whose fault it is.
//!
//! Beside the test on all of green runs one without each pod: if one pod can be left out and nothing is proven any more, it
//! is that pod's fault and not the release's. A minimum of tests is below each of them, so the bound stays.

use crate::statistics::block_bet::BlockBet;
use crate::statistics::decision::{BLUE_LEVEL, Decision, Known, decide};
use crate::statistics::relative::{RelBernoulli, Sides};
use crate::tally::{Pod, Sample, Samples};

/// Latency rules do not count the first three seconds after a step of traffic, and the first three of a pod that joins, towards
/// a revert: cold caches and compilers warm up, and a hang is still proven within five. The shield does not wait, as it can be
/// lifted.
pub(crate) const WARM_UP_MS: u64 = 3_000;
/// Fewer pods cannot outvote one.
const PODS_MIN: usize = 3;
/// Lengthening the line of epochs beyond this changes nothing that could be measured.
const EPOCHS_MAX: u32 = 20;

/// With this limit nothing is worse than blue: nobody knows what blue was like.
pub(crate) const REFERENCE_MAX: f64 = 0.99;

/// One proven rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proven {
    pub(crate) metric: usize,
    pub(crate) p0: f64,
    /// It compares with blue, so without live traffic on blue it may only suspect.
    pub(crate) is_relative: bool,
    alpha: f64,
    warm_up_ms: u64,
    requests_min: u64,
    green: BlockBet,
    without: Vec<BlockBet>,
    blue: BlockBet,
    blame: RelBernoulli,
    pooled_ms: Option<u64>,
    spread_ms: Option<u64>,
    blue_most: f64,
    /// Blue was as bad when it was last asked, before the switch, and green has not been well since.
    blue_had_it: bool,
    epochs: u32,
    pub(crate) log_e: f64,
    pod: Option<usize>,
}

crate::save::saved!(Proven {
    metric,
    p0,
    is_relative,
    alpha,
    warm_up_ms,
    requests_min,
    green,
    without,
    blue,
    blame,
    pooled_ms,
    spread_ms,
    blue_most,
    blue_had_it,
    epochs,
    log_e,
    pod,
});

impl Proven {
    /// `steps`: further planned steps of traffic get a part of the weight on likely starts.
    pub(crate) fn new(metric: usize, p0: f64, alpha: f64, steps: bool) -> Self {
        let bet = BlockBet::new(p0, alpha);
        Self {
            metric,
            p0,
            is_relative: false,
            alpha,
            warm_up_ms: 0,
            requests_min: 0,
            green: if steps { bet.clone().with_steps() } else { bet.clone() },
            without: Vec::new(),
            blue: bet,
            blame: RelBernoulli::blame(),
            pooled_ms: None,
            spread_ms: None,
            blue_most: f64::NEG_INFINITY,
            blue_had_it: false,
            epochs: 0,
            log_e: 0.0,
            pod: None,
        }
    }

    pub(crate) const fn relative(mut self, is_relative: bool) -> Self {
        self.is_relative = is_relative;
        self
    }

    pub(crate) const fn warming_up(mut self, warms_up: bool) -> Self {
        self.warm_up_ms = if warms_up { WARM_UP_MS } else { 0 };
        self
    }

    pub(crate) const fn waiting_for(mut self, requests_min: u64) -> Self {
        self.requests_min = requests_min;
        self
    }

    pub(crate) const fn after(mut self, blue_had_it: bool) -> Self {
        self.blue_had_it = blue_had_it;
        self
    }

    /// It compares with a blue of which nothing is known.
    pub(crate) fn is_without_history(&self) -> bool {
        self.is_relative && self.p0 >= REFERENCE_MAX
    }

    /// Blue was as bad when the switch came.
    pub(crate) const fn had_blue_it(&self) -> bool {
        self.blue_had_it
    }

    /// More traffic comes with the next block: a likely start of harm.
    pub(crate) fn step(&mut self) {
        self.green.step();
        self.without.iter_mut().for_each(BlockBet::step);
    }

    /// The block from `start_ms` to `end_ms`, the last step of traffic was at `step_ms`; green had `requests` since the switch. While blue could not take over
    /// (`blue_is_ready`), only what is proven at this moment counts.
    pub(crate) fn block(
        &mut self,
        (step_ms, start_ms, end_ms): (u64, u64, u64),
        samples: &Samples,
        pods: &[Pod],
        requests: u64,
        blue_is_ready: bool,
    ) {
        if self.warm_up_ms > 0 && start_ms < step_ms + self.warm_up_ms {
            return;
        }
        let seconds = (end_ms - start_ms) as f64 / 1_000.0;
        // Which pods are warm depends on when they came and on nothing that they answered, so the bound stays.
        let (metric, warm_up_ms) = (self.metric, self.warm_up_ms);
        let is_warm = |pod: &Pod| warm_up_ms == 0 || start_ms >= pod.since_ms + warm_up_ms;
        let own = |pod: &Pod, counts: &Sample| if is_warm(pod) { counts[metric] } else { (0.0, 0.0) };
        let each = || pods.iter().zip(&samples.pods);
        let green = each().fold((0.0, 0.0), |sum, (pod, counts)| {
            let (n, x) = own(pod, counts);
            (sum.0 + n, sum.1 + x)
        });
        let blue = samples.blue[metric];
        // A pod that was not seen before had no requests, so the test without it is the test with it, up to now.
        self.without.resize(samples.pods.len().max(self.without.len()), self.green.clone());
        let used = pods.iter().filter(|pod| pod.is_used).count();
        let warm = pods.iter().filter(|pod| pod.is_used && is_warm(pod)).count();
        let withheld = samples.withheld[metric] * if used > 0 { warm as f64 / used as f64 } else { 1.0 };
        let others = (warm.max(1) - 1) as f64 / warm.max(1) as f64;
        for (bet, (pod, counts)) in self.without.iter_mut().zip(each()) {
            let own = own(pod, counts);
            bet.block(seconds, (green.0 - own.0).max(0.0), (green.1 - own.1).max(0.0), withheld * others);
        }
        self.green.block(seconds, green.0, green.1, withheld);
        self.blue.block(seconds, blue.0, blue.1, 0.0);
        if green.0 > 0.0 && blue.0 > 0.0 {
            let sides = Sides { green_n: green.0, green_x: green.1, blue_n: blue.0, blue_x: blue.1 };
            self.blame.block(seconds, &sides);
        }
        self.look(end_ms, pods, used, requests, blue_is_ready);
    }

    fn look(&mut self, now_ms: u64, pods: &[Pod], used: usize, requests: u64, blue_is_ready: bool) {
        self.log_e = self.green.log_e();
        let threshold = self.green.threshold();
        if self.log_e >= threshold && requests >= self.requests_min {
            self.pooled_ms.get_or_insert(now_ms);
        } else if self.spread_ms.is_none() || !blue_is_ready {
            (self.pooled_ms, self.spread_ms) = (None, None);
            self.blue_most = f64::NEG_INFINITY;
        }
        if self.pooled_ms.is_some() {
            let before = if self.blue_had_it { BLUE_LEVEL } else { f64::NEG_INFINITY };
            self.blue_most = self.blue_most.max(self.blue.log_e()).max(before);
        }
        let least = if used < PODS_MIN {
            None
        } else {
            let each = self.without.iter().map(BlockBet::log_e).enumerate().zip(pods);
            each.filter(|(_, pod)| pod.is_used).map(|(least, _)| least).min_by(|a, b| a.1.total_cmp(&b.1))
        };
        let log_e = least.map_or(self.log_e, |(_, log_e)| log_e.min(self.log_e));
        self.pod = least.map(|(pod, _)| pod);
        if self.pooled_ms.is_some() && log_e >= threshold {
            self.spread_ms.get_or_insert(now_ms);
        }
    }

    /// The place of this pod belongs to another one, which had no requests yet.
    pub(crate) fn replace_pod(&mut self, pod: usize) {
        if let Some(bet) = self.without.get_mut(pod) {
            bet.clone_from(&self.green);
        }
    }

    pub(crate) fn threshold(&self) -> f64 {
        self.green.threshold()
    }

    /// Since when it is proven for green as a whole.
    pub(crate) const fn fired_ms(&self) -> Option<u64> {
        self.spread_ms
    }

    /// The evidence is at its threshold at this moment.
    pub(crate) fn is_proven_now(&self) -> bool {
        self.log_e >= self.threshold()
    }

    pub(crate) fn is_blamed(&self) -> bool {
        self.blame.fires()
    }

    /// Green was well for long enough: what blue had before is over.
    pub(crate) const fn is_well(&mut self) {
        self.blue_had_it = false;
    }

    /// Blame is about one incident: the next one is judged anew.
    pub(crate) fn forget_blame(&mut self) {
        self.blame = RelBernoulli::blame();
    }

    /// Proven for all of green, but not without this pod.
    pub(crate) fn pod_at_fault(&self) -> Option<(u64, usize)> {
        match (self.pooled_ms, self.spread_ms) {
            (Some(since_ms), None) => Some((since_ms, self.pod?)),
            _ => None,
        }
    }

    /// Begins anew with half of the budget, after a fault that was not green's: what fired then must not revert a green that
    /// is healthy again. All epochs together spend at most twice the budget, and only in such a release.
    pub(crate) fn begin_epoch(&mut self) {
        self.epochs = (self.epochs + 1).min(EPOCHS_MAX);
        let alpha = self.alpha / f64::from(1_u32 << self.epochs);
        let bet = BlockBet::new(self.p0, alpha);
        self.without.clear();
        self.green = bet.clone();
        self.blue = bet;
        self.forget_blame();
        (self.pooled_ms, self.spread_ms, self.pod) = (None, None, None);
        self.blue_most = f64::NEG_INFINITY;
        self.blue_had_it = false;
        self.log_e = 0.0;
    }

    /// It fired in some way.
    pub(crate) const fn is_latched(&self) -> bool {
        self.pooled_ms.is_some()
    }

    pub(crate) fn decide(&self, now_ms: u64, control: bool) -> Decision {
        let known = Known {
            fired_for_ms: self.spread_ms.map(|since| now_ms.saturating_sub(since)),
            control,
            blame: self.is_blamed(),
            blue_log_e: self.blue_most,
        };
        match decide(&known) {
            // History cannot see an outage that began after the switch.
            Decision::Rollback if self.is_relative && !control => Decision::Suspect,
            decision => decision,
        }
    }
}
