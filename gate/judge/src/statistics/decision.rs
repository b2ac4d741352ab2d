//! From green's evidence, blue's evidence and blame to one decision for one rule.

/// Blue's own evidence from which a fault is taken for shared: 20 to 1.
pub const BLUE_LEVEL: f64 = 2.995_732_273_553_991;
/// How long a proven rule waits for blame or for blue's own evidence. Blame needs half a second for gross harm and some
/// seconds for mild harm; after ten the words of the rule decide.
pub const BLAME_TIMEOUT_MS: u64 = 10_000;

/// What is known about one proven rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Since how many milliseconds green's evidence is at its threshold; `None` when it is not.
    pub fired_for_ms: Option<u64>,
    /// Blue had live traffic in the last ten seconds.
    pub control: bool,
    /// The blame test fired.
    pub blame: bool,
    /// Largest ln E of the same test on blue since green's fired.
    pub blue_log_e: f64,
}

/// What to do about one proven rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Not proven.
    Continue,
    /// Proven, and not yet clear whose fault it is.
    Suspect,
    /// Proven, and blue has the same fault.
    HoldSharedFault,
    /// Proven.
    Rollback,
}

/// The decision table. A veto can only lower the probability of a false rollback, so alpha stays as it is.
#[must_use]
pub fn decide(known: &Known) -> Decision {
    let Some(fired_for_ms) = known.fired_for_ms else { return Decision::Continue };
    if known.blame {
        Decision::Rollback
    } else if known.blue_log_e >= BLUE_LEVEL {
        // Seen on blue since it was proven of green: that nobody asks blue any more takes nothing back.
        Decision::HoldSharedFault
    } else if !known.control || fired_for_ms >= BLAME_TIMEOUT_MS {
        Decision::Rollback
    } else {
        Decision::Suspect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table() {
        let quiet = Known { fired_for_ms: None, control: false, blame: false, blue_log_e: 0.0 };
        let fired = Known { fired_for_ms: Some(0), ..quiet };
        let with_control = Known { control: true, ..fired };
        for (known, decision) in [
            (quiet, Decision::Continue),
            (Known { control: true, blame: true, blue_log_e: 9.0, ..quiet }, Decision::Continue),
            (fired, Decision::Rollback),
            (Known { blame: true, ..with_control }, Decision::Rollback),
            (Known { blue_log_e: 3.0, ..with_control }, Decision::HoldSharedFault),
            (Known { blue_log_e: 3.0, fired_for_ms: Some(60_000), ..with_control }, Decision::HoldSharedFault),
            (Known { blue_log_e: 3.0, ..fired }, Decision::HoldSharedFault),
            (with_control, Decision::Suspect),
            (Known { fired_for_ms: Some(10_000), ..with_control }, Decision::Rollback),
        ] {
            assert_eq!(decide(&known), decision, "{known:?}");
        }
    }
}
