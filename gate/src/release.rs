//! A release while it is watched: its judge, its recording, its timeline.
//!
//! The judge is told everything through one door, [`Live::feed`], which keeps a frame of it; every few seconds the judge itself is
//! kept as well. A restarted gate goes on from there, plays what came after, and has the same judge again, with the same
//! false-alarm budget spent.

use std::collections::BTreeSet;
use std::sync::Arc;

use blueback_judge::{Judge, Verdict};
use blueback_report::{PodShare, Slot, Watch};

use crate::api::types as api;
use crate::clock::Timestamp;
use crate::course::Course;
use crate::effect::Effect;
use crate::examples::Examples;
use crate::figures::Counters;
use crate::gate::{TICK_MS, WATCHED_CADENCE_MS};
use crate::others::Others;
use crate::recording::{Began, Entry, Frame, Kept, KeptAgent, Recording};
use crate::records::ReleaseRecord;
use crate::revert::Revert;
use crate::rules_file::RulesFile;
use crate::timeline::{self, percent};
use crate::view;

/// Least time between two publications of a release in which only numbers have changed.
const REFRESH_MS: u64 = 1_000;
/// Most entries that wait while agents replay to a restarted gate; then it goes on without the rest of the agents.
pub(crate) const CATCH_UP_ENTRIES_MAX: usize = 100_000;
/// Longest silence that is deliberated over afterwards: what was before is past every agent's ring.
const GAP_MS_MAX: u64 = 600_000;
/// Time between two moments at which everything is kept: what came after is played in milliseconds.
const KEEP_MS: u64 = 10_000;
/// Shares that differ by less are the same: no agent could tell.
const SHARE_STEP_MIN: f64 = 1e-6;

/// A release that is watched, or on its way back.
pub(crate) struct Live {
    /// What is stored of it.
    pub(crate) record: ReleaseRecord,
    /// Its id.
    pub(crate) id: Arc<str>,
    /// What agents are to watch for it.
    pub(crate) watch: Watch,
    /// The way back, once it is begun.
    pub(crate) revert: Option<Revert>,
    /// Agents that replay to a restarted gate.
    pub(crate) catch_up: Option<CatchUp>,
    /// How the evidence rose, and what was lost.
    pub(crate) course: Course,
    /// Requests since the switch that have a trace, of the baseline and of the candidate. Not kept over a restart: agents tell
    /// what they remember to whoever asks.
    pub(crate) examples: [Examples; 2],
    judge: Judge,
    started: Timestamp,
    last_ms: u64,
    introduced: BTreeSet<u32>,
    checkpoints: usize,
    bake_ms: u64,
    allowed: Allowed,
    /// Rules of `alertWhen` that hold and were told.
    alerting: BTreeSet<String>,
    /// Rules that are only tried, hold, and were told.
    trying: BTreeSet<String>,
    /// When everything was kept last, in milliseconds since the switch.
    kept_ms: u64,
    /// Something was decided since.
    keep_soon: bool,
    /// What it was told of other services.
    pub(crate) others: Others,
    refreshed: Timestamp,
    changed: bool,
}

/// What is waited for after a restart.
pub(crate) struct CatchUp {
    /// Not longer than this.
    pub(crate) until: Timestamp,
    /// Instances that have not reported live yet.
    pub(crate) waiting: BTreeSet<Arc<str>>,
    /// What came meanwhile, each at its own time.
    pub(crate) entries: Vec<(Timestamp, Entry)>,
}

/// What the judge lets through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Allowed {
    /// The candidate's share of all requests.
    pub(crate) share: f64,
    /// Its pods with less than their turn.
    pub(crate) pods: Vec<PodShare>,
}

impl Allowed {
    fn differs(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < SHARE_STEP_MIN;
        !near(self.share, other.share)
            || self.pods.len() != other.pods.len()
            || self.pods.iter().zip(&other.pods).any(|(a, b)| a.pod != b.pod || !near(a.share, b.share))
    }
}

/// What a look at the judge calls for.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Another route is due.
    pub(crate) route: Option<Allowed>,
    /// The release is to be taken back, for this reason.
    pub(crate) revert: Option<String>,
    /// Every checkpoint is passed.
    pub(crate) done: bool,
}

impl Live {
    /// Begins to watch. The words must have been parsed before: what cannot be parsed any more falls to the defaults.
    pub(crate) fn begin(record: ReleaseRecord, began: Began, now: Timestamp, effects: &mut Vec<Effect>) -> Self {
        let mut live = Self::new(record, &began, None);
        live.refreshed = now;
        effects.push(Effect::Record {
            release: Arc::clone(&live.id),
            frame: Frame { at_ms: 0, entry: Entry::Began(Box::new(began)) },
        });
        live
    }

    /// Goes on with what a former gate has recorded.
    pub(crate) fn resume(record: ReleaseRecord, recording: &Recording) -> Self {
        let mut live = Self::new(record, &recording.began, Some(recording));
        let verdict = view::verdict(live.judge.verdict());
        // Numbers are stored only with what they decide; a verdict that has turned is left for the timeline to tell.
        if verdict.verdict == live.record.release.verdict.verdict && live.record.revert_text.is_none() {
            live.record.release.verdict = verdict;
        }
        live
    }

    fn new(record: ReleaseRecord, began: &Began, recording: Option<&Recording>) -> Self {
        let words = &began.rules;
        let rules =
            words.rules().or_else(|_| RulesFile::default().rules()).expect("the judge accepts its own default rules");
        let (checkpoints, bake_ms) = (view::checkpoints(&rules), rules.bake_ms());
        let judge = match recording {
            Some(recording) => recording.resume(rules),
            None => Judge::new(rules, began.start()),
        };
        // Blue's history may give limits as well.
        let routes = judge.rules().routes();
        let watch = Watch { cadence_ms: WATCHED_CADENCE_MS, limits: judge.limits(), routes };
        let frames = recording.map_or(&[][..], |recording| &recording.frames);
        let kept = recording.and_then(|recording| recording.last_kept().0).map_or(&[][..], |kept| &kept.agents);
        let introduced = frames.iter().filter_map(|frame| match &frame.entry {
            Entry::Agent(known) => Some(known.agent),
            _ => None,
        });
        let introduced = introduced.chain(kept.iter().map(|known| known.agent));
        Self {
            id: record.release.id.as_str().into(),
            watch,
            revert: None,
            catch_up: None,
            course: frames.iter().fold(Course::default(), |mut course, frame| {
                course.count(&frame.entry);
                course
            }),
            examples: <[Examples; 2]>::default(),
            judge,
            started: Timestamp::from_unix_ms(record.release.started_ms),
            last_ms: frames.last().map_or(0, |frame| frame.at_ms),
            kept_ms: frames.last().map_or(0, |frame| frame.at_ms),
            keep_soon: false,
            others: Others::default(),
            trying: BTreeSet::new(),
            introduced: introduced.collect(),
            checkpoints,
            bake_ms,
            allowed: Allowed { share: record.release.share, pods: Vec::new() },
            alerting: BTreeSet::new(),
            refreshed: Timestamp::default(),
            changed: true,
            record,
        }
    }

    /// The slot that is new.
    pub(crate) fn candidate(&self) -> Slot {
        self.record.release.candidate.into()
    }

    /// When it began.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// The judge, to look at.
    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Tells the judge, and keeps it. Time never falls: what is late counts when it arrives. While agents replay to a
    /// restarted gate, everything waits for its turn.
    pub(crate) fn feed(&mut self, entry: Entry, at: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(catch_up) = &mut self.catch_up {
            if entry != Entry::Deliberated {
                catch_up.entries.push((at, entry));
            }
            return;
        }
        let at_ms = at.since(self.started).max(self.last_ms);
        self.last_ms = at_ms;
        entry.drive(at_ms, &mut self.judge);
        self.course.count(&entry);
        if let Entry::Agent(known) = &entry {
            self.introduced.insert(known.agent);
        }
        effects.push(Effect::Record { release: Arc::clone(&self.id), frame: Frame { at_ms, entry } });
    }

    /// It is time to keep everything: some seconds have gone by, or something was decided.
    pub(crate) fn keep_is_due(&self) -> bool {
        let is_due = self.keep_soon || self.last_ms >= self.kept_ms + KEEP_MS;
        is_due && self.catch_up.is_none() && self.revert.is_none()
    }

    /// Keeps everything.
    pub(crate) fn keep(&mut self, agents: Vec<KeptAgent>, effects: &mut Vec<Effect>) {
        (self.kept_ms, self.keep_soon) = (self.last_ms, false);
        let agents = agents.into_iter().filter(|known| self.introduced.contains(&known.agent)).collect();
        let kept = Kept { judge: self.judge.save(), agents };
        let frame = Frame { at_ms: self.last_ms, entry: Entry::Kept(Box::new(kept)) };
        effects.push(Effect::Record { release: Arc::clone(&self.id), frame });
    }

    /// Notes how the evidence stands.
    pub(crate) fn weigh(&mut self, now: Timestamp) {
        self.course.weigh(now.since(self.started), &self.judge);
    }

    /// This agent's base is in the recording.
    pub(crate) fn knows(&self, agent: u32) -> bool {
        self.introduced.contains(&agent)
    }

    /// Tells the judge what came while agents replayed, in order of time, deliberating in between as if it had been
    /// there. Agents that did not come back are gone.
    pub(crate) fn caught_up(&mut self, lost: Vec<u32>, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(mut catch_up) = self.catch_up.take() else { return };
        catch_up.entries.sort_by_key(|(at, _)| *at);
        let floor = now.since(self.started).saturating_sub(GAP_MS_MAX);
        self.last_ms = self.last_ms.max(floor);
        for (at, entry) in catch_up.entries {
            self.deliberate_until(at, effects);
            self.feed(entry, at, effects);
        }
        self.deliberate_until(now, effects);
        for agent in lost {
            self.feed(Entry::Gone { agent }, now, effects);
        }
    }

    /// What a former gate has sent last.
    pub(crate) fn adopt(&mut self, pods: Vec<PodShare>) {
        self.allowed.pods = pods;
    }

    fn deliberate_until(&mut self, at: Timestamp, effects: &mut Vec<Effect>) {
        let until = at.since(self.started);
        while self.last_ms + TICK_MS <= until {
            let next = self.started.plus_ms(self.last_ms + TICK_MS);
            self.feed(Entry::Deliberated, next, effects);
        }
    }

    /// Adds to the timeline.
    pub(crate) fn moment(&mut self, what: &str, text: String, now: Timestamp, counters: &mut Counters) {
        self.moment_of(what, text, None, now, counters);
    }

    /// Adds to the timeline something with a rule behind it.
    fn moment_of(
        &mut self,
        what: &str,
        text: String,
        measured: Option<api::Measured>,
        now: Timestamp,
        counters: &mut Counters,
    ) {
        if !timeline::add(&mut self.record.release, what, text, measured, now) {
            counters.moments_dropped += 1;
        }
        self.changed = true;
    }

    /// Something that everybody should see has changed.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    /// What the judge's allowance comes to.
    pub(crate) fn allowed(&self) -> Allowed {
        let allowance = self.judge.allowance();
        let slot = self.candidate();
        let pods = allowance
            .pods
            .iter()
            .map(|(pod, share)| PodShare { slot, pod: Arc::clone(pod), share: share.clamp(0.0, 1.0) })
            .collect();
        Allowed { share: (self.record.release.target_share * allowance.all).clamp(0.0, 1.0), pods }
    }

    /// A route for this was sent.
    pub(crate) fn routed(&mut self, allowed: Allowed) {
        self.record.release.share = allowed.share;
        self.allowed = allowed;
        self.changed = true;
    }

    /// Compares what the judge says with what was last seen, and writes down what has changed.
    pub(crate) fn look(&mut self, now: Timestamp, counters: &mut Counters) -> Findings {
        let mut findings = Findings::default();
        if self.revert.is_some() || self.catch_up.is_some() {
            return findings;
        }
        if let Verdict::Revert(reason) = self.judge.verdict() {
            let (text, measured) = (reason.text.clone(), view::measured(reason));
            self.record.release.verdict = view::verdict(self.judge.verdict());
            "reverted".clone_into(&mut self.record.release.shield);
            self.course.weigh_now(now.since(self.started), &self.judge);
            self.moment_of("proven", text.clone(), measured, now, counters);
            findings.revert = Some(text);
            return findings;
        }
        let allowed = self.allowed();
        let share = allowed.share;
        if allowed.differs(&self.allowed) {
            findings.route = Some(allowed);
        }
        self.look_at_passes(now, counters);
        self.look_at_shield(share, now, counters);
        self.look_at_verdict(now, counters);
        self.look_at_alerts(now, counters);
        self.look_at_dry_runs(now, counters);
        findings.done = self.record.release.phase == api::Phase::Passed
            && self.record.release.verdict.pass
            && self.judge.passed().len() >= self.checkpoints
            && self.record.release.target_share >= 1.0
            && now.unix_ms().saturating_sub(self.record.stepped_ms) >= self.bake_ms;
        findings
    }

    fn look_at_passes(&mut self, now: Timestamp, counters: &mut Counters) {
        let known = self.record.release.passed.len();
        let new: Vec<_> = self.judge.passed().iter().skip(known).cloned().collect();
        for checkpoint in new {
            self.record.release.passed.push(checkpoint.name);
            self.moment("passed", checkpoint.text, now, counters);
        }
    }

    fn look_at_alerts(&mut self, now: Timestamp, counters: &mut Counters) {
        let alerts = self.judge.alerts();
        if alerts.is_empty() && self.alerting.is_empty() {
            return;
        }
        let new: Vec<_> = alerts
            .iter()
            .filter(|alert| !self.alerting.contains(&alert.rule))
            .map(|alert| (alert.rule.clone(), alert.text.clone(), view::measured(alert)))
            .collect();
        self.alerting.retain(|rule| self.judge.alerts().iter().any(|alert| alert.rule == *rule));
        for (rule, text, measured) in new {
            self.alerting.insert(rule);
            self.moment_of("alert", text, measured, now, counters);
        }
    }

    fn look_at_dry_runs(&mut self, now: Timestamp, counters: &mut Counters) {
        let tried = self.judge.dry_runs();
        if tried.is_empty() && self.trying.is_empty() {
            return;
        }
        let holds: BTreeSet<String> = tried.iter().map(|reason| reason.rule.clone()).collect();
        let new = tried.iter().filter(|reason| !self.trying.contains(&reason.rule));
        let new: Vec<_> = new.map(|reason| (reason.text.clone(), view::measured(reason))).collect();
        self.trying = holds;
        for (text, measured) in new {
            self.moment_of("tried", text, measured, now, counters);
        }
    }

    fn look_at_shield(&mut self, share: f64, now: Timestamp, counters: &mut Counters) {
        let shield = view::shield(&self.judge);
        if shield == self.record.release.shield {
            return;
        }
        let verdict = self.judge.verdict();
        let slot = self.candidate();
        let gets = match self.judge.shielded_pod() {
            Some(pod) => format!("{pod} alone gets less, {slot} as a whole {} of the requests", percent(share)),
            None => format!("{slot} gets {} of the requests", percent(share)),
        };
        let moment = match shield {
            "shielded" => Some(("shielded", format!("{verdict}; {gets} until that is proven or lifted"))),
            "probing" => Some(("probing", format!("Looks well again: {gets} to see whether it stays so"))),
            "open" => Some(("opened", format!("The shield is lifted: {gets}"))),
            "shared" => Some(("shared", format!("{verdict}; {gets}, as diverting does not help"))),
            // Told with the verdict.
            _ => None,
        };
        let measured = verdict.reason().and_then(view::measured);
        shield.clone_into(&mut self.record.release.shield);
        (self.changed, self.keep_soon) = (true, true);
        if let Some((what, text)) = moment {
            self.moment_of(what, text, measured, now, counters);
        }
    }

    fn look_at_verdict(&mut self, now: Timestamp, counters: &mut Counters) {
        let verdict = self.judge.verdict();
        let word = verdict.word();
        let before = self.record.release.phase;
        let phase = match verdict {
            Verdict::Hold(_) => api::Phase::Held,
            Verdict::Inconclusive(_) => api::Phase::Inconclusive,
            _ if self.judge.passed().is_empty() => api::Phase::Watching,
            _ => api::Phase::Passed,
        };
        let turned = word != self.record.release.verdict.verdict;
        if !turned && phase == before && now.since(self.refreshed) < REFRESH_MS {
            return;
        }
        let text = verdict.to_string();
        let seen = view::verdict(verdict);
        let measured = verdict.reason().and_then(view::measured);
        // Numbers alone are no change that must be kept at once; they are told once a second.
        if turned || phase != before {
            (self.changed, self.keep_soon) = (true, true);
        }
        if seen != self.record.release.verdict {
            self.record.release.verdict = seen;
        }
        self.record.release.phase = phase;
        if turned && word == "suspect" && self.record.release.shield == "open" {
            self.moment_of("suspect", text, measured, now, counters);
        } else if phase != before && phase == api::Phase::Held {
            self.moment_of("held", text, measured, now, counters);
        } else if phase != before && phase == api::Phase::Inconclusive {
            self.moment_of("inconclusive", text, measured, now, counters);
        }
    }

    /// Tells everybody: what has changed at once, numbers once a second.
    pub(crate) fn publish(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Option<Arc<api::Release>> {
        let refresh = now.since(self.refreshed) >= REFRESH_MS;
        if !self.changed && !refresh {
            return None;
        }
        self.refreshed = now;
        self.record.release.revision += 1;
        let release = Arc::new(self.record.release.clone());
        effects.push(Effect::Publish(Arc::clone(&release)));
        if std::mem::take(&mut self.changed) {
            effects.push(Effect::SaveRelease(Box::new(self.record.clone())));
        }
        Some(release)
    }
}
