//! Real processes: started, watched, stopped by their own id, and always reaped.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{binary, get, until};

/// Lines of output that are kept of a process, newest last.
const LINES_MAX: usize = 400;
/// Longest wait for a process that was told to end or whose ending is certain.
const END_MAX: Duration = Duration::from_secs(20);

/// The newest lines that a process wrote.
#[derive(Clone, Debug, Default)]
struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// Reads `stream` to its end, on a thread of its own.
    fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        })
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

/// A running process. Dropping it kills it; a story that fails prints what it wrote.
#[derive(Debug)]
pub struct Process {
    title: String,
    child: Child,
    stdout: Tail,
    stderr: Tail,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a binary of the workspace.
    ///
    /// # Panics
    ///
    /// When it cannot be built or started.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_at(&binary(name).unwrap_or_else(|error| panic!("{error:#}")), name, arguments)
    }

    /// Starts a program that is somewhere else.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start_at<A: AsRef<OsStr>>(path: &Path, name: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let title = arguments.iter().fold(name.to_owned(), |title, next| format!("{title} {}", next.to_string_lossy()));
        let mut command = Command::new(path);
        // What the person who runs the tests has configured is not what is tested.
        for (variable, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("BLUEBACK_")) {
            command.env_remove(variable);
        }
        let mut child = command
            .args(&arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let readers = vec![
            stdout.follow(child.stdout.take().expect("stdout is piped")),
            stderr.follow(child.stderr.take().expect("stderr is piped")),
        ];
        Self { title, child, stdout, stderr, readers, ended: None }
    }

    /// The newest lines of its standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    ///
    /// When the operating system does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Waits until it answers that it is ready, at the path that Prometheus and its kin have for that.
    ///
    /// # Panics
    ///
    /// When it ends, or is not ready within `deadline`.
    pub async fn until_ready(&mut self, addr: SocketAddr, deadline: Duration) {
        until(deadline, &format!("{addr} to be ready"), async || {
            let ended = self.ended();
            assert!(ended.is_none(), "it ended: {ended:?}");
            match get(addr, "/-/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Waits until it ends by itself, and until all it wrote is read.
    ///
    /// # Panics
    ///
    /// When it runs longer than `within`.
    pub async fn end(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of '{}'", self.title);
        let status = until(within, &what, async || self.ended().ok_or_else(|| self.stderr())).await;
        for reader in self.readers.drain(..) {
            // A reader that panicked has read less; the assertion on the text will say so.
            let _ = reader.join();
        }
        status
    }

    /// Kills it, as the kernel kills a process that takes too much memory.
    pub async fn kill(&mut self) {
        let _ = self.child.kill();
        self.end(END_MAX).await;
    }

    /// Asks it to end, as Kubernetes does before a pod is removed.
    ///
    /// # Panics
    ///
    /// When the signal cannot be sent.
    pub fn terminate(&mut self) {
        if self.ended().is_none() {
            let id = self.child.id().to_string();
            let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status();
            assert!(sent.as_ref().is_ok_and(ExitStatus::success), "SIGTERM for '{}': {sent:?}", self.title);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = self.ended().is_none();
        if running {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            tell(&format!(
                "--- '{}' ({})\n{}{}",
                self.title,
                self.ended.map_or_else(|| "was running".to_owned(), |status| status.to_string()),
                self.stdout.text(),
                self.stderr.text(),
            ));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test says what its processes wrote, and what it could not test")]
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs a binary of the workspace to its end.
///
/// # Panics
///
/// When it runs longer than `within`.
pub async fn run<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>, within: Duration) -> Ran {
    let mut process = Process::start(name, arguments);
    let status = process.end(within).await;
    Ran { code: status.code(), stdout: process.stdout.text(), stderr: process.stderr.text() }
}
