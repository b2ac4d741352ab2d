//! The rows that the reference implementation of the statistics prints, to nine digits; states exactly.

use super::bernoulli::BernoulliChange;
use super::block_bet::BlockBet;
use super::divert::{Capacity, divertible};
use super::mixture::{beta_mixture_log_e, confidence_sequence};
use super::pass::pass_log_e;
use super::prior::mass;
use super::reference::{eta_requests, kl, kl_ucb};
use super::relative::{RelBernoulli, RelBlockBet, Sides};
use super::shield::{Look, Shield, State};
use super::shield_test::{ShieldTest, shield_level};

const ALPHA: f64 = 2e-4;
const SHIELD_ALPHA: f64 = 2e-3;

fn check(name: &str, seen: f64, golden: f64) {
    assert!((seen - golden).abs() < 1e-9, "{name}: {seen:.15} instead of {golden:.15}");
}

fn repeat(times: usize, counts: (f64, f64)) -> Vec<(f64, f64)> {
    vec![counts; times]
}

fn bets(mut bet: BlockBet, counts: &[(f64, f64)]) -> f64 {
    for &(n, x) in counts {
        bet.block(0.25, n, x, 0.0);
    }
    bet.log_e()
}

fn bernoulli(counts: &[(f64, f64)]) -> f64 {
    let mut test = BernoulliChange::new(0.05);
    for &(n, x) in counts {
        test.block(0.25, n, x);
    }
    test.log_e()
}

fn sides(counts: [f64; 4]) -> Sides {
    Sides { green_n: counts[0], green_x: counts[1], blue_n: counts[2], blue_x: counts[3] }
}

fn blame(margin: f64, times: usize, counts: [f64; 4]) -> f64 {
    let mut test = RelBernoulli::new(ALPHA, margin);
    for _ in 0..times {
        test.block(0.25, &sides(counts));
    }
    test.log_e()
}

fn relative(margin: f64, times: usize, counts: [f64; 4], pods: Option<(u32, u32)>) -> f64 {
    let mut test = RelBlockBet::new(ALPHA, margin);
    for _ in 0..times {
        test.block(0.25, &sides(counts), pods);
    }
    test.log_e()
}

#[test]
fn prior() {
    check("W(0.25)", mass(0.0, 0.25, true), 0.50136208446983);
    check("mass(0.25,0.5)", mass(0.25, 0.5, false), 0.00132925994147596);
    check("mass(600,600.25)", mass(600.0, 600.25, false), 2.26025892411559e-05);
    check("mass(86399.75,86400)", mass(86_399.75, 86_400.0, false), 1.59592923468792e-07);
}

#[test]
fn block_bet() {
    let bet = || BlockBet::new(0.05, ALPHA);
    check("4x(25,25)", bets(bet(), &repeat(4, (25.0, 25.0))), 6.92715553743446);
    check("5x(25,25)", bets(bet(), &repeat(5, (25.0, 25.0))), 9.0280773489503);
    check("10x(25,0)", bets(bet(), &repeat(10, (25.0, 0.0))), -0.43920351372093);
    check(
        "(25,0),(0,0),(25,3),(25,5),(1,1)",
        bets(bet(), &[(25.0, 0.0), (0.0, 0.0), (25.0, 3.0), (25.0, 5.0), (1.0, 1.0)]),
        1.38017716543606,
    );
    let late = [repeat(2_400, (25.0, 0.0)), repeat(10, (25.0, 25.0))].concat();
    check("2400x(25,0)+10x(25,25)", bets(bet(), &late), 10.0960394765148);
    check("40x(250,25)", bets(bet(), &repeat(40, (250.0, 25.0))), 24.5638004064469);
    let six = BlockBet::with_min_blocks(0.01, ALPHA, 6);
    check("p0=.01 min_blocks=6 8x(100,40)", bets(six, &repeat(8, (100.0, 40.0))), 10.2427052639162);
    let mut withheld = bet();
    withheld.block(0.25, 25.0, 25.0, 0.0);
    withheld.block(0.25, 15.0, 14.0, 10.0);
    withheld.block(0.25, 2.0, 2.0, 0.0);
    check("10 withheld", withheld.log_e(), 4.72776634688988);
}

#[test]
fn bernoulli_change() {
    check("(25,25)", bernoulli(&[(25.0, 25.0)]), 67.7749704262735);
    check("4x(250,25)", bernoulli(&repeat(4, (250.0, 25.0))), 17.7665667519571);
    let late = [repeat(2_400, (25.0, 0.0)), repeat(2, (25.0, 12.0))].concat();
    check("2400x(25,0)+2x(25,12)", bernoulli(&late), 24.6732276373505);
    check("(100000,6000)", bernoulli(&[(100_000.0, 6_000.0)]), 93.8394397724188);
}

#[test]
fn bernoulli_without_restart() {
    // The same test with its whole weight on the switch: why restarts are paid for.
    use super::bernoulli::{ODDS, gains};
    use super::numerics::log_sum_exp;
    let counts = [repeat(2_400, (25.0, 0.0)), repeat(2, (25.0, 12.0))].concat();
    let (n, x) = counts.iter().fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    let components = ODDS.map(|ratio| {
        let (bad, good) = gains(0.05, ratio);
        x * bad + (n - x) * good
    });
    check("no restart, same data", log_sum_exp(&components) - 8.0_f64.ln(), -742.696322223507);
}

#[test]
fn green_against_blue() {
    check("omega0=2 12x(25,3,475,0)", relative(2.0, 12, [25.0, 3.0, 475.0, 0.0], None), 23.2964772607675);
    check(
        "omega0=2 pods 1:19 (25,3,475,1)x6",
        relative(2.0, 6, [25.0, 3.0, 475.0, 1.0], Some((1, 19))),
        9.76278990454864,
    );
    check("omega0=1 40x(25,2,25,0)", relative(1.0, 40, [25.0, 2.0, 25.0, 0.0], None), 24.5638004064469);
    check("omega0=1 12x(25,3,25,0)", blame(1.0, 12, [25.0, 3.0, 25.0, 0.0]), 22.2229236303056);
    check("omega0=2 4x(25,12,475,9)", blame(2.0, 4, [25.0, 12.0, 475.0, 9.0]), 55.75656407891);
    check("shared outage 20x(25,12,25,13)", blame(1.0, 20, [25.0, 12.0, 25.0, 13.0]), -0.737156955529856);
}

#[test]
fn closed_forms() {
    for (n, x, p0, golden) in [
        (0.0, 0.0, 0.05, 0.0),
        (10.0, 10.0, 0.05, 28.3761488031905),
        (100.0, 5.0, 0.05, -3.0214759123088),
        (1_000.0, 100.0, 0.05, 17.1289819909407),
        (100_000.0, 6_000.0, 0.05, 93.3837797512442),
        (100_000.0, 4_000.0, 0.05, -9.42527269106995),
        (1_000.0, 0.0, 0.05, -6.43505811445083),
        (5_000.0, 20.0, 0.001, 8.28227666225439),
    ] {
        check(&format!("beta_mixture({n},{x},{p0})"), beta_mixture_log_e(n, x, p0), golden);
    }
    for (n, x, target, golden) in [
        (3_000.0, 0.0, 0.001, 2.30352304818577),
        (7_000.0, 0.0, 0.001, 5.88017716638034),
        (20_000.0, 8.0, 0.001, 3.42534846446576),
        (20_000.0, 30.0, 0.001, -5.24225748550719),
        (500.0, 0.0, 0.01, 4.07110705364768),
    ] {
        check(&format!("pass({n},{x},{target})"), pass_log_e(n, x, target), golden);
    }
    let (low, high) = confidence_sequence(10_000.0, 5.0, 0.05);
    check("CS lo", low, 4.17324480140399e-05);
    check("CS hi", high, 0.00196733824111113);
    check("kl(.1,.05)", kl(0.1, 0.05), 0.0206542189127463);
    check("kl_ucb(60000,60,1e-4)", kl_ucb(60_000.0, 60.0, 1e-4), 0.00166026402530497);
    check("kl_ucb(3000,0,0.05)", kl_ucb(3_000.0, 0.0, 0.05), 0.000998079011996587);
    check("eta_requests", eta_requests(2.0, 2e-4, 0.1, 0.05).expect("0.1 is above 0.05"), 315.538109620514);
}

#[test]
fn requests_needed_to_pass() {
    for (bad, golden) in [(0, 5_615), (1, 8_778), (2, 10_882), (5, 16_742), (10, 25_273)] {
        assert_eq!(super::pass::requests_in_all(bad, 0.001), golden, "{bad} bad");
    }
}

#[test]
fn shield_test() {
    let reports = |counts: &[(f64, f64)], blocks: u32| {
        let mut test = ShieldTest::new(0.05, SHIELD_ALPHA);
        for &(n, x) in counts {
            test.report(0.1, n, x, blocks);
        }
        test.log_e()
    };
    check("(10,10)", reports(&[(10.0, 10.0)], 2), 3.66996511661029);
    check("2x(10,10)", reports(&repeat(2, (10.0, 10.0)), 2), 7.95655640348912);
    let late = [repeat(6_000, (10.0, 0.0)), repeat(2, (10.0, 10.0))].concat();
    check("6000x(10,0)+2x(10,10)", reports(&late, 2), 7.77486126479072);
    let half = [repeat(100, (10.0, 0.0)), repeat(8, (10.0, 5.0))].concat();
    check("reports=8", reports(&half, 8), 7.77397493909108);
    let capacity = Capacity { rate: 100.0, ready: 2, proven_per_pod: 25.0, own: 10.0 };
    check("divertible", divertible(&capacity), 0.4);
    let burst: Vec<_> = [repeat(300, (10.0, 0.0)), repeat(3, (10.0, 10.0)), repeat(300, (10.0, 0.0))]
        .concat()
        .into_iter()
        .map(|counts| vec![counts])
        .collect();
    assert_eq!(shield_level(&[0.05], &burst, 0.1, SHIELD_ALPHA), 1);
}

#[derive(Clone, Copy)]
struct Step {
    times: u64,
    green: (f64, f64),
    blue: (f64, f64),
    room: f64,
    blame: bool,
    robust: u64,
    durable: bool,
}

const fn step(times: u64, green: (f64, f64), blue: (f64, f64)) -> Step {
    Step { times, green, blue, room: 1.0, blame: false, robust: 0, durable: false }
}

/// Runs a script of reports, 100 ms each, with a block's end every 500 ms; each change as "seconds state share".
fn script(rate: f64, steps: &[Step]) -> String {
    let mut shield = Shield::new(&[0.05, 0.005], SHIELD_ALPHA, 0);
    let (mut now_ms, mut changes) = (0, Vec::new());
    for step in steps {
        for _ in 0..step.times {
            now_ms += 100;
            let was = (shield.state(), shield.share());
            let look = Look {
                green: &[step.green; 2],
                blue: &[step.blue; 2],
                rate,
                room: step.room,
                green_room: 1.0,
                blame: step.blame,
                robust: step.robust,
            };
            if step.durable {
                shield.revert();
            }
            shield.look(now_ms, &look, |_| true);
            if now_ms % 500 == 0 {
                shield.block_ended(rate, step.room, 1.0);
            }
            if was != (shield.state(), shield.share()) {
                let state = format!("{:?}", shield.state()).to_lowercase();
                let share = (shield.share() * 1e6).round() / 1e6;
                changes.push(format!("{} {state} {share}", now_ms as f64 / 1_000.0));
            }
        }
    }
    if changes.is_empty() { "open throughout".to_owned() } else { changes.join(" | ") }
}

#[test]
fn shield() {
    let (bad, good, none) = ((10.0, 10.0), (10.0, 0.0), (0.0, 0.0));
    let bad_trickle = |times| step(times, (1.0, 1.0), (9.0, 0.0));
    let good_trickle = |times| step(times, (1.0, 0.0), (9.0, 0.0));
    let durable = |step: Step| Step { durable: true, ..step };
    let room = |step: Step, room| Step { room, ..step };
    let check = |name: &str, rate: f64, steps: &[Step], golden: &str| {
        assert_eq!(script(rate, steps), golden, "{name}");
    };
    check(
        "total outage at the switch",
        100.0,
        &[step(2, bad, none), bad_trickle(9), durable(bad_trickle(1))],
        "0.2 shielded 0.1 | 1.2 reverted 0",
    );
    check(
        "total outage after 10 min",
        100.0,
        &[step(6_000, good, none), step(2, bad, none), bad_trickle(40), durable(bad_trickle(1))],
        "600.2 shielded 0.1 | 604.3 reverted 0",
    );
    check(
        "one report of 10 bad, then good",
        100.0,
        &[step(20, good, none), step(1, bad, none), step(100, good, none)],
        "open throughout",
    );
    check(
        "10 rps: 4 bad, good, later 5 bad",
        10.0,
        &[step(4, (1.0, 1.0), none), step(200, (1.0, 0.0), none), step(5, (1.0, 1.0), none)],
        "20.9 shielded 0.25",
    );
    check(
        "1 s burst, then 3 and 4 bad reports",
        100.0,
        &[
            step(2, bad, none),
            bad_trickle(8),
            good_trickle(150),
            step(3, bad, none),
            step(300, good, none),
            step(4, bad, none),
        ],
        "0.2 shielded 0.1 | 6 probing 0.25 | 11 open 1 | 46.7 shielded 0.1",
    );
    check(
        "bad 1 s in every 30 s",
        100.0,
        &[step(10, bad, (9.0, 0.0)), step(290, good, (9.0, 0.0))].repeat(4),
        "0.2 shielded 0.1 | 6 probing 0.25 | 11 open 1 | 30.4 shielded 0.1 | 41 probing 0.25 | 51 open 1 | 60.8 held 0.1",
    );
    check(
        "bad 2 s in every 10 s, trickle",
        100.0,
        &[vec![step(2, bad, none)], [bad_trickle(20), good_trickle(80)].repeat(40)].concat(),
        "0.2 shielded 0.1 | 7.5 probing 0.25 | 10.6 shielded 0.1 | 300.3 held 0.1",
    );
    let outage = [step(2, bad, none), step(28, (1.0, 1.0), (9.0, 9.0))];
    check(
        "shared outage of 3 s",
        100.0,
        &[outage[0], outage[1], step(200, (9.0, 0.0), (1.0, 0.0))],
        "0.2 shielded 0.1 | 0.5 shared 0.9 | 8 open 1",
    );
    let recovered = step(50, (9.0, 9.0), (1.0, 0.0));
    check(
        "shared outage, blue recovers",
        100.0,
        &[outage[0], outage[1], recovered, Step { times: 1, blame: true, ..recovered }],
        "0.2 shielded 0.1 | 0.5 shared 0.9 | 8.1 shielded 0.1",
    );
    check(
        "blue has room for 40 %, then for 80 %",
        100.0,
        &[room(step(3, bad, none), 0.4), room(step(2, bad, none), 0.8)],
        "0.2 shielded 0.6 | 0.4 shielded 0.2",
    );
    check("blue has no room", 100.0, &[room(step(50, bad, none), 0.0)], "open throughout");
    check(
        "relative BlockBet fired, no control",
        100.0,
        &[step(10, (10.0, 0.0), none), Step { robust: 2, ..step(1, (10.0, 0.0), none) }],
        "1.1 shielded 0.1",
    );
    assert_eq!(Shield::new(&[0.05], SHIELD_ALPHA, 0).state(), State::Open);
}
