//! Releases in values: synthetic traffic that follows the allowance, and what the judge makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use blueback_report::{
    AdmissionKey, Age, Counts, Latency, Limit, Measure, Outcome, Overdue, OverdueKey, Protocol, Role, SeriesKey, Slot,
    Totals,
};

use crate::{Judge, Observation, PodState, Rules, ShieldState, Spec, Start, Verdict};

/// What a side does with a request at a moment.
pub(super) type Behaviour = fn(now_ms: u64, request: u64, pod: usize) -> Act;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    /// Answered after this many milliseconds.
    Ok(u64),
    Failed,
    Client,
    /// Never answered.
    Hang,
}

fn well(_: u64, _: u64, _: usize) -> Act {
    Act::Ok(5)
}

/// `percent` of the requests, evenly among them.
pub(super) const fn part(request: u64, percent: u64) -> bool {
    request.wrapping_mul(61) % 100 < percent
}

pub(super) struct Story {
    pub(super) rps: u64,
    pub(super) pods: usize,
    pub(super) target: f64,
    pub(super) green: Behaviour,
    pub(super) blue: Behaviour,
    pub(super) blue_ready: fn(u64) -> bool,
    /// How many of green's pods, the first ones, are there and ready.
    pub(super) green_ready: Option<fn(u64) -> usize>,
    pub(super) blue_history: Behaviour,
    pub(super) spec: Spec,
    pub(super) until_ms: u64,
}

impl Story {
    /// Pods of green that are ready.
    fn green_ready(&self, now_ms: u64) -> usize {
        self.green_ready.map_or(self.pods, |ready| ready(now_ms))
    }

    fn pods(&self, now_ms: u64) -> Vec<PodState> {
        let of = |slot: Slot, count: usize, ready: bool| {
            (0..count).map(move |pod| PodState { slot, pod: name(slot, pod), ready })
        };
        let green = of(Slot::Green, self.green_ready(now_ms), true);
        green.chain(of(Slot::Blue, self.pods, (self.blue_ready)(now_ms))).collect()
    }
}

impl Default for Story {
    fn default() -> Self {
        Self {
            rps: 100,
            pods: 1,
            target: 1.0,
            green: well,
            blue: well,
            blue_ready: |_| true,
            green_ready: None,
            blue_history: well,
            spec: Spec::default(),
            until_ms: 60_000,
        }
    }
}

/// What happened, by time.
pub(super) struct Told {
    pub(super) judge: Judge,
    /// Each change of "verdict shield".
    pub(super) changes: Vec<(u64, String)>,
    /// Requests of green that failed or hung.
    pub(super) failed: u64,
    /// Each share that was commanded after the switch, and when.
    pub(super) shares: Vec<(u64, f64)>,
    pub(super) least: f64,
    pub(super) least_pods: BTreeMap<String, f64>,
}

impl Told {
    pub(super) fn at(&self, what: &str) -> Option<u64> {
        self.changes.iter().find(|(_, change)| change.contains(what)).map(|&(at, _)| at)
    }

    pub(super) fn within(&self, what: &str, from_ms: u64, by_ms: u64) -> &Self {
        let at = self.at(what).unwrap_or_else(|| panic!("no {what} in {:?}: {}", self.changes, self.judge.verdict()));
        assert!((from_ms..=by_ms).contains(&at), "{what} at {at}, not by {by_ms}: {:?}", self.changes);
        self
    }

    pub(super) fn never(&self, what: &str) -> &Self {
        assert_eq!(self.at(what), None, "{:?}: {}", self.changes, self.judge.verdict());
        self
    }

    pub(super) fn ends(&self, what: &str) -> &Self {
        let last = self.changes.last().map_or("", |(_, change)| change);
        assert!(last.contains(what), "{:?}: {}", self.changes, self.judge.verdict());
        self
    }

    pub(super) fn says(&self, words: &str) -> &Self {
        let text = self.judge.verdict().to_string();
        assert!(text.contains(words), "{words} is not in: {text}");
        self
    }
}

pub(super) fn name(slot: Slot, pod: usize) -> Arc<str> {
    Arc::from(format!("{slot}-{pod}"))
}

/// One agent in front of both slots, with cumulative state where the judge needs it.
struct Front<'a> {
    story: &'a Story,
    epoch: u64,
    /// In flight without an end: slot, pod, epoch, began, and the limits it crossed.
    hanging: Vec<(Slot, usize, u64, u64, Vec<Limit>)>,
    limits: Vec<Limit>,
    served: u64,
    carry: f64,
}

impl Front<'_> {
    /// Serves one report interval, and says what it counted.
    fn serve(&mut self, start_ms: u64, judge: &Judge, history: bool) -> (Totals, BTreeMap<AdmissionKey, u64>, u64) {
        let (mut totals, mut failed) = (Totals::default(), 0);
        self.carry += self.story.rps as f64 / 10.0;
        while self.carry >= 1.0 {
            self.carry -= 1.0;
            self.served += 1;
            let request = self.served;
            // An even spread of the shares over the requests, unrelated to their outcome and their pod.
            let coin = (request as f64 * 0.618_033_988_75).fract();
            let turn = (request as f64 * 0.754_877_666_2).fract();
            let pods = self.story.green_ready(start_ms);
            let pod = ((turn * pods as f64) as usize).min(pods - 1);
            let pod_share = judge.allowance().pods.iter().find(|(name, _)| **name == *self::name(Slot::Green, pod));
            let share = judge.allowance().all * self.story.target * pod_share.map_or(1.0, |&(_, share)| share);
            let slot = if !history && coin < share { Slot::Green } else { Slot::Blue };
            let act = match slot {
                Slot::Green => (self.story.green)(start_ms, request, pod),
                Slot::Blue if history => (self.story.blue_history)(start_ms, request, pod),
                Slot::Blue => (self.story.blue)(start_ms, request, pod),
            };
            let admission = AdmissionKey { epoch: self.epoch, slot, pod: name(slot, pod), route: Arc::from("") };
            *totals.admitted.entry(admission).or_default() += 1;
            let (outcome, ms) = match act {
                Act::Ok(ms) => (Outcome::Ok, ms),
                Act::Failed => (Outcome::ServerError, 2),
                Act::Client => (Outcome::ClientError, 2),
                Act::Hang => {
                    failed += u64::from(slot == Slot::Green);
                    self.hanging.push((slot, pod, self.epoch, start_ms, Vec::new()));
                    continue;
                }
            };
            failed += u64::from(slot == Slot::Green && act == Act::Failed);
            let key = SeriesKey {
                slot,
                pod: name(slot, pod),
                route: Arc::from(""),
                protocol: Protocol::Http1,
                age: Age::Current,
                outcome,
            };
            let latency = totals.series.entry(key).or_default();
            latency.last_byte.record_n(ms * 1_000, 1);
            latency.first_byte.record_n(ms * 1_000, 1);
        }
        let mut in_flight = BTreeMap::new();
        for (slot, pod, epoch, began, crossed) in &mut self.hanging {
            let key = AdmissionKey { epoch: *epoch, slot: *slot, pod: name(*slot, *pod), route: Arc::from("") };
            *in_flight.entry(key).or_default() += 1;
            for limit in &self.limits {
                if !crossed.contains(limit) && (start_ms + 100 - *began) * 1_000 > limit.us {
                    crossed.push(*limit);
                    let key = OverdueKey {
                        slot: *slot,
                        pod: name(*slot, *pod),
                        route: Arc::from(""),
                        age: Age::of(*epoch, self.epoch),
                        limit: *limit,
                    };
                    totals.overdue.entry(key).or_insert(Overdue::default()).crossed += 1;
                }
            }
        }
        (totals, in_flight, failed)
    }
}

fn merge(second: &mut Totals, growth: Totals) {
    for (key, latency) in growth.series {
        let sum: &mut Latency = second.series.entry(key).or_default();
        sum.last_byte.add(&latency.last_byte);
        sum.first_byte.add(&latency.first_byte);
    }
    for (key, count) in growth.admitted {
        *second.admitted.entry(key).or_default() += count;
    }
}

/// A second of requests to these pods, told at once.
pub(super) fn serve(judge: &mut Judge, now_ms: u64, pods: &[Arc<str>], fails: bool) {
    let mut totals = Totals::default();
    for pod in pods {
        let outcome = if fails { Outcome::ServerError } else { Outcome::Ok };
        let (route, protocol, age) = (Arc::from(""), Protocol::Http1, Age::Current);
        let key = SeriesKey { slot: Slot::Green, pod: pod.clone(), route, protocol, age, outcome };
        totals.series.entry(key).or_default().last_byte.record_n(5_000, 25);
    }
    let in_flight = BTreeMap::new();
    for at_ms in (now_ms..now_ms + 4_000).step_by(250) {
        let (role, totals) = (Role::Front, &totals);
        judge.observe(at_ms, Observation::Growth { agent: 1, role, epoch: 2, totals, in_flight: &in_flight });
    }
}

pub(super) fn tell(story: &Story) -> Told {
    let rules = Rules::parse(&story.spec).expect("the story's rules are sound");
    let start = |history| Start { candidate: Slot::Green, target_share: story.target, pods: story.pods(0), history };
    let mut front = Front { story, epoch: 1, hanging: Vec::new(), limits: rules.limits(), served: 0, carry: 0.0 };
    let nobody = Judge::new(rules.clone(), start(Vec::new()));
    let mut history = Vec::new();
    for second in 0..30 {
        let mut totals = Totals::default();
        for tick in 0..10 {
            merge(&mut totals, front.serve(second * 1_000 + tick * 100, &nobody, true).0);
        }
        history.push(totals);
    }
    let mut judge = Judge::new(rules, start(history));
    front.epoch = 2;
    judge.observe(0, Observation::Share { epoch: 2, candidate_share: story.target });
    let mut told =
        Told { judge, changes: Vec::new(), failed: 0, shares: Vec::new(), least: 1.0, least_pods: BTreeMap::new() };
    let mut allowance = told.judge.allowance().clone();
    let mut seen = story.pods(0);
    for now_ms in (0..story.until_ms).step_by(100) {
        let (totals, in_flight, failed) = front.serve(now_ms, &told.judge, false);
        told.failed += failed;
        let report_ms = now_ms + 100;
        let pods = story.pods(report_ms);
        if pods != seen {
            told.judge.observe(report_ms, Observation::Pods { pods: &pods });
            seen = pods;
        }
        let growth = Observation::Growth {
            agent: 1,
            role: Role::Front,
            epoch: front.epoch,
            totals: &totals,
            in_flight: &in_flight,
        };
        told.judge.observe(report_ms, growth);
        for at_ms in [report_ms, report_ms + 50] {
            told.judge.deliberate(at_ms);
            let change = format!("{} {}", told.judge.verdict().word(), told.judge.shield().as_str());
            if told.changes.last().is_none_or(|(_, last)| *last != change) {
                told.changes.push((at_ms, change));
            }
            if *told.judge.allowance() != allowance {
                allowance = told.judge.allowance().clone();
                front.epoch += 1;
                let candidate_share = allowance.all * story.target;
                told.judge.observe(at_ms, Observation::Share { epoch: front.epoch, candidate_share });
                told.shares.push((at_ms, allowance.all));
                told.least = told.least.min(allowance.all);
                for (pod, share) in &allowance.pods {
                    let least = told.least_pods.entry(pod.to_string()).or_insert(1.0);
                    *least = least.min(*share);
                }
            }
        }
    }
    told
}

pub(super) fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(ToString::to_string).collect())
}

#[test]
fn total_outage_at_the_switch() {
    let told = tell(&Story { green: |_, _, _| Act::Failed, until_ms: 3_000, ..Story::default() });
    told.within("shielded", 0, 350)
        .within("revert", 1_000, 1_600)
        .says("error rate > 5%: 100% of green's requests failed");
    assert!(told.failed <= 40, "{} failed", told.failed);
    assert!(told.judge.allowance().all == 0.0 && told.judge.shield() == ShieldState::Reverted);
}

#[test]
fn total_outage_ten_minutes_in() {
    let green = |now_ms: u64, _: u64, _: usize| if now_ms >= 600_000 { Act::Failed } else { Act::Ok(5) };
    let told = tell(&Story { green, until_ms: 606_000, ..Story::default() });
    told.within("pass", 300_000, 300_100).within("shielded", 600_000, 600_350).within("revert", 600_000, 604_600);
    assert!(told.failed <= 70, "{} failed", told.failed);
}

#[test]
fn a_fifth_of_the_requests_fails() {
    let green = |_: u64, request: u64, _: usize| if part(request, 20) { Act::Failed } else { Act::Ok(5) };
    let told = tell(&Story { green, ..Story::default() });
    told.within("shielded", 0, 1_500).within("revert", 1_000, 20_000);
}

#[test]
fn six_percent_fail_and_blue_is_the_measure() {
    let green = |_: u64, request: u64, _: usize| if part(request, 6) { Act::Failed } else { Act::Ok(5) };
    let spec = Spec { revert_when: words(&["error rate worse than blue", "error rate > 5%"]), ..Spec::default() };
    let told = tell(&Story { green, spec, until_ms: 120_000, ..Story::default() });
    told.within("revert", 1_000, 60_000).says("error rate worse than blue");
}

#[test]
fn six_percent_for_five_minutes_is_reverted_by_the_words() {
    let green = |_: u64, request: u64, _: usize| if part(request, 6) { Act::Failed } else { Act::Ok(5) };
    let spec = Spec { revert_when: words(&["error rate > 5% for 5m"]), ..Spec::default() };
    let told = tell(&Story { green, spec, until_ms: 310_000, ..Story::default() });
    told.within("revert", 300_000, 301_000).says("in the last 5 min");
}

#[test]
fn latency_steps_up() {
    let green = |now_ms: u64, request: u64, _: usize| {
        if now_ms >= 60_000 && part(request, 20) { Act::Ok(800) } else { Act::Ok(5) }
    };
    let told = tell(&Story { green, until_ms: 90_000, ..Story::default() });
    told.within("shielded", 60_000, 61_500).within("revert", 61_000, 75_000).says("latency p99 > 500ms").says("p99 80");
}

#[test]
fn a_hang_is_seen_while_it_hangs() {
    let told = tell(&Story { green: |_, _, _| Act::Hang, until_ms: 20_000, ..Story::default() });
    told.within("shielded", 500, 1_000).within("revert", 3_000, 8_000).says("at least 500 ms");
    let later = |now_ms: u64, _: u64, _: usize| if now_ms >= 120_000 { Act::Hang } else { Act::Ok(5) };
    let told = tell(&Story { green: later, until_ms: 150_000, ..Story::default() });
    told.within("shielded", 120_500, 121_000).within("revert", 121_000, 132_000);
}

#[test]
fn both_fail_alike() {
    let outage: Behaviour = |now_ms, _, _| if (20_000..50_000).contains(&now_ms) { Act::Failed } else { Act::Ok(5) };
    let told = tell(&Story { green: outage, blue: outage, until_ms: 400_000, ..Story::default() });
    told.within("hold shared", 20_000, 22_000).never("revert").ends("watching open");
    // With live traffic on both sides all the time.
    let told = tell(&Story { green: outage, blue: outage, target: 0.5, until_ms: 200_000, ..Story::default() });
    told.within("hold", 20_000, 22_000).never("revert");
}

#[test]
fn blue_cannot_take_over() {
    let told = tell(&Story {
        green: |_, _, _| Act::Failed,
        blue_ready: |now_ms| now_ms >= 20_000,
        until_ms: 22_000,
        ..Story::default()
    });
    told.within("suspect open", 0, 400).within("hold open", 1_000, 1_600).within("revert", 20_000, 20_200);
    // Green recovers before blue does.
    let told = tell(&Story {
        green: |now_ms, _, _| if now_ms < 10_000 { Act::Failed } else { Act::Ok(5) },
        blue_ready: |now_ms| now_ms >= 100_000,
        until_ms: 120_000,
        ..Story::default()
    });
    told.within("hold open", 1_000, 1_600).never("revert").ends("watching open");
}

#[test]
fn a_shield_comes_down_when_blue_goes_away() {
    let told = tell(&Story {
        green: |_, request, _| if part(request, 20) { Act::Failed } else { Act::Ok(5) },
        blue_ready: |now_ms| now_ms < 1_500,
        until_ms: 60_000,
        ..Story::default()
    });
    told.within("shielded", 0, 1_500).within("hold", 1_500, 20_000).never("revert");
    assert!((told.judge.allowance().all - 1.0).abs() < 1e-12, "{:?}", told.judge.allowance());
}

#[test]
fn one_bad_pod_of_five() {
    let green = |_: u64, _: u64, pod: usize| if pod == 3 { Act::Failed } else { Act::Ok(5) };
    let told = tell(&Story { green, pods: 5, until_ms: 120_000, ..Story::default() });
    told.within("suspect", 0, 1_500).never("revert").never("hold").never("pass");
    told.says("pod green-3 alone is at fault");
    assert_eq!(told.judge.verdict().reason().and_then(|reason| reason.pod.as_deref()), Some("green-3"));
    assert_eq!(told.judge.shielded_pod().as_deref(), Some("green-3"));
    assert_eq!(told.least_pods.keys().collect::<Vec<_>>(), ["green-3"]);
    assert!((told.least - 1.0).abs() < 1e-12, "{}", told.least);
}

#[test]
fn client_errors_are_not_greens_fault() {
    let green = |_: u64, request: u64, _: usize| if part(request, 90) { Act::Client } else { Act::Ok(5) };
    tell(&Story { green, until_ms: 310_000, ..Story::default() }).never("suspect").never("revert").ends("pass");
}

#[test]
fn little_traffic_is_inconclusive_with_a_number() {
    let told = tell(&Story { rps: 1, until_ms: 1_900_000, ..Story::default() });
    told.never("pass").never("revert").ends("inconclusive").says("of 5,615 requests needed").says("30 min");
    assert_eq!(told.judge.verdict().reason().map(|reason| reason.rule.as_str()), Some("error rate < 0.1%"));
}

#[test]
fn no_traffic_is_never_a_pass() {
    let told = tell(&Story { rps: 0, until_ms: 1_900_000, ..Story::default() });
    told.never("pass").never("revert").ends("inconclusive");
    // Traffic that stops is told as missing.
    let rules = Spec { pass_when: words(&[]), ..Spec::default() };
    let green = |_: u64, _: u64, _: usize| Act::Hang;
    let spec = Spec { revert_when: words(&["error rate > 5%"]), ..rules };
    let told = tell(&Story { rps: 5, green, spec, until_ms: 30_000, ..Story::default() });
    told.never("pass").ends("watching").says("no data").says("silence is not health");
}

#[test]
fn a_burst_lifts_its_shield_again() {
    let green = |now_ms: u64, _: u64, _: usize| {
        if (30_000..31_000).contains(&now_ms) { Act::Failed } else { Act::Ok(5) }
    };
    let spec = Spec { pass_when: words(&["error rate < 1%"]), ..Spec::default() };
    let told = tell(&Story { green, spec, until_ms: 345_000, ..Story::default() });
    told.within("shielded", 30_000, 30_350).within("probing", 35_000, 38_000).never("revert").never("hold");
    // Not within a bake time of the shield.
    told.within("pass", 340_000, 345_000);
    assert_eq!(told.judge.shield(), ShieldState::Open);
}

#[test]
fn a_healthy_release_passes() {
    let told = tell(&Story { until_ms: 1_801_000, ..Story::default() });
    told.within("pass", 300_000, 300_100).never("suspect").says("passed 30m").says("looked at again after 2h");
    let names: Vec<_> = told.judge.passed().iter().map(|checkpoint| checkpoint.name.as_str()).collect();
    assert_eq!(names, ["bake", "30m"]);
}

#[test]
fn two_hours_at_the_limit_revert_nothing() {
    // Exactly what the rules allow: 5 % errors and 1 % slow requests.
    let green = |_: u64, request: u64, _: usize| match request.wrapping_mul(2_654_435_761) >> 7 & 0xfff {
        0..200 => Act::Failed,
        200..240 => Act::Ok(800),
        _ => Act::Ok(5),
    };
    let spec = Spec { revert_when: words(&["error rate > 5%", "latency p99 > 500ms"]), ..Spec::default() };
    tell(&Story { green, spec, until_ms: 7_200_000, ..Story::default() }).never("revert").never("pass");
}

#[test]
fn signals_revert_and_alerts_only_tell() {
    let spec = Spec {
        revert_when: words(&["error rate > 5%", "signal data-corruption"]),
        alert_when: words(&["signal noise", "error rate > 1%"]),
        ..Spec::default()
    };
    let green = |_: u64, request: u64, _: usize| if part(request, 3) { Act::Failed } else { Act::Ok(5) };
    let mut told = tell(&Story { green, spec, until_ms: 60_000, ..Story::default() });
    told.never("revert");
    assert_eq!(told.judge.alerts().iter().map(|alert| alert.rule.as_str()).collect::<Vec<_>>(), ["error rate > 1%"]);
    told.judge.observe(60_100, Observation::Signal { name: "noise", why: "" });
    told.judge.observe(60_100, Observation::Signal { name: "unheard-of", why: "" });
    told.judge.deliberate(60_100);
    assert_eq!((told.judge.alerts().len(), told.judge.verdict().word()), (2, "watching"));
    told.judge.observe(60_200, Observation::Signal { name: "data-corruption", why: "totals do not add up" });
    assert_eq!(told.judge.deliberate(60_200).word(), "revert");
    told.says("signal data-corruption: the signal was raised: totals do not add up");
}

#[test]
fn unready_pods_revert() {
    let spec = Spec { revert_when: words(&["pods ready < 80% for 30s"]), ..Spec::default() };
    let mut judge = tell(&Story { pods: 5, spec, until_ms: 1_000, ..Story::default() }).judge;
    let pods = |ready: usize| -> Vec<PodState> {
        let green = (0..5).map(|pod| PodState { slot: Slot::Green, pod: name(Slot::Green, pod), ready: pod < ready });
        let blue = std::iter::once(PodState { slot: Slot::Blue, pod: name(Slot::Blue, 0), ready: true });
        green.chain(blue).collect()
    };
    judge.observe(2_000, Observation::Pods { pods: &pods(3) });
    assert_eq!(judge.deliberate(20_000).word(), "watching");
    judge.observe(20_000, Observation::Pods { pods: &pods(5) });
    judge.deliberate(21_000);
    judge.observe(21_000, Observation::Pods { pods: &pods(3) });
    assert_eq!(judge.deliberate(50_900).word(), "watching");
    assert_eq!(judge.deliberate(51_200).word(), "revert");
    assert!(judge.verdict().to_string().contains("3 of 5 pods of green ready (60%, limit 80%)"), "{}", judge.verdict());
}

#[test]
fn a_person_holds_and_resumes() {
    let mut judge = tell(&Story { until_ms: 1_000, ..Story::default() }).judge;
    judge.observe(1_000, Observation::Hold { why: "looking at it" });
    judge.observe(1_100, Observation::Signal { name: "security", why: "" });
    assert_eq!(judge.deliberate(5_000).word(), "hold");
    assert!(judge.verdict().to_string().contains("looking at it"));
    judge.observe(6_000, Observation::Resume);
    assert_eq!(judge.deliberate(6_000).word(), "revert");
    judge.observe(7_000, Observation::Hold { why: "too late" });
    assert!(matches!(judge.deliberate(7_000), Verdict::Revert(_)));
}

#[test]
fn late_deliberation_changes_nothing() {
    let green = |now_ms: u64, _: u64, _: usize| if now_ms >= 2_000 { Act::Failed } else { Act::Ok(5) };
    let story = Story { green, until_ms: 60_000, ..Story::default() };
    let rules = Rules::default_rules();
    let pods = vec![PodState { slot: Slot::Blue, pod: name(Slot::Blue, 0), ready: true }];
    let start = Start { candidate: Slot::Green, target_share: 1.0, pods, history: Vec::new() };
    let (mut often, mut seldom) = (Judge::new(rules.clone(), start.clone()), Judge::new(rules, start));
    let mut front = Front { story: &story, epoch: 1, hanging: Vec::new(), limits: Vec::new(), served: 0, carry: 0.0 };
    let nobody = often.clone();
    for now_ms in (0..30_000).step_by(100) {
        let (totals, in_flight, _) = front.serve(now_ms, &nobody, false);
        for judge in [&mut often, &mut seldom] {
            let growth =
                Observation::Growth { agent: 1, role: Role::Front, epoch: 1, totals: &totals, in_flight: &in_flight };
            judge.observe(now_ms + 100, growth);
        }
        often.deliberate(now_ms + 100);
    }
    assert_eq!(often.deliberate(31_000), seldom.deliberate(31_000));
    assert_eq!(often.verdict().word(), "revert");
    assert_eq!(often.criteria(), seldom.criteria());
}

#[test]
fn a_robust_profile_is_patient() {
    let robust = |green| {
        let spec = Spec { profile: Some("robust".into()), ..Spec::default() };
        tell(&Story { green, spec, until_ms: 20_000, ..Story::default() })
    };
    robust(|_, _, _| Act::Failed).within("shielded", 0, 350).within("revert", 4_000, 6_000);
    robust(|now_ms, _, _| if now_ms < 3_500 { Act::Failed } else { Act::Ok(5) }).never("revert");
}

#[test]
fn counts_of_a_route_leave_the_others_alone() {
    let spec = Spec { revert_when: words(&["route \"/checkout\" error rate > 2%"]), ..Spec::default() };
    let rules = Rules::parse(&spec).expect("sound");
    assert_eq!(rules.routes(), [Arc::from("/checkout")]);
    let pods = vec![PodState { slot: Slot::Green, pod: name(Slot::Green, 0), ready: true }];
    let start = Start { candidate: Slot::Blue, target_share: 1.0, pods, history: Vec::new() };
    let run = |route: &str| {
        let mut judge = Judge::new(rules.clone(), start.clone());
        for now_ms in (100..5_000).step_by(100) {
            let mut last_byte = Counts::default();
            last_byte.record_n(2_000, 10);
            let key = SeriesKey {
                slot: Slot::Blue,
                pod: name(Slot::Blue, 0),
                route: Arc::from(route),
                protocol: Protocol::Grpc,
                age: Age::Current,
                outcome: Outcome::Unreachable,
            };
            let latency = Latency { last_byte, first_byte: Counts::default() };
            let totals = Totals { series: [(key, latency)].into(), ..Totals::default() };
            let in_flight = BTreeMap::new();
            let growth =
                Observation::Growth { agent: 1, role: Role::Front, epoch: 1, totals: &totals, in_flight: &in_flight };
            judge.observe(now_ms, growth);
        }
        judge.deliberate(5_000).word()
    };
    assert_eq!((run("/checkout"), run("/search")), ("revert", "watching"), "and the candidate may be the blue slot");
    let limit = Limit { measure: Measure::FirstByte, us: 250_000 };
    let spec = Spec { revert_when: words(&["first byte latency p95 > 250ms"]), ..Spec::default() };
    assert!(Rules::parse(&spec).expect("sound").limits().contains(&limit));
}
