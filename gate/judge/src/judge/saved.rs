//! The whole judge as bytes, and back: bit for bit, so that it goes on as if nothing had happened.

use super::{Incident, Judge, Pods, Scratch, Silence};
use crate::criteria::{Criterion, Test};
use crate::observation::Allowance;
use crate::rules::{Rules, Spec};
use crate::save::{LoadError, Saved, saved};

/// Version of the form. Any change of what is saved is another one.
const VERSION: u64 = 2;

saved!(Pods { green, green_ready, blue_ready });
saved!(Silence { requests, since_ms, rate });
saved!(Incident { since_ms, last_ms });
saved!(Allowance { all, pods });
saved!(Spec { revert_when, pass_when, alert_when, bake, decide_within, checkpoints, false_alarms, profile });

impl Judge {
    /// Everything it knows: about three kilobytes for each pod of a release with a dozen rules, whatever its age.
    /// [`Judge::load`] goes on from it.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let out = &mut bytes;
        VERSION.save(out);
        self.rules.to_spec().save(out);
        self.candidate.save(out);
        self.criteria.len().save(out);
        self.criteria.iter().for_each(|criterion| criterion.test.save(out));
        self.guards.save(out);
        self.tally.save(out);
        self.trail.save(out);
        self.shield.save(out);
        self.pod_shields.save(out);
        (self.now_ms, self.next_tick_ms, self.block_start_ms).save(out);
        (self.next_block_ms, self.step_ms, self.is_stale).save(out);
        self.pods.save(out);
        (self.proven_per_pod, self.room, self.shield_up_ms).save(out);
        (self.green_room, self.reopening).save(out);
        self.ramp.save(out);
        self.deliveries.save(out);
        self.silence.save(out);
        self.incidents.save(out);
        self.held.save(out);
        self.verdict.save(out);
        self.progress.save(out);
        self.allowance.save(out);
        self.passed.save(out);
        self.alerts.save(out);
        self.dry_runs.save(out);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// Goes on from what [`Judge::save`] wrote.
    ///
    /// # Errors
    /// When it is of another version, or none.
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        let seen = u64::load(&mut &*bytes)?;
        if seen != VERSION {
            return Err(LoadError::Version { seen, known: VERSION });
        }
        let (bytes, sum) = bytes.split_last_chunk::<8>().map(|(bytes, sum)| (bytes, *sum)).ok_or(LoadError::Length)?;
        if sum != checksum(bytes) {
            return Err(LoadError::Wrong { what: "checksum" });
        }
        let input = &mut &*bytes;
        u64::load(input)?;
        let rules = Rules::parse(&Spec::load(input)?).map_err(|_| LoadError::Wrong { what: "rules" })?;
        let candidate = Saved::load(input)?;
        let tests: Vec<Test> = Saved::load(input)?;
        let placed: Vec<_> = rules.placed().collect();
        if placed.len() != tests.len() {
            return Err(LoadError::Wrong { what: "criteria" });
        }
        let criteria = placed.into_iter().zip(tests).map(|((list, checkpoint, rule), test)| Criterion {
            list,
            checkpoint,
            rule: rule.clone(),
            words: rule.to_string(),
            test,
        });
        let criteria: Vec<Criterion> = criteria.collect();
        let guards: Vec<usize> = Saved::load(input)?;
        let is_guard = |guard: &usize| criteria.get(*guard).is_some_and(|criterion| criterion.guard().is_some());
        if !guards.iter().all(is_guard) {
            return Err(LoadError::Wrong { what: "guards" });
        }
        let tally = Saved::load(input)?;
        let trail = Saved::load(input)?;
        let shield = Saved::load(input)?;
        let pod_shields = Saved::load(input)?;
        let (now_ms, next_tick_ms, block_start_ms) = Saved::load(input)?;
        let (next_block_ms, step_ms, is_stale) = Saved::load(input)?;
        let pods = Saved::load(input)?;
        let (proven_per_pod, room, shield_up_ms) = Saved::load(input)?;
        let (green_room, reopening) = Saved::load(input)?;
        let judge = Self {
            rules,
            candidate,
            criteria,
            guards,
            tally,
            trail,
            shield,
            pod_shields,
            now_ms,
            next_tick_ms,
            block_start_ms,
            next_block_ms,
            step_ms,
            is_stale,
            pods,
            proven_per_pod,
            room,
            shield_up_ms,
            green_room,
            reopening,
            ramp: Saved::load(input)?,
            deliveries: Saved::load(input)?,
            silence: Saved::load(input)?,
            incidents: Saved::load(input)?,
            held: Saved::load(input)?,
            verdict: Saved::load(input)?,
            progress: Saved::load(input)?,
            allowance: Saved::load(input)?,
            passed: Saved::load(input)?,
            alerts: Saved::load(input)?,
            dry_runs: Saved::load(input)?,
            scratch: Scratch::default(),
        };
        if input.is_empty() { Ok(judge) } else { Err(LoadError::Length) }
    }
}

/// FNV-1a (Fowler, Noll, Vo): finds what a disk or a hand has changed. It keeps nobody out, and need not.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let step = |sum: u64, &byte: &u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}
