//! What an Alertmanager posts (webhook, version 4), as signals to releases.
//!
//! An alert raises a signal when its label `blueback_signal` names one, or when the rules map it, or when its name is that of a
//! signal which the rules wait for (`DataCorruption` for `data-corruption`). It reaches the service that its labels name. Everything
//! else is passed over and counted, as Alertmanagers send what their routes say, and our own alerts would come back as news.
//!
//! What was alerting before the switch is not green's fault and raises nothing. A signal that was raised stays raised for its release;
//! the end of its alert is written into the timeline.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::matchers::Matchers;
use crate::rules_file::RulesFile;

/// Longest message, in bytes: a group of a few hundred alerts.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Alerts of one message that are looked at; Alertmanager's `max_alerts` should be at most this.
pub const ALERTS_MAX: usize = 1_000;
/// Longest reason, in bytes.
const WHY_BYTES_MAX: usize = 500;

/// The message. Fields that are not used, and those that later versions add, are passed over.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// `4`.
    #[serde(default)]
    pub version: String,
    /// The alerts of the group.
    pub alerts: Vec<Alert>,
}

/// An alert of the group.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is said about it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it began, as RFC 3339.
    #[serde(default, rename = "startsAt")]
    pub starts_at: String,
    /// Its identity.
    #[serde(default)]
    pub fingerprint: String,
}

impl Alert {
    /// It lasts.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }

    /// When it began, in Unix milliseconds.
    #[must_use]
    pub fn starts_ms(&self) -> Option<u64> {
        let time: jiff::Timestamp = self.starts_at.parse().ok()?;
        u64::try_from(time.as_millisecond()).ok()
    }

    /// What it says, for the release's timeline.
    #[must_use]
    pub fn why(&self) -> String {
        let name = self.labels.get("alertname").map_or("an alert", String::as_str);
        let said = ["summary", "description", "message"].into_iter().find_map(|key| self.annotations.get(key));
        let mut why = said.map_or_else(|| name.to_owned(), |said| format!("{name}: {said}"));
        if why.len() > WHY_BYTES_MAX {
            let end = (0..=WHY_BYTES_MAX).rev().find(|end| why.is_char_boundary(*end)).unwrap_or_default();
            why.truncate(end);
            why.push('…');
        }
        why
    }

    /// The service that it is about, out of those that are known: by the label `gate`, else by `service`, with the namespace where
    /// services have one in their name.
    pub fn service<'a>(&self, known: impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
        let label = |name: &str| self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let namespace = label("namespace");
        ["gate", "blueback_gate", "service"].into_iter().filter_map(label).find_map(|name| {
            let qualified = namespace.and_then(|namespace| known(&format!("{namespace}/{name}")));
            qualified.or_else(|| known(name))
        })
    }

    /// The signal that it raises under these rules.
    #[must_use]
    pub fn signal(&self, rules: &RulesFile) -> Option<String> {
        if let Some(named) = self.labels.get("blueback_signal").filter(|name| !name.is_empty()) {
            return Some(named.clone());
        }
        let mapped = rules.signals.iter().flatten().find(|(_, lines)| {
            lines.iter().filter_map(|line| Matchers::parse(line).ok()).any(|matchers| matchers.hold(&self.labels))
        });
        if let Some((signal, _)) = mapped {
            return Some(signal.clone());
        }
        let name = kebab(self.labels.get("alertname")?);
        waited_for(rules).contains(&name).then_some(name)
    }
}

/// `DataCorruption` as `data-corruption`.
#[must_use]
pub fn kebab(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let letters: Vec<char> = name.chars().collect();
    for (place, letter) in letters.iter().enumerate() {
        if letter.is_uppercase() {
            let before = place.checked_sub(1).map(|before| letters[before]);
            let next_is_lower = letters.get(place + 1).is_some_and(|next| next.is_lowercase());
            let begins = before.is_some_and(|it| it.is_lowercase() || it.is_numeric())
                || (before.is_some_and(char::is_uppercase) && next_is_lower);
            if begins {
                words.push('-');
            }
            words.extend(letter.to_lowercase());
        } else if matches!(letter, '_' | ' ') {
            words.push('-');
        } else {
            words.push(*letter);
        }
    }
    words
}

/// Signals that rules wait for.
#[must_use]
pub fn waited_for(rules: &RulesFile) -> BTreeSet<String> {
    let Ok(rules) = rules.rules() else { return BTreeSet::new() };
    let named = |words: &str| {
        let (_, rest) = words.split_once("signal ")?;
        let name = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => rest.split_whitespace().next()?,
        };
        Some(name.to_owned())
    };
    rules.explain().iter().filter(|rule| rule.kind == "signal").filter_map(|rule| named(&rule.words)).collect()
}

/// What becomes of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It raises this signal.
    Raises(String),
    /// What raised this signal is over.
    Ends(String),
    /// It raises nothing, for this reason.
    Nothing(&'static str),
}

/// What an alert means for a release that began at `started_ms` under these rules.
#[must_use]
pub fn meaning(alert: &Alert, rules: &RulesFile, started_ms: u64) -> Meaning {
    let Some(signal) = alert.signal(rules) else { return Meaning::Nothing("no rule waits for it") };
    if alert.starts_ms().is_some_and(|starts_ms| starts_ms < started_ms) {
        return Meaning::Nothing("it began before the switch");
    }
    if alert.is_firing() { Meaning::Raises(signal) } else { Meaning::Ends(signal) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(json: &str) -> Alert {
        serde_json::from_str(json).expect("it is an alert")
    }

    fn rules(yaml: &str) -> RulesFile {
        RulesFile::from_yaml(yaml).expect("it is a rules file")
    }

    #[test]
    fn names_of_alerts_are_names_of_signals() {
        for (name, signal) in [
            ("DataCorruption", "data-corruption"),
            ("HTTPErrors", "http-errors"),
            ("Orders_Wrong", "orders-wrong"),
            ("data-corruption", "data-corruption"),
            ("P99High", "p99-high"),
        ] {
            assert_eq!(kebab(name), signal);
        }
    }

    #[test]
    fn an_alert_raises_what_its_label_says_what_rules_map_or_what_rules_wait_for() {
        let rules = rules(
            "revertWhen: [signal data-corruption, signal \"wrong prices\"]\nsignals:\n  wrong prices: ['alertname = PriceCheck, severity = page']\n",
        );
        for (json, signal) in [
            (r#"{"status":"firing","labels":{"alertname":"Any","blueback_signal":"security"}}"#, Some("security")),
            (r#"{"status":"firing","labels":{"alertname":"PriceCheck","severity":"page"}}"#, Some("wrong prices")),
            (r#"{"status":"firing","labels":{"alertname":"PriceCheck","severity":"info"}}"#, None),
            (r#"{"status":"firing","labels":{"alertname":"DataCorruption"}}"#, Some("data-corruption")),
            (r#"{"status":"firing","labels":{"alertname":"BluebackReleaseReverted"}}"#, None),
            (r#"{"status":"firing","labels":{}}"#, None),
        ] {
            assert_eq!(alert(json).signal(&rules).as_deref(), signal, "{json}");
        }
    }

    #[test]
    fn services_are_found_with_and_without_a_namespace() {
        let known = |name: &str| ["shop/cart", "app"].into_iter().find(|known| *known == name);
        for (json, service) in [
            (r#"{"status":"firing","labels":{"gate":"shop/cart"}}"#, Some("shop/cart")),
            (r#"{"status":"firing","labels":{"service":"cart","namespace":"shop"}}"#, Some("shop/cart")),
            (r#"{"status":"firing","labels":{"service":"cart"}}"#, None),
            (r#"{"status":"firing","labels":{"service":"app","namespace":"monitoring"}}"#, Some("app")),
            (r#"{"status":"firing","labels":{"gate":"","service":"app"}}"#, Some("app")),
        ] {
            assert_eq!(alert(json).service(known), service, "{json}");
        }
    }

    #[test]
    fn what_alerted_before_the_switch_raises_nothing() {
        let rules = rules("revertWhen: [signal data-corruption]\n");
        let json = |status: &str| {
            format!(
                r#"{{"status":"{status}","startsAt":"2026-11-25T10:00:00.5Z","labels":{{"alertname":"DataCorruption"}}}}"#
            )
        };
        let at_ms = 1_795_600_800_500;
        let said = |status: &str, started_ms: u64| meaning(&alert(&json(status)), &rules, started_ms);
        assert_eq!(alert(&json("firing")).starts_ms(), Some(at_ms));
        assert_eq!(said("firing", at_ms), Meaning::Raises("data-corruption".to_owned()));
        assert_eq!(said("resolved", at_ms), Meaning::Ends("data-corruption".to_owned()));
        assert_eq!(said("firing", at_ms + 1), Meaning::Nothing("it began before the switch"));
    }

    #[test]
    fn a_reason_is_bounded_in_the_middle_of_nothing() {
        let long = "é".repeat(WHY_BYTES_MAX);
        let json =
            format!(r#"{{"status":"firing","labels":{{"alertname":"A"}},"annotations":{{"summary":"{long}"}}}}"#);
        let why = alert(&json).why();
        assert!(why.len() <= WHY_BYTES_MAX + '…'.len_utf8() && why.ends_with('…'), "{why}");
    }
}
