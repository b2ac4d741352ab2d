//! `guard` as a process: it says where it is, carries traffic, and drains.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use blueback::load::{Load, Plan};
use blueback::sample::{Config, Sample};

use crate::blueback;

/// A process that does not outlive its test.
struct Process {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_blueback"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built with this test");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, lines }
    }

    /// The next line on stdout, without this beginning.
    fn line(&mut self, prefix: &str) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("stdout is readable");
        line.trim_end().strip_prefix(prefix).unwrap_or_else(|| panic!("no {prefix:?} in {line:?}")).to_owned()
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill is everywhere");
        self.child.wait().expect("it is ours").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, or gone now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guard_carries_traffic_and_drains() {
    let blue = Sample::start(Config::new("blue")).await.expect("loopback has free ports");
    let green = Sample::start(Config::new("green")).await.expect("loopback has free ports");
    let (blue_addr, green_addr) = (blue.addr().to_string(), green.addr().to_string());
    let args =
        ["guard", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--blue", &blue_addr, "--green", &green_addr];
    let mut guard = Process::start(&args);
    let listen: SocketAddr = guard.line("listening on ").parse().expect("an address");
    let api = guard.line("api on ");
    let (load, _) = Load::start(Plan { requests: Some(50), ..Plan::new(listen, 500.0) });
    let summary = load.finish().await;
    assert_eq!((summary.failed(), summary.backends.get("blue")), (0, Some(&(50, 0))), "{summary:?}");
    blueback(&["status", "--gate", &api]).await.check(0, &["app", "blue"], &[]);
    assert_eq!(guard.terminate(), Some(0));
}

#[test]
fn sample_app_says_where_it_is() {
    let mut sample =
        Process::start(&["sample-app", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--name", "blue-1"]);
    assert!(sample.line("serving on ").parse::<SocketAddr>().is_ok_and(|addr| addr.port() > 0));
    assert!(sample.line("control on ").parse::<SocketAddr>().is_ok_and(|addr| addr.port() > 0));
    assert_eq!(sample.terminate(), Some(0));
}
