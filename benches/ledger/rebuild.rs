//! Rebuilding read models from the log, beside copying their rows from tables with typed columns.

use std::time::Instant;

use mercuriale::projections::Engine;
use sqlx::{Executor as _, PgConnection};

use crate::made_up;
use crate::server::Server;
use crate::table::{Goal, Table, median};

const PRICES: i64 = 200_000;
const ROUNDS: usize = 3;

pub(crate) async fn measure(server: &Server, table: &mut Table) -> anyhow::Result<()> {
    let pool = server.ledger("rebuild").await?;
    made_up::list(&pool, 1..=PRICES).await?;
    let mut owner = server.owner("rebuild").await?;
    owner
        .execute(
            "create table typed_prices as select * from current_prices.prices order by price_id;
             create table typed_history as select * from price_history.price_events order by position",
        )
        .await?;
    owner.execute("vacuum analyze").await?;
    let engine = Engine::new(pool.clone());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let prices = insert(&mut owner, "typed_prices", "current_prices.prices").await?;
        let history = insert(&mut owner, "typed_history", "price_history.price_events").await?;
        let began = Instant::now();
        engine.rebuild_all(&["current_prices", "price_history"]).await?;
        let ours = began.elapsed().as_secs_f64();
        println!("inserts {prices:.2} {history:.2} rebuilds {ours:.2}");
        rounds.push((ours, prices + history));
    }
    let rate = |of: fn(&(f64, f64)) -> f64| {
        format!("{:.0} rows a second", 2.0 * PRICES as f64 / median(rounds.iter().map(of)))
    };
    table.push(
        "rebuild of current_prices and price_history",
        rate(|round| round.0),
        format!("{} with INSERT ... SELECT", rate(|round| round.1)),
        median(rounds.iter().map(|round| round.1 / round.0)),
        Goal::AtLeast(0.6),
    );
    pool.close().await;
    Ok(())
}

/// Seconds that it takes to fill a table like `like` from one with the same columns.
async fn insert(connection: &mut PgConnection, from: &str, like: &str) -> anyhow::Result<f64> {
    let sql = format!("drop table if exists target; create table target (like {like} including all)");
    connection.execute(sqlx::AssertSqlSafe(sql)).await?;
    let began = Instant::now();
    connection.execute(sqlx::AssertSqlSafe(format!("insert into target select * from {from}"))).await?;
    Ok(began.elapsed().as_secs_f64())
}
