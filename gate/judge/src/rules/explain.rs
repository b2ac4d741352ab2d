//! Each rule in a sentence, with the time it takes, computed by running the test itself.

use super::duration::print_us;
use super::{Condition, List, Rule, Rules};
use crate::metric::Metric;
use crate::statistics::block_bet::BlockBet;
use crate::statistics::pass::requests_in_all;
use crate::statistics::reference::REFERENCE_FLOOR;
use crate::statistics::schedule::{Profile, block_ms};

/// One rule and what it will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// `revert`, `pass` or `alert`.
    pub list: &'static str,
    /// The rule as it is printed back.
    pub words: String,
    /// `proven`, `for`, `pass`, `signal` or `pods`.
    pub kind: &'static str,
    /// When it acts, for people.
    pub text: String,
}

impl Rules {
    /// Each rule's words and how long it takes to detect harm or to show health.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        self.iter()
            .map(|(list, rule)| {
                let (kind, text) = explain(self, list, rule);
                Explained { list: list.as_str(), words: rule.to_string(), kind, text }
            })
            .collect()
    }
}

fn explain(rules: &Rules, list: List, rule: &Rule) -> (&'static str, String) {
    let does = if list == List::Alert { "alerts" } else { "reverts" };
    match (&rule.condition, rule.for_ms) {
        (Condition::Signal(name), _) => ("signal", format!("{does} as soon as somebody raises `{name}`")),
        (Condition::PodsReady(comparison, percent), since) => {
            let since =
                since.map_or("at once".to_owned(), |ms| format!("after {} without a break", print_us(ms * 1_000)));
            ("pods", format!("looks at green's ready pods: {comparison} {percent}%, {since}"))
        }
        (_, Some(for_ms)) => {
            let time = print_us(for_ms * 1_000);
            let each = if for_ms > 60_000 { " and of each minute in it" } else { "" };
            ("for", format!("{does} when it holds for all requests of the last {time}{each}, so never before {time}"))
        }
        (_, None) if list == List::Pass => {
            let target = Metric::of(rule).map_or(0.0, |metric| metric.p0());
            let requests = requests_in_all(0, target);
            let seconds = requests.div_ceil(100);
            let text = format!(
                "needs {} requests if none of them is bad ({seconds} s at 100 a second), and the bake time",
                crate::text::number(requests)
            );
            ("pass", text)
        }
        (_, None) => {
            let alpha = rules.alpha(list);
            let p0 = Metric::of(rule).map_or(REFERENCE_FLOOR, |metric| metric.p0().max(f64::MIN_POSITIVE));
            let p0 = if matches!(rule.condition, Condition::WorseThanBlue(_)) { REFERENCE_FLOOR } else { p0 };
            let at_switch = detection_ms(rules.profile(), p0, alpha, 0);
            let later = detection_ms(rules.profile(), p0, alpha, 600_000);
            let text = format!(
                "{does} as soon as it is proven: a total failure at the switch in {} s, ten minutes later in {} s; \
                 a false alarm in at most 1 of {} releases",
                seconds(at_switch),
                seconds(later),
                crate::text::number((1.0 / alpha).round() as u64),
            );
            ("proven", text)
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// How long the test takes to prove that every request fails from `start_ms` on, in milliseconds.
fn detection_ms(profile: Profile, p0: f64, alpha: f64, start_ms: u64) -> u64 {
    const BLOCKS_MAX: u32 = 100_000;
    let mut bet = BlockBet::new(p0, alpha);
    let mut now_ms = 0;
    for _ in 0..BLOCKS_MAX {
        let length = block_ms(profile, now_ms);
        let bad = if now_ms >= start_ms { 1.0 } else { 0.0 };
        bet.block(seconds(length), 1.0, bad, 0.0);
        now_ms += length;
        if bet.fires() {
            break;
        }
    }
    now_ms.saturating_sub(start_ms)
}
