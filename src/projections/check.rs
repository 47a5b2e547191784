//! Comparing a read model with its rebuild.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::rebuild::{apply, fill};
use super::{Definition, Mode};
use crate::ledger;

/// The first row in which a read model and its rebuild differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Table, with its schema.
    pub table: String,
    /// The row as text, with `serving` or `rebuilt` in front: which of the two has it and the other has not.
    pub row: String,
}

pub(super) async fn check(pool: &PgPool, definition: &Definition) -> Result<Option<Difference>, sqlx::Error> {
    let mut connection = pool.acquire().await?.detach();
    let shadow = format!("{}_check", definition.name);
    sqlx::query(include_str!("sql/rebuild_lock.sql")).bind(&shadow).execute(&mut connection).await?;
    let done = fill(&mut connection, definition, &shadow).await?;
    let difference = compare(&mut connection, definition, &shadow, done).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("drop schema {shadow} cascade"))).execute(&mut connection).await?;
    connection.close().await?;
    Ok(difference)
}

/// Within one snapshot, in which the serving tables show the log up to a position: applies the rest up to there to the
/// shadow, then compares. Writers are not held up.
async fn compare(
    connection: &mut PgConnection,
    definition: &Definition,
    shadow: &str,
    done: i64,
) -> Result<Option<Difference>, sqlx::Error> {
    let mut transaction = connection.begin_with("begin isolation level repeatable read").await?;
    let position = match definition.mode {
        Mode::Inline => ledger::head(&mut *transaction).await?,
        Mode::Following => {
            sqlx::query_scalar(include_str!("sql/progress.sql"))
                .bind(definition.name)
                .fetch_one(&mut *transaction)
                .await?
        }
    };
    // A following one may be behind where the shadow has come to already.
    if done > position {
        transaction.rollback().await?;
        return Box::pin(refill(connection, definition, shadow, position)).await;
    }
    apply(&mut transaction, shadow, done, position).await?;
    let tables: Vec<String> = sqlx::query_scalar(include_str!("sql/tables.sql"))
        .bind(definition.name)
        .fetch_all(&mut *transaction)
        .await?;
    for table in tables {
        let serving = format!("{}.{table}", definition.name);
        let rebuilt = format!("{shadow}.{table}");
        let row: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select row from (
                 select 'serving ' || t::text as row from (select * from {serving} except all select * from {rebuilt}) t
                 union all
                 select 'rebuilt ' || t::text from (select * from {rebuilt} except all select * from {serving}) t
             ) d order by row limit 1"
        )))
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(row) = row {
            transaction.rollback().await?;
            return Ok(Some(Difference { table: serving, row }));
        }
    }
    transaction.rollback().await?;
    Ok(None)
}

/// Starts over once the serving one has come at least as far as the shadow had.
async fn refill(
    connection: &mut PgConnection,
    definition: &Definition,
    shadow: &str,
    position: i64,
) -> Result<Option<Difference>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    definition.install(&mut transaction, shadow).await?;
    apply(&mut transaction, shadow, 0, position).await?;
    transaction.commit().await?;
    compare(connection, definition, shadow, position).await
}
