//! Just enough of PromQL to find the metrics in a query. Whether it is a query at all is promtool's business.

use std::collections::BTreeSet;

/// Words that are neither metrics nor functions.
const WORDS: [&str; 16] = [
    "and",
    "atan2",
    "bool",
    "by",
    "end",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "nan",
    "offset",
    "on",
    "or",
    "start",
    "unless",
    "without",
];
/// Words before a list of labels.
const LABELS_FOLLOW: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];

/// Names of the metrics that a query asks for.
pub(crate) fn metrics(query: &str) -> BTreeSet<String> {
    let part_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let mut names = BTreeSet::new();
    let mut rest = query;
    let mut labels_follow = false;
    while let Some(first) = rest.bytes().next() {
        let past = |end: char| rest[1..].find(end).map_or("", |at| &rest[at + 2..]);
        if first == b'"' || first == b'\'' {
            rest = past(first.into());
        } else if first == b'{' {
            rest = selector_end(rest);
        } else if first == b'[' {
            rest = past(']');
        } else if first == b'(' && labels_follow {
            rest = past(')');
            labels_follow = false;
        } else if part_of_name(first) {
            let length = rest.bytes().take_while(|byte| part_of_name(*byte)).count();
            let (name, after) = rest.split_at(length);
            let word = WORDS.contains(&name);
            let called = after.trim_start().starts_with('(');
            // `by` and its like may stand between a function and its arguments.
            let aggregates = after.trim_start().starts_with("by ") || after.trim_start().starts_with("without ");
            if !word && !called && !aggregates && !first.is_ascii_digit() {
                names.insert(name.to_owned());
            }
            labels_follow = LABELS_FOLLOW.contains(&name);
            rest = after;
        } else {
            rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
        }
    }
    names
}

/// What follows a selector in braces; braces in quotes do not count.
fn selector_end(rest: &str) -> &str {
    let mut quoted = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'}' if !quoted => return &rest[at + 1..],
            _ => (),
        }
    }
    ""
}

#[test]
fn metrics_are_told_from_everything_else() {
    let check = |query: &str, expected: &[&str]| {
        let found = metrics(query);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{query}");
    };
    check("up", &["up"]);
    check("sum by (gate, le) (rate(a_total{x=~\"b|{c}\"}[5m] offset 15m)) > 0.1", &["a_total"]);
    check("histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))", &["a_bucket"]);
    check("a:b:c * on (gate) group_left (release) max without (d) (e) == bool 0", &["a:b:c", "e"]);
    check("absent(a) or vector(0) unless time() - b < 3600", &["a", "b"]);
    check("sum(a) by (b)", &["a"]);
}
