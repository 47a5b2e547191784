//! A refresh that is killed at any moment leaves all of its list or none.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::lists::{aws, day};
use crate::program::{command, refresh};
use crate::support::Database;

/// Several chunks of a bulk append.
const PRICES: usize = 6_000;
const KILLS_PER_LIST: u32 = 5;

/// The list of a day: every day one price in twenty is another one, and one in ten has moved.
fn write(folder: &Path, number: usize) -> PathBuf {
    let prices: Vec<(String, String)> = (0..PRICES)
        .map(|sku| {
            let amount = if sku % 20 == number { "0.2" } else { "0.1" };
            let version = if sku % 20 == 0 { number } else { 0 };
            (format!("SKU{sku}V{version}"), amount.to_owned())
        })
        .collect();
    let path = folder.join(format!("{number}.json"));
    std::fs::write(&path, aws(day(i64::try_from(number).expect("few")), &prices)).expect("writes");
    path
}

/// The official prices.
async fn prices(database: &Database) -> Vec<(i64, String, Decimal, bool)> {
    sqlx::query_as("select price_id, key, amount, in_force from current_prices.prices order by price_id")
        .fetch_all(&database.pool)
        .await
        .expect("reads")
}

async fn count(watch: &mut PgConnection, sql: &'static str, since: DateTime<Utc>) -> i64 {
    sqlx::query_scalar(sql).bind(since).fetch_one(watch).await.expect("reads")
}

const COMPLETED: &str =
    "select count(*) from events where event_type = 'refresh.completed' and recorded_at > $1";
/// Connections of the program: the test's own were there before it started.
const CONNECTED: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and backend_start > $1 and pid <> pg_backend_pid()";
/// Those in the transaction that appends: they hold the ledger's head while the run they began is open.
const APPENDING: &str = "select count(distinct a.pid) from pg_stat_activity a
    join pg_locks head on head.pid = a.pid and head.relation = 'ledger_head'::regclass
    where a.datname = current_database() and a.backend_start > $1 and exists (
        select from refreshes.refreshes where state = 'started' and started_at > $1
    )";
/// Runs that nobody ended.
const OPEN: &str = "select count(*) from refreshes.refreshes where state = 'started' and started_at > $1";

async fn completed(watch: &mut PgConnection) -> usize {
    usize::try_from(count(watch, COMPLETED, DateTime::UNIX_EPOCH).await).expect("a count")
}

fn ended(child: &mut Child) -> bool {
    child.try_wait().expect("waits").is_some()
}

#[tokio::test]
async fn a_killed_refresh_leaves_all_of_its_list_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = [write(folder.path(), 1), write(folder.path(), 2)];

    // What a run that nobody disturbs makes of the lists, and how long it takes.
    let undisturbed = Database::new().await;
    let mut states = vec![prices(&undisturbed).await];
    let mut longest = Duration::ZERO;
    for list in &lists {
        let began = Instant::now();
        let ran = refresh(&undisturbed.url, "aws-bulk", &[list]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        longest = longest.max(began.elapsed());
        states.push(prices(&undisturbed).await);
    }
    assert_eq!(states.iter().map(Vec::len).collect::<Vec<_>>(), [0, PRICES, PRICES + PRICES / 20]);

    let database = Database::new().await;
    // Of the connections of others, only a superuser sees what they do.
    let mut watch = database.owner().await;
    let mut killed_while_appending = 0;
    for (before, list) in lists.iter().enumerate() {
        for kill in 0..KILLS_PER_LIST {
            let path = list.to_str().expect("UTF-8");
            let started: DateTime<Utc> =
                sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut watch).await.expect("reads");
            let mut child = command(&database.url, &["refresh", "--format", "aws-bulk", path])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("starts");
            if kill % 2 == 0 {
                tokio::time::sleep(longest * kill / (KILLS_PER_LIST + 1)).await;
            } else {
                while count(&mut watch, APPENDING, started).await == 0 && !ended(&mut child) {
                    tokio::task::yield_now().await;
                }
                // Further into the transaction, so that not every kill meets its first moment.
                tokio::time::sleep(longest * kill / 50).await;
            }
            killed_while_appending += count(&mut watch, APPENDING, started).await;
            child.kill().expect("kills");
            child.wait().expect("ends");
            // The server may still finish the statement at hand.
            while count(&mut watch, CONNECTED, started).await > 0 {
                tokio::task::yield_now().await;
            }
            let completed = completed(&mut watch).await;
            assert!(prices(&database).await == states[completed], "list {before}, kill {kill}: half a list");
            database.assert_sound().await;
            if completed > before {
                break;
            }
        }
        if completed(&mut watch).await == before {
            let ran = refresh(&database.url, "aws-bulk", &[list]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
        assert!(prices(&database).await == states[before + 1], "list {before} ends as if undisturbed");
    }

    assert!(killed_while_appending > 0, "no kill met the append");
    assert_eq!(count(&mut watch, OPEN, DateTime::UNIX_EPOCH).await, 0, "runs that were cut off are closed");
    database.assert_sound().await;
}
