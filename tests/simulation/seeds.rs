//! Many seeds, in parallel over the cores.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::random::Random;
use crate::scenario::{Ending, Scenario};
use crate::world::{self, Story};

const SEEDS: u64 = 1_000;
/// Broken seeds that are printed; the number of the rest is enough.
const SHOWN: usize = 10;

/// The laws that a run in bad weather breaks, and those that the same run on a calm network does.
pub(crate) fn laws(calm: &Scenario, expected: &Story, seen: &Story) -> Vec<String> {
    let mut broken: Vec<String> = expected.broken.iter().map(|law| format!("calm: {law}")).collect();
    broken.extend(seen.broken.iter().cloned());
    for (network, story) in [("calm", expected), ("bad", seen)] {
        let ends_as_asked = match calm.ending {
            Ending::Pass => story.verdict == "pass",
            Ending::Revert => story.verdict == "revert",
            Ending::Neither => !matches!(&*story.verdict, "pass" | "revert"),
            Ending::NoRevert => story.verdict != "revert",
        };
        if !ends_as_asked {
            broken.push(format!(
                "{network} network: {:?} was to come, {} came: {}",
                calm.ending, story.verdict, story.text
            ));
        }
    }
    let is_same = seen.verdict == expected.verdict
        && (seen.verdict != "revert" || subject(&seen.rule) == subject(&expected.rule));
    if !is_same && calm.ending != Ending::NoRevert {
        broken.push(format!(
            "{} by {:?} on a bad network, {} by {:?} on a calm one",
            seen.verdict, seen.rule, expected.verdict, expected.rule
        ));
    }
    broken
}

/// What a rule is about: an outage proves that errors are above a limit and worse than blue's in the same block, and which of
/// the two is told is a matter of a few requests.
fn subject(rule: &str) -> &str {
    rule.split(['>', 'w']).next().unwrap_or(rule)
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is not a number")))
}

/// What a seed's run was, and the laws that it broke.
pub(crate) struct Broken {
    pub(crate) what: &'static str,
    pub(crate) laws: Vec<String>,
}

/// Runs this many seeds, or the one that is asked for, on all cores, and fails with the seeds that broke a law.
pub(crate) fn each(seeds: u64, run: impl Fn(u64) -> Broken + Sync) {
    let one = setting("BLUEBACK_SEED");
    let seeds: Vec<u64> =
        one.map_or_else(|| (0..setting("BLUEBACK_SEEDS").unwrap_or(seeds)).collect(), |seed| vec![seed]);
    let next = AtomicU64::new(0);
    let failures = Mutex::new(BTreeMap::new());
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let Broken { what, laws } = run(seed);
                    if !laws.is_empty() {
                        let mut text = format!("seed {seed}: {what}\n");
                        for law in laws {
                            let _ = writeln!(text, "  broken: {law}");
                        }
                        failures.lock().expect("no thread panics").insert(seed, text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panicked");
    let text: String = failures.values().take(SHOWN).map(String::as_str).collect();
    let broken = failures.len();
    assert!(broken == 0, "{broken} of {} seeds broke a law; BLUEBACK_SEED=N tells one\n{text}", seeds.len());
}

/// Tells the story of a seed, if one was asked for.
pub(crate) fn tell(rough: &Scenario, expected: &Story, seen: &Story) {
    if setting("BLUEBACK_SEED").is_some() {
        let text = format!("{rough:#?}\ncalm: {expected:#?}\nbad weather: {seen:#?}\n");
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

#[test]
fn the_verdict_is_the_same_on_a_bad_network() {
    each(SEEDS, |seed| {
        let mut random = Random::new(seed);
        let calm = Scenario::draw(&mut random);
        let rough = calm.clone().in_bad_weather(&mut random);
        let (expected, seen) = (world::run(&calm, seed), world::run(&rough, seed));
        tell(&rough, &expected, &seen);
        Broken { what: rough.name, laws: laws(&calm, &expected, &seen) }
    });
}
