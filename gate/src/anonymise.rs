//! A recording without names, for those who may not see them: the verdict stays the same, bit for bit.
//!
//! Services, pods, routes and agents become `service-1`, `pod-01`, …, people become nobody, and what people or services wrote
//! in their own words is left out. The table of names is thrown away, and the new names are numbers and not hashes, so there
//! is nothing to guess from. What stays: counts, times, and the words of rules, with their routes and services renamed.
//!
//! Numbers follow the alphabet, because the judge meets pods in that order and sums of floating-point numbers depend on
//! it; so of two new names it can be told whose old one came first, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::bail;
use blueback_judge::rules::Condition;
use blueback_judge::{Moment, PodState, Rule, Rules};
use blueback_report::{AdmissionKey, OverdueKey, SeriesKey, Totals};

use crate::ask::query::Query;
use crate::evidence::Evidence;
use crate::recording::{Began, Entry, Frame, Growth, Known, Recording};
use crate::records::ReleaseRecord;
use crate::replay::replay;
use crate::rules_file::RulesFile;

/// What stands for words that are left out.
pub const LEFT_OUT: &str = "(left out)";

/// New names by old ones.
struct Names {
    what: &'static str,
    old: BTreeSet<Arc<str>>,
    new: BTreeMap<Arc<str>, Arc<str>>,
}

impl Names {
    const fn new(what: &'static str) -> Self {
        Self { what, old: BTreeSet::new(), new: BTreeMap::new() }
    }

    fn see(&mut self, name: &Arc<str>) {
        if !name.is_empty() && !self.old.contains(name) {
            self.old.insert(Arc::clone(name));
        }
    }

    fn number(&mut self) {
        let width = self.old.len().to_string().len();
        let new = |(index, name): (usize, Arc<str>)| (name, format!("{}-{:0width$}", self.what, index + 1).into());
        self.new = std::mem::take(&mut self.old).into_iter().enumerate().map(new).collect();
    }

    /// The default route has no name, and gets none.
    fn of(&self, name: &Arc<str>) -> Arc<str> {
        self.new.get(name).cloned().unwrap_or_default()
    }
}

struct Table {
    services: Names,
    pods: Names,
    routes: Names,
    agents: Names,
}

impl Table {
    fn see_totals(&mut self, totals: &Totals) {
        for key in totals.series.keys() {
            self.pods.see(&key.pod);
            self.routes.see(&key.route);
        }
        for key in totals.overdue.keys() {
            self.pods.see(&key.pod);
            self.routes.see(&key.route);
        }
        self.see_admissions(&totals.admitted);
    }

    fn see_admissions(&mut self, admissions: &BTreeMap<AdmissionKey, u64>) {
        for key in admissions.keys() {
            self.pods.see(&key.pod);
            self.routes.see(&key.route);
        }
    }

    fn see_rules(&mut self, rules: &Rules) {
        for (_, rule) in rules.iter() {
            if let Some(route) = &rule.route {
                self.routes.see(route);
            }
            if let Condition::ServiceDown(service) = &rule.condition {
                self.services.see(service);
            }
        }
    }

    fn see_evidence(&mut self, evidence: &Evidence) {
        match evidence {
            Evidence::Fates(fates) => fates.iter().for_each(|fate| self.pods.see(&fate.pod)),
            Evidence::Resources { pod, .. } => self.pods.see(pod),
            Evidence::ServiceBefore { name, .. } | Evidence::Service { name, .. } => self.services.see(name),
            // Dependencies and queries keep the names that rules call them by, as signals do.
            Evidence::Dependency { .. }
            | Evidence::Query { .. }
            | Evidence::Logs { .. }
            | Evidence::Diverted { .. } => (),
        }
    }

    fn see(&mut self, recording: &Recording) {
        let began = &recording.began;
        self.services.see(&began.service.as_str().into());
        began.pods.iter().for_each(|pod| self.pods.see(&pod.pod));
        began.history.iter().for_each(|second| self.see_totals(second));
        for frame in &recording.frames {
            match &frame.entry {
                Entry::Agent(known) => {
                    self.agents.see(&known.instance);
                    self.see_totals(&known.totals);
                }
                Entry::Growth(growth) => {
                    self.see_totals(&growth.totals);
                    self.see_admissions(&growth.in_flight);
                }
                Entry::Pods(pods) => pods.iter().for_each(|pod| self.pods.see(&pod.pod)),
                Entry::Evidence(evidence) => self.see_evidence(evidence),
                // No names are in these. A kind of entry that is added must say here whether it has some.
                Entry::Began(_)
                | Entry::Gone { .. }
                | Entry::Share { .. }
                | Entry::Target { .. }
                | Entry::Signal { .. }
                | Entry::Hold { .. }
                | Entry::Resume
                | Entry::Deliberated
                | Entry::Kept(_) => (),
            }
        }
    }

    fn number(&mut self) {
        for names in [&mut self.services, &mut self.pods, &mut self.routes, &mut self.agents] {
            names.number();
        }
    }

    fn admissions(&self, admissions: &BTreeMap<AdmissionKey, u64>) -> BTreeMap<AdmissionKey, u64> {
        let renamed = |(key, &count): (&AdmissionKey, &u64)| {
            (AdmissionKey { pod: self.pods.of(&key.pod), route: self.routes.of(&key.route), ..key.clone() }, count)
        };
        admissions.iter().map(renamed).collect()
    }

    fn totals(&self, totals: &Totals) -> Totals {
        let series = totals.series.iter().map(|(key, latency)| {
            let (pod, route) = (self.pods.of(&key.pod), self.routes.of(&key.route));
            (SeriesKey { pod, route, ..key.clone() }, latency.clone())
        });
        let overdue = totals.overdue.iter().map(|(key, overdue)| {
            let (pod, route) = (self.pods.of(&key.pod), self.routes.of(&key.route));
            (OverdueKey { pod, route, ..key.clone() }, *overdue)
        });
        Totals { series: series.collect(), overdue: overdue.collect(), admitted: self.admissions(&totals.admitted) }
    }

    fn pods(&self, pods: &[PodState]) -> Vec<PodState> {
        pods.iter().map(|pod| PodState { pod: self.pods.of(&pod.pod), ..pod.clone() }).collect()
    }

    fn evidence(&self, evidence: &Evidence) -> Evidence {
        let mut evidence = evidence.clone();
        match &mut evidence {
            Evidence::Fates(fates) => fates.iter_mut().for_each(|fate| fate.pod = self.pods.of(&fate.pod)),
            Evidence::Resources { pod, .. } => *pod = self.pods.of(pod),
            Evidence::ServiceBefore { name, .. } | Evidence::Service { name, .. } => *name = self.services.of(name),
            Evidence::Dependency { .. }
            | Evidence::Query { .. }
            | Evidence::Logs { .. }
            | Evidence::Diverted { .. } => (),
        }
        evidence
    }

    /// The entry without names; what the judge had kept of itself is full of them, and is made anew from the entries before it.
    fn entry(&self, entry: &Entry) -> Option<Entry> {
        Some(match entry {
            Entry::Agent(known) => Entry::Agent(Box::new(Known {
                instance: self.agents.of(&known.instance),
                totals: self.totals(&known.totals),
                ..Known::clone(known)
            })),
            Entry::Growth(growth) => Entry::Growth(Box::new(Growth {
                totals: self.totals(&growth.totals),
                in_flight: self.admissions(&growth.in_flight),
                ..Growth::clone(growth)
            })),
            Entry::Pods(pods) => Entry::Pods(self.pods(pods)),
            Entry::Signal { name, why } if why.is_empty() => Entry::Signal { name: name.clone(), why: String::new() },
            Entry::Signal { name, .. } => Entry::Signal { name: name.clone(), why: LEFT_OUT.to_owned() },
            Entry::Hold { .. } => Entry::Hold { why: LEFT_OUT.to_owned() },
            Entry::Began(_)
            | Entry::Gone { .. }
            | Entry::Share { .. }
            | Entry::Target { .. }
            | Entry::Resume
            | Entry::Deliberated => entry.clone(),
            Entry::Evidence(evidence) => Entry::Evidence(self.evidence(evidence)),
            Entry::Kept(_) => return None,
        })
    }

    fn rules(&self, file: &RulesFile, rules: &Rules) -> RulesFile {
        let words = |list: &str, written: &Option<Vec<String>>| {
            // Rules of checkpoints come after those of their list.
            let renamed = rules.iter().filter(|(other, _)| other.as_str() == list).map(|(_, rule)| self.rule(rule));
            written.as_ref().map(|written| renamed.take(written.len()).map(|rule| rule.to_string()).collect())
        };
        let checkpoints = rules.checkpoints().iter().map(|moment| {
            let pass = moment.pass.iter().map(|rule| self.rule(rule)).collect();
            Moment { pass, ..moment.clone() }.to_string()
        });
        RulesFile {
            revert_when: words("revert", &file.revert_when),
            pass_when: words("pass", &file.pass_when),
            alert_when: words("alert", &file.alert_when),
            checkpoints: file.checkpoints.as_ref().map(|_| checkpoints.collect()),
            queries: file
                .queries
                .as_ref()
                .map(|queries| queries.keys().map(|name| (name.clone(), unasked())).collect()),
            // Which alerts raise them names what they are about; what they raised is in the entries.
            signals: None,
            critical_logs: None,
            ..file.clone()
        }
    }

    fn rule(&self, rule: &Rule) -> Rule {
        let mut rule = rule.clone();
        rule.route = rule.route.as_ref().map(|route| self.routes.of(route));
        if let Condition::ServiceDown(service) = &mut rule.condition {
            *service = self.services.of(service);
        }
        rule
    }
}

/// What a query asked names what it is about; only its answers are kept.
fn unasked() -> Query {
    Query { prometheus: Some("anonymised".to_owned()), loki: None }
}

/// The same without names. What the gate told is told anew by the judge, as its words name pods.
///
/// # Errors
/// When the rules of the recording cannot be read by this version, or would not come to the same verdict any more.
pub fn anonymise(record: &ReleaseRecord, recording: &Recording) -> anyhow::Result<(ReleaseRecord, Recording)> {
    let rules_of = |file: &RulesFile| {
        file.rules().map_err(|errors| {
            let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("the recording's rules cannot be read by this version:\n{}", told.join("\n"))
        })
    };
    let rules = rules_of(&recording.began.rules)?;
    let mut table = Table {
        services: Names::new("service"),
        pods: Names::new("pod"),
        routes: Names::new("route"),
        agents: Names::new("agent"),
    };
    table.see(recording);
    table.see_rules(&rules);
    table.number();
    let began = &recording.began;
    let new_rules = table.rules(&began.rules, &rules);
    let service = table.services.of(&began.service.as_str().into()).to_string();
    let release = format!("{service}-1");
    let new = Recording {
        began: Began {
            release: release.clone(),
            service: service.clone(),
            rules: new_rules.clone(),
            pods: table.pods(&began.pods),
            history: began.history.iter().map(|second| table.totals(second)).collect(),
            ..began.clone()
        },
        frames: recording
            .frames
            .iter()
            .filter_map(|frame| Some(Frame { at_ms: frame.at_ms, entry: table.entry(&frame.entry)? }))
            .collect(),
    };
    let (before, after) = (replay(recording, rules), replay(&new, rules_of(&new_rules)?));
    let turns = |turns: &[crate::replay::Turn]| -> Vec<_> {
        turns.iter().map(|turn| (turn.at_ms, turn.verdict, turn.shield)).collect()
    };
    if turns(&before.turns) != turns(&after.turns) {
        bail!("without its names the recording would be judged differently, so it is not written");
    }
    let mut told = record.clone();
    told.release.id = release;
    told.release.service = service;
    told.release.by = None;
    told.rules = new_rules;
    told.evidence = None;
    told.revert_text = record.revert_text.as_ref().map(|_| LEFT_OUT.to_owned());
    told.release.verdict.text = after.last().text.clone();
    told.release.verdict.rule = after.last().rule.clone();
    told.release.verdict.pod = None;
    for moment in &mut told.release.timeline {
        LEFT_OUT.clone_into(&mut moment.text);
        // It names a rule, which may name a route.
        moment.measured = None;
    }
    Ok((told, new))
}
