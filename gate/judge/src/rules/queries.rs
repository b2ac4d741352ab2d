//! Rules about the answers to queries name what must be defined somewhere else.

use std::sync::Arc;

use super::{Condition, List, Rule, RuleError, Rules, Spec, words};

fn query(rule: &Rule) -> Option<&Arc<str>> {
    match &rule.condition {
        Condition::Query(name, ..) => Some(name),
        _ => None,
    }
}

impl Rules {
    /// Names of the queries that rules look at, without repetition.
    #[must_use]
    pub fn queries(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.iter().filter_map(|(_, rule)| query(rule).cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Some rule counts critical lines of the logs.
    #[must_use]
    pub fn reads_logs(&self) -> bool {
        self.iter().any(|(_, rule)| matches!(rule.condition, Condition::CriticalLogs(..)))
    }

    /// Rules about queries that nobody has defined. `spec` is what these rules were read from.
    #[must_use]
    pub fn undefined_queries(&self, spec: &Spec, defined: &[&str]) -> Vec<RuleError> {
        let mut errors = Vec::new();
        let mut look = |field: String, text: &str, rule: &Rule| {
            let Some(name) = query(rule).filter(|name| !defined.contains(&&***name)) else { return };
            let quoted = format!("\"{name}\"");
            let at = text.find(&quoted).map_or(0..text.len(), |start| start..start + quoted.len());
            let message = if defined.is_empty() {
                format!("nobody says what the query {quoted} asks; expected it under `queries`")
            } else {
                let known: Vec<_> = defined.iter().map(|name| format!("\"{name}\"")).collect();
                format!("nobody says what the query {quoted} asks; under `queries` are {}", known.join(", "))
            };
            let suggestion = words::nearest(name, defined).map(|name| format!("\"{name}\""));
            errors.push(RuleError { field, text: text.to_owned(), at, message, suggestion });
        };
        let lists = [
            (List::Revert, &self.revert, &spec.revert_when),
            (List::Pass, &self.pass, &spec.pass_when),
            (List::Alert, &self.alert, &spec.alert_when),
        ];
        for (list, rules, written) in lists {
            for (index, (rule, text)) in rules.iter().zip(written.iter().flatten()).enumerate() {
                look(format!("{}[{index}]", list.field()), text, rule);
            }
        }
        // They are in the order of their times, not in that of the file.
        for rule in self.checkpoints.iter().flat_map(|moment| &moment.pass) {
            let Some(name) = query(rule) else { continue };
            let quoted = format!("\"{name}\"");
            let written = spec.checkpoints.iter().flatten().enumerate();
            if let Some((index, text)) = written.into_iter().find(|(_, text)| text.contains(&quoted)) {
                look(format!("checkpoints[{index}]"), text, rule);
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_nobody_defines_gets_a_caret() {
        let spec = Spec {
            revert_when: Some(vec!["error rate > 5%".to_owned(), "query \"checkout failure\" > 0.5".to_owned()]),
            checkpoints: Some(vec!["2h when query \"balance\" < 3".to_owned(), "30m".to_owned()]),
            ..Spec::default()
        };
        let rules = Rules::parse(&spec).expect("they are rules");
        assert_eq!(rules.queries().iter().map(|name| &**name).collect::<Vec<_>>(), ["balance", "checkout failure"]);
        assert_eq!(rules.undefined_queries(&spec, &["balance", "checkout failure"]), []);
        let errors = rules.undefined_queries(&spec, &["checkout failures"]);
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{told:#?}");
        let caret = "\n  query \"checkout failure\" > 0.5\n        ^^^^^^^^^^^^^^^^^^";
        assert!(told[0].starts_with("revertWhen[1]: ") && told[0].ends_with(caret), "{}", told[0]);
        assert!(told[0].contains("did you mean `\"checkout failures\"`?"), "{}", told[0]);
        assert!(told[1].starts_with("checkpoints[0]: ") && told[1].contains("\"balance\""), "{}", told[1]);
    }
}
