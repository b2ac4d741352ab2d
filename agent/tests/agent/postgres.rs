//! The dependency check of PostgreSQL against PostgreSQL itself.
//!
//! The server is that of the system (Debian's package `postgresql`), run in a folder and on a port of its own. Where there is
//! none the stories end at once; where `CI` is set that is a failure.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::app::App;
use crate::common::gate::Gate;
use crate::common::{sidecar, start, until};
use crate::depending::{dependency, said};

/// The newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect();
    found.retain(|folder| folder.join("postgres").exists());
    found.sort();
    let newest = found.pop();
    let wanted = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(newest.is_some() || !wanted, "no PostgreSQL in /usr/lib/postgresql: install the package `postgresql`");
    newest
}

/// A server of its own; gone when dropped.
struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// With an authentication method for connections by TCP.
    fn new(programs: PathBuf, name: &str, method: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("blueback-postgres-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let password = folder.join("password");
        std::fs::write(&password, "secret\n").expect("a file can be written");
        let mut server = Self { programs, folder, port: crate::common::nobody().port(), child: None };
        server.own();
        let data = server.data();
        let made = server
            .command("initdb")
            .args(["--username=shop", "--no-sync", "--auth-local=trust", "--pwfile"])
            .arg(&password)
            .arg(format!("--auth-host={method}"))
            .arg("--pgdata")
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        server.start();
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// PostgreSQL refuses to be run by root, so root gives it to nobody.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn own(&self) {
        if is_root() {
            std::os::unix::fs::chown(&self.folder, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
            let password = self.folder.join("password");
            std::os::unix::fs::chown(password, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
        }
    }

    fn start(&mut self) {
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .arg("-k")
            .arg(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("postgres runs"));
    }

    /// As an outage does it: no goodbye to anybody.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let quit = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            assert!(quit.expect("kill runs").success());
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// User and group that own nothing, by Debian's numbers.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|metadata| metadata.uid() == 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_asked_goes_down_and_comes_back() {
    let Some(programs) = programs() else { return };
    let mut server = Server::new(programs, "trust", "trust");
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let url = |path: &str| format!("postgres://shop@127.0.0.1:{}/{path}", server.port);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    config.dependencies = vec![
        dependency(&format!("database={}", url("postgres"))),
        // The server is there, but this is not what the application needs.
        dependency(&format!("nothing={}", url("nothing"))),
    ];
    let _agent = start(config).await;
    let up = |name| said(&gate, name).is_some_and(|said| said.up && said.checks > said.failures);
    let down = |name| said(&gate, name).is_some_and(|said| !said.up);
    until("a query is answered", || async { up("database") }).await;
    until("a database that is not there is down", || async { down("nothing") }).await;
    server.kill();
    until("it is down", || async { down("database") }).await;
    server.start();
    until("it is up again", || async { up("database") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_asks_for_a_password_is_up() {
    let Some(programs) = programs() else { return };
    let server = Server::new(programs, "scram", "scram-sha-256");
    let (app, gate) = (App::start("green").await, Gate::start().await);
    let mut config = sidecar(app.address, None);
    config.gate = Some(gate.uri());
    config.dependencies = vec![dependency(&format!("database=postgres://shop@127.0.0.1:{}", server.port))];
    let _agent = start(config).await;
    until("it is up", || async { said(&gate, "database").is_some_and(|said| said.up && said.checks > said.failures) })
        .await;
}
