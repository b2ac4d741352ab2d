//! A body of one's own for the webhook: JSON with `$(field)` in it.
//!
//! Substitution and nothing else. Values are put in with the escapes that JSON strings need, so a quotation mark in an error
//! message cannot break the body, nor add to it. A template is tried when the gate starts: unknown fields, and bodies that are not
//! JSON, are refused then.

use std::collections::BTreeMap;

use super::alertmanager::time;
use super::config::Links;
use super::news::News;

/// Longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;

/// Every field, in the order of the documentation.
pub const FIELDS: [&str; 23] = [
    "id",
    "type",
    "kind",
    "severity",
    "time",
    "summary",
    "text",
    "service",
    "release",
    "phase",
    "verdict",
    "rule",
    "value",
    "limit",
    "unit",
    "requests",
    "candidate",
    "baseline",
    "share",
    "by",
    "revision",
    "link",
    "runbook_url",
];

enum Part {
    Text(String),
    Field(&'static str),
}

/// A template that can be filled.
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// In words: an unknown field, an open bracket, or a body that is not JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("{} bytes; up to {TEMPLATE_BYTES_MAX} are accepted", text.len()));
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("$(") {
            // `$$(` is `$(` itself.
            if let Some(before) = before.strip_suffix('$') {
                parts.push(Part::Text(format!("{before}$(")));
                rest = after;
                continue;
            }
            let (name, after) = after.split_once(')').ok_or("a `$(` is not closed; `$$(` stands for `$(` itself")?;
            let field = FIELDS.into_iter().find(|field| *field == name.trim());
            let field = field.ok_or_else(|| format!("$({name}) is no field; accepted: {}", FIELDS.join(", ")))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(field));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self(parts);
        let sample: BTreeMap<&str, String> = FIELDS.into_iter().map(|field| (field, "1".to_owned())).collect();
        match serde_json::from_str::<serde::de::IgnoredAny>(&template.fill(&sample)) {
            Ok(_) => Ok(template),
            Err(error) => Err(format!("the body is not JSON with every field filled in: {error}")),
        }
    }

    /// The body, with these fields.
    #[must_use]
    pub fn fill(&self, fields: &BTreeMap<&str, String>) -> String {
        self.0.iter().fold(String::new(), |mut body, part| {
            match part {
                Part::Text(text) => body.push_str(text),
                Part::Field(field) => {
                    let value = fields.get(field).map_or("", String::as_str);
                    let quoted = serde_json::Value::from(value).to_string();
                    body.push_str(&quoted[1..quoted.len() - 1]);
                }
            }
            body
        })
    }
}

/// The fields of a message.
#[must_use]
pub fn fields(news: &News, links: &Links) -> BTreeMap<&'static str, String> {
    let (release, verdict) = (&news.release, &news.release.verdict);
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    BTreeMap::from([
        ("id", news.id.clone()),
        ("type", news.event_type()),
        ("kind", news.kind.as_str().to_owned()),
        ("severity", news.kind.severity().to_owned()),
        ("time", time(news.at_ms)),
        ("summary", news.summary()),
        ("text", news.text.clone()),
        ("service", release.service.clone()),
        ("release", release.id.clone()),
        ("phase", word(&release.phase)),
        ("verdict", verdict.verdict.clone()),
        ("rule", verdict.rule.clone().unwrap_or_default()),
        ("value", number(verdict.value)),
        ("limit", number(verdict.limit)),
        ("unit", verdict.unit.clone().unwrap_or_default()),
        ("requests", verdict.requests.to_string()),
        ("candidate", word(&release.candidate)),
        ("baseline", word(&release.baseline)),
        ("share", release.share.to_string()),
        ("by", release.by.clone().unwrap_or_default()),
        ("revision", release.source_revision.clone().unwrap_or_default()),
        ("link", links.release(&release.id).unwrap_or_default()),
        ("runbook_url", news.kind.runbook().map(|runbook| links.runbook(runbook)).unwrap_or_default()),
    ])
}

/// An enumeration of the API in the word that its JSON has.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_dollars_can_be_written() {
        let template = Template::parse(r#"{"text": "$(text)", "cost": "$$(5)"}"#).expect("it is a template");
        let fields = BTreeMap::from([("text", "a \"quoted\" word\nand \\ more".to_owned())]);
        let body: serde_json::Value = serde_json::from_str(&template.fill(&fields)).expect("it is JSON");
        assert_eq!(body["text"], "a \"quoted\" word\nand \\ more");
        assert_eq!(body["cost"], "$(5)");
    }

    #[test]
    fn what_cannot_be_filled_is_refused_at_once() {
        for (text, part) in [
            (r#"{"text": "$(txt)"}"#, "$(txt)"),
            (r#"{"text": "$(text"}"#, "not closed"),
            (r#"{"text": $(text), }"#, "not JSON"),
        ] {
            let error = Template::parse(text).err().unwrap_or_else(|| panic!("{text} is no template"));
            assert!(error.contains(part), "{error}");
        }
        assert!(Template::parse(r#"{"requests": $(requests)}"#).is_ok(), "a number needs no quotes");
    }
}
