//! A rule as a value, and its words.

use std::fmt;
use std::sync::Arc;

use blueback_report::Measure;

use super::duration::print_us;

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Only requests of this route class.
    pub route: Option<Arc<str>>,
    /// What is looked at.
    pub condition: Condition,
    /// What is looked at is what was seen in the last so many milliseconds; `None`: the condition's own way.
    pub over_ms: Option<u64>,
    /// It must hold without a break for this long, in milliseconds; `None`: as soon as it is proven.
    pub for_ms: Option<u64>,
    /// It says nothing before green had this many requests.
    pub requests_min: Option<u64>,
    /// Where there is no evidence of this kind at all, it does not apply.
    pub if_known: bool,
    /// It is evaluated and shown, and never acts.
    pub dry_run: bool,
}

impl Rule {
    /// A condition and nothing else.
    #[must_use]
    pub const fn new(condition: Condition) -> Self {
        Self {
            route: None,
            condition,
            over_ms: None,
            for_ms: None,
            requests_min: None,
            if_known: false,
            dry_run: false,
        }
    }

    /// It is a test with a false-alarm probability, not a plain comparison.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        let tests = matches!(
            self.condition,
            Condition::ErrorRate(Comparison::Over, _)
                | Condition::Latency { comparison: Comparison::Over, .. }
                | Condition::WorseThanBlue(_)
                | Condition::FailuresCascading
        );
        tests && self.for_ms.is_none() && self.over_ms.is_none()
    }
}

/// On which side of the limit the rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Over,
    /// `<`
    Under,
}

/// What is compared with blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The share of failed requests.
    ErrorRate,
    /// A latency.
    Latency(Measure),
}

/// What a rule looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `error rate > 5%`, in percent.
    ErrorRate(Comparison, f64),
    /// `latency p99 > 500ms` or `first byte latency p99 > 500ms`.
    Latency {
        /// Which moment of the response.
        measure: Measure,
        /// Percentile, 0 to 100.
        percentile: f64,
        /// Side of the limit.
        comparison: Comparison,
        /// The limit in microseconds.
        limit_us: u64,
    },
    /// `error rate worse than blue`.
    WorseThanBlue(Subject),
    /// `pods ready < 80%`, in percent.
    PodsReady(Comparison, f64),
    /// `pods restarting`.
    PodsRestarting,
    /// `pods crash looping`.
    PodsCrashLooping,
    /// `pods out of memory`.
    PodsOutOfMemory,
    /// `database down`.
    DependencyDown(Arc<str>),
    /// `database latency p95 > 50ms`.
    DependencyLatency {
        /// The dependency.
        name: Arc<str>,
        /// Percentile, 0 to 100.
        percentile: f64,
        /// Side of the limit.
        comparison: Comparison,
        /// The limit in microseconds.
        limit_us: u64,
    },
    /// `service payments down`.
    ServiceDown(Arc<str>),
    /// `failures cascading`.
    FailuresCascading,
    /// `signal data-corruption`.
    Signal(Arc<str>),
    /// `query "name" > 0.5`.
    Query(Arc<str>, Comparison, f64),
    /// `cpu > 70%`, in percent.
    Cpu(Comparison, f64),
    /// `memory > 80%`, in percent.
    Memory(Comparison, f64),
    /// `critical logs > 0`.
    CriticalLogs(Comparison, u64),
}

/// First words that mean something of their own; a dependency of such a name is written in quotes.
pub(super) const FIRST_WORDS: [&str; 12] = [
    "error", "latency", "first", "route", "pods", "service", "failures", "signal", "query", "cpu", "memory", "critical",
];

crate::save::saved_enum!(Comparison { Over = 0, Under = 1 });

impl Comparison {
    /// `value` is on the side of the limit on which the rule holds.
    #[must_use]
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Over => value > limit,
            Self::Under => value < limit,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Over => ">",
            Self::Under => "<",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ErrorRate => "error rate",
            Self::Latency(Measure::LastByte) => "latency",
            Self::Latency(Measure::FirstByte) => "first byte latency",
        })
    }
}

/// A name, in quotes where it would be taken for something else.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte))
            && !FIRST_WORDS.contains(&self.0);
        if plain { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0) }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate(comparison, percent) => write!(f, "error rate {comparison} {percent}%"),
            Self::Latency { measure, percentile, comparison, limit_us } => {
                write!(f, "{} p{percentile} {comparison} {}", Subject::Latency(*measure), print_us(*limit_us))
            }
            Self::WorseThanBlue(subject) => write!(f, "{subject} worse than blue"),
            Self::PodsReady(comparison, percent) => write!(f, "pods ready {comparison} {percent}%"),
            Self::PodsRestarting => f.write_str("pods restarting"),
            Self::PodsCrashLooping => f.write_str("pods crash looping"),
            Self::PodsOutOfMemory => f.write_str("pods out of memory"),
            Self::DependencyDown(name) => write!(f, "{} down", Name(name)),
            Self::DependencyLatency { name, percentile, comparison, limit_us } => {
                write!(f, "{} latency p{percentile} {comparison} {}", Name(name), print_us(*limit_us))
            }
            Self::ServiceDown(name) => write!(f, "service {} down", Name(name)),
            Self::FailuresCascading => f.write_str("failures cascading"),
            Self::Signal(name) => write!(f, "signal {}", Name(name)),
            Self::Query(name, comparison, value) => write!(f, "query \"{name}\" {comparison} {value}"),
            Self::Cpu(comparison, percent) => write!(f, "cpu {comparison} {percent}%"),
            Self::Memory(comparison, percent) => write!(f, "memory {comparison} {percent}%"),
            Self::CriticalLogs(comparison, count) => write!(f, "critical logs {comparison} {count}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(route) = &self.route {
            write!(f, "route \"{route}\" ")?;
        }
        write!(f, "{}", self.condition)?;
        if let Some(over_ms) = self.over_ms {
            write!(f, " over {}", print_us(over_ms * 1_000))?;
        }
        if let Some(for_ms) = self.for_ms {
            write!(f, " for {}", print_us(for_ms * 1_000))?;
        }
        if let Some(requests) = self.requests_min {
            write!(f, " only when at least {requests} requests")?;
        }
        if self.if_known {
            f.write_str(" if known")?;
        }
        if self.dry_run {
            f.write_str(" dry run")?;
        }
        Ok(())
    }
}
