//! What rules can ask of the monitoring: a query by its name, in the language of whoever answers it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most queries of one service. All of them are asked every few seconds.
pub const QUERIES_MAX: usize = 32;
/// Longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 4_096;
/// Longest name of a query, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// What a query may name.
const KNOWN: [&str; 4] = ["candidate", "baseline", "service", "namespace"];
/// What the query for critical lines may name.
const KNOWN_OF_LOGS: [&str; 3] = ["pods", "service", "namespace"];

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// PromQL.
    Prometheus,
    /// LogQL.
    Loki,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Prometheus, Self::Loki];

    /// `prometheus` or `loki`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Loki => "loki",
        }
    }

    /// Where an instant query is asked.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Prometheus => "/api/v1/query",
            Self::Loki => "/loki/api/v1/query",
        }
    }
}

/// A query whose answer is one number. Exactly one of the two is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Query {
    /// PromQL that comes to one number. `$candidate` and `$baseline` stand for regular expressions of the pods of each side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub prometheus: Option<String>,
    /// LogQL that comes to one number, with the same substitutions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub loki: Option<String>,
}

impl Query {
    /// Who is asked, and what; `None` unless there is exactly one.
    #[must_use]
    pub fn asked(&self) -> Option<(Backend, &str)> {
        match (&self.prometheus, &self.loki) {
            (Some(text), None) => Some((Backend::Prometheus, text)),
            (None, Some(text)) => Some((Backend::Loki, text)),
            _ => None,
        }
    }
}

/// What is wrong with the queries of a rules file, and with where its critical lines are found.
#[must_use]
pub fn wrong(queries: &BTreeMap<String, Query>, critical_logs: Option<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    if queries.len() > QUERIES_MAX {
        wrong.push(format!("queries: {}; up to {QUERIES_MAX} are accepted", queries.len()));
    }
    for (name, query) in queries {
        let mut tell = |why: &str| wrong.push(format!("queries: {name}: {why}"));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('"') {
            tell(&format!("a name of 1 to {NAME_BYTES_MAX} bytes without quotation marks is accepted"));
        }
        match query.asked() {
            Some((_, text)) => wrong_text(text, &KNOWN).iter().for_each(|why| tell(why)),
            None => tell("exactly one of prometheus and loki is accepted"),
        }
    }
    if let Some(text) = critical_logs {
        let mut tell = |why: &str| wrong.push(format!("criticalLogs: {why}"));
        wrong_text(text, &KNOWN_OF_LOGS).iter().for_each(|why| tell(why));
        if selector(text).is_none() {
            tell("it begins with a selector of streams, as in: {namespace=\"shop\", pod=~\"$pods\"} |= \"CRITICAL\"");
        } else if !variables(text).any(|name| name == "pods") {
            tell("without $pods it counts the lines of both sides alike, as in: {pod=~\"$pods\"} |= \"CRITICAL\"");
        }
    }
    wrong
}

fn wrong_text(text: &str, known: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.trim().is_empty() || text.len() > QUERY_BYTES_MAX {
        wrong.push(format!("{} bytes; 1 to {QUERY_BYTES_MAX} are accepted", text.len()));
    }
    let unknown = variables(text).filter(|name| !known.contains(name));
    wrong.extend(unknown.map(|name| format!("${name} stands for nothing; ${} do", known.join(", $"))));
    wrong
}

/// The names after dollar signs. A regular expression has dollar signs too, but no letter after them.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(variable).filter(|name| !name.is_empty())
}

fn variable(after: &str) -> &str {
    let ends = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
    let name = &after[..after.find(ends).unwrap_or(after.len())];
    if name.starts_with(|first: char| first.is_ascii_digit()) { "" } else { name }
}

/// The selector of streams that a LogQL query begins with.
#[must_use]
pub fn selector(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let mut quote = None;
    let mut escaped = false;
    for (place, letter) in text.strip_prefix('{')?.char_indices() {
        match (quote, letter) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(mark), _) if letter == mark && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(letter),
            (None, '}') => return Some(&text[..place + 2]),
            _ => {}
        }
        escaped = false;
    }
    None
}

/// What the names in queries stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meanings {
    /// The service; with its namespace before a slash where it has one.
    pub service: Arc<str>,
    /// Pods of the candidate and of the baseline.
    pub pods: [Vec<Arc<str>>; 2],
}

impl Meanings {
    /// The query with everything put in its place; `pods` is what `$pods` stands for.
    ///
    /// # Errors
    /// In words, when something has no meaning now: a side without pods would ask about everything that has no pod.
    pub fn fill(&self, text: &str, pods: &[Arc<str>]) -> Result<String, String> {
        let (namespace, service) = self.service.split_once('/').unwrap_or(("", &self.service));
        let mut filled = String::with_capacity(text.len() * 2);
        let mut parts = text.split('$');
        filled.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let name = variable(part);
            let meaning = match name {
                "candidate" => any_of(&self.pods[0]).ok_or("the candidate has no pods")?,
                "baseline" => any_of(&self.pods[1]).ok_or("the baseline has no pods")?,
                "pods" => any_of(pods).ok_or("the side has no pods")?,
                "service" => plain(service).ok_or("the service's name has letters that no query can hold")?,
                "namespace" => plain(namespace).ok_or("the service has no namespace")?,
                _ => {
                    filled.push('$');
                    filled.push_str(part);
                    continue;
                }
            };
            filled.push_str(&meaning);
            filled.push_str(&part[name.len()..]);
        }
        Ok(filled)
    }
}

const fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')
}

/// A name that can stand between any quotation marks.
fn plain(name: &str) -> Option<String> {
    (!name.is_empty() && name.chars().all(|letter| is_plain(letter) || letter == '.')).then(|| name.to_owned())
}

/// A regular expression for these names. Names come from outside, so whatever could mean something else is replaced by a dot, which
/// stands for any letter in its place.
fn any_of(names: &[Arc<str>]) -> Option<String> {
    let plain = |name: &Arc<str>| {
        name.chars().map(|letter| if is_plain(letter) || letter == ':' { letter } else { '.' }).collect::<String>()
    };
    (!names.is_empty()).then(|| names.iter().map(plain).collect::<Vec<_>>().join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prometheus(text: &str) -> Query {
        Query { prometheus: Some(text.to_owned()), loki: None }
    }

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn names_are_filled_in_and_cannot_break_out() {
        let pods = [names(&["cart-7d9.a", "10.0.0.1:80", "x\"} or vector(1)"]), names(&["cart-1"])];
        let meanings = Meanings { service: "shop/cart".into(), pods };
        for (text, filled) in [
            ("up{pod=~\"$candidate\"}", "up{pod=~\"cart-7d9.a|10.0.0.1:80|x...or.vector.1.\"}"),
            ("a{pod=~\"$baseline$\", b=~\"(c$|d)\"}", "a{pod=~\"cart-1$\", b=~\"(c$|d)\"}"),
            ("a{job=\"$namespace/$service\"}", "a{job=\"shop/cart\"}"),
            ("{pod=~\"$pods\"}", "{pod=~\"p\"}"),
            ("1 + 1", "1 + 1"),
        ] {
            assert_eq!(meanings.fill(text, &names(&["p"])).as_deref(), Ok(filled), "{text}");
        }
        let nobody = Meanings { service: "a\"b".into(), ..Meanings::default() };
        for text in ["$candidate", "$baseline", "$pods", "$service", "$namespace"] {
            nobody.fill(text, &[]).expect_err(text);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let both = Query { prometheus: Some("1".to_owned()), loki: Some("1".to_owned()) };
        for (query, part) in [
            (prometheus("sum(rate(x[$__interval]))"), "$__interval stands for nothing; $candidate, $baseline"),
            (prometheus("x{pod=~\"$pods\"}"), "$pods stands for nothing"),
            (prometheus(" "), "1 bytes"),
            (Query::default(), "exactly one"),
            (both, "exactly one"),
        ] {
            let wrong = wrong(&BTreeMap::from([("q".to_owned(), query.clone())]), None);
            assert!(wrong.len() == 1 && wrong[0].starts_with("queries: q: "), "{query:?}: {wrong:?}");
            assert!(wrong[0].contains(part), "{query:?}: {wrong:?}");
        }
        let good = BTreeMap::from([("q".to_owned(), prometheus("x{pod=~\"$candidate\", a=~\"b$\"}"))]);
        assert_eq!(wrong(&good, Some("{pod=~\"$pods\"} |= \"CRITICAL\"")), [""; 0]);
        for (logs, part) in [
            ("{app=\"shop\"} |= \"x\"", "without $pods"),
            ("rate({pod=~\"$pods\"}[1m])", "selector"),
            ("{pod=~\"$candidate\"}", "$candidate"),
        ] {
            let wrong = wrong(&BTreeMap::new(), Some(logs));
            assert!(wrong.iter().any(|why| why.starts_with("criticalLogs: ") && why.contains(part)), "{wrong:?}");
        }
    }

    #[test]
    fn the_selector_ends_outside_quotation_marks() {
        for (text, found) in [
            ("{a=\"b\"} |= \"}\"", Some("{a=\"b\"}")),
            ("{a=~\"x\\\"}\"}", Some("{a=~\"x\\\"}\"}")),
            (" {a=`}\\`} | json", Some("{a=`}\\`}")),
            ("{a=\"b\"", None),
            ("count({a=\"b\"})", None),
        ] {
            assert_eq!(selector(text), found, "{text}");
        }
    }
}
