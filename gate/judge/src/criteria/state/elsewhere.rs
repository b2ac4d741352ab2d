//! What is seen elsewhere: other services, and the answers to queries.

use std::sync::Arc;

use super::Sights;
use crate::criteria::plain::Sight;
use crate::observation::Observation;
use crate::rules::Comparison;

/// What was said of a service longer ago is not known any more.
const SERVICE_STALE_MS: u64 = 30_000;
/// The same of a query: monitoring may be asked once a minute.
const QUERY_STALE_MS: u64 = 120_000;

/// Another service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceUp {
    name: Arc<str>,
    told: Option<(bool, u64)>,
}

crate::save::saved!(ServiceUp { name, told });

impl ServiceUp {
    pub(super) const fn new(name: Arc<str>) -> Self {
        Self { name, told: None }
    }

    pub(super) fn hear(&mut self, now_ms: u64, observation: &Observation<'_>) {
        if let Observation::Service { name, up, .. } = observation
            && **name == *self.name
        {
            self.told = Some((*up, now_ms));
        }
    }

    pub(super) fn look(&self, now_ms: u64) -> Sights {
        let fresh = self.told.filter(|(_, at)| now_ms.saturating_sub(*at) <= SERVICE_STALE_MS);
        let sight = fresh.map_or_else(Sight::default, |(up, _)| Sight {
            n: 1,
            bad: u64::from(!up),
            value: Some(if up { 0.0 } else { 1.0 }),
            holds: Some(!up),
        });
        [Sight::default(), Sight::default(), sight]
    }

    pub(super) fn text(&self) -> String {
        let state = if self.told.is_some_and(|(up, _)| up) { "up" } else { "down" };
        format!("service {} is {state}", self.name)
    }
}

/// What a query says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryAnswer {
    name: Arc<str>,
    comparison: Comparison,
    pub(super) limit: f64,
    told: Option<(f64, u64)>,
}

crate::save::saved!(QueryAnswer { name, comparison, limit, told });

impl QueryAnswer {
    pub(super) const fn new(name: Arc<str>, comparison: Comparison, limit: f64) -> Self {
        Self { name, comparison, limit, told: None }
    }

    pub(super) fn hear(&mut self, now_ms: u64, observation: &Observation<'_>) {
        if let Observation::Query { name, value } = observation
            && **name == *self.name
        {
            self.told = value.filter(|value| value.is_finite()).map(|value| (value, now_ms));
        }
    }

    pub(super) fn look(&self, now_ms: u64) -> Sights {
        let fresh = self.told.filter(|(_, at)| now_ms.saturating_sub(*at) <= QUERY_STALE_MS);
        let sight = fresh.map_or_else(Sight::default, |(value, _)| {
            let holds = self.comparison.holds(value, self.limit);
            Sight { n: 1, bad: u64::from(holds), value: Some(value), holds: Some(holds) }
        });
        [Sight::default(), Sight::default(), sight]
    }

    pub(super) fn text(&self, green: &Sight) -> String {
        format!("the query {} says {} (limit {})", self.name, green.value.unwrap_or(0.0), self.limit)
    }
}
