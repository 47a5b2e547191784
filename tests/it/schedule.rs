//! Who refreshes what, and when.

use std::time::Duration;

use mercuriale::ledger::HEARTBEAT;
use mercuriale::sources::live::{Scheduler, Target};
use sqlx::AssertSqlSafe;
use tokio::task::JoinHandle;

use crate::provider::{Provider, borrowed, cents, limits, live_as, offer_file};
use crate::support::Database;

const HOUR: Duration = Duration::from_hours(1);
/// However busy the machine is.
const PATIENCE: Duration = Duration::from_mins(2);

/// Three sources of one list.
async fn three() -> (Provider, Vec<Target>) {
    let provider = Provider::start().await;
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(3))));
    let source = |name| {
        provider.targets(&format!(
            "name=\"{name}\"\nkind=\"aws\"\noffers=[\"AmazonEC2\"]\nregions=[\"eu-west-3\"]"
        ))
    };
    let targets = ["a", "b", "c"].into_iter().flat_map(source).collect();
    (provider, targets)
}

/// A process with a scheduler; ends with the value.
struct Process(JoinHandle<()>);

impl Process {
    fn start(database: &Database, actor: &str, targets: &[Target], every: Duration) -> Self {
        let live = live_as(database, limits(), actor);
        Self(tokio::spawn(Scheduler::new(live, targets.to_vec(), every).run()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn count(database: &Database, condition: &str) -> i64 {
    let statement = format!("select count(*) from refreshes.refreshes where {condition}");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&database.pool).await.expect("a count")
}

/// Waits until this many runs are as the condition says.
async fn wait_for(database: &Database, condition: &str, runs: i64) {
    let reached = async {
        while count(database, condition).await < runs {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .unwrap_or_else(|_| panic!("fewer than {runs} runs with {condition}"));
}

/// Backends that hold the scheduler's lock.
async fn leaders(database: &Database) -> Vec<i32> {
    sqlx::query_scalar(
        "select l.pid from pg_locks l join pg_database d on d.oid = l.database
         where l.locktype = 'advisory' and l.granted and d.datname = current_database()
           and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('mercuriale scheduler', 0)",
    )
    .fetch_all(&database.pool)
    .await
    .expect("locks")
}

async fn actors(database: &Database) -> Vec<String> {
    sqlx::query_scalar("select distinct actor from events where event_type like 'refresh.%' order by actor")
        .fetch_all(&database.pool)
        .await
        .expect("actors")
}

#[tokio::test]
async fn a_list_is_due_on_an_empty_ledger_and_not_again_before_its_time() {
    let database = Database::new().await;
    let (provider, targets) = three().await;
    let process = Process::start(&database, "first", &targets[..2], HOUR);
    wait_for(&database, "state = 'completed'", 2).await;
    drop(process);
    // A process that starts later finds only what is new to be due.
    let process = Process::start(&database, "second", &targets, HOUR);
    wait_for(&database, "state = 'completed' and source = 'c'", 1).await;
    drop(process);
    assert_eq!(count(&database, "true").await, 3);
    assert_eq!(provider.asked("/offers/v1.0/aws/index.json"), 3);
    // After downtime, everything is.
    let process = Process::start(&database, "third", &targets, Duration::from_secs(1));
    wait_for(&database, "state = 'completed'", 6).await;
    drop(process);
    database.assert_sound().await;
}

#[tokio::test]
async fn a_list_that_fails_is_tried_again_and_holds_up_no_other() {
    let database = Database::new().await;
    let (provider, mut targets) = three().await;
    let lost = "name=\"lost\"\nkind=\"aws\"\noffers=[\"AmazonEC2\"]\nregions=[\"eu-north-9\"]";
    targets.insert(0, provider.targets(lost).remove(0));
    let process = Process::start(&database, "process", &targets, Duration::from_secs(1));
    wait_for(&database, "state = 'failed' and source = 'lost'", 2).await;
    wait_for(&database, "state = 'completed'", 3).await;
    drop(process);
}

#[tokio::test]
async fn of_two_processes_one_refreshes() {
    let database = Database::new().await;
    let (provider, targets) = three().await;
    let one = Process::start(&database, "one", &targets, HOUR);
    let other = Process::start(&database, "other", &targets, HOUR);
    wait_for(&database, "state = 'completed'", 3).await;
    assert_eq!(leaders(&database).await.len(), 1);
    drop((one, other));
    assert_eq!(actors(&database).await.len(), 1);
    assert_eq!(count(&database, "true").await, 3);
    assert_eq!(provider.asked("/offers/v1.0/aws/index.json"), 3);
}

#[tokio::test]
async fn another_process_takes_over() {
    let database = Database::new().await;
    let (_provider, targets) = three().await;
    let every = Duration::from_secs(1);
    let _first = Process::start(&database, "first", &targets, every);
    wait_for(&database, "state = 'completed'", 1).await;
    let _second = Process::start(&database, "second", &targets, every);
    let [leader] = leaders(&database).await[..] else { panic!("one leader") };
    assert_eq!(actors(&database).await, ["first"]);
    let mut owner = database.owner().await;
    sqlx::query("select pg_terminate_backend($1)").bind(leader).execute(&mut owner).await.expect("killed");
    let taken_over = async {
        while actors(&database).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_over).await.expect("taken over");
    assert_ne!(leaders(&database).await, [leader]);
    let failed = count(&database, "state = 'failed'").await;
    assert_eq!(failed, 0, "no run overlapped another");
    database.assert_sound().await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_deposed() {
    let database = Database::new().await;
    let (_provider, targets) = three().await;
    let mut hanging = database.owner().await;
    sqlx::query(include_str!("../../src/ledger/sql/leader_session.sql"))
        .execute(&mut hanging)
        .await
        .expect("a session");
    let leads: bool = sqlx::query_scalar(include_str!("../../src/ledger/sql/lead.sql"))
        .bind("scheduler")
        .fetch_one(&mut hanging)
        .await
        .expect("an answer");
    assert!(leads);
    // The longest that it may lead, and the longest until another process tries: 10 s together, with some to spare.
    let silence: i64 = sqlx::query_scalar(
        "select setting::bigint from pg_settings where name = 'idle_session_timeout' and unit = 'ms'",
    )
    .fetch_one(&mut hanging)
    .await
    .expect("a setting");
    let silence = Duration::from_millis(silence.unsigned_abs());
    assert!(!silence.is_zero() && silence + HEARTBEAT <= Duration::from_secs(8), "{silence:?}");
    let _process = Process::start(&database, "process", &targets, HOUR);
    wait_for(&database, "state = 'started' or state = 'completed'", 1).await;
}
