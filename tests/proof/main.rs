//! The promises of `docs/proof.md`, small enough for every run of the tests: the same program, fewer releases.

use std::sync::LazyLock;

use blueback::power::release::Harm;
use blueback_tests::proof::{Delay, Proof, Size, document, plots};

static PROOF: LazyLock<Proof> = LazyLock::new(|| Proof::run(&Size::small(), &|_, _| ()));

fn delay(rps: f64, harm: Harm, start_ms: u64) -> &'static Delay {
    let wanted = |delay: &&Delay| (delay.cell.rps, delay.cell.harm, delay.cell.start_ms) == (rps, harm, start_ms);
    PROOF.delays.iter().find(wanted).expect("the cell is one of the proof's")
}

#[test]
fn no_promise_is_broken() {
    let promises = PROOF.promises();
    assert!(promises.len() > 40, "{}", promises.len());
    for promise in promises {
        assert!(promise.count.of > 0, "{}: nothing was measured", promise.what);
        assert!(!promise.is_broken(), "{promise:?}");
    }
}

#[test]
fn harm_is_found_as_soon_as_published() {
    // Seconds until traffic is diverted and until the revert: medians of the reference, with room for few runs.
    for (rps, harm, start_ms, diverted_s, reverted_s) in [
        (100.0, Harm::Errors(1.0), 0, 0.3, 1.5),
        (100.0, Harm::Errors(1.0), 600_000, 0.4, 4.75),
        (100.0, Harm::Errors(0.5), 0, 0.3, 2.75),
        (1_000.0, Harm::Errors(1.0), 0, 0.3, 1.5),
        (1_000.0, Harm::Errors(1.0), 600_000, 0.3, 4.75),
        (10.0, Harm::Errors(1.0), 0, 1.0, 8.5),
        (100.0, Harm::Slow(0.2), 0, 1.6, 10.0),
    ] {
        let delay = delay(rps, harm, start_ms);
        let within = |ms: Option<u64>, most_s: f64| ms.is_some_and(|ms| ms as f64 <= most_s * 1_000.0);
        assert!(within(delay.shield.p50, diverted_s), "diverted: {delay:?}");
        assert!(within(delay.durable.p50, reverted_s), "reverted: {delay:?}");
    }
}

#[test]
fn every_harm_is_found_sooner_or_costs_less_than_by_polling() {
    for delay in &PROOF.delays {
        let Some(ours) = delay.durable.p50 else { panic!("never reverted: {delay:?}") };
        for (poller, at, failed) in &delay.pollers {
            // Under the shield the evidence comes from a trickle: the revert may be later, and fewer requests have failed by then.
            let is_sooner = at.p50.is_none_or(|theirs| ours < theirs);
            let costs_less = delay.failed.p50 < failed.p50;
            assert!(is_sooner || costs_less, "{} is better: {delay:?}", poller.words());
        }
    }
}

#[test]
fn no_test_is_sooner_than_any_can_be() {
    for delay in PROOF.delays.iter().filter(|delay| delay.least.is_some()) {
        let (_, before) = delay.least.expect("it was filtered");
        let alone = delay.reference.and_then(|spread| spread.p50).expect("errors above half a percent are found");
        // Four blocks at least, and the requests that the information asks for against a limit below the reference's.
        assert!(alone >= 1_000 && alone as f64 / 1_000.0 * delay.cell.rps >= before, "{delay:?}");
    }
}

#[test]
fn the_page_and_its_pictures_can_be_made() {
    let page = document::page(&PROOF, "just prove");
    for words in ["## Promises", " 0 broken.", "Argo 60 s × 3", "error rate worse than blue"] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    for (name, svg) in plots::all(&PROOF).expect("it can be drawn") {
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
        assert!(page.contains(name), "{name} is not shown");
    }
}
