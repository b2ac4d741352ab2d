//! Words that have no place in the repository.

use std::fs;

use crate::{files, root};

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Put together here, so that this file does not contain them.
    let machine = ["/wo", "/ro", "/ho", "/Use"].into_iter().zip(["rk/", "ot/", "me/", "rs/"]);
    let machine: Vec<String> = machine.map(|(head, tail)| [head, tail].concat()).collect();
    for path in files("", "") {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for word in &machine {
            assert!(!text.contains(word.as_str()), "{}: {word} is a path of one machine", path.display());
        }
    }
}

#[test]
fn lints_are_expected_with_a_reason_not_allowed() {
    let silenced = ["#[al", "#![al"].map(|head| format!("{head}low("));
    for path in files("", ".rs").into_iter().filter(|path| !path.iter().any(|part| part == "generated")) {
        let text = fs::read_to_string(root().join(&path)).expect("source files are text");
        for word in &silenced {
            assert!(!text.contains(word.as_str()), "{}: use #[expect(…, reason = …)]", path.display());
        }
    }
}
