//! What tests came to, by their JUnit XML, from whichever tool it is.
//!
//! There is no standard, so nothing is relied on but what all of them write: `testcase` elements with a `name`, and `failure` or `error`
//! inside those that failed. Counts in attributes are not believed: some tools sum them up wrongly.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Names of failed tests that are told; the others are counted.
const NAMES_TOLD_MAX: usize = 5;
/// Longest file, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// What tests came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Tests, without those that were skipped.
    pub tests: usize,
    /// Names of those that failed.
    pub failed: Vec<String>,
    /// Tests that were skipped.
    pub skipped: usize,
}

impl Told {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.tests += other.tests;
        self.failed.extend(other.failed);
        self.skipped += other.skipped;
        self
    }

    /// In one sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!(" ({skipped} skipped)"),
        };
        if self.failed.is_empty() {
            return format!("{} of {} tests passed{skipped}", self.tests, self.tests);
        }
        let mut names: Vec<_> = self.failed.iter().take(NAMES_TOLD_MAX).map(String::as_str).collect();
        let more = format!("{} more", self.failed.len().saturating_sub(NAMES_TOLD_MAX));
        if self.failed.len() > NAMES_TOLD_MAX {
            names.push(&more);
        }
        format!("{} of {} tests failed{skipped}: {}", self.failed.len(), self.tests, names.join(", "))
    }
}

/// Reads a report.
///
/// # Errors
/// In words, when it is not XML or holds no tests.
pub fn read(xml: &str) -> Result<Told, String> {
    let mut reader = Reader::from_str(xml);
    let mut told = Told::default();
    let (mut case, mut bad, mut skipped) = (None, false, false);
    loop {
        let event =
            reader.read_event().map_err(|error| format!("not XML at byte {}: {error}", reader.error_position()))?;
        match event {
            Event::Start(element) if element.name().as_ref() == b"testcase" => {
                (case, bad, skipped) = (Some(name(&element)), false, false);
            }
            Event::Empty(element) if element.name().as_ref() == b"testcase" => told.tests += 1,
            Event::Start(element) | Event::Empty(element) if case.is_some() => match element.name().as_ref() {
                b"failure" | b"error" => bad = true,
                b"skipped" => skipped = true,
                _ => {}
            },
            Event::End(element) if element.name().as_ref() == b"testcase" => match case.take() {
                Some(_) if skipped && !bad => told.skipped += 1,
                Some(name) => {
                    told.tests += 1;
                    told.failed.extend(bad.then_some(name));
                }
                None => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    if told.tests + told.skipped == 0 {
        return Err("holds no test; accepted: JUnit XML with testcase elements".to_owned());
    }
    Ok(told)
}

fn name(element: &BytesStart<'_>) -> String {
    let named = element.attributes().flatten().find(|attribute| attribute.key.as_ref() == b"name");
    let text = named.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned()).unwrap_or_default();
    quick_xml::escape::unescape(&text).map_or_else(|_| text.clone(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_several_tools_are_read() {
        let pytest = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="0" failures="1"
            timestamp="2026-11-25T10:00:00.123456"><testcase classname="a" name="test_one" time="0.1"/>
            <testcase classname="a" name="test &quot;two&quot;"><failure message="no">trace</failure></testcase>
            <testcase classname="a" name="three"><skipped/></testcase></testsuite></testsuites>"#;
        let surefire = r#"<testsuite tests="9" failures="0"><testcase name="x"><system-out>failure</system-out></testcase>
            <testcase name="y"><error type="E"/></testcase></testsuite>"#;
        let told = read(pytest).expect("it is JUnit");
        assert_eq!(told, Told { tests: 2, failed: vec!["test \"two\"".to_owned()], skipped: 1 });
        let told = told.and(read(surefire).expect("it is JUnit"));
        assert_eq!(told.text(), "2 of 4 tests failed (1 skipped): test \"two\", y");
    }

    #[test]
    fn nothing_is_not_success() {
        for (text, part) in
            [("", "no test"), ("<testsuites/>", "no test"), ("<testsuite><testcase name=\"x\"></testsuite>", "not XML")]
        {
            let error = read(text).expect_err("there is no result in it");
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn many_failures_are_counted() {
        let told = Told { tests: 9, failed: (1..=7).map(|number| format!("t{number}")).collect(), skipped: 0 };
        assert_eq!(told.text(), "7 of 9 tests failed: t1, t2, t3, t4, t5, 2 more");
    }
}
