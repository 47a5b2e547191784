//! The program itself, run as its users run it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

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
