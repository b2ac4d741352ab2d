//! Rules in the operator's words: parsed once, printed back the same, refused with a caret under the wrong word.
//!
//! Every form of the grammar is judged; a combination that could never do what it says is refused, because a rule that
//! silently does nothing is worse than none.

mod defaults;
mod duration;
mod explain;
mod grammar;
mod judgeable;
mod parse;
mod queries;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use blueback_report::{LIMITS_MAX, Limit, ROUTES_MAX};

pub use self::defaults::{ALERT_WHEN, BAKE, CHECKPOINTS, DECIDE_WITHIN, FALSE_ALARMS, PASS_WHEN, REVERT_WHEN};
pub use self::explain::Explained;
pub use self::grammar::{Comparison, Condition, Rule, Subject};
pub use self::parse::FOR_MS_MAX;
use crate::metric::Metric;
use crate::statistics::schedule::Profile;

/// A budget is cut into at least so many parts. Fewer, larger ones would be slower: what one block may say is capped at a
/// quarter of ln(1/alpha), so a larger alpha lowers the cap. With an eighth, an outage ten minutes in takes nine blocks even if
/// the shield rose in the first of them; with a fifth it takes ten. Mild harm takes a twentieth longer.
pub const PARTS_MIN: usize = 8;
/// Most rules in all lists together: one bit each in the shield's sets.
pub const CRITERIA_MAX: usize = 64;
/// Most checkpoints.
pub const CHECKPOINTS_MAX: usize = 64;

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
    /// Times at which it is looked at again, as in `30m` or `2h when memory < 70% and error rate < 0.05%`.
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
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Its time as it was written.
    pub name: String,
    /// Milliseconds after the switch.
    pub at_ms: u64,
    /// What must be shown then, beside the rules of `passWhen`.
    pub pass: Vec<Rule>,
}

/// Rules that are known to be sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    revert: Vec<Rule>,
    pass: Vec<Rule>,
    alert: Vec<Rule>,
    bake_ms: u64,
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

    pub(crate) const fn field(self) -> &'static str {
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
        let alert = rules_of(List::Alert, spec.alert_when.as_deref(), &ALERT_WHEN, &mut errors);
        let bake_ms = time_ms("bake", spec.bake.as_deref().unwrap_or(BAKE), &mut errors);
        let decide_within = spec.decide_within.as_deref().unwrap_or(DECIDE_WITHIN);
        let decide_within_ms = time_ms("decideWithin", decide_within, &mut errors);
        let checkpoints = match &spec.checkpoints {
            Some(written) => written.iter().map(String::as_str).collect(),
            None => CHECKPOINTS.to_vec(),
        };
        let mut checkpoints: Vec<_> = checkpoints
            .into_iter()
            .enumerate()
            .filter_map(|(index, text)| moment(&format!("checkpoints[{index}]"), text, &mut errors))
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
        let rules = Self { revert, pass, alert, bake_ms, decide_within_ms, checkpoints, false_alarms, profile };
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
        bound("checkpoints", self.checkpoints.len(), CHECKPOINTS_MAX, "checkpoints");
    }

    /// Every rule with its list, in the order revert, pass, the checkpoints' own, alert.
    pub fn iter(&self) -> impl Iterator<Item = (List, &Rule)> {
        self.placed().map(|(list, _, rule)| (list, rule))
    }

    /// The same, with the checkpoint that a rule belongs to.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (List, Option<usize>, &Rule)> {
        fn of(list: List, rules: &[Rule]) -> impl Iterator<Item = (List, Option<usize>, &Rule)> {
            rules.iter().map(move |rule| (list, None, rule))
        }
        let own = self.checkpoints.iter().enumerate();
        let own = own.flat_map(|(index, moment)| moment.pass.iter().map(move |rule| (List::Pass, Some(index), rule)));
        let before = of(List::Revert, &self.revert).chain(of(List::Pass, &self.pass));
        before.chain(own).chain(of(List::Alert, &self.alert))
    }

    /// Latency limits that agents must hold requests in flight against, without repetition.
    #[must_use]
    pub fn limits(&self) -> Vec<Limit> {
        // What is worse than blue is known when blue is: [`crate::Judge::limits`].
        let fixed = |rule: &Rule| !matches!(rule.condition, Condition::WorseThanBlue(_));
        let rules = self.iter().filter(|(_, rule)| fixed(rule));
        let mut limits: Vec<_> = rules.filter_map(|(_, rule)| Metric::of(rule)?.limit()).collect();
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
        self.bake_ms
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
        // What never acts can be no false alarm, so it takes nothing away from those that do.
        let counts = |rule: &Rule| rule.is_proven() && !rule.dry_run;
        let proven = self.iter().filter(|(other, rule)| *other == list && counts(rule)).count();
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
            bake: Some(time(self.bake_ms)),
            decide_within: Some(time(self.decide_within_ms)),
            checkpoints: Some(self.checkpoints.iter().map(ToString::to_string).collect()),
            false_alarms: Some(format!("1 in {}", (1.0 / self.false_alarms).round())),
            profile: Some(match self.profile {
                Profile::Fast => "fast".to_owned(),
                Profile::Robust => "robust".to_owned(),
            }),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, rule) in self.pass.iter().enumerate() {
            write!(f, " {} {rule}", if index == 0 { "when" } else { "and" })?;
        }
        Ok(())
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
        let parsed =
            parse::parse(text).and_then(|parsed| judgeable::judgeable(list, &parsed).map_or(Ok(parsed.rule), Err));
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

/// A checkpoint of that field; `None` when it is none, which is told.
fn moment(field: &str, text: &str, errors: &mut Vec<RuleError>) -> Option<Moment> {
    let parsed = parse::parse_checkpoint(text).and_then(|(name, at_us, rules)| {
        let hindrance = rules.iter().find_map(|parsed| judgeable::judgeable(List::Pass, parsed));
        hindrance.map_or(Ok((name, at_us, rules)), Err)
    });
    match parsed {
        Ok((name, at_us, rules)) => match at_us.filter(is_whole) {
            Some(us) => {
                Some(Moment { name, at_ms: us / 1_000, pass: rules.into_iter().map(|parsed| parsed.rule).collect() })
            }
            None => {
                let at = text.find(&name).map_or(0..text.len(), |start| start..start + name.len());
                errors.push(RuleError { at, ..whole(field, text, TIME_EXPECTED, None) });
                None
            }
        },
        Err(parse::Wrong { at, message, suggestion }) => {
            errors.push(RuleError { field: field.to_owned(), text: text.to_owned(), at, message, suggestion });
            None
        }
    }
}

const TIME_EXPECTED: &str = "expected whole seconds, minutes or hours, as in `30s`, `5m` or `2h`";

const fn is_whole(us: &u64) -> bool {
    *us > 0 && us.is_multiple_of(1_000_000)
}

fn time_ms(field: &str, text: &str, errors: &mut Vec<RuleError>) -> u64 {
    duration::parse_us(text.trim()).filter(is_whole).map_or_else(
        || {
            errors.push(whole(field, text, TIME_EXPECTED, None));
            0
        },
        |us| us / 1_000,
    )
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
