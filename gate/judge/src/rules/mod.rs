//! Rules in the operator's words: parsed once, printed back the same, refused with a caret under the wrong word.
//!
//! The grammar is whole; a form that this version cannot judge is refused, because a rule that silently does nothing is
//! worse than none.

mod duration;
mod explain;
mod grammar;
mod parse;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use blueback_report::{LIMITS_MAX, Limit, ROUTES_MAX};

pub use self::explain::Explained;
pub use self::grammar::{Comparison, Condition, Rule, Subject};
pub use self::parse::FOR_MS_MAX;
use crate::metric::Metric;
use crate::statistics::schedule::Profile;

/// A budget is cut into at least so many parts. Fewer, larger ones would be slower: what one block may say is capped at a
/// quarter of ln(1/alpha), so a larger alpha lowers the cap. With an eighth, an outage ten minutes in takes nine blocks even if
/// the shield rose in the first of them; with a fifth it takes ten. Mild harm takes a twentieth longer.
pub const PARTS_MIN: usize = 8;
/// Most rules in all lists together.
pub const CRITERIA_MAX: usize = 64;

/// What reverts a release unless told otherwise.
///
/// 5 %: one request in twenty is what users notice and no deployment explains away; proven acts in seconds, and the same
/// limit `for 5m` acts exactly as written, for those who audit words. 500 ms at the 99th percentile: beyond it a page feels
/// broken for one visitor in a hundred. Worse than blue: what the release made worse is its fault long before it is 5 %, and
/// with 6 % it is proven ten times sooner. The two signals are harm that no request can show.
pub const REVERT_WHEN: [&str; 7] = [
    "error rate > 5%",
    "error rate > 5% for 5m",
    "error rate worse than blue",
    "latency p99 > 500ms",
    "latency p99 > 500ms for 5m",
    "signal data-corruption",
    "signal security",
];
/// What a release must show to pass: fifty times better than what would revert it, and quick for nearly everybody.
pub const PASS_WHEN: [&str; 2] = ["error rate < 0.1%", "latency p95 < 100ms"];
/// Five minutes: longer than start-up effects, caches and one round of most scheduled jobs, and short enough to wait for.
pub const BAKE: &str = "5m";
/// Half an hour: at three requests a second the pass test of 0.1 % can be met in it; with less traffic, say so.
pub const DECIDE_WITHIN: &str = "30m";
/// After half an hour slow leaks show, after two hours load has changed, after a day every daily job has run.
pub const CHECKPOINTS: [&str; 3] = ["30m", "2h", "24h"];
/// One healthy release in a thousand: with three releases a day, a false rollback a year.
pub const FALSE_ALARMS: &str = "1 in 1000";

const JUDGED: &str = "`error rate`, `latency pNN`, `first byte latency pNN`, `error rate worse than blue`, `pods ready` and \
                      `signal NAME`";

/// Rules as words: what a rules file holds. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Harm: any of these takes traffic back to blue.
    pub revert_when: Option<Vec<String>>,
    /// Health: all of these must be shown to pass.
    pub pass_when: Option<Vec<String>>,
    /// Told, but not acted upon.
    pub alert_when: Option<Vec<String>>,
    /// Least time before the first pass, as in `5m`.
    pub bake: Option<String>,
    /// A release that has not passed by then is inconclusive, as in `30m`.
    pub decide_within: Option<String>,
    /// Times at which it is looked at again, as in `30m`, `2h`, `24h`.
    pub checkpoints: Option<Vec<String>>,
    /// Probability of reverting a healthy release, as in `1 in 1000`, for all proven rules together.
    pub false_alarms: Option<String>,
    /// `fast` or `robust`.
    pub profile: Option<String>,
}

/// A word that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RuleError {
    /// Which field, as in `revertWhen[2]`.
    pub field: String,
    /// The words.
    pub text: String,
    /// Where in the words, in bytes.
    pub at: Range<usize>,
    /// What is wrong, and what would be accepted.
    pub message: String,
    /// The word that was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        let columns = |text: &str| text.chars().count();
        let before = columns(self.text.get(..self.at.start).unwrap_or(&self.text));
        let carets = columns(self.text.get(self.at.clone()).unwrap_or_default()).max(1);
        write!(f, "\n  {}\n  {}{}", self.text, " ".repeat(before), "^".repeat(carets))
    }
}

/// A moment at which a release is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// As it was written.
    pub name: String,
    /// Milliseconds after the switch.
    pub at_ms: u64,
}

/// Rules that are known to be sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    revert: Vec<Rule>,
    pass: Vec<Rule>,
    alert: Vec<Rule>,
    bake: Moment,
    decide_within_ms: u64,
    checkpoints: Vec<Moment>,
    false_alarms: f64,
    profile: Profile,
}

/// Which list a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `revertWhen`
    Revert,
    /// `passWhen`
    Pass,
    /// `alertWhen`
    Alert,
}

impl List {
    /// `revert`, `pass` or `alert`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Pass => "pass",
            Self::Alert => "alert",
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Revert => "revertWhen",
            Self::Pass => "passWhen",
            Self::Alert => "alertWhen",
        }
    }
}

impl Rules {
    /// The only door: all that is wrong comes back at once.
    ///
    /// # Errors
    /// One [`RuleError`] for each rule or field that is wrong.
    pub fn parse(spec: &Spec) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let revert = rules_of(List::Revert, spec.revert_when.as_deref(), &REVERT_WHEN, &mut errors);
        let pass = rules_of(List::Pass, spec.pass_when.as_deref(), &PASS_WHEN, &mut errors);
        let alert = rules_of(List::Alert, spec.alert_when.as_deref(), &[], &mut errors);
        let bake = moment("bake".to_owned(), "bake", spec.bake.as_deref().unwrap_or(BAKE), &mut errors);
        let decide_within = spec.decide_within.as_deref().unwrap_or(DECIDE_WITHIN);
        let decide_within_ms = moment(String::new(), "decideWithin", decide_within, &mut errors).at_ms;
        let checkpoints = match &spec.checkpoints {
            Some(written) => written.iter().map(String::as_str).collect(),
            None => CHECKPOINTS.to_vec(),
        };
        let mut checkpoints: Vec<_> = checkpoints
            .into_iter()
            .enumerate()
            .map(|(index, text)| moment(text.to_owned(), &format!("checkpoints[{index}]"), text, &mut errors))
            .collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.at_ms);
        let false_alarms = probability(spec.false_alarms.as_deref().unwrap_or(FALSE_ALARMS), &mut errors);
        let profile = match spec.profile.as_deref() {
            None | Some("fast") => Profile::Fast,
            Some("robust") => Profile::Robust,
            Some(other) => {
                let suggestion = words::nearest(other, &["fast", "robust"]).map(str::to_owned);
                errors.push(whole("profile", other, "expected `fast` or `robust`", suggestion));
                Profile::Fast
            }
        };
        let rules = Self { revert, pass, alert, bake, decide_within_ms, checkpoints, false_alarms, profile };
        rules.hold_bounds(&mut errors);
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    /// The defaults.
    #[must_use]
    pub fn default_rules() -> Self {
        Self::parse(&Spec::default()).expect("the defaults are constants, and a test parses them")
    }

    fn hold_bounds(&self, errors: &mut Vec<RuleError>) {
        let mut bound = |field: &str, seen: usize, most: usize, what: &str| {
            if seen > most {
                errors.push(whole(field, "", &format!("{seen} {what}, at most {most} are accepted"), None));
            }
        };
        bound("rules", self.iter().count(), CRITERIA_MAX, "rules");
        bound("rules", self.routes().len(), ROUTES_MAX, "routes");
        bound("rules", self.limits().len(), LIMITS_MAX, "different latency limits");
        bound("checkpoints", self.checkpoints.len(), CRITERIA_MAX, "checkpoints");
    }

    /// Every rule with its list, in the order revert, pass, alert.
    pub fn iter(&self) -> impl Iterator<Item = (List, &Rule)> {
        let lists = [(List::Revert, &self.revert), (List::Pass, &self.pass), (List::Alert, &self.alert)];
        lists.into_iter().flat_map(|(list, rules)| rules.iter().map(move |rule| (list, rule)))
    }

    /// Latency limits that agents must hold requests in flight against, without repetition.
    #[must_use]
    pub fn limits(&self) -> Vec<Limit> {
        let mut limits: Vec<_> = self.iter().filter_map(|(_, rule)| Metric::of(rule)?.limit()).collect();
        limits.sort_unstable();
        limits.dedup();
        limits
    }

    /// Routes that rules look at, without repetition.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<str>> {
        let mut routes: Vec<_> = self.iter().filter_map(|(_, rule)| rule.route.clone()).collect();
        routes.sort_unstable();
        routes.dedup();
        routes
    }

    /// Least time before the first pass, in milliseconds.
    #[must_use]
    pub const fn bake_ms(&self) -> u64 {
        self.bake.at_ms
    }

    /// The release is inconclusive if it has not passed by then, in milliseconds.
    #[must_use]
    pub const fn decide_within_ms(&self) -> u64 {
        self.decide_within_ms
    }

    /// Times at which the release is looked at again after the bake time, in order.
    #[must_use]
    pub fn checkpoints(&self) -> &[Moment] {
        &self.checkpoints
    }

    /// Probability of reverting a healthy release.
    #[must_use]
    pub const fn false_alarms(&self) -> f64 {
        self.false_alarms
    }

    /// How long blocks are.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The false-alarm budget of each proven rule of the list: the release's, in equal parts, at least [`PARTS_MIN`].
    #[must_use]
    pub fn alpha(&self, list: List) -> f64 {
        let proven = self.iter().filter(|(other, rule)| *other == list && rule.is_proven()).count();
        self.false_alarms / proven.max(PARTS_MIN) as f64
    }

    /// The same rules as words.
    #[must_use]
    pub fn to_spec(&self) -> Spec {
        let words = |rules: &[Rule]| Some(rules.iter().map(ToString::to_string).collect());
        let time = |ms: u64| duration::print_us(ms * 1_000);
        Spec {
            revert_when: words(&self.revert),
            pass_when: words(&self.pass),
            alert_when: words(&self.alert),
            bake: Some(time(self.bake.at_ms)),
            decide_within: Some(time(self.decide_within_ms)),
            checkpoints: Some(self.checkpoints.iter().map(|checkpoint| checkpoint.name.clone()).collect()),
            false_alarms: Some(format!("1 in {}", 1.0 / self.false_alarms)),
            profile: Some(match self.profile {
                Profile::Fast => "fast".to_owned(),
                Profile::Robust => "robust".to_owned(),
            }),
        }
    }
}

impl Rule {
    /// It is a test with a false-alarm probability, not a plain comparison.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        let tests = matches!(
            self.condition,
            Condition::ErrorRate(Comparison::Over, _)
                | Condition::Latency { comparison: Comparison::Over, .. }
                | Condition::WorseThanBlue(_)
        );
        tests && self.for_ms.is_none()
    }
}

fn whole(field: &str, text: &str, message: &str, suggestion: Option<String>) -> RuleError {
    RuleError {
        field: field.to_owned(),
        text: text.to_owned(),
        at: 0..text.len(),
        message: message.to_owned(),
        suggestion,
    }
}

fn rules_of(list: List, written: Option<&[String]>, default: &[&str], errors: &mut Vec<RuleError>) -> Vec<Rule> {
    let written: Vec<&str> = match written {
        Some(written) => written.iter().map(String::as_str).collect(),
        None => default.to_vec(),
    };
    let mut rules = Vec::new();
    for (index, text) in written.into_iter().enumerate() {
        let parsed = parse::parse(text).and_then(|parsed| judgeable(list, &parsed).map_or(Ok(parsed.rule), Err));
        match parsed {
            Ok(rule) => rules.push(rule),
            Err(parse::Wrong { at, message, suggestion }) => errors.push(RuleError {
                field: format!("{}[{index}]", list.field()),
                text: text.to_owned(),
                at,
                message,
                suggestion,
            }),
        }
    }
    rules
}

/// What hinders the rule from being judged in this list, if anything does.
fn judgeable(list: List, parsed: &parse::Parsed) -> Option<parse::Wrong> {
    let parse::Parsed { rule, condition_at, for_at, requests_at } = parsed;
    let wrong = |at: &Range<usize>, message: String| Some(parse::Wrong { at: at.clone(), message, suggestion: None });
    let counts = matches!(
        rule.condition,
        Condition::ErrorRate(..) | Condition::Latency { .. } | Condition::WorseThanBlue(Subject::ErrorRate)
    );
    let wanted = match rule.condition {
        Condition::ErrorRate(comparison, _) | Condition::Latency { comparison, .. } => {
            let wanted = if list == List::Pass { Comparison::Under } else { Comparison::Over };
            (comparison != wanted).then_some(wanted)
        }
        Condition::PodsReady(comparison, _) => {
            let wanted = if list == List::Pass { Comparison::Over } else { Comparison::Under };
            (comparison != wanted).then_some(wanted)
        }
        Condition::WorseThanBlue(Subject::ErrorRate) | Condition::Signal(_) => {
            if list == List::Pass {
                return wrong(
                    condition_at,
                    format!("`{}` says harm, not health, so it cannot let a release pass", rule.condition),
                );
            }
            None
        }
        _ => {
            return wrong(condition_at, format!("this version cannot judge `{}`; it judges {JUDGED}", rule.condition));
        }
    };
    if let Some(wanted) = wanted {
        return wrong(condition_at, format!("a rule of {} needs `{wanted}` here", list.field()));
    }
    if rule.route.is_some() && !counts {
        return wrong(condition_at, format!("`{}` is not about requests, so it has no route", rule.condition));
    }
    if rule.requests_min.is_some() && !counts {
        return wrong(requests_at, format!("`{}` is not about requests, so it cannot wait for some", rule.condition));
    }
    let takes_for = match rule.condition {
        Condition::ErrorRate(..) | Condition::Latency { .. } => list != List::Pass,
        Condition::PodsReady(..) => true,
        _ => false,
    };
    if rule.for_ms.is_some() && !takes_for {
        return wrong(for_at, "`for` has no meaning here: the rule is decided by a test or at once".to_owned());
    }
    None
}

fn moment(name: String, field: &str, text: &str, errors: &mut Vec<RuleError>) -> Moment {
    let at_ms = match duration::parse_us(text.trim()) {
        Some(us) if us % 1_000_000 == 0 && us > 0 => us / 1_000,
        _ => {
            errors.push(whole(
                field,
                text,
                "expected whole seconds, minutes or hours, as in `30s`, `5m` or `2h`",
                None,
            ));
            0
        }
    };
    Moment { name, at_ms }
}

fn probability(text: &str, errors: &mut Vec<RuleError>) -> f64 {
    let of = text.trim().strip_prefix("1 in ").map(|number| number.trim().replace([',', '_'], ""));
    match of.and_then(|number| number.parse::<u32>().ok()).filter(|&number| number >= 20) {
        Some(number) => 1.0 / f64::from(number),
        None => {
            errors.push(whole("falseAlarms", text, "expected `1 in N` with N of at least 20, as in `1 in 1000`", None));
            1e-3
        }
    }
}
