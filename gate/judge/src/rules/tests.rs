use proptest::prelude::*;

use super::grammar::FIRST_WORDS;
use super::parse::{parse, parse_checkpoint};
use super::*;
use blueback_report::Measure;

fn words(text: &str) -> String {
    parse(text).expect(text).rule.to_string()
}

fn revert(text: &str) -> Result<Rules, Vec<RuleError>> {
    Rules::parse(&Spec { revert_when: Some(vec![text.to_owned()]), ..Spec::default() })
}

#[test]
fn every_form_is_printed_back() {
    for text in [
        "error rate > 5%",
        "error rate > 5% for 5m",
        "error rate < 0.1%",
        "latency p99 > 500ms",
        "latency p99.9 > 2s for 1m",
        "first byte latency p95 > 250ms for 30s",
        "error rate worse than blue",
        "latency worse than blue",
        "first byte latency worse than blue",
        "route \"/checkout\" error rate > 2%",
        "route \"/a b\" latency p50 > 10ms for 10m only when at least 50 requests",
        "pods ready < 80% for 30s",
        "pods restarting",
        "pods crash looping",
        "pods out of memory",
        "database down for 15s",
        "\"cpu\" down",
        "\"my database\" latency p95 > 50ms for 1m",
        "service payments down for 30s",
        "failures cascading",
        "signal data-corruption",
        "query \"checkout failures\" > 0.5 for 1m",
        "query \"balance\" < -3",
        "cpu > 70% for 5m",
        "memory > 80% for 5m",
        "critical logs > 0",
        "error rate > 5% only when at least 50 requests",
        "error rate > 5% over 10s for 1m",
        "error rate > 5% over 2m only when at least 500 requests dry run",
        "error rate worse than blue for 2m",
        "database latency p95 > 50ms over 5m",
        "critical logs > 5 over 1m",
        "cpu < 70% if known",
        "signal dry dry run",
    ] {
        assert_eq!(words(text), text);
    }
    assert_eq!(words("  error   rate>5%  for 300s "), "error rate > 5% for 5m");
}

#[test]
fn the_defaults_are_sound() {
    let rules = Rules::default_rules();
    assert_eq!(rules.bake_ms(), 300_000);
    assert_eq!(rules.decide_within_ms(), 1_800_000);
    assert_eq!(
        rules.checkpoints().iter().map(|each| each.at_ms).collect::<Vec<_>>(),
        [1_800_000, 7_200_000, 86_400_000]
    );
    assert!((rules.alpha(List::Revert) - 1.25e-4).abs() < 1e-18);
    assert_eq!(rules.limits().iter().map(|limit| limit.us).collect::<Vec<_>>(), [100_000, 500_000]);
    // A rule that only is tried takes nothing of the budget, and the ninth that acts does.
    let spec = |dry: &str| Spec { revert_when: Some(vec![format!("error rate > 5%{dry}"); 9]), ..Spec::default() };
    let alpha = |dry: &str| Rules::parse(&spec(dry)).expect("sound").alpha(List::Revert);
    assert!((alpha(" dry run") - 1.25e-4).abs() < 1e-18 && alpha("") < 1.2e-4);
    assert!(rules.routes().is_empty());
    assert_eq!(Rules::parse(&rules.to_spec()).as_ref(), Ok(&rules));
}

#[test]
fn wrong_words_get_a_caret_and_a_suggestion() {
    for (text, caret, suggestion) in [
        ("eror rate > 5%", 0..4, Some("error")),
        ("error rat > 5%", 6..9, Some("rate")),
        ("error rate => 5%", 11..13, Some(">")),
        ("error rate > 5", 13..14, None),
        ("error rate > 500%", 13..17, None),
        ("latency 99 > 5ms", 8..10, None),
        ("latency p99 > 5", 14..15, None),
        ("latency p100 > 5ms", 8..12, None),
        ("latency p99 > 2h", 14..16, None),
        ("first bite latency p99 > 5ms", 6..10, Some("byte")),
        ("error rate > 5% fro 5m", 16..19, Some("for")),
        ("error rate > 5% ovr 5m", 16..19, Some("over")),
        ("error rate > 5% dry rum", 20..23, Some("run")),
        ("cpu > 5% if knwn", 12..16, Some("known")),
        ("cpu > 70% if known", 10..18, None),
        ("pods ready < 80% over 1m", 17..24, None),
        ("pods ready < 80% for 5m over 1m", 24..28, None),
        ("error rate > 5% for 5", 20..21, None),
        ("error rate > 5% for 2h", 20..22, None),
        ("error rate > 5% for 5m onyl when at least 5 requests", 23..27, Some("only")),
        ("pods redy < 80%", 5..9, Some("ready")),
        ("service payments dwon", 17..21, Some("down")),
        ("route /checkout error rate > 2%", 6..15, None),
        ("route \"/checkout error rate > 2%", 6..32, None),
        ("", 0..0, None),
        ("error rate", 10..10, None),
        ("nonsense", 0..8, None),
    ] {
        let errors = revert(text).expect_err(text);
        assert_eq!(errors.len(), 1, "{text}");
        assert_eq!(
            (errors[0].at.clone(), errors[0].suggestion.as_deref()),
            (caret, suggestion),
            "{text}: {}",
            errors[0]
        );
    }
}

#[test]
fn an_error_is_a_picture() {
    let errors = revert("error rate > 5% fro 5m").expect_err("fro is no word of ours");
    assert_eq!(
        errors[0].to_string(),
        "revertWhen[0]: unexpected `fro`, expected `over DURATION`, `for DURATION`, `only when at least N requests`, `if known`, \
         `dry run` or the end of the rule; did you mean `for`?\n  error rate > 5% fro 5m\n                  ^^^"
    );
}

#[test]
fn all_errors_come_at_once() {
    let text = |text: &str| Some(text.to_owned());
    let errors = Rules::parse(&Spec {
        revert_when: Some(vec!["error rate > 5%".into(), "erro rate > 5%".into(), "cpu < 70% for 5m".into()]),
        pass_when: Some(vec!["error rate > 1%".into(), "database down".into()]),
        alert_when: Some(vec!["signal x for 5m".into(), "route \"/a\" pods ready < 80%".into()]),
        bake: text("soon"),
        decide_within: text("0s"),
        checkpoints: Some(vec![
            "1h when memory < 70%".into(),
            "late".into(),
            "2h when cpu > 5%".into(),
            "3h wen".into(),
        ]),
        false_alarms: text("never"),
        profile: text("robst"),
    })
    .expect_err("nearly everything is wrong");
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "revertWhen[1]",
            "revertWhen[2]",
            "passWhen[0]",
            "passWhen[1]",
            "alertWhen[0]",
            "alertWhen[1]",
            "bake",
            "decideWithin",
            "checkpoints[1]",
            "checkpoints[2]",
            "checkpoints[3]",
            "falseAlarms",
            "profile"
        ]
    );
}

#[test]
fn checkpoints_have_rules_of_their_own() {
    let text =
        "24h when error rate < 0.05% over 1h and route \"/a and b\" latency p99 < 300ms and memory < 70% if known";
    let spec = Spec { checkpoints: Some(vec!["30m".into(), text.into()]), ..Spec::default() };
    let rules = Rules::parse(&spec).expect("sound");
    assert_eq!(rules.checkpoints()[1].to_string(), text);
    assert_eq!(rules.checkpoints()[1].pass.len(), 3);
    assert_eq!(Rules::parse(&rules.to_spec()).as_ref(), Ok(&rules));
    assert_eq!(rules.routes(), [Arc::from("/a and b")]);
    assert!(rules.explain().iter().any(|each| each.words == "24h: memory < 70% if known" && each.list == "pass"));
    let spec = Spec { checkpoints: Some(vec!["2h when memory < 70% adn cpu < 5%".into()]), ..Spec::default() };
    let error = &Rules::parse(&spec).expect_err("adn")[0];
    assert_eq!((error.at.clone(), error.suggestion.as_deref()), (21..24, Some("and")), "{error}");
}

#[test]
fn rules_explain_themselves() {
    let explained = Rules::default_rules().explain();
    let text: Vec<_> = explained.iter().map(|each| format!("{} [{}] {}", each.words, each.kind, each.text)).collect();
    assert!(text[0].contains("at the switch in 1.25 s"), "{}", text[0]);
    assert!(text[1].contains("never before 5m"), "{}", text[1]);
    assert!(text[2].contains("worse than blue"), "{}", text[2]);
    assert!(text[12].contains("needs 5,615 requests"), "{}", text[12]);
    assert!(text.iter().any(|text| text.contains("where nobody tells, it does not apply")), "{text:#?}");
}

fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        "[a-z][a-z0-9./:-]{0,12}".prop_map(Arc::from),
        "[a-z ]{1,8}".prop_map(Arc::from),
        proptest::sample::select(FIRST_WORDS.to_vec()).prop_map(Arc::from),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let side = || proptest::sample::select(vec![Comparison::Over, Comparison::Under]);
    let percent = || (1_u32..99_999).prop_map(|number| f64::from(number) / 1_000.0);
    let measure = || proptest::sample::select(vec![Measure::FirstByte, Measure::LastByte]);
    let limit = || 1_u64..3_600_000_000;
    prop_oneof![
        (side(), percent()).prop_map(|(side, percent)| Condition::ErrorRate(side, percent)),
        (measure(), percent(), side(), limit()).prop_map(|(measure, percentile, comparison, limit_us)| {
            Condition::Latency { measure, percentile, comparison, limit_us }
        }),
        measure().prop_map(|measure| Condition::WorseThanBlue(Subject::Latency(measure))),
        (side(), percent()).prop_map(|(side, percent)| Condition::PodsReady(side, percent)),
        name().prop_map(Condition::DependencyDown),
        (name(), percent(), side(), limit()).prop_map(|(name, percentile, comparison, limit_us)| {
            Condition::DependencyLatency { name, percentile, comparison, limit_us }
        }),
        name().prop_map(Condition::ServiceDown),
        name().prop_map(Condition::Signal),
        proptest::sample::select(vec![
            Condition::WorseThanBlue(Subject::ErrorRate),
            Condition::PodsRestarting,
            Condition::PodsCrashLooping,
            Condition::PodsOutOfMemory,
            Condition::FailuresCascading,
        ]),
        (side(), percent()).prop_map(|(side, percent)| Condition::Memory(side, percent)),
        (name(), side(), -1e6..1e6).prop_map(|(name, side, value)| Condition::Query(name, side, value)),
        (side(), percent()).prop_map(|(side, percent)| Condition::Cpu(side, percent)),
        (side(), any::<u64>()).prop_map(|(side, count)| Condition::CriticalLogs(side, count)),
    ]
}

proptest! {
    #[test]
    fn rules_survive_their_words(
        route in proptest::option::of(name()),
        condition in condition(),
        over_s in proptest::option::of(1_u64..=3_600),
        for_s in proptest::option::of(1_u64..=3_600),
        (if_known, dry_run) in any::<(bool, bool)>(),
        requests_min in proptest::option::of(1_u64..),
    ) {
        let ms = |seconds: u64| seconds * 1_000;
        let (over_ms, for_ms) = (over_s.map(ms), for_s.map(ms));
        let rule = Rule { route, condition, over_ms, for_ms, requests_min, if_known, dry_run };
        let printed = rule.to_string();
        let checkpoint = parse_checkpoint(&format!("2h when {printed} and {printed}"));
        let both = checkpoint.map(|(_, _, rules)| rules.into_iter().map(|parsed| parsed.rule).collect::<Vec<_>>());
        prop_assert_eq!(both, Ok(vec![rule.clone(), rule.clone()]), "{}", printed);
        let parsed = parse(&printed).map(|parsed| parsed.rule);
        prop_assert_eq!(parsed, Ok(rule), "{}", printed);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        for error in revert(&text).err().into_iter().flatten() {
            prop_assert!(error.to_string().contains('^'));
        }
    }

    #[test]
    fn no_words_panic(text in "((error|rate|latency|p99|>|<|5%|500ms|for|5m|only|\"|route|pods|ready|down|signal|é) ?){0,8}") {
        let _ = revert(&text).map_err(|errors| errors[0].to_string());
    }
}
