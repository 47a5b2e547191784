//! The cluster's life: initialised, started, seen to run, stopped.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::account::{last_lines, run};
use super::binaries;
use super::error::{AtPath, EmbeddedError};
use super::place::{Place, create_private_folder, sync_folder, write_private};

/// The superuser, and the owner of the database.
pub(super) const USER: &str = "mercuriale";
/// A start includes crash recovery, which replays up to `max_wal_size` and then some.
pub(super) const START_LIMIT: Duration = Duration::from_mins(10);
const STOP_LIMIT: Duration = Duration::from_mins(5);
const INIT_LIMIT: Duration = Duration::from_mins(5);
/// What `pg_ctl` gets on top of the limit it is told, to report by itself.
const GRACE: Duration = Duration::from_secs(15);
/// How long the children of a killed server may take to notice.
const ORPHANS_LIMIT: Duration = Duration::from_mins(1);
const PORT_ATTEMPTS: u32 = 5;
const LOG_LIMIT_BYTES: u64 = 10 * 1024 * 1024;
const LOG_TAIL_BYTES: u64 = 16 * 1024;
/// Above the largest process id of any system we run on.
const NO_PROCESS: i32 = i32::MAX;

/// Appended to `postgresql.conf` of a new cluster, where an administrator may change it. `fsync` and
/// `synchronous_commit` keep their default, on: the ledger relies on them.
const SETTINGS: &str = "
# Set by mercuriale when it made this cluster.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 256MB
max_connections = 200
max_wal_size = 2GB
wal_compression = on
timezone = 'UTC'
log_timezone = 'UTC'
";

/// A cluster that exists.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) place: Place,
    /// Folder of the programs of its version.
    bin: PathBuf,
}

impl Cluster {
    /// Initialises the cluster if there is none; returns it with its password.
    pub(super) async fn open(place: Place) -> Result<(Self, String), EmbeddedError> {
        remove_scratch_folders(&place)?;
        let exists = place.cluster.is_dir();
        let wanted = if exists { Some(version_of(&place.cluster)?) } else { None };
        let bin = binaries::find(place.account, &place.home, wanted).await?;
        let password = match (place.password()?, exists) {
            (Some(password), _) => password,
            (None, false) => place.new_password()?,
            (None, true) => {
                return Err(EmbeddedError::PasswordMissing {
                    cluster: place.cluster.clone(),
                    password: place.password_path(),
                });
            }
        };
        let cluster = Self { place, bin };
        if !exists {
            cluster.initialise(&password).await?;
        }
        cluster.place.link()?;
        Ok((cluster, password))
    }

    /// Builds the cluster in a scratch folder and renames it when it is whole: there is never half a cluster.
    async fn initialise(&self, password: &str) -> Result<(), EmbeddedError> {
        let Place { home, cluster, account, .. } = &self.place;
        tracing::info!(folder = %cluster.display(), "making a private PostgreSQL cluster");
        // A name of its own: an `initdb` whose program was killed may still be writing to an earlier one.
        let scratch = home.join(format!("{SCRATCH_PREFIX}{:016x}", rand::random::<u64>()));
        let (unfinished, password_file) = (scratch.join("cluster"), scratch.join("password"));
        create_private_folder(&scratch)?;
        write_private(&password_file, password)?;
        account.give(&password_file)?;
        account.give(&scratch)?;
        let mut initdb = account.command(&self.bin.join("initdb"));
        initdb.kill_on_drop(true).arg("-D").arg(&unfinished).arg("--pwfile").arg(&password_file);
        initdb.args(["-U", USER, "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"]);
        initdb.args(["--data-checksums", "--no-instructions"]);
        run(initdb, INIT_LIMIT).await?;
        std::fs::remove_file(&password_file).at(&password_file)?;
        let settings = unfinished.join("postgresql.conf");
        OpenOptions::new()
            .append(true)
            .open(&settings)
            .and_then(|mut file| file.write_all(SETTINGS.as_bytes()).and_then(|()| file.sync_all()))
            .at(&settings)?;
        std::fs::rename(&unfinished, cluster).at(cluster)?;
        sync_folder(home)?;
        std::fs::remove_dir(&scratch).at(&scratch)
    }

    /// The port of the running server (it may still be recovering); `None` if none runs.
    pub(super) fn running_port(&self) -> Option<u16> {
        let (pid, port) = read_pid_file(&self.pid_path())?;
        is_server(pid, &self.place.cluster).then_some(port)
    }

    /// Starts the server and waits until it accepts connections. Only when none runs.
    pub(super) async fn start(&self) -> Result<(), EmbeddedError> {
        let Place { cluster, account, .. } = &self.place;
        tracing::info!(folder = %cluster.display(), "starting the private PostgreSQL server");
        self.set_log_aside()?;
        self.disown_foreign_process()?;
        let since = Instant::now();
        let mut attempt = 0;
        loop {
            let log_start = self.log_path().metadata().map_or(0, |metadata| metadata.len());
            let port = self.choose_port(attempt)?;
            let mut pg_ctl = account.command(&self.bin.join("pg_ctl"));
            pg_ctl.args(["start", "-w", "-s", "-t", &START_LIMIT.as_secs().to_string()]);
            pg_ctl.arg("-D").arg(cluster).arg("-l").arg(self.log_path()).args(["-o", &format!("-p {port}")]);
            let Err(error) = run(pg_ctl, START_LIMIT + GRACE).await else { return Ok(()) };
            let lines = last_lines(&self.log_since(log_start)?);
            let orphans = lines.contains("is still in use") && since.elapsed() < ORPHANS_LIMIT;
            if orphans {
                tokio::time::sleep(Duration::from_millis(200)).await;
            } else if lines.contains("Address already in use") && attempt < PORT_ATTEMPTS {
                attempt += 1;
            } else if lines.is_empty() {
                return Err(error);
            } else {
                return Err(EmbeddedError::Start { log: self.log_path(), lines });
            }
        }
    }

    /// Stops the server, if it runs, and waits until it has.
    pub(super) async fn stop(&self) -> Result<(), EmbeddedError> {
        if self.running_port().is_none() {
            return Ok(());
        }
        tracing::info!(folder = %self.place.cluster.display(), "stopping the private PostgreSQL server");
        let mut pg_ctl = self.place.account.command(&self.bin.join("pg_ctl"));
        pg_ctl.args(["stop", "-m", "fast", "-w", "-s", "-t", &STOP_LIMIT.as_secs().to_string()]);
        pg_ctl.arg("-D").arg(&self.place.cluster);
        run(pg_ctl, STOP_LIMIT + GRACE).await.map(drop)
    }

    /// The end of the server's log, for an error.
    pub(super) fn log_end(&self) -> EmbeddedError {
        let lines = self.log_since(0).map_or_else(|error| error.to_string(), |text| last_lines(&text));
        EmbeddedError::Start { log: self.log_path(), lines }
    }

    fn pid_path(&self) -> PathBuf {
        self.place.cluster.join("postmaster.pid")
    }

    fn log_path(&self) -> PathBuf {
        self.place.cluster.join("server.log")
    }

    fn set_log_aside(&self) -> Result<(), EmbeddedError> {
        let log = self.log_path();
        if log.metadata().is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES) {
            std::fs::rename(&log, log.with_extension("log.old")).at(&log)?;
        }
        Ok(())
    }

    fn log_since(&self, start: u64) -> Result<String, EmbeddedError> {
        let path = self.log_path();
        let mut file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            file => file.at(&path)?,
        };
        let mut bytes = Vec::new();
        let length = file.metadata().at(&path)?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES))))
            .and_then(|_| file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes))
            .at(&path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The port of last time, so that a program which is still connected finds a restarted server again; another
    /// if that one is taken. Kept in `postgres.port`.
    fn choose_port(&self, attempt: u32) -> Result<u16, EmbeddedError> {
        let path = self.place.home.join("postgres.port");
        let last = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let probe = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match last {
            Some(port) if attempt == 0 => probe(port).or_else(|_| probe(0)),
            _ => probe(0),
        };
        let port = listener.and_then(|listener| listener.local_addr()).at(&path)?.port();
        if last != Some(port) {
            std::fs::write(&path, port.to_string()).at(&path)?;
        }
        Ok(port)
    }

    /// After a crash and a restart of the machine or container the process id in `postmaster.pid` may belong to
    /// somebody else. PostgreSQL would refuse to start, since it cannot tell. Another number takes its place;
    /// removing the file would lose the shared memory key by which PostgreSQL finds children that outlived it.
    fn disown_foreign_process(&self) -> Result<(), EmbeddedError> {
        let path = self.pid_path();
        let Some((pid, _)) = read_pid_file(&path) else { return Ok(()) };
        if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            return Ok(());
        }
        let text = std::fs::read_to_string(&path).at(&path)?;
        let mut disowned = String::new();
        for (number, line) in text.lines().enumerate() {
            let _ = match number {
                0 => writeln!(disowned, "{NO_PROCESS}"),
                _ => writeln!(disowned, "{line}"),
            };
        }
        let beside = path.with_extension("pid.new");
        write_private(&beside, &disowned)?;
        self.place.account.give(&beside)?;
        std::fs::rename(&beside, &path).at(&path)
    }
}

const SCRATCH_PREFIX: &str = "postgres.init-";

/// What a command that was killed while it initialised has left behind, a password file included.
fn remove_scratch_folders(place: &Place) -> Result<(), EmbeddedError> {
    for entry in std::fs::read_dir(&place.home).at(&place.home)? {
        let entry = entry.at(&place.home)?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH_PREFIX) {
            let path = entry.path();
            // An orphaned initdb may still be adding files; what is left then goes next time.
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!(folder = %path.display(), %error, "cannot remove a half-made cluster yet");
            }
        }
    }
    Ok(())
}

fn version_of(cluster: &Path) -> Result<u32, EmbeddedError> {
    let path = cluster.join("PG_VERSION");
    let text = std::fs::read_to_string(&path).at(&path)?;
    text.trim().parse().map_err(std::io::Error::other).at(&path)
}

/// Process id and port: lines 1 and 4 (PostgreSQL, `src/include/utils/pidfile.h`).
fn read_pid_file(path: &Path) -> Option<(i32, u16)> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().filter(|&pid: &i32| pid > 1 && pid != NO_PROCESS)?;
    Some((pid, lines.nth(2)?.trim().parse().ok()?))
}

/// Whether the process is the server of this cluster, and not one that got its number after a crash. The command
/// line is what everybody may read of another user's process; where it is hidden, or there is no /proc, that there
/// is such a process has to do.
fn is_server(pid: i32, cluster: &Path) -> bool {
    let Ok(command_line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
        return kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH);
    };
    let arguments: Vec<&[u8]> = command_line.split(|&byte| byte == 0).collect();
    arguments.windows(2).any(|pair| pair == [b"-D".as_slice(), cluster.as_os_str().as_encoded_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_gives_process_and_port() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("postmaster.pid");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read_pid_file(&path)
        };
        assert_eq!(
            read("4711\n/data\n1700000000\n5433\n\n127.0.0.1\n  123 4\nready   \n"),
            Some((4711, 5433))
        );
        assert_eq!(read("4711\n/data\n"), None);
        assert_eq!(read(""), None);
        // Signals to process 0 or below go to whole groups.
        assert_eq!(read("-1\n/data\n1700000000\n5433\n"), None);
    }

    #[test]
    fn a_process_that_got_the_servers_number_is_not_the_server() {
        let own = i32::try_from(std::process::id()).expect("a process id");
        assert!(!is_server(own, Path::new("/data/postgres")));
        assert!(!is_server(NO_PROCESS, Path::new("/data/postgres")));
    }
}
