//! The binary as scripts and CI see it: words, exit codes, and what is on which stream.

mod awaiting;
mod ci;
mod demo;
mod gate;
mod guarding;
mod power;
mod replay;
mod rules;
mod usage;

use std::process::{Command, Output};

/// What came of a command.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `blueback` with these arguments and nothing from this environment.
async fn blueback(args: &[&str]) -> Ran {
    blueback_in(args, &[]).await
}

/// The same with these variables.
async fn blueback_in(args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blueback"));
    command.args(args).env_clear().env("USER", "ada").envs(environment.iter().copied());
    let output: Output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("running a command does not panic")
        .expect("the binary was built with this test");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    Ran {
        code: output.status.code().expect("it ended by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Ran {
    /// Checks the exit code and that the text is in the right stream.
    #[track_caller]
    fn check(&self, code: i32, stdout: &[&str], stderr: &[&str]) {
        let story = format!("exit {}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr);
        assert_eq!(self.code, code, "{story}");
        for word in stdout {
            assert!(self.stdout.contains(word), "not on stdout: {word}\n{story}");
        }
        for word in stderr {
            assert!(self.stderr.contains(word), "not on stderr: {word}\n{story}");
        }
    }
}
