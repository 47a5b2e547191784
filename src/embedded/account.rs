//! The user that the server runs as, and the programs run in its name.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::process::Command;

use super::error::{AtPath, EmbeddedError};

/// Lines of a program's output or of a log that go into an error.
pub(super) const ERROR_LINES: usize = 20;

/// PostgreSQL refuses to run as root, so root runs it as somebody else; everybody else runs it as themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    Own,
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// For a new cluster.
    pub(super) fn choose() -> Result<Self, EmbeddedError> {
        if !Uid::effective().is_root() {
            return Ok(Self::Own);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self::Other { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            .ok_or(EmbeddedError::NoUser)
    }

    /// For a cluster that exists: the server accepts only its owner.
    pub(super) fn owner_of(cluster: &Path) -> Result<Self, EmbeddedError> {
        let metadata = cluster.metadata().at(cluster)?;
        let (owner, own) = (metadata.uid(), Uid::effective());
        let wrong = |remedy| EmbeddedError::WrongOwner { cluster: cluster.to_owned(), owner, remedy };
        match (own.is_root(), owner == own.as_raw()) {
            (true, true) => Err(wrong("give it back to an unprivileged user with chown -R")),
            (true, false) => Ok(Self::Other { uid: owner, gid: metadata.gid() }),
            (false, true) => Ok(Self::Own),
            (false, false) => Err(wrong("run it as that user or as root, or choose another data folder")),
        }
    }

    /// Makes a file or folder the account's own.
    pub(super) fn give(self, path: &Path) -> Result<(), EmbeddedError> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid)).at(path),
        }
    }

    /// Whether the account may enter `dir`, an absolute path, and all folders above it. Access lists are not
    /// looked at: who has set some up is better served by the fallback than by a wrong guess.
    pub(super) fn reaches(self, dir: &Path) -> bool {
        let Self::Other { uid, gid } = self else { return true };
        dir.ancestors().all(|folder| {
            folder.metadata().is_ok_and(|metadata| {
                let needed = match metadata {
                    ref m if m.uid() == uid => 0o100,
                    ref m if m.gid() == gid => 0o010,
                    _ => 0o001,
                };
                metadata.mode() & needed != 0
            })
        })
    }

    /// A command in the account's name and a process group of its own, so that Ctrl-C in the terminal does not
    /// reach it. The environment is not passed on: `PG*` variables would change what the programs do, and the
    /// server has no business with our secrets. The standard library drops root's supplementary groups.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).process_group(0);
        for name in ["PATH", "LD_LIBRARY_PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Runs a command to its end; fails if it does, or takes longer than `limit`.
pub(super) async fn run(mut command: Command, limit: Duration) -> Result<Output, EmbeddedError> {
    let path = Path::new(command.as_std().get_program()).to_owned();
    let program = path.display().to_string();
    let Ok(output) = tokio::time::timeout(limit, command.output()).await else {
        let outcome = format!("did not finish within {} s", limit.as_secs());
        return Err(EmbeddedError::Program { program, outcome, output: String::new() });
    };
    let output = output.at(&path)?;
    if output.status.success() {
        return Ok(output);
    }
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let outcome = format!("failed ({})", output.status);
    Err(EmbeddedError::Program { program, outcome, output: last_lines(&text) })
}

/// The end of a text, short enough for an error message.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_closed_folder_above_keeps_the_account_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).expect("an inner folder");
        let stranger = Account::Other { uid: 65_111, gid: 65_111 };
        set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("permissions");
        assert!(!stranger.reaches(&inner));
        set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("permissions");
        assert!(stranger.reaches(&inner));
        assert!(!stranger.reaches(&folder.path().join("missing")));
    }

    #[test]
    fn an_error_quotes_the_end_of_a_long_output() {
        let text = (1..=50).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let end = last_lines(&text);
        assert_eq!(end.lines().count(), ERROR_LINES);
        assert!(end.ends_with("line 50"));
        assert_eq!(last_lines(""), "");
    }

    #[tokio::test]
    async fn a_failed_program_is_named_with_its_words() {
        let mut command = Account::Own.command(Path::new("/bin/sh"));
        command.args(["-c", "echo disk full >&2; exit 3"]);
        let error = run(command, Duration::from_secs(10)).await.expect_err("it fails");
        let text = error.to_string();
        assert!(text.contains("/bin/sh") && text.contains("disk full") && text.contains('3'), "{text}");
    }
}
