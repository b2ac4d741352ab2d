//! How many of green's pods are ready.

use crate::rules::Comparison;

/// The share of ready pods against a limit, without a break.
#[derive(Clone, Debug)]
pub(crate) struct PodsReady {
    comparison: Comparison,
    pub(crate) limit: f64,
    for_ms: u64,
    since_ms: Option<u64>,
    /// Share of green's pods that are ready; `None` while there are none.
    pub(crate) value: Option<f64>,
    /// Since when it holds for long enough.
    pub(crate) fired_ms: Option<u64>,
}

impl PodsReady {
    pub(crate) const fn new(comparison: Comparison, limit: f64, for_ms: u64) -> Self {
        Self { comparison, limit, for_ms, since_ms: None, value: None, fired_ms: None }
    }

    /// `ready` of `pods` pods of green are ready. No pods at all say nothing: they may not be known yet.
    pub(crate) fn look(&mut self, now_ms: u64, ready: u32, pods: u32) {
        self.value = (pods > 0).then(|| f64::from(ready) / f64::from(pods));
        let holds = self.value.is_some_and(|value| match self.comparison {
            Comparison::Over => value > self.limit,
            Comparison::Under => value < self.limit,
        });
        if !holds {
            self.since_ms = None;
            self.fired_ms = None;
            return;
        }
        let since = *self.since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) >= self.for_ms {
            self.fired_ms.get_or_insert(now_ms);
        }
    }
}
