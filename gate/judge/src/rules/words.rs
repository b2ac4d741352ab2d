//! Cuts a rule into words, each with its place, and finds the word that was meant.

use std::ops::Range;

/// A piece of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, digits and what stands between them.
    Word(String),
    /// What stands between double quotes.
    Quoted(String),
    /// `>`, `<`, `>=`, `<=`, `=` or `==`.
    Sign(String),
    /// A double quote without its second.
    Unclosed,
}

pub(super) fn cut(text: &str) -> Vec<Token> {
    let is_sign = |letter: char| matches!(letter, '<' | '>' | '=');
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let start = text.len() - rest.len();
        let (kind, length) = if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        } else if first == '"' {
            match rest[1..].find('"') {
                Some(end) => (Kind::Quoted(rest[1..=end].to_owned()), end + 2),
                None => (Kind::Unclosed, rest.len()),
            }
        } else {
            let sign = is_sign(first);
            let ends = |letter: char| letter.is_whitespace() || letter == '"' || is_sign(letter) != sign;
            let length = rest.find(ends).unwrap_or(rest.len());
            let word = rest[..length].to_owned();
            (if sign { Kind::Sign(word) } else { Kind::Word(word) }, length)
        };
        tokens.push(Token { kind, at: start..start + length });
        rest = &rest[length..];
    }
    tokens
}

/// The candidate nearest to `word`, if it is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .iter()
        .map(|&candidate| (distance(&word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= 1 + candidate.len() / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, change or swap with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // A word far longer than any of ours is near to none of them.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
