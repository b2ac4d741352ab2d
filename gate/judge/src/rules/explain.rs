//! Each rule in a sentence, with the time it takes, computed by running the test itself.

use super::duration::print_us;
use super::{Condition, List, Rule, Rules};
use crate::criteria::cascade::OTHERS_MAX;
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
    /// `proven`, `for`, `pass`, `signal`, `cascade` or `state`.
    pub kind: &'static str,
    /// When it acts, for people.
    pub text: String,
}

impl Rules {
    /// Each rule's words and how long it takes to detect harm or to show health.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        self.placed()
            .map(|(list, checkpoint, rule)| {
                let (kind, text) = explain(self, list, rule);
                let words = checkpoint
                    .map_or_else(|| rule.to_string(), |index| format!("{}: {rule}", self.checkpoints[index].name));
                Explained { list: list.as_str(), words, kind, text }
            })
            .collect()
    }
}

fn explain(rules: &Rules, list: List, rule: &Rule) -> (&'static str, String) {
    let does = match (list, rule.dry_run) {
        (_, true) => "shows",
        (List::Alert, _) => "alerts",
        (List::Revert, _) => "reverts",
        (List::Pass, _) => "is shown",
    };
    let (kind, mut text) = explain_condition(rules, list, rule, does);
    if rule.if_known {
        text.push_str("; where nobody tells, it does not apply");
    }
    if rule.dry_run {
        text.push_str("; a dry run, so nothing is done");
    }
    (kind, text)
}

fn explain_condition(rules: &Rules, list: List, rule: &Rule, does: &str) -> (&'static str, String) {
    if let Condition::Signal(name) = &rule.condition {
        return ("signal", format!("{does} as soon as somebody raises `{name}`"));
    }
    if let Some(what) = state_of(rule) {
        let since = rule.for_ms.map_or("at once".to_owned(), |ms| format!("after {} without a break", time(ms)));
        let shared = if list == List::Pass { "" } else { "; what blue has too is held, not reverted" };
        return ("state", format!("looks at {what}: {since}{shared}"));
    }
    match (rule.over_ms, rule.for_ms) {
        (None, Some(for_ms)) => {
            let each = if for_ms > 60_000 { " and of each minute in it" } else { "" };
            let last = time(for_ms);
            ("for", format!("{does} when it holds for all requests of the last {last}{each}, so never before {last}"))
        }
        (Some(over_ms), _) if list == List::Pass => (
            "pass",
            format!("is shown while it holds for all requests of the last {}, by plain comparison", time(over_ms)),
        ),
        (Some(over_ms), Some(for_ms)) if over_ms <= for_ms => {
            let (last, each) = (time(for_ms), time(over_ms));
            ("for", format!("{does} when it holds for all requests of the last {last} and of each {each} in it"))
        }
        (Some(over_ms), since) => {
            let since = since.map_or(String::new(), |ms| format!(", for {} without a break", time(ms)));
            ("for", format!("{does} when it holds for all requests of the last {}{since}", time(over_ms)))
        }
        (None, None) => explain_test(rules, list, rule, does),
    }
}

/// What a rule about a state looks at.
fn state_of(rule: &Rule) -> Option<String> {
    Some(match &rule.condition {
        Condition::PodsReady(comparison, percent) => format!("green's ready pods, {comparison} {percent}%"),
        Condition::PodsRestarting => "containers of green that were started again in the last 5 min".to_owned(),
        Condition::PodsCrashLooping => "green's pods in a crash loop".to_owned(),
        Condition::PodsOutOfMemory => "containers of green killed for want of memory in the last 5 min".to_owned(),
        Condition::DependencyDown(name) => format!("`{name}` as green's agents probe it: more than half get no answer"),
        Condition::DependencyLatency { name, .. } => {
            format!("the probes of `{name}` in the last {}", time(rule.over_ms.unwrap_or(60_000)))
        }
        Condition::ServiceDown(name) => format!("the service `{name}`"),
        Condition::Query(name, ..) => {
            format!("the answers to the query `{name}`; no answer is neither harm nor health")
        }
        Condition::Cpu(..) => "the mean of green's pods".to_owned(),
        Condition::Memory(..) => "the fullest of green's pods".to_owned(),
        Condition::CriticalLogs(..) => match rule.over_ms {
            Some(over_ms) => format!("critical lines of green in the last {}", time(over_ms)),
            None => "critical lines of green since the switch".to_owned(),
        },
        _ => return None,
    })
}

fn time(ms: u64) -> String {
    print_us(ms * 1_000)
}

fn explain_test(rules: &Rules, list: List, rule: &Rule, does: &str) -> (&'static str, String) {
    match rule.condition {
        Condition::FailuresCascading => {
            let alpha = rules.alpha(list) / OTHERS_MAX as f64;
            let text = format!(
                "{does} as soon as another guarded service is proven to fail more than its ten minutes before the switch allow: \
                 a total failure of it in {} s",
                seconds(detection_ms(Profile::Robust, REFERENCE_FLOOR, alpha, 0))
            );
            ("cascade", text)
        }
        _ if list == List::Pass => {
            let target = Metric::of(rule).map_or(0.0, |metric| metric.p0());
            let requests = requests_in_all(0, target);
            let seconds = requests.div_ceil(100);
            let text = format!(
                "needs {} requests if none of them is bad ({seconds} s at 100 a second), and the bake time",
                crate::text::number(requests)
            );
            ("pass", text)
        }
        _ => {
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
