//! Durable appends of single events, beside plain inserts and beside message-db.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mercuriale::domain::event::NewEvent;
use mercuriale::ledger::{Append, Appender, Origin};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::made_up;
use crate::server::Server;
use crate::table::{Goal, Table, median};

const PRICES: i64 = 20_000;
const CONNECTIONS: i64 = 64;
const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(2);
const MESSAGE_DB: &str = "MERCURIALE_MESSAGE_DB";

#[derive(Debug)]
struct Round {
    ours_64: f64,
    ours_512: f64,
    plain: f64,
    message_db: Option<f64>,
}

pub(crate) async fn measure(server: &Server, table: &mut Table) -> anyhow::Result<()> {
    let pool = server.ledger("appends").await?;
    made_up::list(&pool, 1..=PRICES).await?;
    let mut owner = server.owner("appends").await?;
    // As after a night: statistics are there and all pages have been written.
    for statement in ["create table plain (like events)", "vacuum analyze", "checkpoint"] {
        owner.execute(statement).await?;
    }
    let plain = connections(&server.url("appends"), "public").await?;
    let message_db = match std::env::var_os(MESSAGE_DB) {
        Some(checkout) => {
            install_message_db(server, &PathBuf::from(checkout)).await?;
            Some(connections(&server.url("message_store"), "message_store, public").await?)
        }
        None => None,
    };
    let appender = Appender::spawn(pool.clone());
    let (mut plain, mut message_db) = (plain, message_db);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let rate;
        (rate, plain) = in_turns(plain, Way::Insert).await?;
        let ours_64 = appends(&appender, CONNECTIONS).await?;
        let ours_512 = appends(&appender, 512).await?;
        let mut theirs = None;
        if let Some(connections) = message_db.take() {
            let (rate, connections) = in_turns(connections, Way::WriteMessage).await?;
            theirs = Some(rate);
            message_db = Some(connections);
        }
        rounds.push(Round { ours_64, ours_512, plain: rate, message_db: theirs });
        println!("{:?}", rounds.last());
    }
    let rate = |of: fn(&Round) -> f64| format!("{:.0} a second", median(rounds.iter().map(of)));
    let plain_rate = format!("{} with plain inserts on 64 connections", rate(|round| round.plain));
    for (callers, of, goal) in
        [(64, (|round| round.ours_64) as fn(&Round) -> f64, 1.5), (512, |round| round.ours_512, 2.5)]
    {
        let ratio = median(rounds.iter().map(|round| of(round) / round.plain));
        let figure = format!("durable appends, {callers} callers");
        table.push(&figure, rate(of), plain_rate.clone(), ratio, Goal::AtLeast(goal));
    }
    for (callers, of) in [(64, (|round| round.ours_64) as fn(&Round) -> f64), (512, |round| round.ours_512)] {
        let figure = format!("the same appends beside message-db, {callers} callers");
        if message_db.is_some() {
            let theirs = |round: &Round| round.message_db.unwrap_or(f64::NAN);
            let ratio = median(rounds.iter().map(|round| of(round) / theirs(round)));
            let limit = format!(
                "{:.0} a second with `write_message` on 64 connections",
                median(rounds.iter().map(theirs))
            );
            table.push(&figure, rate(of), limit, ratio, Goal::AtLeast(10.0));
        } else {
            table.note(&figure, rate(of), format!("not measured: set {MESSAGE_DB} to a checkout"), "");
        }
    }
    pool.close().await;
    Ok(())
}

/// Events a second by `callers`, each of whom waits for its event to be durable before it sends the next.
async fn appends(appender: &Appender, callers: i64) -> anyhow::Result<f64> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let appender = appender.clone();
            tokio::spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < TURN {
                    let events = vec![event(caller, i64::from(count))];
                    let origin = Origin::shared("bench", Uuid::now_v7());
                    appender.append(Append { origin, events, idempotency: None }).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// A change of a price far from those of the other callers.
fn event(caller: i64, turn: i64) -> NewEvent {
    made_up::changed((caller * 7_919 + turn * 31) % PRICES + 1, turn)
}

async fn connections(url: &str, search_path: &str) -> anyhow::Result<Vec<PgConnection>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(AssertSqlSafe(format!("set search_path = {search_path}"))).await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// How others write an event.
#[derive(Debug, Clone, Copy)]
enum Way {
    Insert,
    WriteMessage,
}

/// Events a second where each connection writes one after the other, each in a transaction of its own.
async fn in_turns(connections: Vec<PgConnection>, way: Way) -> anyhow::Result<(f64, Vec<PgConnection>)> {
    let began = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .zip(0..)
        .map(|(mut connection, caller)| {
            tokio::spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < TURN {
                    let event = event(caller, i64::from(count));
                    match way {
                        Way::Insert => insert(&mut connection, event).await?,
                        Way::WriteMessage => write_message(&mut connection, event).await?,
                    }
                    count += 1;
                }
                Ok::<_, sqlx::Error>((count, connection))
            })
        })
        .collect();
    let (mut count, mut connections) = (0, Vec::new());
    for task in tasks {
        let (written, connection) = task.await??;
        count += written;
        connections.push(connection);
    }
    Ok((f64::from(count) / began.elapsed().as_secs_f64(), connections))
}

/// The limit: no order, no hash, no index, no read model.
async fn insert(connection: &mut PgConnection, event: NewEvent) -> sqlx::Result<()> {
    sqlx::query(
        "insert into plain (position, event_id, stream, stream_version, event_type, recorded_at, effective_at, actor,
                            tenant, correlation_id, causation_id, data, leaf_hash)
         values (1, $1, $2, 1, $3, now(), now(), 'bench', 'shared', $4, null, $5::text::json, $6)",
    )
    .bind(event.event_id)
    .bind(event.stream)
    .bind(event.event_type)
    .bind(Uuid::now_v7())
    .bind(event.data)
    .bind([0_u8; 32].as_slice())
    .execute(connection)
    .await
    .map(|_| ())
}

async fn write_message(connection: &mut PgConnection, event: NewEvent) -> sqlx::Result<()> {
    sqlx::query("select write_message($1, $2, $3, $4::text::jsonb)")
        .bind(event.event_id.to_string())
        // message-db parts the category from the id with a dash.
        .bind(event.stream.replace('/', "-"))
        .bind(event.event_type)
        .bind(event.data)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Runs the install script of a checkout of github.com/message-db/message-db, which needs `psql`.
async fn install_message_db(server: &Server, checkout: &Path) -> anyhow::Result<()> {
    server.create("message_store").await?;
    let script = checkout.join("database/install.sh");
    let options: sqlx::postgres::PgConnectOptions = server.url("message_store").parse()?;
    let password = server
        .url("message_store")
        .split([':', '@'])
        .nth(2)
        .context("the server's URL has a password")?
        .to_owned();
    let output = tokio::process::Command::new("bash")
        .arg(&script)
        .env("PGHOST", options.get_host())
        .env("PGPORT", options.get_port().to_string())
        .env("PGUSER", options.get_username())
        .env("PGPASSWORD", password)
        .env("CREATE_DATABASE", "off")
        .env("DATABASE_NAME", "message_store")
        .output()
        .await
        .with_context(|| format!("cannot run {}", script.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "{} failed: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
