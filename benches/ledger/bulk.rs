//! Bulk appends of new prices, beside COPY of the same rows.

use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use mercuriale::ledger::{BulkAppend, Origin};
use sqlx::postgres::PgPoolCopyExt as _;
use sqlx::{Executor as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::made_up::{self, CHUNK_EVENTS};
use crate::server::Server;
use crate::table::{Goal, Table, median};

const ROUNDS: i64 = 5;
const EVENTS: i64 = 80_000;

pub(crate) async fn measure(server: &Server, table: &mut Table) -> anyhow::Result<()> {
    let pool = server.ledger("bulk").await?;
    let mut owner = server.owner("bulk").await?;
    owner
        .execute(
            "create table plain (like events);
             create table indexed (like events including indexes including constraints)",
        )
        .await?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let first = round * EVENTS + 1;
        let ours = append(&pool, first).await?;
        let rows = rows(&pool, first).await?;
        let plain = copy(&mut owner, "plain", rows.clone()).await?;
        let indexed = copy(&mut owner, "indexed", rows).await?;
        println!("ours {ours:.0} plain {plain:.0} indexed {indexed:.0}");
        rounds.push((ours, plain, indexed));
    }
    let rate = |of: fn(&(f64, f64, f64)) -> f64| format!("{:.0} a second", median(rounds.iter().map(of)));
    table.push(
        "bulk append of new prices, read models included",
        rate(|round| round.0),
        format!("{} with COPY alone", rate(|round| round.1)),
        median(rounds.iter().map(|round| round.0 / round.1)),
        Goal::AtLeast(0.3),
    );
    table.note(
        "the same, beside COPY into the log's indexes",
        rate(|round| round.0),
        format!("{} with COPY and indexes", rate(|round| round.2)),
        &format!("{:.2}", median(rounds.iter().map(|round| round.0 / round.2))),
    );
    pool.close().await;
    Ok(())
}

/// Events a second, through to the commit.
async fn append(pool: &PgPool, first: i64) -> anyhow::Result<f64> {
    let mut chunks: Vec<Vec<_>> = Vec::new();
    for price_id in first..first + EVENTS {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_EVENTS => chunk.push(made_up::listed(price_id)),
            _ => chunks.push(vec![made_up::listed(price_id)]),
        }
    }
    let mut connection = pool.acquire().await?;
    let began = Instant::now();
    let mut bulk = BulkAppend::begin(&mut connection, Origin::shared("bench", Uuid::now_v7())).await?;
    for chunk in chunks {
        bulk.append(chunk).await?;
    }
    bulk.commit().await?;
    Ok(EVENTS as f64 / began.elapsed().as_secs_f64())
}

/// The rows that were appended, as COPY wants them.
async fn rows(pool: &PgPool, first: i64) -> anyhow::Result<Vec<Bytes>> {
    let statement = format!(
        "copy (select * from events where position >= {first} order by position) to stdout (format binary)"
    );
    Ok(pool.copy_out_raw(&statement).await?.try_collect().await?)
}

async fn copy(connection: &mut PgConnection, table: &str, rows: Vec<Bytes>) -> anyhow::Result<f64> {
    // Pieces of about the size in which the ledger sends them.
    let rows: Vec<Bytes> = rows.chunks(CHUNK_EVENTS).map(|rows| Bytes::from(rows.concat())).collect();
    let began = Instant::now();
    let statement = format!("copy {table} from stdin (format binary)");
    let mut copy = connection.copy_in_raw(&statement).await?;
    for piece in rows {
        copy.send(piece).await?;
    }
    copy.finish().await?;
    Ok(EVENTS as f64 / began.elapsed().as_secs_f64())
}
