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

/// A seed's run in bad weather and on a calm network, and the laws that it broke.
fn check(seed: u64) -> (Scenario, Story, Story, Vec<String>) {
    let mut random = Random::new(seed);
    let calm = Scenario::draw(&mut random);
    let rough = calm.clone().in_bad_weather(&mut random);
    let expected = world::run(&calm, seed);
    let seen = world::run(&rough, seed);
    let mut broken: Vec<String> = expected.broken.iter().map(|law| format!("calm: {law}")).collect();
    broken.extend(seen.broken.iter().cloned());
    for (network, story) in [("calm", &expected), ("bad", &seen)] {
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
    (rough, expected, seen, broken)
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

#[test]
fn the_verdict_is_the_same_on_a_bad_network() {
    let one = setting("BLUEBACK_SEED");
    let seeds: Vec<u64> =
        one.map_or_else(|| (0..setting("BLUEBACK_SEEDS").unwrap_or(SEEDS)).collect(), |seed| vec![seed]);
    let next = AtomicU64::new(0);
    let failures = Mutex::new(BTreeMap::new());
    let ends = Mutex::new(BTreeMap::<(&str, String), u64>::new());
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let (scenario, expected, seen, broken) = check(seed);
                    *ends
                        .lock()
                        .expect("no thread panics")
                        .entry((scenario.name, seen.verdict.clone()))
                        .or_default() += 1;
                    let mut text = format!("seed {seed}: {}, {} requests a second\n", scenario.name, scenario.rate);
                    for law in &broken {
                        let _ = writeln!(text, "  broken: {law}");
                    }
                    if one.is_some() {
                        let _ = writeln!(text, "{scenario:#?}\ncalm: {expected:#?}\nbad weather: {seen:#?}");
                    }
                    if one.is_some() || !broken.is_empty() {
                        failures.lock().expect("no thread panics").insert(seed, (text, broken.is_empty()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panicked");
    let broken = failures.values().filter(|(_, kept)| !kept).count();
    let mut text = String::new();
    for (story, _) in failures.values().take(SHOWN) {
        text.push_str(story);
    }
    if one.is_some() {
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    let ends = ends.into_inner().expect("no thread panicked");
    assert!(broken == 0, "{broken} of {} seeds broke a law; BLUEBACK_SEED=N tells one\n{text}{ends:#?}", seeds.len());
}
