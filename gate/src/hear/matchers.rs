//! Which alerts raise which signal, in Alertmanager's own notation: `alertname = OrdersWrong, severity != info`.
//!
//! Equality only. A regular expression that is a little too wide would revert a release for an alert about something else, and
//! nobody would see it in a review; several lines say the same in the open.

use std::collections::BTreeMap;

/// Most lines of one signal.
pub const LINES_MAX: usize = 64;

/// One line: every part must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Matcher {
    label: String,
    value: String,
    equal: bool,
}

impl Matchers {
    /// Reads a line.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn parse(line: &str) -> Result<Self, String> {
        let text = line.trim().trim_start_matches('{').trim_end_matches('}');
        let matchers: Result<Vec<_>, _> = parts(text).into_iter().map(Matcher::parse).collect();
        let matchers =
            matchers.map_err(|why| format!("{line:?}: {why}; as in: alertname = OrdersWrong, severity != info"))?;
        if matchers.iter().any(|matcher| matcher.equal && !matcher.value.is_empty()) {
            Ok(Self(matchers))
        } else {
            Err(format!("{line:?} would hold for alerts about anything; at least one label = value is needed"))
        }
    }

    /// An alert with these labels is meant. A label that is not there is empty.
    #[must_use]
    pub fn hold(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|matcher| {
            let value = labels.get(&matcher.label).map_or("", String::as_str);
            (value == matcher.value) == matcher.equal
        })
    }
}

impl Matcher {
    fn parse(part: &str) -> Result<Self, String> {
        let (label, value, equal) = match (part.split_once("!="), part.split_once('=')) {
            (Some((label, value)), _) => (label, value, false),
            (None, Some((label, value))) => (label, value, true),
            (None, None) => return Err(format!("{:?} has neither = nor !=", part.trim())),
        };
        let (label, value) = (label.trim(), value.trim());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if label.is_empty() || !label.bytes().all(plain) {
            return Err(format!("{label:?} is not the name of a label"));
        }
        if value.starts_with('~') || label.ends_with('~') {
            return Err("regular expressions are not accepted, only = and !=".to_owned());
        }
        let value = match value.strip_prefix('"') {
            Some(quoted) => {
                serde_json::from_str(value).map_err(|_| format!("{quoted:?} has no closing quotation mark"))?
            }
            None => value.to_owned(),
        };
        Ok(Self { label: label.to_owned(), value, equal })
    }
}

/// Splits at commas that are not inside quotation marks.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[begin..place]);
                begin = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// What is wrong with the `signals` of a rules file.
#[must_use]
pub fn wrong(signals: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (signal, lines) in signals {
        if lines.len() > LINES_MAX {
            wrong.push(format!("signals: {signal}: {} lines; up to {LINES_MAX} are accepted", lines.len()));
        }
        for error in lines.iter().filter_map(|line| Matchers::parse(line).err()) {
            wrong.push(format!("signals: {signal}: {error}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_parts_of_a_line_must_hold() {
        let alert = labels(&[("alertname", "OrdersWrong"), ("severity", "page"), ("team", "a, b")]);
        for (line, holds) in [
            ("alertname = OrdersWrong", true),
            ("{alertname=\"OrdersWrong\", severity=\"page\"}", true),
            ("alertname = OrdersWrong, severity != page", false),
            ("alertname = OrdersWrong, cluster != test", true),
            ("alertname = OrdersWrong, team = \"a, b\"", true),
            ("alertname = Orders", false),
        ] {
            assert_eq!(Matchers::parse(line).expect(line).hold(&alert), holds, "{line}");
        }
    }

    #[test]
    fn what_would_match_anything_is_refused() {
        for (line, part) in [
            ("", "anything"),
            ("severity != info", "anything"),
            ("alertname = \"\"", "anything"),
            ("alertname =~ Orders.*", "regular"),
            ("alertname !~ Orders.*", "neither"),
            ("alertname", "neither"),
            ("alert-name = x", "label"),
            ("alertname = \"x", "quotation"),
        ] {
            let error = Matchers::parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
