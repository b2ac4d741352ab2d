//! The rules file: YAML with the fields that a ReleaseGate's spec will have.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use blueback_judge::{RuleError, Rules, Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::query::{self, Query};
use crate::hear::matchers;

/// What an operator writes about when a release is reverted, passed or worth an alert. Every field is optional; the
/// judge's defaults are the handbook's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RulesFile {
    /// Rules in words; any one of them reverts the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert_when: Option<Vec<String>>,
    /// Rules in words; all of them must hold for the release to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_when: Option<Vec<String>>,
    /// Rules in words; each that holds is told, and nothing else is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_when: Option<Vec<String>>,
    /// Time before a release may pass (`5m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<String>,
    /// Time after which a release that has not passed is inconclusive (`30m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_within: Option<String>,
    /// Times after the switch at which the release is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<Vec<String>>,
    /// How many healthy releases may be reverted (`1 in 1000`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarms: Option<String>,
    /// `fast` or `robust`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Signals, and the alerts that raise them when an Alertmanager sends them: each line is a set of matchers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signals: Option<BTreeMap<String, Vec<String>>>,
    /// What `query` rules ask of the monitoring, by the names that they use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<BTreeMap<String, Query>>,
    /// LogQL that finds critical lines in the logs of the pods that `$pods` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_logs: Option<String>,
}

impl RulesFile {
    /// Reads YAML. A file without content is a file without fields.
    ///
    /// # Errors
    /// When it is not YAML, or has a field or a type that is not accepted: with line and column.
    pub fn from_yaml(yaml: &str) -> anyhow::Result<Self> {
        let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim() == "---";
        if yaml.lines().all(blank) {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(yaml).map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Reads the file at `path`, and checks every rule in it.
    ///
    /// # Errors
    /// When the file cannot be read, or says something that is not accepted: all of it at once.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let yaml = std::fs::read_to_string(path).with_context(|| format!("rules file {}", path.display()))?;
        let file = Self::from_yaml(&yaml).with_context(|| format!("rules file {}", path.display()))?;
        file.rules().map_err(|errors| {
            let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("rules file {}:\n{}", path.display(), told.join("\n"))
        })?;
        let wrong = file.wrong_sources();
        anyhow::ensure!(wrong.is_empty(), "rules file {}:\n{}", path.display(), wrong.join("\n"));
        Ok(file)
    }

    /// The rules that these words stand for.
    ///
    /// # Errors
    /// Each word that the judge does not accept, with its place.
    pub fn rules(&self) -> Result<Rules, Vec<RuleError>> {
        Rules::parse(&self.spec())
    }

    /// What is not accepted about where rules get from what they name: alerts that raise signals, queries, and logs.
    #[must_use]
    pub fn wrong_sources(&self) -> Vec<String> {
        let none = BTreeMap::new();
        let queries = self.queries.as_ref().unwrap_or(&none);
        let mut wrong = self.signals.as_ref().map(matchers::wrong).unwrap_or_default();
        wrong.extend(query::wrong(queries, self.critical_logs.as_deref()));
        if let Ok(rules) = self.rules() {
            let defined: Vec<_> = queries.keys().map(String::as_str).collect();
            wrong.extend(rules.undefined_queries(&self.spec(), &defined).iter().map(ToString::to_string));
        }
        wrong
    }

    /// The same words, as the judge takes them.
    #[must_use]
    pub fn spec(&self) -> Spec {
        Spec {
            revert_when: self.revert_when.clone(),
            pass_when: self.pass_when.clone(),
            alert_when: self.alert_when.clone(),
            bake: self.bake.clone(),
            decide_within: self.decide_within.clone(),
            checkpoints: self.checkpoints.clone(),
            false_alarms: self.false_alarms.clone(),
            profile: self.profile.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_optional() {
        for yaml in ["", "# nothing yet\n", "---\n", "{}"] {
            assert_eq!(RulesFile::from_yaml(yaml).expect(yaml), RulesFile::default(), "{yaml:?}");
        }
    }

    #[test]
    fn fields_are_camel_case() {
        let file = RulesFile::from_yaml("revertWhen:\n  - error rate > 5%\nbake: 2m\nfalseAlarms: 1 in 1000\n")
            .expect("the fields are known");
        assert_eq!(file.revert_when.as_deref(), Some(["error rate > 5%".to_owned()].as_slice()));
        assert_eq!(file.bake.as_deref(), Some("2m"));
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = RulesFile::from_yaml("revertWhen: []\nbakes: 2m\n").expect_err("bakes is not a field");
        assert!(error.to_string().contains("bakes"), "{error}");
    }
}
