//! `failures cascading`: another guarded service got worse since the switch.
//!
//! Each of them is bet against in blocks of a second, at the limit that its own ten minutes before the switch give, as `error rate
//! worse than blue` does for the service itself. A service that was already failing has a limit to match, and one that
//! nobody asked before has none.

use std::sync::Arc;

use crate::statistics::block_bet::BlockBet;
use crate::statistics::reference::reference_threshold;
use crate::text::{count, number, percent};

/// Other services looked at; the budget is split over so many, whether they are there or not. Further ones are not told apart.
pub(crate) const OTHERS_MAX: usize = 16;
/// With fewer requests before the switch nothing is known about a service.
const REQUESTS_BEFORE_MIN: u64 = 200;
/// Its limit is known to this part of the rule's budget.
const DELTA_OF_ALPHA: f64 = 0.1;
const REFERENCE_MAX: f64 = 0.99;

/// Another service.
#[derive(Clone, Debug, PartialEq)]
struct Other {
    name: Arc<str>,
    bet: BlockBet,
    open: (u64, u64),
    all: (u64, u64),
    fired_ms: Option<u64>,
}

crate::save::saved!(Other { name, bet, open, all, fired_ms });

/// The other services.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cascade {
    alpha: f64,
    others: Vec<Other>,
}

crate::save::saved!(Cascade { alpha, others });

impl Cascade {
    /// With the rule's whole budget.
    pub(crate) const fn new(alpha: f64) -> Self {
        Self { alpha: alpha / OTHERS_MAX as f64, others: Vec::new() }
    }

    /// What a service did before the switch.
    pub(crate) fn before(&mut self, name: &str, requests: u64, failed: u64) {
        let is_known = self.others.iter().any(|other| *other.name == *name);
        if is_known || requests < REQUESTS_BEFORE_MIN || self.others.len() >= OTHERS_MAX {
            return;
        }
        let history = [(requests as f64, failed.min(requests) as f64)];
        let p0 = reference_threshold(&history, self.alpha * DELTA_OF_ALPHA).min(REFERENCE_MAX);
        let bet = BlockBet::new(p0, self.alpha);
        self.others.push(Other { name: name.into(), bet, open: (0, 0), all: (0, 0), fired_ms: None });
    }

    /// What it did since it was told last.
    pub(crate) fn grew(&mut self, name: &str, requests: u64, failed: u64) {
        if let Some(other) = self.others.iter_mut().find(|other| *other.name == *name) {
            for sum in [&mut other.open, &mut other.all] {
                sum.0 = sum.0.saturating_add(requests);
                sum.1 = sum.1.saturating_add(failed.min(requests));
            }
        }
    }

    /// At the end of each second.
    pub(crate) fn second(&mut self, now_ms: u64) {
        for other in &mut self.others {
            let (n, x) = std::mem::take(&mut other.open);
            other.bet.block(1.0, n as f64, x as f64, 0.0);
            if other.bet.fires() {
                other.fired_ms.get_or_insert(now_ms);
            } else {
                other.fired_ms = None;
            }
        }
    }

    pub(crate) const fn is_known(&self) -> bool {
        !self.others.is_empty()
    }

    /// Since when one of them is worse.
    pub(crate) fn fired_ms(&self) -> Option<u64> {
        self.others.iter().filter_map(|other| other.fired_ms).min()
    }

    fn worst(&self) -> Option<&Other> {
        self.others.iter().max_by(|a, b| a.bet.log_e().total_cmp(&b.bet.log_e()))
    }

    /// Evidence against its threshold, of the service that is worst.
    pub(crate) fn evidence(&self) -> Option<(f64, f64)> {
        self.worst().map(|other| (other.bet.log_e(), other.bet.threshold()))
    }

    /// Requests, bad ones and limit of that service.
    pub(crate) fn seen(&self) -> Option<(u64, u64, f64)> {
        self.worst().map(|other| (other.all.0, other.all.1, other.bet.p0()))
    }

    /// What is seen, for people.
    pub(crate) fn text(&self) -> String {
        let worse: Vec<&Other> = self.others.iter().filter(|other| other.fired_ms.is_some()).collect();
        let of = |other: &&Other| {
            let (n, x) = other.all;
            let limit = percent(other.bet.p0());
            format!("{}: {} of {} failed since the switch (limit {limit})", other.name, number(x), count(n, "request"))
        };
        match (worse.is_empty(), self.others.len()) {
            (true, 0) => "no other service had enough requests before the switch".to_owned(),
            (true, others) => format!("none of {} got worse", count(others as u64, "other service")),
            (false, _) => worse.iter().map(of).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_until_fired(before: (u64, u64), failed: u64) -> Option<u64> {
        let mut cascade = Cascade::new(1.25e-4);
        cascade.before("payments", before.0, before.1);
        cascade.before("search", 60_000, 6);
        (1..=120).find(|second| {
            cascade.grew("payments", 100, failed);
            cascade.grew("search", 100, 0);
            cascade.grew("unheard-of", 100, 100);
            cascade.second(second * 1_000);
            cascade.fired_ms().is_some()
        })
    }

    #[test]
    fn a_service_that_got_worse_is_found() {
        assert_eq!(seconds_until_fired((60_000, 60), 50), Some(5));
        assert_eq!(seconds_until_fired((60_000, 6_000), 10), None, "it was like that before");
        assert_eq!(seconds_until_fired((60_000, 0), 0), None);
        assert_eq!(seconds_until_fired((20, 0), 100), None, "nothing was known about it");
    }
}
