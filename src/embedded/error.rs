//! Why the private server could not be started, joined or stopped.

use std::path::{Path, PathBuf};

use super::binaries::OLDEST_MAJOR;

/// Errors of [`super::EmbeddedPostgres`]; each says what to do. `DATABASE_URL` set to a running server avoids them all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Neither found on the machine nor downloaded.
    #[error(
        "no usable {wanted} on PATH, in /usr/lib/postgresql or through pg_config, and the download failed ({reason}): \
         install it (Debian or Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
         macOS: brew install postgresql), or set DATABASE_URL to a running server"
    )]
    NoBinaries {
        /// The version that is needed.
        wanted: String,
        /// Why the download failed.
        reason: String,
    },
    /// Only versions older than the oldest supported one were found.
    #[error(
        "{} is PostgreSQL {major}, but {OLDEST_MAJOR} or newer is needed: install a newer version, \
         or set DATABASE_URL to a running server", path.display()
    )]
    TooOld {
        /// Folder of the newest one found.
        path: PathBuf,
        /// Its major version.
        major: u32,
    },
    /// A PostgreSQL program failed or took too long.
    #[error("{program} {outcome}: {output}")]
    Program {
        /// Which one.
        program: String,
        /// Its exit status or the limit it exceeded.
        outcome: String,
        /// Its last lines.
        output: String,
    },
    /// The server did not start.
    #[error("the PostgreSQL server did not start; the end of {}:\n{lines}", log.display())]
    Start {
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        lines: String,
    },
    /// The database files exist, the password does not.
    #[error(
        "{} exists, but its password file {} is gone or damaged: restore that file, \
         or move the folder away to start with an empty ledger", cluster.display(), password.display()
    )]
    PasswordMissing {
        /// The cluster folder.
        cluster: PathBuf,
        /// Where its password should be.
        password: PathBuf,
    },
    /// The link to the cluster leads nowhere.
    #[error(
        "{} leads to {}, which is gone: restore that folder, or remove the link to start with an empty ledger",
        link.display(), target.display()
    )]
    DanglingLink {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The cluster belongs to another user.
    #[error("{} belongs to user id {owner}, as whom this program cannot run the server: {remedy}", cluster.display())]
    WrongOwner {
        /// The cluster folder.
        cluster: PathBuf,
        /// Its owner.
        owner: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// Root has no unprivileged user to run the server as.
    #[error(
        "PostgreSQL does not run as root and there is no user `postgres` or `nobody`: create one, or set DATABASE_URL"
    )]
    NoUser,
    /// The path holds characters that `pg_ctl` hands to a shell.
    #[error("{}: PostgreSQL cannot be started from a path with one of \" $ ` \\ or a line break: choose another data folder", path.display())]
    UnsuitablePath {
        /// The path.
        path: PathBuf,
    },
    /// Another command has been starting or stopping the server for too long.
    #[error("{} has been locked by another command for {seconds} s: wait for it or end it", lock.display())]
    Busy {
        /// The lock file.
        lock: PathBuf,
        /// How long this command has waited.
        seconds: u64,
    },
    /// The server runs, but did not let us in.
    #[error("the private PostgreSQL server refused: {0}")]
    Database(#[from] sqlx::Error),
    /// The runtime was shut down meanwhile.
    #[error("interrupted: the program is ending")]
    Interrupted,
}

/// Names the path that an I/O error is about.
pub(super) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T, EmbeddedError>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, path: &Path) -> Result<T, EmbeddedError> {
        self.map_err(|source| EmbeddedError::Io { path: path.to_owned(), source })
    }
}
