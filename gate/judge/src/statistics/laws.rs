//! What must hold whatever the data: the bounds that the tests promise, on simulated streams with fixed seeds.

use super::block_bet::BlockBet;
use super::relative::{RelBernoulli, Sides};
use super::shield_test::ShieldTest;

/// SplitMix64: a small generator whose stream is the same everywhere.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn binomial(&mut self, n: u32, p: f64) -> f64 {
        (0..n).filter(|_| self.unit() < p).count() as f64
    }
}

/// How many of `streams` reach ln 10 in their run.
fn reached(streams: u64, mut run: impl FnMut(&mut Random) -> f64) -> u64 {
    (0..streams).filter(|&seed| run(&mut Random(seed)) >= 10.0_f64.ln()).count() as u64
}

#[test]
fn block_bets_at_the_boundary_stay_below_the_bound() {
    let hits = reached(400, |random| {
        let mut bet = BlockBet::new(0.05, 1e-3);
        (0..400).fold(f64::MIN, |most, _| {
            let x = random.binomial(25, 0.05);
            bet.block(0.25, 25.0, x, 0.0);
            most.max(bet.log_e())
        })
    });
    // P(E >= 10) is at most 10 %: 40 of 400, and 58 is three standard deviations above it.
    assert!(hits <= 58, "{hits} of 400");
}

#[test]
fn correlation_inside_a_block_changes_nothing() {
    let hits = reached(400, |random| {
        let mut bet = BlockBet::new(0.05, 1e-3);
        (0..400).fold(f64::MIN, |most, _| {
            let x = if random.unit() < 0.05 { 25.0 } else { 0.0 };
            bet.block(0.25, 25.0, x, 0.0);
            most.max(bet.log_e())
        })
    });
    assert!(hits <= 58, "{hits} of 400");
}

#[test]
fn a_share_that_follows_the_outcomes_changes_nothing() {
    // The worst policy: down after each bad report, up at the end of each block; a block has five reports.
    let hits = reached(300, |random| {
        let mut bet = BlockBet::new(0.05, 1e-3);
        (0..300).fold(f64::MIN, |most, _| {
            let (mut share, mut n, mut x, mut withheld) = (1.0, 0.0, 0.0, 0.0);
            for _ in 0..5 {
                let sent = random.binomial(10, share);
                let bad = (0..sent as u32).filter(|_| random.unit() < 0.05).count() as f64;
                n += sent;
                x += bad;
                // Of those diverted, the share at the block's start (all) would have given each to green.
                withheld += if share < 1.0 { 10.0 - sent } else { 0.0 };
                if bad > 0.0 {
                    share = 0.1;
                }
            }
            bet.block(0.5, n, x, withheld);
            most.max(bet.log_e())
        })
    });
    assert!(hits <= 46, "{hits} of 300");
}

#[test]
fn shared_outages_are_rarely_blamed() {
    let hits = (0..300)
        .filter(|&seed| {
            let mut random = Random(seed);
            let mut blame = RelBernoulli::blame();
            (0..100).any(|_| {
                let (green_x, blue_x) = (random.binomial(12, 0.5), random.binomial(12, 0.5));
                blame.block(0.25, &Sides { green_n: 12.0, green_x, blue_n: 12.0, blue_x });
                blame.fires()
            })
        })
        .count();
    assert!(hits <= 9, "{hits} of 300");
}

#[test]
fn no_data_fire_in_fewer_than_four_blocks() {
    for p0 in [1e-6, 0.001, 0.01, 0.05, 0.5] {
        for alpha in [1e-6, 5e-4, 1e-2] {
            let mut bet = BlockBet::new(p0, alpha);
            for _ in 0..3 {
                bet.block(1.0, 1e9, 1e9, 0.0);
                assert!(!bet.fires(), "p0 {p0} alpha {alpha}");
            }
        }
    }
}

#[test]
fn one_report_never_raises_a_shield() {
    for healthy in [0, 10, 10_000] {
        let mut test = ShieldTest::new(0.05, 5e-3);
        for _ in 0..healthy {
            test.report(0.1, 100.0, 0.0, 2);
        }
        test.report(0.1, 1e6, 1e6, 2);
        assert!(!test.fires(), "after {healthy}");
        test.report(0.1, 1e6, 1e6, 2);
        assert!(test.fires(), "after {healthy}");
    }
}

#[test]
fn extreme_counts_stay_finite() {
    let mut bet = BlockBet::new(0.05, 5e-4);
    let mut test = ShieldTest::new(0.05, 5e-3);
    for block in 0..200_000_u32 {
        let x = if block % 7 == 0 { 1e12 } else { 0.0 };
        bet.block(1.0, 1e12, x, 0.0);
        test.report(1.0, 1e12, x, 2);
    }
    assert!(!bet.log_e().is_nan() && !test.log_e().is_nan());
    let mut bad = BlockBet::new(0.05, 5e-4);
    for _ in 0..5_000 {
        bad.block(1.0, 10.0, 10.0, 0.0);
    }
    assert!(bad.log_e().is_finite());
}

#[test]
fn a_planned_step_of_traffic_is_a_likely_start() {
    // Ten minutes of health, a step, and an outage that comes with it.
    let blocks_until_fired = |mut bet: BlockBet, steps: bool| {
        for _ in 0..1_200 {
            bet.block(0.5, 25.0, 0.0, 0.0);
        }
        if steps {
            bet.step();
        }
        (1..).find(|_| {
            bet.block(0.25, 25.0, 25.0, 0.0);
            bet.fires()
        })
    };
    let with = blocks_until_fired(BlockBet::new(0.05, 1.25e-4).with_steps(), true);
    let without = blocks_until_fired(BlockBet::new(0.05, 1.25e-4), false);
    assert_eq!((with, without), (Some(6), Some(9)));
}

#[test]
fn steps_spend_no_more_than_there_is() {
    let hits = reached(400, |random| {
        let mut bet = BlockBet::new(0.05, 1e-3).with_steps();
        (0..400).fold(f64::MIN, |most, block| {
            if block % 20 == 19 {
                bet.step();
            }
            let x = random.binomial(25, 0.05);
            bet.block(0.25, 25.0, x, 0.0);
            most.max(bet.log_e())
        })
    });
    assert!(hits <= 58, "{hits} of 400");
}
