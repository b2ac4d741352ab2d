//! A recording, judged again: by the rules it was recorded under, or by others.
//!
//! What was recorded stays as it was. Rules that would have diverted sooner see the failures that the recorded ones let
//! through; what they would have asked for is told, not what would have come of it.

use blueback_judge::{Judge, Rules, Verdict};
use serde::Serialize;

use crate::recording::Recording;
use crate::view;

/// Most turns that are kept; a release that turns more often is told up to then.
pub const TURNS_MAX: usize = 1_000;
/// The share is looked at so often.
const SECOND_MS: u64 = 1_000;

/// A moment at which the judge changed its mind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Turn {
    /// Milliseconds since the switch.
    pub at_ms: u64,
    /// `watching`, `suspect`, `revert`, `pass`, `hold` or `inconclusive`.
    pub verdict: &'static str,
    /// State of the shield.
    pub shield: &'static str,
    /// The rule it is about, where it is about one.
    pub rule: Option<String>,
    /// The story in one sentence.
    pub text: String,
}

/// One rule, after all of the recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fired {
    /// `revert`, `pass` or `alert`.
    pub list: &'static str,
    /// The rule.
    pub rule: String,
    /// When it first held.
    pub at_ms: Option<u64>,
}

/// What came of a recording under some rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// Each change of verdict or shield.
    pub turns: Vec<Turn>,
    /// Each rule.
    pub rules: Vec<Fired>,
    /// The candidate's share of the requests that these rules ask for, second by second; and as it was recorded.
    pub shares: Vec<(f64, f64)>,
    /// How long the recording is.
    pub ends_ms: u64,
}

impl Replayed {
    /// The last turn.
    #[must_use]
    pub fn last(&self) -> &Turn {
        // There is always the first one.
        &self.turns[self.turns.len() - 1]
    }

    /// When it was reverted.
    #[must_use]
    pub fn reverted_ms(&self) -> Option<u64> {
        self.turns.iter().find(|turn| turn.verdict == "revert").map(|turn| turn.at_ms)
    }
}

fn turn(at_ms: u64, judge: &Judge) -> Turn {
    let verdict = judge.verdict();
    let rule = verdict.reason().map(|reason| reason.rule.clone()).filter(|rule| !rule.is_empty());
    Turn { at_ms, verdict: verdict.word(), shield: view::shield(judge), rule, text: verdict.to_string() }
}

/// Runs the recording through a judge of these rules.
#[must_use]
pub fn replay(recording: &Recording, rules: Rules) -> Replayed {
    let mut judge = Judge::new(rules, recording.began.start());
    let mut turns = vec![turn(0, &judge)];
    let mut rules: Vec<Fired> = Vec::new();
    let (mut shares, mut next_ms, mut recorded, mut target) =
        (Vec::new(), 0, recording.began.target_share, recording.began.target_share);
    let mut seen = |judge: &Judge| {
        let views = judge.criteria();
        rules.resize_with(views.len(), || Fired { list: "", rule: String::new(), at_ms: None });
        for (fired, view) in rules.iter_mut().zip(views) {
            let at_ms = fired.at_ms.or(view.fired_at_ms);
            *fired = Fired { list: view.list, rule: view.words, at_ms };
        }
    };
    for frame in &recording.frames {
        frame.entry.drive(frame.at_ms, &mut judge);
        match frame.entry {
            crate::recording::Entry::Share { candidate_share, .. } => recorded = candidate_share,
            crate::recording::Entry::Target { share } => target = share,
            _ => (),
        }
        let last = &turns[turns.len() - 1];
        let reverted = last.verdict == "revert";
        let is_turn = !reverted
            && (last.verdict != judge.verdict().word()
                || last.shield != view::shield(&judge)
                || last.rule.as_deref().unwrap_or_default()
                    != judge.verdict().reason().map_or("", |reason| reason.rule.as_str()));
        if is_turn && turns.len() < TURNS_MAX {
            turns.push(turn(frame.at_ms, &judge));
            seen(&judge);
        }
        if frame.at_ms >= next_ms {
            let asked =
                if matches!(judge.verdict(), Verdict::Revert(_)) { 0.0 } else { target * judge.allowance().all };
            shares.push((asked, recorded));
            seen(&judge);
            next_ms = frame.at_ms - frame.at_ms % SECOND_MS + SECOND_MS;
        }
    }
    seen(&judge);
    Replayed { turns, rules, shares, ends_ms: recording.frames.last().map_or(0, |frame| frame.at_ms) }
}
