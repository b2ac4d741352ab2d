//! What README promises is what CI does.

use crate::read;

/// The commands in README's shell blocks, in order.
fn commands() -> Vec<String> {
    let readme = read("README.md");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && !line.starts_with('#') && !line.trim().is_empty() {
            commands.push(line.to_owned());
        }
    }
    commands
}

#[test]
fn the_first_command_runs_the_demo_and_the_second_the_tests() {
    let commands = commands();
    assert_eq!(commands.first().map(String::as_str), Some("cargo run --bin blueback -- demo"));
    assert_eq!(commands.get(1).map(String::as_str), Some("cargo test --workspace --locked"));
}

#[test]
fn ci_runs_the_tests_as_the_readme_does() {
    let second = commands().into_iter().nth(1).expect("README has a second command");
    assert!(read(".ci/run").lines().any(|line| line == second), ".ci/run does not run {second:?}");
}
