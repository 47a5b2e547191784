//! The private server, with real clusters in temporary folders. Runs as root and as anybody else.

use std::fs::{Permissions, set_permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mercuriale::embedded::{EmbeddedError, EmbeddedPostgres};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

const HELPER_FOLDER: &str = "MERCURIALE_TEST_EMBEDDED_FOLDER";

/// A data folder; ends its server and removes everything when a test is over, failed or not.
struct Folder {
    root: TempDir,
    data_dir: PathBuf,
}

impl Folder {
    fn new(mode: u32) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        set_permissions(root.path(), Permissions::from_mode(mode)).expect("permissions");
        let data_dir = root.path().canonicalize().expect("a real path").join("data");
        Self { root, data_dir }
    }

    fn cluster(&self) -> PathBuf {
        self.data_dir.join("postgres")
    }

    fn server(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.cluster().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
    }

    fn server_runs(&self) -> bool {
        self.server().is_some_and(is_alive)
    }

    async fn join(&self) -> EmbeddedPostgres {
        EmbeddedPostgres::start_or_join(&self.data_dir).await.expect("a server")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(server) = self.server().filter(|&server| is_alive(server)) {
            let _ = kill(server, Signal::SIGQUIT);
            wait_until("the server has ended", || !is_alive(server));
        }
        if let Ok(cluster) = self.cluster().canonicalize()
            && !cluster.starts_with(self.root.path())
            && let Some(home) = cluster.parent()
        {
            let _ = std::fs::remove_dir_all(home);
        }
    }
}

/// Neither gone nor waiting for its parent to notice.
fn is_alive(pid: Pid) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).map_or_else(
        |_| !Path::new("/proc/self").exists() && kill(pid, None).is_ok(),
        |line| !line.is_empty(),
    )
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < Duration::from_mins(1), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection")
}

async fn execute(url: &str, statement: &'static str) {
    let mut connection = connect(url).await;
    sqlx::query(statement).execute(&mut connection).await.expect("executed");
    connection.close().await.expect("closed");
}

async fn text(url: &str, query: &'static str) -> String {
    let mut connection = connect(url).await;
    let value = sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("a value");
    connection.close().await.expect("closed");
    value
}

#[tokio::test]
async fn the_last_one_out_stops_the_server_and_the_data_stays() {
    let folder = Folder::new(0o755);
    let first = folder.join().await;
    execute(first.url(), "CREATE TABLE kept (n int)").await;
    let second = folder.join().await;
    assert_eq!(first.url(), second.url());
    let server = folder.server();

    first.leave().await.expect("left");
    assert_eq!(folder.server(), server);
    execute(second.url(), "INSERT INTO kept VALUES (7)").await;
    let url = second.url().to_owned();
    second.leave().await.expect("left");
    assert_eq!(folder.server(), None);
    PgConnection::connect(&url).await.expect_err("nobody listens");

    let third = folder.join().await;
    assert_eq!(third.url(), url, "the port is kept");
    assert_eq!(text(third.url(), "SELECT n::text FROM kept").await, "7");
    third.leave().await.expect("left");
}

#[tokio::test]
async fn a_port_that_somebody_else_has_taken_is_given_up() {
    let folder = Folder::new(0o755);
    folder.join().await.leave().await.expect("left");
    let port = std::fs::read_to_string(folder.data_dir.join("postgres.port")).expect("the port");
    let _other = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let server = folder.join().await;
    assert!(!server.url().contains(&format!(":{port}/")));
    assert_eq!(text(server.url(), "SELECT 'up'::text").await, "up");
    server.leave().await.expect("left");
}

#[tokio::test]
async fn the_cluster_is_private_and_set_up_for_a_ledger() {
    let folder = Folder::new(0o755);
    let server = folder.join().await;
    for (setting, expected) in [
        ("SELECT current_setting('server_encoding')", "UTF8"),
        ("SELECT datcollate FROM pg_database WHERE datname = current_database()", "C"),
        ("SELECT current_database()::text", "mercuriale"),
        ("SELECT current_setting('data_checksums')", "on"),
        ("SELECT current_setting('fsync')", "on"),
        ("SELECT current_setting('synchronous_commit')", "on"),
        ("SELECT current_setting('password_encryption')", "scram-sha-256"),
        ("SELECT current_setting('listen_addresses')", "127.0.0.1"),
        ("SELECT current_setting('unix_socket_directories')", ""),
        ("SELECT current_setting('shared_buffers')", "256MB"),
        ("SELECT current_setting('max_wal_size')", "2GB"),
        ("SELECT current_setting('max_connections')", "200"),
    ] {
        assert_eq!(text(server.url(), setting).await, expected, "{setting}");
    }

    let password = std::fs::read_to_string(folder.data_dir.join("postgres.password")).expect("the password");
    let wrong = server.url().replace(&password, &"0".repeat(password.len()));
    let error = PgConnection::connect(&wrong).await.expect_err("a wrong password");
    assert!(error.to_string().contains("authentication failed"), "{error}");
    assert!(!format!("{server:?}").contains(&password));

    let mode = |path: &Path| path.metadata().expect("metadata").mode() & 0o777;
    assert_eq!(mode(&folder.cluster()), 0o700);
    assert_eq!(mode(&folder.data_dir.join("postgres.password")), 0o600);
    let owner = folder.cluster().metadata().expect("metadata").uid();
    assert_ne!(owner, 0, "the server does not run as root");
    assert_eq!(owner == Uid::effective().as_raw(), !Uid::effective().is_root());
    let names =
        std::fs::read_dir(&folder.data_dir).expect("the folder").flatten().map(|entry| entry.file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("init-")), "scratch folder left");
    server.leave().await.expect("left");
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_has_lost_nothing() {
    let folder = Folder::new(0o755);
    let first = folder.join().await;
    execute(first.url(), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n").await;
    // A process of the killed server lives on, until the new one has seen it in the way.
    let mut connection = connect(first.url()).await;
    let orphan: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.expect("a process id");
    let orphan = Pid::from_raw(orphan);
    kill(orphan, Signal::SIGSTOP).expect("stopped");
    let killed = folder.server().expect("a server");
    kill(killed, Signal::SIGKILL).expect("killed");
    let log = folder.cluster().join("server.log");
    let waker = std::thread::spawn(move || {
        wait_until("the orphan is in the way", || {
            std::fs::read(&log).is_ok_and(|text| String::from_utf8_lossy(&text).contains("is still in use"))
        });
        kill(orphan, Signal::SIGCONT).expect("woken");
    });

    let second = folder.join().await;
    waker.join().expect("the orphan was in the way");
    assert_ne!(folder.server(), Some(killed));
    assert_eq!(text(second.url(), "SELECT count(*)::text FROM kept").await, "1000");
    assert_eq!(
        text(first.url(), "SELECT count(*)::text FROM kept").await,
        "1000",
        "the old URL is good again"
    );
    first.leave().await.expect("left");
    assert!(folder.server_runs());
    second.leave().await.expect("left");
    assert!(!folder.server_runs());
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_living_stranger_does_not_matter() {
    let folder = Folder::new(0o755);
    folder.join().await.leave().await.expect("left");
    let owner = folder.cluster().metadata().expect("metadata");
    // A process of the server's own user: one of another user PostgreSQL would disregard by itself.
    let mut stranger = Command::new("sleep");
    stranger.arg("600");
    if Uid::effective().is_root() {
        std::os::unix::process::CommandExt::uid(&mut stranger, owner.uid());
    }
    let mut stranger = stranger.spawn().expect("a process");
    let pid_file = folder.cluster().join("postmaster.pid");
    let text = format!("{}\n{}\n1700000000\n5432\n\n127.0.0.1\n", stranger.id(), folder.cluster().display());
    std::fs::write(&pid_file, text).expect("written");
    std::os::unix::fs::chown(&pid_file, Some(owner.uid()), Some(owner.gid())).expect("given");

    let started = EmbeddedPostgres::start_or_join(&folder.data_dir).await;
    let survived = stranger.try_wait().expect("a state").is_none();
    stranger.kill().and_then(|()| stranger.wait()).expect("ended");
    started.expect("a server").leave().await.expect("left");
    assert!(survived);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_come_at_the_same_time_share_one_server() {
    let folder = Folder::new(0o755);
    let mut other = Helper::start(&folder.data_dir);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let data_dir = folder.data_dir.clone();
            tokio::spawn(async move { EmbeddedPostgres::start_or_join(&data_dir).await.expect("a server") })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.push(task.await.expect("no panic"));
    }
    let url = other.url();
    assert!(held.iter().all(|hold| hold.url() == url));
    assert_eq!(text(&url, "SELECT count(*)::text FROM pg_database WHERE datname = 'mercuriale'").await, "1");
    // They leave at the same time as well; the other process still holds it.
    let leaving: Vec<_> = held.into_iter().map(|hold| tokio::spawn(hold.leave())).collect();
    for task in leaving {
        task.await.expect("no panic").expect("left");
    }
    assert!(folder.server_runs());
    other.leave();
    assert!(!folder.server_runs());
}

#[tokio::test]
async fn the_server_of_a_killed_program_is_taken_over() {
    let folder = Folder::new(0o755);
    let mut program = Helper::start(&folder.data_dir);
    let url = program.url();
    let server = folder.server().expect("a server");
    program.kill();
    assert!(is_alive(server), "the server survives the program");

    let heir = folder.join().await;
    assert_eq!((heir.url(), folder.server()), (url.as_str(), Some(server)));
    heir.leave().await.expect("left");
    assert!(!is_alive(server), "the heir was the last one out");
}

#[tokio::test]
async fn program_and_server_both_killed_is_a_start_like_any_other() {
    let folder = Folder::new(0o755);
    let mut program = Helper::start(&folder.data_dir);
    execute(&program.url(), "CREATE TABLE kept AS SELECT 'here'::text AS t").await;
    kill(folder.server().expect("a server"), Signal::SIGKILL).expect("killed");
    program.kill();
    let server = folder.join().await;
    assert_eq!(text(server.url(), "SELECT t FROM kept").await, "here");
    server.leave().await.expect("left");
}

#[tokio::test]
async fn a_program_killed_while_it_makes_the_cluster_leaves_no_half_one() {
    let folder = Folder::new(0o755);
    let mut program = Helper::start(&folder.data_dir);
    let scratch = || {
        let entries = std::fs::read_dir(&folder.data_dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("postgres.init-"))
    };
    wait_until("initdb is under way", || {
        scratch().is_some_and(|path| path.join("cluster/PG_VERSION").exists())
    });
    program.kill();
    assert!(!folder.cluster().exists(), "killed too late to test anything");

    let server = folder.join().await;
    assert_eq!(text(server.url(), "SELECT 'whole'::text").await, "whole");
    server.leave().await.expect("left");
    // The orphaned initdb may have written on for a while; the next start removes what it left.
    folder.join().await.leave().await.expect("left");
    assert_eq!(scratch(), None);
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let folder = Folder::new(0o755);
    folder.join().await.leave().await.expect("left");
    let settings = folder.cluster().join("postgresql.conf");
    let good = std::fs::read_to_string(&settings).expect("settings");
    std::fs::write(&settings, format!("{good}\nshared_buffers = 'plenty'\n")).expect("written");
    let error = EmbeddedPostgres::start_or_join(&folder.data_dir).await.expect_err("it cannot start");
    assert!(matches!(error, EmbeddedError::Start { .. }), "{error}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");

    std::fs::write(&settings, good).expect("written");
    folder.join().await.leave().await.expect("nothing is locked or broken");
}

#[tokio::test]
async fn a_lost_password_is_an_error_and_never_a_new_cluster() {
    let folder = Folder::new(0o755);
    folder.join().await.leave().await.expect("left");
    std::fs::remove_file(folder.data_dir.join("postgres.password")).expect("removed");
    let error = EmbeddedPostgres::start_or_join(&folder.data_dir).await.expect_err("no password");
    assert!(matches!(error, EmbeddedError::PasswordMissing { .. }), "{error}");
    assert!(!folder.data_dir.join("postgres.password").exists());
}

#[tokio::test]
async fn root_may_keep_its_data_in_a_folder_that_the_server_cannot_enter() {
    let folder = Folder::new(0o700);
    let server = folder.join().await;
    execute(server.url(), "CREATE TABLE kept AS SELECT 'here'::text AS t").await;
    let real = folder.cluster().canonicalize().expect("the cluster");
    assert_eq!(real.starts_with("/var/lib/mercuriale"), Uid::effective().is_root(), "{}", real.display());
    server.leave().await.expect("left");
    assert!(!folder.server_runs());
    let server = folder.join().await;
    assert_eq!(text(server.url(), "SELECT t FROM kept").await, "here");
    server.leave().await.expect("left");
}

/// Another program that uses the server: this test binary, running [`helper_program`].
struct Helper {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Helper {
    fn start(data_dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "--nocapture", "helper_program"])
            .env(HELPER_FOLDER, data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    /// Waits until it has joined.
    fn url(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("a line") > 0 {
            if let Some(start) = line.find("postgres://") {
                return line[start..].trim().to_owned();
            }
            line.clear();
        }
        panic!("the other program ended before it had joined");
    }

    fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("killed");
    }

    /// Closes its input, upon which it leaves.
    fn leave(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "run by other tests as a program of its own"]
async fn helper_program() {
    let Some(data_dir) = std::env::var_os(HELPER_FOLDER) else { return };
    let server = EmbeddedPostgres::start_or_join(Path::new(&data_dir)).await.expect("a server");
    writeln!(std::io::stdout(), "{}", server.url()).expect("told");
    std::io::stdin().read_line(&mut String::new()).expect("the end of the input");
    server.leave().await.expect("left");
}
