//! The program itself, run as its users run it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncBufReadExt as _;

use crate::support::JWT_SECRET;

/// A command of the program on a database.
pub(crate) fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercuriale"));
    command
        .args(arguments)
        .env("DATABASE_URL", url)
        .env("MERCURIALE_JWT_SECRET", JWT_SECRET)
        .env("MERCURIALE_RATE_LIMIT", "0")
        .stdin(Stdio::null());
    command
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Runs a command to its end.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Ran {
    command(url, arguments).output().expect("runs").into()
}

/// `mercuriale refresh --json` of files or folders.
pub(crate) fn refresh(url: &str, format: &str, files: &[&Path]) -> Ran {
    let mut arguments = vec!["refresh", "--json", "--format", format];
    arguments.extend(files.iter().map(|file| file.to_str().expect("UTF-8")));
    run(url, &arguments)
}

/// `mercuriale serve` on a port of its own.
pub(crate) fn serve(url: &str, data_dir: &Path) -> Command {
    command(url, &["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().expect("UTF-8")])
}

/// A service that was just started, and what it says. Killed with the value.
pub(crate) struct Started {
    process: tokio::process::Child,
    lines: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>,
}

impl Started {
    pub(crate) fn new(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("starts");
        let lines = tokio::io::BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, lines }
    }

    /// The next line that has a text.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = tokio::time::timeout(Duration::from_mins(2), self.lines.next_line()).await;
            let line = line.expect("in time").expect("reads").expect("goes on");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Its URL, once it serves.
    pub(crate) async fn url(&mut self) -> String {
        let serves = self.line_with("Mercuriale serves ").await;
        serves.strip_prefix("Mercuriale serves ").expect("a URL").to_owned()
    }

    /// Ends it without a word.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("killed");
    }

    pub(crate) fn ask_to_stop(&self) {
        let id = i32::try_from(self.process.id().expect("it runs")).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("asked");
    }

    /// What it says to its end, once it is asked to stop.
    pub(crate) async fn stopped(mut self) -> String {
        self.ask_to_stop();
        let mut rest = String::new();
        while let Some(line) = self.lines.next_line().await.expect("reads") {
            rest.push_str(&line);
            rest.push('\n');
        }
        assert!(self.process.wait().await.expect("ends").success());
        rest
    }
}
