//! What pipelines use: reports, summaries, outputs, revisions, results of tests, checks of what is deployed.

use std::path::{Path, PathBuf};

use blueback_gate::api::types::{Phase, Release};

use crate::gate::{ScriptedGate, Stream, release};
use crate::{blueback, blueback_in};

/// A folder of its own for a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("blueback-ci-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is plain").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("there is room");
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left costs room and nothing else.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn of(revision: &str, release: Release) -> Release {
    Release { source_revision: Some(revision.to_owned()), ..release }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_written_for_pipelines() {
    let folder = Folder::new("verdict");
    let gate = ScriptedGate::start(release(Phase::Reverted, 3, "52% of 61 requests failed"), []).await;
    let (junit, summary) = (folder.path("blueback.xml"), folder.path("blueback.md"));
    let (steps, outputs) = (folder.write("steps", "before\n"), folder.write("outputs", ""));
    let url = gate.url();
    let args = ["await", "--gate", &url, "--junit", &junit, "--summary", &summary, "--github"];
    let environment = [("GITHUB_STEP_SUMMARY", steps.as_str()), ("GITHUB_OUTPUT", outputs.as_str())];
    let ran = blueback_in(&args, &environment).await;
    ran.check(10, &["shop-1 reverted: "], &["::error title=shop-1 reverted::52%25 of 61 requests failed"]);
    assert!(folder.read("blueback.xml").contains("<failure message=\"52% of 61 requests failed\" type=\"reverted\""));
    assert!(folder.read("blueback.md").starts_with("## ❌ shop-1 reverted\n"));
    assert!(folder.read("steps").starts_with("before\n## ❌ shop-1 reverted\n"), "GitHub's file is added to");
    assert!(folder.read("outputs").starts_with("outcome=reverted\nexit-code=10\nrelease=shop-1\n"));

    // Without being asked it writes nothing for GitHub.
    let ran = blueback_in(&["await", "--gate", &url], &environment).await;
    ran.check(10, &["shop-1 reverted: "], &[]);
    assert_eq!(folder.read("steps").matches("shop-1 reverted").count(), 1);
    assert!(!ran.stderr.contains("::error"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_is_told_before_the_wait() {
    let gate = ScriptedGate::start(release(Phase::Watching, 1, "story"), []).await;
    let ran = blueback(&["await", "--gate", &gate.url(), "--junit", "/nonexistent/x.xml"]).await;
    ran.check(2, &[], &["--junit /nonexistent/x.xml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_decided_has_its_verdict_at_once() {
    let done = of("4f2a", Release { ended_ms: Some(1), ..release(Phase::Reverted, 3, "52% failed") });
    let gate = ScriptedGate::start(done, []).await;
    let url = gate.url();
    blueback(&["await", "--gate", &url, "--revision", "4f2a"]).await.check(10, &["shop-1 reverted: 52% failed"], &[]);
    let ran = blueback(&["switch", "--gate", &url, "--to", "green", "--revision", "4f2a", "--await"]).await;
    ran.check(10, &["shop-1 reverted: 52% failed"], &["decided already"]);
    let asked = gate.asked().into_iter().find(|asked| asked.path.ends_with("/switch")).expect("it was asked");
    assert!(asked.body.contains(r#""revision":"4f2a""#), "{}", asked.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_has_not_begun_is_waited_for() {
    let gate = ScriptedGate::start(of("4f2a", release(Phase::Passed, 3, "well")), []).await;
    let ran = blueback(&["await", "--gate", &gate.url(), "--revision", "9c1d", "--timeout", "1500ms"]).await;
    ran.check(13, &[], &["no release of revision 9c1d yet", "no release of revision 9c1d began within the timeout"]);
    let both = blueback(&["await", "--revision", "x", "--release", "shop-1"]).await;
    both.check(2, &[], &["cannot be used with"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_tests_become_signals() {
    let folder = Folder::new("signal");
    let good = folder.write("good.xml", "<testsuite><testcase name='a'/><testcase name='b'/></testsuite>");
    let bad = folder.write("bad.xml", "<testsuite><testcase name='c'><failure/></testcase></testsuite>");
    let empty = folder.write("empty.xml", "<testsuites/>");
    let gate = ScriptedGate::start(release(Phase::Watching, 1, "story"), [Stream::Unavailable]).await;
    let url = gate.url();
    for (args, signal, why) in [
        (vec!["--why", "totals differ"], "smoke-tests", "totals differ"),
        (vec!["--why", "14 of 14", "--passed"], "smoke-tests-passed", "14 of 14"),
        (vec!["--why", "no login", "--failed"], "smoke-tests-failed", "no login"),
        (vec!["--junit", &good], "smoke-tests-passed", "2 of 2 tests passed"),
        (vec!["--junit", &good, &bad], "smoke-tests-failed", "1 of 3 tests failed: c"),
    ] {
        let args: Vec<&str> = ["signal", "smoke-tests", "shop", "--gate", &url].into_iter().chain(args).collect();
        let ran = blueback(&args).await;
        ran.check(0, &[&format!("shop-1 heard {signal}\n")], &[]);
        let body = gate.asked().pop().expect("it was asked").body;
        assert_eq!(body, format!(r#"{{"name":"{signal}","why":"{why}","by":"ada"}}"#));
    }
    for (args, part) in [
        (vec!["--junit", &empty], "holds no test"),
        (vec!["--junit", "/nonexistent.xml"], "/nonexistent.xml"),
        (vec![], "--why"),
    ] {
        let args: Vec<&str> = ["signal", "smoke-tests", "--gate", &url].into_iter().chain(args).collect();
        blueback(&args).await.check(2, &[], &[part]);
    }
}

#[tokio::test]
async fn chart_values_and_manifests_are_checked() {
    let folder = Folder::new("check");
    let values = folder.write(
        "values.yaml",
        "replicas: 3\nreleaseGateDefaults: {bake: 2m}\nreleaseGates:\n  - name: cart\n    spec: {traffic: {service: cart}, revertWhen: [error rate > 5%]}\n",
    );
    blueback(&["check", &values]).await.check(0, &["ReleaseGate cart\n", "error rate > 5%\n", "bake: 2m"], &[]);
    let manifests = folder.write(
        "all.yaml",
        "kind: Service\n---\nkind: ReleaseGate\nmetadata: {name: cart}\nspec: {traffic: {service: cart}, revertWhen: [eror rate > 5%], signals: {x: ['a =~ b']}}\n",
    );
    let ran = blueback(&["check", &values, &manifests]).await;
    ran.check(2, &[], &["all.yaml: ReleaseGate cart: ", "  eror rate > 5%\n  ^^^^", "signals: x: ", "regular"]);
    assert!(Path::new(&values).exists() && ran.stdout.is_empty(), "{}", ran.stdout);
}
