//! What rules count: bad requests out of requests. An error rate counts failures; "p99 above 500 ms" is exactly "more than
//! 1 % took longer than 500 ms", so a latency rule counts those. Rules that count alike share one metric.

use std::sync::Arc;

use blueback_report::buckets::LATENCY_US_MAX;
use blueback_report::{Age, Latency, Limit, Measure, Outcome, Overdue, OverdueKey, SeriesKey};

use crate::rules::{Condition, Rule, Subject};

/// What makes a request bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It failed by the application's fault.
    Failed,
    /// It took longer than this.
    Slow(Limit),
}

/// What is counted, and the share of bad requests that a rule allows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) bad: Bad,
    pub(crate) route: Option<Arc<str>>,
    p0: f64,
}

crate::save::saved!(Metric { bad, route, p0 });
crate::save::saved!(Cell { good, over, crossed, fresh });
crate::save::saved!(All { good, bad });

impl crate::save::Saved for Bad {
    fn save(&self, out: &mut Vec<u8>) {
        self.limit().save(out);
    }

    fn load(input: &mut &[u8]) -> Result<Self, crate::save::LoadError> {
        Ok(Option::load(input)?.map_or(Self::Failed, Self::Slow))
    }
}

impl Bad {
    const fn limit(&self) -> Option<Limit> {
        match *self {
            Self::Failed => None,
            Self::Slow(limit) => Some(limit),
        }
    }
}

impl Metric {
    /// What the rule counts; `None` for a rule that is not about requests.
    pub(crate) fn of(rule: &Rule) -> Option<Self> {
        let (bad, p0) = match rule.condition {
            Condition::ErrorRate(_, percent) => (Bad::Failed, percent / 100.0),
            Condition::Latency { measure, percentile, limit_us, .. } => {
                (Bad::Slow(Limit { measure, us: limit_us }), (100.0 - percentile) / 100.0)
            }
            // The limits come from blue's history; until then nothing is bad.
            Condition::WorseThanBlue(Subject::ErrorRate) => (Bad::Failed, 0.0),
            Condition::WorseThanBlue(Subject::Latency(measure)) => {
                (Bad::Slow(Limit { measure, us: LATENCY_US_MAX }), 0.0)
            }
            _ => return None,
        };
        Some(Self { bad, route: rule.route.clone(), p0 })
    }

    /// The same with the limit that blue's history gives.
    pub(crate) const fn slower_than(mut self, limit: Limit) -> Self {
        self.bad = Bad::Slow(limit);
        self
    }

    /// The limit that agents must hold requests in flight against.
    pub(crate) const fn limit(&self) -> Option<Limit> {
        self.bad.limit()
    }

    /// The share of bad requests that the rule allows.
    pub(crate) const fn p0(&self) -> f64 {
        self.p0
    }

    /// Another rule counts the same.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        self.bad == other.bad && self.route == other.route
    }

    pub(crate) fn takes(&self, route: &str) -> bool {
        self.route.as_deref().is_none_or(|wanted| wanted == route)
    }

    /// `(good, over)`: requests that were fine, and those that were bad, of a series that ended.
    ///
    /// A client that left says nothing about errors; nor about latency, unless it had waited for longer than the limit.
    pub(crate) fn ended(&self, key: &SeriesKey, latency: &Latency) -> (u64, u64) {
        match self.bad {
            Bad::Failed if key.outcome == Outcome::ClientGone => (0, 0),
            Bad::Failed if key.outcome.is_fault() => (0, latency.last_byte.total()),
            Bad::Failed => (latency.last_byte.total(), 0),
            Bad::Slow(limit) => {
                let counts = match limit.measure {
                    Measure::LastByte => &latency.last_byte,
                    Measure::FirstByte => &latency.first_byte,
                };
                let over = counts.over(limit.us);
                let good = if key.outcome == Outcome::ClientGone { 0 } else { counts.total().saturating_sub(over) };
                (good, over)
            }
        }
    }
}

/// Counts of one metric over one stretch of time.
///
/// A request that crosses a latency limit in flight is bad at that moment, and must not be counted again when it ends. What
/// ended over the limit and had not crossed before is `fresh` = (ended over the limit) - (settled), over all ages, because a
/// request's age may change between crossing and ending; only what the counted ages ended can be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    good: u64,
    over: u64,
    crossed: u64,
    fresh: i64,
}

impl Cell {
    pub(crate) fn ended(&mut self, counted: bool, good: u64, over: u64) {
        self.fresh = self.fresh.saturating_add_unsigned(over);
        if counted {
            self.good = self.good.saturating_add(good);
            self.over = self.over.saturating_add(over);
        }
    }

    pub(crate) fn overdue(&mut self, counted: bool, overdue: &Overdue) {
        self.fresh = self.fresh.saturating_sub_unsigned(overdue.settled);
        if counted {
            self.crossed = self.crossed.saturating_add(overdue.crossed);
        }
    }

    /// `(n, x)`: requests and the bad ones among them.
    pub(crate) fn counts(&self) -> (f64, f64) {
        let fresh = u64::try_from(self.fresh).unwrap_or(0).min(self.over);
        let bad = self.crossed.saturating_add(fresh) as f64;
        (self.good as f64 + bad, bad)
    }
}

/// Everything a metric counted since the switch, whatever its age. The bad count may fall for a moment when a request that
/// crossed settles before its latency arrives, so it is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct All {
    good: i64,
    bad: i64,
}

impl All {
    pub(crate) fn ended(&mut self, good: u64, over: u64) {
        self.good = self.good.saturating_add_unsigned(good);
        self.bad = self.bad.saturating_add_unsigned(over);
    }

    pub(crate) fn overdue(&mut self, overdue: &Overdue) {
        self.bad = self.bad.saturating_add_unsigned(overdue.crossed).saturating_sub_unsigned(overdue.settled);
    }

    /// The other's counts as well.
    pub(crate) fn add(&mut self, other: &Self) {
        self.good = self.good.wrapping_add(other.good);
        self.bad = self.bad.wrapping_add(other.bad);
    }

    /// Exactly what [`Self::add`] takes back.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { good: self.good.wrapping_sub(before.good), bad: self.bad.wrapping_sub(before.bad) }
    }

    pub(crate) fn bad(&self) -> u64 {
        u64::try_from(self.bad).unwrap_or(0)
    }

    pub(crate) fn requests(&self) -> u64 {
        u64::try_from(self.good).unwrap_or(0).saturating_add(self.bad())
    }

    /// Share of bad requests; `None` without requests.
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.requests() > 0).then(|| self.bad() as f64 / self.requests() as f64)
    }
}

/// Ages count in tests as long as the share that admitted them was in force in this block.
pub(crate) const fn is_counted(age: Age, share_changed_in_block: bool) -> bool {
    match age {
        Age::Current => true,
        Age::Previous => share_changed_in_block,
        Age::Older => false,
    }
}

/// The key's limit is the metric's.
pub(crate) fn crosses(metric: &Metric, key: &OverdueKey) -> bool {
    metric.limit() == Some(key.limit) && metric.takes(&key.route)
}
