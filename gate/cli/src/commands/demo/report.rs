//! The table at the end: when each thing happened, and what polling would have made of it.

use std::fmt;
use std::time::Duration;

use blueback_gate::api::types::Release;
use owo_colors::OwoColorize as _;

use super::measured::{Measured, Request};
use crate::poller::{Incident, Poller};
use crate::render::{Table, count, span};

/// The limit of the default rule on errors, for the pollers too.
const LIMIT: f64 = 0.05;

/// What is told at the end.
#[derive(Debug)]
pub(super) struct Report {
    started_ms: u64,
    /// What happened and when, in Unix milliseconds; `None` when it did not.
    moments: Vec<(&'static str, Option<u64>)>,
    first_bad_ms: Option<u64>,
    bad: u64,
    requests: u64,
    /// From the first bad request until no more were admitted to green.
    harm: Option<Duration>,
    incident: Option<Incident>,
    served_after: u64,
    bad_after: u64,
}

impl Report {
    /// From the release as the gate tells it and the requests as the load saw them.
    pub(super) fn new(release: &Release, measured: &Measured, rate: f64, fault_ms: u64, back_ms: u64) -> Self {
        let at = |what: &str| release.timeline.iter().find(|moment| moment.what == what).map(|moment| moment.at_ms);
        let incident: Vec<&Request> = measured.due(release.started_ms, u64::MAX).collect();
        let bad: Vec<&&Request> = incident.iter().filter(|request| request.bad).collect();
        let first_bad = bad.iter().min_by_key(|request| request.due_ms);
        let last_bad = bad.iter().max_by_key(|request| request.due_ms);
        let shielded_ms = at("shielded").or(at("diverted")).or(at("reverted"));
        let under_fire: Vec<bool> =
            measured.due(fault_ms, shielded_ms.unwrap_or(back_ms)).map(|request| request.bad).collect();
        let after: Vec<&Request> = measured.due(back_ms, u64::MAX).collect();
        Self {
            started_ms: release.started_ms,
            moments: vec![
                ("switched to green", Some(release.started_ms)),
                ("fault in green", Some(fault_ms)),
                ("first failed request", first_bad.map(|request| request.due_ms)),
                ("shield up", at("shielded")),
                ("proven", at("proven")),
                ("reverted", at("reverted")),
                ("blue verified", at("verified")),
                ("last failed request", last_bad.map(|request| request.due_ms)),
            ],
            first_bad_ms: first_bad.map(|request| request.due_ms),
            bad: bad.len() as u64,
            requests: incident.len() as u64,
            harm: first_bad
                .zip(last_bad)
                .map(|(first, last)| Duration::from_millis(last.due_ms.saturating_sub(first.due_ms))),
            incident: first_bad.filter(|_| !under_fire.is_empty()).map(|first| Incident {
                rate,
                bad_share: under_fire.iter().filter(|&&bad| bad).count() as f64 / under_fire.len() as f64,
                known_after: Duration::from_millis(first.ended_ms.saturating_sub(first.due_ms)),
            }),
            served_after: after.iter().filter(|request| request.by_blue && !request.bad).count() as u64,
            bad_after: after.iter().filter(|request| request.bad).count() as u64,
        }
    }

    fn has(&self, what: &str) -> bool {
        self.moments.iter().any(|(name, at)| *name == what && at.is_some())
    }

    /// The fault was seen, green was reverted, and blue serves.
    pub(super) fn is_as_it_should_be(&self) -> bool {
        self.has("reverted")
            && self.has("blue verified")
            && self.bad > 0
            && self.served_after > 0
            && self.bad_after == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["WHAT", "SINCE THE SWITCH", "SINCE THE FIRST FAILED REQUEST"]);
        let mut moments = self.moments.clone();
        moments.sort_by_key(|(_, at)| at.unwrap_or(u64::MAX));
        for (what, at) in moments {
            let since = |from: Option<u64>| match (at, from) {
                (Some(at), Some(from)) if at >= from => format!("+{}", span(at - from)),
                (Some(at), Some(from)) => format!("-{}", span(from - at)),
                _ => "-".to_owned(),
            };
            table.row([what.to_owned(), since(Some(self.started_ms)), since(self.first_bad_ms)]);
        }
        writeln!(f, "{table}\n")?;
        let mut costs = Table::new(["WHO REVERTS", "FAILED REQUESTS", "FROM THE FIRST TO THE LAST"]);
        let harm = self.harm.map_or_else(|| "-".to_owned(), |harm| span(millis(harm)));
        costs.row(["blueback, measured".bold().to_string(), count(self.bad).bold().to_string(), harm]);
        for every in [10, 60] {
            let poller = Poller { every: Duration::from_secs(every), limit: LIMIT };
            let (requests, time) = match self.incident.and_then(|incident| poller.cost(&incident)) {
                Some(cost) => (
                    format!(
                        "{} (at worst {})",
                        count(cost.bad_mean.round() as u64),
                        count(cost.bad_worst.round() as u64)
                    ),
                    format!(
                        "{:.1} s (at worst {:.1} s)",
                        cost.after_mean.as_secs_f64(),
                        cost.after_worst.as_secs_f64()
                    ),
                ),
                None => ("-".to_owned(), "it would never see it".to_owned()),
            };
            costs.row([format!("polling every {every} s, computed"), requests, time]);
        }
        writeln!(f, "{costs}\n")?;
        write!(
            f,
            "{} of {} requests since the switch failed; afterwards blue answered {} and {} failed.\n\
             A poller is computed at its best from the rates measured here: fresh numbers, one look decides, traffic moves at once.",
            count(self.bad),
            count(self.requests),
            count(self.served_after),
            count(self.bad_after),
        )?;
        if !self.is_as_it_should_be() {
            write!(
                f,
                "\n{}",
                "This is not how it should be: the release was not reverted, or blue does not serve.".red()
            )?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blueback_gate::api::types::Moment;

    use super::*;
    use crate::load::Ended;
    use crate::render::tests::reverted;

    const BEGAN_MS: u64 = 1_795_472_360_000;

    /// 100 requests a second for 20 s; from 12 s on half of green's fail until the shield at 12.4 s.
    fn measured() -> Measured {
        let mut measured = Measured::new(BEGAN_MS, None);
        for number in 0..2_000_u64 {
            let due = Duration::from_millis(number * 10);
            let is_green = (9_000..12_400).contains(&(number * 10));
            let is_bad = is_green && number * 10 >= 12_000 && number.is_multiple_of(2);
            measured.add(&Ended {
                number,
                scheduled: due,
                started: due,
                ended: due + Duration::from_millis(5),
                answer: Ok(if is_bad { 500 } else { 200 }),
                backend: Some(Arc::from(if is_green { "green" } else { "blue" })),
            });
        }
        measured
    }

    /// Switched 9 s after the load began.
    fn release(whats: &[(&str, u64)]) -> Release {
        let timeline = whats
            .iter()
            .map(|&(what, after_ms)| Moment {
                at_ms: BEGAN_MS + 9_000 + after_ms,
                after_ms,
                what: what.to_owned(),
                text: String::new(),
                measured: None,
            })
            .collect();
        Release { started_ms: BEGAN_MS + 9_000, timeline, ..reverted() }
    }

    fn report(whats: &[(&str, u64)]) -> Report {
        Report::new(&release(whats), &measured(), 100.0, BEGAN_MS + 12_000, BEGAN_MS + 14_000)
    }

    #[test]
    fn the_table_tells_when_and_how_much() {
        let report = report(&[("shielded", 3_400), ("proven", 4_000), ("reverted", 4_100), ("verified", 4_300)]);
        assert!(report.is_as_it_should_be());
        let text = anstream::adapter::strip_str(&report.to_string()).to_string();
        for line in [
            "switched to green     +0.000 s          -3.000 s",
            "first failed request  +3.000 s          +0.000 s",
            "last failed request   +3.380 s          +0.380 s",
            "shield up             +3.400 s          +0.400 s",
            "blue verified         +4.300 s          +1.300 s",
            "blueback, measured            20                      0.380 s",
        ] {
            assert!(text.lines().any(|seen| seen == line), "missing: {line}\n{text}");
        }
        assert!(
            text.contains("20 of 1,100 requests since the switch failed; afterwards blue answered 600 and 0 failed")
        );
    }

    #[test]
    fn without_a_revert_it_is_not_as_it_should_be() {
        assert!(!report(&[("shielded", 3_400)]).is_as_it_should_be());
    }
}
