//! Which forms make sense in which list: a rule that could never do what it says is refused with its reason.

use std::ops::Range;

use super::grammar::{Comparison, Condition, Rule};
use super::parse::{Parsed, Wrong};
use super::{List, Subject};

/// What hinders the rule from being judged in this list, if anything does.
pub(super) fn judgeable(list: List, parsed: &Parsed) -> Option<Wrong> {
    let Parsed { rule, condition_at, over_at, for_at, requests_at, known_at } = parsed;
    let wrong = |at: &Range<usize>, message: String| Some(Wrong { at: at.clone(), message, suggestion: None });
    let condition = &rule.condition;
    if let Some(wanted) = comparison_wanted(list, condition) {
        return wrong(condition_at, format!("a rule of {} needs `{wanted}` here", list.field()));
    }
    if list == List::Pass && says_harm(condition) {
        return wrong(condition_at, format!("`{condition}` says harm, not health, so it cannot let a release pass"));
    }
    if rule.route.is_some() && !is_about_requests(condition) {
        return wrong(condition_at, format!("`{condition}` is not about requests, so it has no route"));
    }
    if rule.requests_min.is_some() && !is_about_requests(condition) {
        return wrong(requests_at, format!("`{condition}` is not about requests, so it cannot wait for some"));
    }
    if rule.over_ms.is_some() && !takes_over(condition) {
        return wrong(over_at, format!("`{condition}` is a state, so it is not seen over a time; use `for`"));
    }
    if rule.for_ms.is_some() && !takes_for(list, rule) {
        return wrong(for_at, "`for` has no meaning here: the rule is decided by a test or at once".to_owned());
    }
    if rule.if_known && list != List::Pass {
        let message = "`if known` is for rules that must be shown to pass; harm without evidence is quiet anyway";
        return wrong(known_at, message.to_owned());
    }
    if list == List::Pass && rule.dry_run && matches!(condition, Condition::Signal(_)) {
        return wrong(condition_at, format!("`{condition}` can only wait, so a dry run of it says nothing"));
    }
    None
}

/// The side of the limit that this list needs, where the rule has the other one.
fn comparison_wanted(list: List, condition: &Condition) -> Option<Comparison> {
    let (comparison, harm) = match *condition {
        Condition::ErrorRate(comparison, _)
        | Condition::Latency { comparison, .. }
        | Condition::DependencyLatency { comparison, .. }
        | Condition::Cpu(comparison, _)
        | Condition::Memory(comparison, _)
        | Condition::CriticalLogs(comparison, _) => (comparison, Comparison::Over),
        Condition::PodsReady(comparison, _) => (comparison, Comparison::Under),
        // What a query's value means is for whoever wrote it to know.
        _ => return None,
    };
    let wanted = match (list, harm) {
        (List::Pass, Comparison::Over) => Comparison::Under,
        (List::Pass, Comparison::Under) => Comparison::Over,
        (_, harm) => harm,
    };
    (comparison != wanted).then_some(wanted)
}

const fn says_harm(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::WorseThanBlue(_)
            | Condition::PodsRestarting
            | Condition::PodsCrashLooping
            | Condition::PodsOutOfMemory
            | Condition::DependencyDown(_)
            | Condition::ServiceDown(_)
            | Condition::FailuresCascading
    )
}

const fn is_about_requests(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::ErrorRate(..)
            | Condition::Latency { .. }
            | Condition::WorseThanBlue(Subject::ErrorRate | Subject::Latency(_))
    )
}

const fn takes_over(condition: &Condition) -> bool {
    is_about_requests(condition)
        || matches!(condition, Condition::DependencyLatency { .. } | Condition::CriticalLogs(..))
}

fn takes_for(list: List, rule: &Rule) -> bool {
    match rule.condition {
        Condition::Signal(_) | Condition::FailuresCascading => false,
        // Health of requests is shown by a test, or over a time.
        Condition::ErrorRate(..) | Condition::Latency { .. } => list != List::Pass,
        _ => true,
    }
}
