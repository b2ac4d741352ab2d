//! From the operator's words to a rule, or to the place of the first word that is wrong.

use std::ops::Range;
use std::sync::Arc;

use blueback_report::buckets::LATENCY_US_MAX;
use blueback_report::{Measure, NAME_BYTES_MAX};

use super::duration::{parse_number, parse_us};
use super::grammar::{Comparison, Condition, FIRST_WORDS, Rule, Subject};
use super::words::{Kind, Token, cut, nearest};

/// Longest `for`, in milliseconds: one hour of seconds is what a rule keeps.
pub const FOR_MS_MAX: u64 = 3_600_000;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

/// A rule, and where its parts stand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) rule: Rule,
    pub(super) condition_at: Range<usize>,
    pub(super) over_at: Range<usize>,
    pub(super) for_at: Range<usize>,
    pub(super) requests_at: Range<usize>,
    pub(super) known_at: Range<usize>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Wrong> {
    let tokens = tokens(text)?;
    let mut words = Words { text, tokens: &tokens, next: 0 };
    let parsed = words.rule()?;
    words.end(&parsed.rule, &[])?;
    Ok(parsed)
}

/// A checkpoint: `2h`, or `2h when memory < 70% and error rate < 0.05%`: its name as written, its time in microseconds
/// where that is one, and the rules of its own.
pub(super) fn parse_checkpoint(text: &str) -> Result<(String, Option<u64>, Vec<Parsed>), Wrong> {
    let tokens = tokens(text)?;
    let mut words = Words { text, tokens: &tokens, next: 0 };
    let name = words.value("a time after the switch, as in 30m", |word| Some(word.to_owned()))?;
    let at_us = parse_us(&name);
    let mut rules = Vec::new();
    if words.next < tokens.len() {
        words.all(&["when"])?;
        loop {
            let parsed = words.rule()?;
            words.end(&parsed.rule, &["and"])?;
            rules.push(parsed);
            if !words.skip("and") {
                break;
            }
        }
    }
    Ok((name, at_us, rules))
}

fn tokens(text: &str) -> Result<Vec<Token>, Wrong> {
    let tokens = cut(text);
    match tokens.iter().find(|token| token.kind == Kind::Unclosed) {
        Some(token) => {
            Err(Wrong { at: token.at.clone(), message: "a quote without its second".into(), suggestion: None })
        }
        None => Ok(tokens),
    }
}

struct Words<'a> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
}

impl Words<'_> {
    fn rule(&mut self) -> Result<Parsed, Wrong> {
        let route =
            if self.skip("route") { Some(self.quoted("the route in quotes, as in \"/checkout\"")?) } else { None };
        let (condition, condition_at) = self.spanned(Words::condition)?;
        let (over_ms, over_at) = self.spanned(|words| words.time("over"))?;
        let (for_ms, for_at) = self.spanned(|words| words.time("for"))?;
        let (requests_min, requests_at) = self.spanned(Words::requests_min)?;
        let (if_known, known_at) = self.spanned(|words| words.pair("if", "known"))?;
        let dry_run = self.pair("dry", "run")?;
        let rule = Rule { route, condition, over_ms, for_ms, requests_min, if_known, dry_run };
        Ok(Parsed { rule, condition_at, over_at, for_at, requests_at, known_at })
    }

    fn spanned<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<(T, Range<usize>), Wrong> {
        let start = self.place().start;
        let value = parse(self)?;
        let end = self.next.checked_sub(1).map_or(start, |last| self.tokens[last].at.end);
        Ok((value, start..end.max(start)))
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn word_at(&self, index: usize) -> Option<&str> {
        match self.tokens.get(index).map(|token| &token.kind) {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Where the next word is, or would be.
    fn place(&self) -> Range<usize> {
        let end = self.text.trim_end().len();
        self.tokens.get(self.next).map_or(end..end, |token| token.at.clone())
    }

    fn wrong<T>(&self, expected: &str, candidates: &[&'static str]) -> Result<T, Wrong> {
        let (message, suggestion) = match self.tokens.get(self.next) {
            None => (format!("the rule ends here, expected {expected}"), None),
            Some(token) => {
                let seen = &self.text[token.at.clone()];
                let meant = nearest(seen, candidates).map(str::to_owned);
                (format!("unexpected `{seen}`, expected {expected}"), meant)
            }
        };
        Err(Wrong { at: self.place(), message, suggestion })
    }

    /// The word just read says something that cannot be.
    fn refuse<T>(&self, message: &str) -> Result<T, Wrong> {
        let last = self.next.saturating_sub(1);
        let at = self.tokens.get(last).map_or(self.place(), |token| token.at.clone());
        Err(Wrong { at, message: message.to_owned(), suggestion: None })
    }

    fn skip(&mut self, word: &str) -> bool {
        let found = self.word_at(self.next) == Some(word);
        self.next += usize::from(found);
        found
    }

    fn all(&mut self, words: &[&'static str]) -> Result<(), Wrong> {
        words.iter().try_for_each(|word| self.one(&[word]).map(|_| ()))
    }

    fn one(&mut self, words: &[&'static str]) -> Result<&'static str, Wrong> {
        if let Some(word) = words.iter().find(|&&word| self.word_at(self.next) == Some(word)) {
            self.next += 1;
            return Ok(word);
        }
        let listed: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        self.wrong(&listed.join(" or "), words)
    }

    fn value<T>(&mut self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Wrong> {
        match self.word_at(self.next).and_then(read) {
            Some(value) => {
                self.next += 1;
                Ok(value)
            }
            None => self.wrong(expected, &[]),
        }
    }

    fn name(&mut self, expected: &str) -> Result<Arc<str>, Wrong> {
        let name = match self.peek() {
            Some(Kind::Word(name) | Kind::Quoted(name)) if (1..=NAME_BYTES_MAX).contains(&name.len()) => name.as_str(),
            _ => return self.wrong(expected, &[]),
        };
        let name = Arc::from(name);
        self.next += 1;
        Ok(name)
    }

    fn quoted(&mut self, expected: &str) -> Result<Arc<str>, Wrong> {
        if matches!(self.peek(), Some(Kind::Quoted(_))) { self.name(expected) } else { self.wrong(expected, &[]) }
    }

    fn comparison(&mut self) -> Result<Comparison, Wrong> {
        let comparison = match self.peek() {
            Some(Kind::Sign(sign)) if sign == ">" => Comparison::Over,
            Some(Kind::Sign(sign)) if sign == "<" => Comparison::Under,
            _ => return self.wrong("`>` or `<`", &[">", "<"]),
        };
        self.next += 1;
        Ok(comparison)
    }

    fn percent(&mut self) -> Result<f64, Wrong> {
        let percent = self.value("a percentage, as in 5%", |word| parse_number(word.strip_suffix('%')?))?;
        if percent > 0.0 && percent < 100.0 { Ok(percent) } else { self.refuse("a percentage between 0% and 100%") }
    }

    fn bounded_percent(&mut self) -> Result<(Comparison, f64), Wrong> {
        Ok((self.comparison()?, self.percent()?))
    }

    fn latency(&mut self) -> Result<(f64, Comparison, u64), Wrong> {
        let percentile = self.value("a percentile, as in p99", |word| parse_number(word.strip_prefix('p')?))?;
        if !(percentile > 0.0 && percentile < 100.0) {
            return self.refuse("a percentile between p0 and p100");
        }
        let comparison = self.comparison()?;
        let limit_us = self.value("a duration, as in 500ms", parse_us)?;
        if limit_us == 0 || limit_us >= LATENCY_US_MAX {
            return self.refuse("a latency between 0 and 1h");
        }
        Ok((percentile, comparison, limit_us))
    }

    fn latency_or_worse(&mut self, measure: Measure) -> Result<Condition, Wrong> {
        if self.skip("worse") {
            self.all(&["than", "blue"])?;
            return Ok(Condition::WorseThanBlue(Subject::Latency(measure)));
        }
        let (percentile, comparison, limit_us) = self.latency()?;
        Ok(Condition::Latency { measure, percentile, comparison, limit_us })
    }

    fn condition(&mut self) -> Result<Condition, Wrong> {
        let first = self.word_at(self.next).and_then(|word| FIRST_WORDS.into_iter().find(|&first| first == word));
        let Some(first) = first else { return self.dependency() };
        self.next += 1;
        Ok(match first {
            "error" => {
                self.all(&["rate"])?;
                if self.skip("worse") {
                    self.all(&["than", "blue"])?;
                    Condition::WorseThanBlue(Subject::ErrorRate)
                } else {
                    let (comparison, percent) = self.bounded_percent()?;
                    Condition::ErrorRate(comparison, percent)
                }
            }
            "latency" => self.latency_or_worse(Measure::LastByte)?,
            "first" => {
                self.all(&["byte", "latency"])?;
                self.latency_or_worse(Measure::FirstByte)?
            }
            "pods" => match self.one(&["ready", "restarting", "crash", "out"])? {
                "ready" => {
                    let (comparison, percent) = self.bounded_percent()?;
                    Condition::PodsReady(comparison, percent)
                }
                "restarting" => Condition::PodsRestarting,
                "crash" => self.all(&["looping"]).map(|()| Condition::PodsCrashLooping)?,
                _ => self.all(&["of", "memory"]).map(|()| Condition::PodsOutOfMemory)?,
            },
            "service" => {
                let name = self.name("the name of a service")?;
                self.all(&["down"])?;
                Condition::ServiceDown(name)
            }
            "failures" => self.all(&["cascading"]).map(|()| Condition::FailuresCascading)?,
            "signal" => Condition::Signal(self.name("the name of a signal")?),
            "query" => {
                let name = self.quoted("the name of a query in quotes")?;
                let comparison = self.comparison()?;
                let value = self.value("a number", |word| {
                    let (sign, digits) = word.strip_prefix('-').map_or((1.0, word), |digits| (-1.0, digits));
                    parse_number(digits).map(|number| sign * number)
                })?;
                Condition::Query(name, comparison, value)
            }
            "cpu" => self.bounded_percent().map(|(comparison, percent)| Condition::Cpu(comparison, percent))?,
            "memory" => self.bounded_percent().map(|(comparison, percent)| Condition::Memory(comparison, percent))?,
            "critical" => {
                self.all(&["logs"])?;
                Condition::CriticalLogs(self.comparison()?, self.value("a whole number", |word| word.parse().ok())?)
            }
            _ => return self.wrong("`error`, `latency` or `first byte latency` after a route", &FIRST_WORDS),
        })
    }

    /// `NAME down` or `NAME latency pNN > LIMIT`; any other beginning is a word we do not know.
    fn dependency(&mut self) -> Result<Condition, Wrong> {
        let second = self.word_at(self.next + 1);
        if !matches!(second, Some("down" | "latency")) {
            return self
                .wrong("what to look at: `error rate`, `latency p99`, `pods ready`, `signal NAME` …", &FIRST_WORDS);
        }
        let name = self.name("the name of a dependency")?;
        if self.one(&["down", "latency"])? == "down" {
            return Ok(Condition::DependencyDown(name));
        }
        let (percentile, comparison, limit_us) = self.latency()?;
        Ok(Condition::DependencyLatency { name, percentile, comparison, limit_us })
    }

    /// `over DURATION` or `for DURATION`, where it stands here.
    fn time(&mut self, word: &str) -> Result<Option<u64>, Wrong> {
        if !self.skip(word) {
            return Ok(None);
        }
        let us = self.value("a duration, as in 5m", parse_us)?;
        if us % 1_000_000 != 0 || !(1_000..=FOR_MS_MAX).contains(&(us / 1_000)) {
            return self.refuse("whole seconds between 1s and 1h");
        }
        Ok(Some(us / 1_000))
    }

    /// Two words that belong together, where the first stands here.
    fn pair(&mut self, first: &str, second: &'static str) -> Result<bool, Wrong> {
        let found = self.skip(first);
        if found {
            self.all(&[second])?;
        }
        Ok(found)
    }

    fn requests_min(&mut self) -> Result<Option<u64>, Wrong> {
        if !self.skip("only") {
            return Ok(None);
        }
        self.all(&["when", "at", "least"])?;
        let requests =
            self.value("a number of requests", |word| word.parse().ok().filter(|&number: &u64| number > 0))?;
        self.all(&["requests"])?;
        Ok(Some(requests))
    }

    /// The rule ends here, or one of `further` words follows.
    fn end(&self, rule: &Rule, further: &[&'static str]) -> Result<(), Wrong> {
        if self.next == self.tokens.len() || self.word_at(self.next).is_some_and(|word| further.contains(&word)) {
            return Ok(());
        }
        let endings: [(&str, &'static str, bool); 5] = [
            ("`over DURATION`", "over", rule.over_ms.is_some()),
            ("`for DURATION`", "for", rule.for_ms.is_some()),
            ("`only when at least N requests`", "only", rule.requests_min.is_some()),
            ("`if known`", "if", rule.if_known),
            ("`dry run`", "dry", rule.dry_run),
        ];
        // What stands before what was said already cannot follow it.
        let said = endings.iter().rposition(|&(.., said)| said).map_or(0, |last| last + 1);
        let open = &endings[said..];
        let mut listed: Vec<String> = open.iter().map(|&(words, ..)| words.to_owned()).collect();
        listed.extend(further.iter().map(|word| format!("`{word}`")));
        listed.push("the end of the rule".to_owned());
        let candidates: Vec<&'static str> =
            open.iter().map(|&(_, word, _)| word).chain(further.iter().copied()).collect();
        let last = listed.pop().unwrap_or_default();
        let expected = if listed.is_empty() { last } else { format!("{} or {last}", listed.join(", ")) };
        self.wrong(&expected, &candidates)
    }
}
