//! Where words go: results to stdout, the story to stderr, colours only to a terminal.
//!
//! Text is styled unconditionally where it is made; the streams here drop the styles when nobody can see them (or
//! `NO_COLOR` is set). A reader that has gone away is no reason to fail, so write errors are dropped.

use std::io::Write as _;

/// A line of the result, for the next program or for a person.
pub fn result(text: &str) {
    let _ = writeln!(anstream::stdout().lock(), "{text}");
}

/// A line of the story, for people.
pub fn story(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// The result as it is, without a line's end of our own: for the next program, byte by byte.
pub fn text(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
