//! What is wrong is said all at once, with the value that was given and what would be accepted.

use blueback_tests::{Folder, Guarded, Plan, free_address, run};

use crate::SOON;

/// Runs a binary that must refuse its arguments; every word must be in what it says.
async fn refuses(name: &str, arguments: &[&str], words: &[&str]) {
    let ran = run(name, arguments, SOON).await;
    assert_eq!(ran.code, Some(2), "{name} {arguments:?}: {ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{name} {arguments:?} does not say {word:?}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[tokio::test]
async fn the_agent_names_everything_that_is_wrong() {
    refuses("blueback-agent", &[], &["--service", "--listen"]).await;
    refuses(
        "blueback-agent",
        &["--service", "shop", "--role", "front", "--listen", "nowhere", "--blue", "1.2.3", "--green", "[::1]:x"],
        &["nowhere", "1.2.3", "[::1]:x"],
    )
    .await;
    refuses("blueback-agent", &["--service", "shop", "--listen", "127.0.0.1:0", "--colour", "red"], &["--colour"])
        .await;
    refuses(
        "blueback-agent",
        &["--service", "shop", "--role", "sidecar", "--listen", "127.0.0.1:0", "--slot", "red", "--app", "127.0.0.1:1"],
        &["red", "blue", "green"],
    )
    .await;
}

#[tokio::test]
async fn the_gate_names_everything_that_is_wrong() {
    let folder = Folder::new();
    let rules = folder.write("rules.yaml", "revertWhen: ['error rate > five%']\nbake: soon\n");
    let rules = rules.display().to_string();
    refuses("blueback-gate", &["--api", "everywhere", "--rules", &rules], &["everywhere", "five%", "soon", "^"]).await;
}

#[tokio::test]
async fn the_guard_names_everything_that_is_wrong() {
    refuses("blueback", &["guard"], &["--listen", "--blue", "--green"]).await;
    refuses(
        "blueback",
        &["guard", "--listen", "here", "--blue", "127.0.0.1:99999", "--green", "127.0.0.1:1,there"],
        &["here", "127.0.0.1:99999", "there"],
    )
    .await;
    refuses("blueback", &["switch", "shop", "--to", "red"], &["red", "blue", "green"]).await;
    refuses("blueback", &["switch", "shop", "--to", "green", "--share", "150%"], &["150%"]).await;
    refuses("blueback", &["await", "shop", "--timeout", "soon"], &["soon"]).await;
    refuses("blueback", &["status", "--gate", "ftp://gate"], &["ftp://gate", "http://"]).await;
    refuses("blueback", &["frobnicate"], &["frobnicate"]).await;
}

#[tokio::test]
async fn a_rules_file_is_checked_with_a_caret_under_each_wrong_word() {
    let folder = Folder::new();
    let wrong = "revertWhen:\n  - error rate > 5%\n  - eror rate > 5%\n  - error rate > 5% fro 5m\nbake: soon\n";
    let wrong = folder.write("wrong.yaml", wrong);
    let ran = run("blueback", ["check".as_ref(), wrong.as_os_str()], SOON).await;
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for words in ["revertWhen[1]", "eror", "error", "revertWhen[2]", "fro", "bake", "soon"] {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
    // The caret stands below the word that it is about.
    let lines: Vec<&str> = said.lines().collect();
    let below = |word: &str| {
        lines.windows(2).any(|pair| {
            let (Some(caret), Some(at)) = (pair[1].find('^'), pair[0].find(word)) else { return false };
            caret == at
        })
    };
    assert!(below("eror") && below("fro"), "{said}");

    let good = folder.write("good.yaml", "revertWhen: ['error rate > 5%']\npassWhen: ['error rate < 1%']\nbake: 5m\n");
    let ran = run("blueback", ["check".as_ref(), good.as_os_str()], SOON).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("error rate > 5%"), "{ran:#?}");

    let unknown = folder.write("unknown.yaml", "revertIf: ['error rate > 5%']\n");
    let ran = run("blueback", ["check".as_ref(), unknown.as_os_str()], SOON).await;
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("revertIf"), "{ran:#?}");
    let missing = run("blueback", ["check".as_ref(), folder.path().join("nothing.yaml").as_os_str()], SOON).await;
    assert_ne!(missing.code, Some(0), "{missing:#?}");
    assert!(missing.stderr.contains("nothing.yaml"), "{missing:#?}");
}

#[tokio::test]
async fn a_gate_that_is_not_there_is_a_failure_not_a_verdict() {
    let url = format!("http://{}", free_address());
    for verb in ["status", "releases"] {
        let ran = run("blueback", [verb, "--gate", &url], SOON).await;
        assert_eq!(ran.code, Some(1), "{verb}: {ran:#?}");
        assert!(ran.stderr.contains(&url), "{verb}: {ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_verdict_within_the_timeout_is_an_exit_code_of_its_own() {
    let shop = Guarded::start(Plan { warm_up: 20, ..Plan::default() }).await;
    let story = shop.switch(&[]).await;
    let ran = story.awaited(std::time::Duration::from_secs(1)).await;
    assert_eq!(ran.code, Some(13), "{ran:#?}");
    let nobody = shop.command("await", &["nobody", "--timeout", "5s"]).await;
    assert_eq!(nobody.code, Some(2), "{nobody:#?}");
    assert!(nobody.stderr.contains("nobody"), "{nobody:#?}");
}
