//! What people copy into their pipelines works with this version: YAML parses, and every command and flag in it exists.

use std::path::{Path, PathBuf};

use blueback::args::Cli;
use clap::CommandFactory as _;

use crate::read;

/// Everything that names our commands to pipelines.
const FILES: [&str; 6] = [
    ".github/actions/await/action.yml",
    "docs/ci/github.yml",
    "docs/ci/gitlab.yml",
    "docs/ci/argo-workflows.yaml",
    "docs/ci/Jenkinsfile",
    "docs/ci/README.md",
];
/// Documents with YAML in fenced blocks.
const DOCUMENTS: [&str; 4] = ["docs/telling.md", "docs/ci/README.md", "docs/ci/argo-rollouts.md", "docs/ci/flagger.md"];

fn parse(name: &str, yaml: &str) {
    let parsed: Result<Vec<serde_json::Value>, _> = serde_saphyr::from_multiple(yaml);
    if let Err(error) = parsed {
        panic!("{name}: {error}");
    }
}

/// The text of each block fenced with `language`.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<String> = None;
    for line in text.lines() {
        match &mut inside {
            Some(block) if line.trim() == "```" => {
                blocks.push(std::mem::take(block));
                inside = None;
            }
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == format!("```{language}") => inside = Some(String::new()),
            None => {}
        }
    }
    blocks
}

#[test]
fn yaml_in_snippets_parses() {
    for file in FILES.iter().filter(|file| Path::new(file).extension().is_some_and(|it| it == "yml" || it == "yaml")) {
        parse(file, &read(file));
    }
    for file in DOCUMENTS {
        for block in fenced(&read(file), "yaml") {
            parse(file, &block);
        }
    }
}

/// Words that follow `blueback COMMAND`, up to the end of the command.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let text = text.replace("\\\n", " ");
    let ends = |word: &str| matches!(word, "|" | "&&" | ";" | "fi" | "else" | "||");
    let mut found = Vec::new();
    let words: Vec<&str> = text.split_whitespace().collect();
    for (place, _) in
        words.iter().enumerate().filter(|(_, word)| word.trim_matches(['`', '\'', '"', '(']) == "blueback")
    {
        let name =
            words.get(place + 1).map(|word| word.trim_matches(['`', '\'', '"', ')', ',', '.'])).unwrap_or_default();
        let known = Cli::command().get_subcommands().any(|command| command.get_name() == name);
        if known {
            // A command of prose or script ends where the next one begins, or with a mark of its own.
            let rest = words[place + 2..].iter().take_while(|word| !ends(word) && !word.contains("blueback"));
            found.push((name.to_owned(), rest.map(|word| (*word).to_owned()).collect()));
        }
    }
    found
}

#[test]
fn commands_and_flags_in_snippets_exist() {
    let cli = Cli::command();
    let flags = |name: &str| -> Vec<String> {
        let command = cli.find_subcommand(name).unwrap_or_else(|| panic!("blueback {name} does not exist"));
        let all = command.get_arguments().chain(cli.get_arguments());
        all.filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")).collect()
    };
    let mut checked = 0;
    for file in FILES {
        let text = read(file);
        for (name, words) in commands(&text) {
            let known = flags(&name);
            for word in words.iter().flat_map(|word| word.split(['(', ')', '`'])).filter(|word| word.starts_with("--"))
            {
                let flag = word.trim_end_matches(['`', '\'', '"', ',', '.', ';', ':', ')', '}']).split('=').next();
                let flag = flag.unwrap_or_default();
                // Tools beside ours in the same paragraph have flags too, which ours would not know.
                assert!(known.iter().any(|it| it == flag), "{file}: blueback {name} has no {flag}; it has {known:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "only {checked} flags were found");
    // The action passes them in an array.
    let action = read(FILES[0]);
    let array = action.lines().find(|line| line.trim().starts_with("wait=(")).expect("the action has its flags there");
    for flag in array.split_whitespace().map(|word| word.trim_start_matches("wait=(").trim_end_matches(')')) {
        for name in ["switch", "await"] {
            assert!(
                !flag.starts_with("--") || flags(name).iter().any(|it| it == flag),
                "blueback {name} has no {flag}"
            );
        }
    }
    let workflow = read("docs/ci/argo-workflows.yaml");
    for flag in workflow.lines().filter_map(|line| line.trim().strip_prefix("- --")) {
        let flag = format!("--{}", flag.split('=').next().unwrap_or_default());
        assert!(flags("switch").contains(&flag), "docs/ci/argo-workflows.yaml: blueback switch has no {flag}");
    }
}

#[test]
fn links_in_the_documentation_for_pipelines_lead_somewhere() {
    for file in DOCUMENTS {
        let folder = PathBuf::from(file);
        let folder = folder.parent().expect("it is in a folder");
        let text = read(file);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.starts_with("http") && !target.starts_with('#') {
                let path = crate::root().join(folder).join(target);
                assert!(path.exists(), "{file}: {target} is not there");
            }
        }
    }
}
