//! Wrong usage: exit code 2, and words that name the flag, the value and what is accepted.

use crate::blueback;

#[tokio::test]
async fn wrong_values_are_named_with_what_is_accepted() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["Usage", "demo", "guard"]),
        (&["swtich"], &["swtich", "switch"]),
        (&["switch"], &["--to"]),
        (&["switch", "--to", "red"], &["red", "--to", "blue, green"]),
        (&["switch", "--to", "green", "--share", "110%"], &["110%", "--share", "accepted", "10%"]),
        (&["await", "--timeout", "40"], &["40", "--timeout", "accepted", "40m"]),
        (&["await", "--gate", "127.0.0.1:7070"], &["--gate", "127.0.0.1:7070", "accepted", "http://"]),
        (&["status", "--token-file", "/nonexistent"], &["--token-file", "/nonexistent"]),
        (&["revert"], &["--why"]),
        (&["revert", "--why", "  "], &["--why", "accepted"]),
        (&["demo", "--rps", "0"], &["--rps", "accepted"]),
        (&["--log", "a=b=c", "status"], &["--log", "accepted"]),
        (&["sample-app", "--listen", "here"], &["--listen", "here", "accepted"]),
    ];
    for (args, words) in cases {
        let ran = blueback(args).await;
        ran.check(2, &[], words);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[tokio::test]
async fn guard_tells_all_errors_at_once() {
    let ran = blueback(&[
        "guard",
        "--listen",
        "nowhere",
        "--blue",
        "127.0.0.1:1,here",
        "--green",
        "127.0.0.1:1,127.0.0.1:99999",
        "--api",
        "7070",
        "--rules",
        "/nonexistent.yaml",
        "--name",
        "",
    ])
    .await;
    ran.check(
        2,
        &[],
        &[
            "--listen: 'nowhere'",
            "--blue: 'here'",
            "--green: '127.0.0.1:99999'",
            "--api: '7070'",
            "--rules: rules file /nonexistent.yaml",
            "--name: ''",
        ],
    );
}

#[tokio::test]
async fn help_and_version_are_results() {
    blueback(&["--version"]).await.check(0, &[concat!("blueback ", env!("CARGO_PKG_VERSION"))], &[]);
    for command in
        ["guard", "switch", "await", "status", "releases", "explain", "revert", "hold", "resume", "check", "demo"]
    {
        blueback(&[command, "--help"]).await.check(0, &["Example", &format!("blueback {command}"), "Usage"], &[]);
    }
}
