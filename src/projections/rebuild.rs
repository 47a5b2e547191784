//! Rebuilding a read model in a shadow schema.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{BATCH_EVENTS, Definition, Engine, ProjectionError};
use crate::ledger;

/// A shadow this close to the head is finished under the writers' lock.
const CLOSE_EVENTS: i64 = 2_000;

impl Engine {
    /// Rebuilds if `wanted`, which is given the hash of the SQL that the serving one was built with.
    pub(super) async fn rebuild_if(
        &self,
        definition: &'static Definition,
        wanted: impl FnOnce(Option<&[u8]>) -> bool,
    ) -> Result<bool, ProjectionError> {
        let failed = |source| ProjectionError::Apply { name: definition.name, source };
        // A connection of its own, closed at the end: it holds a session's lock and settings.
        let mut connection = self.pool.acquire().await.map_err(failed)?.detach();
        let rebuilt = rebuild_locked(&mut connection, definition, wanted).await.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        Ok(rebuilt)
    }
}

async fn rebuild_locked(
    connection: &mut PgConnection,
    definition: &Definition,
    wanted: impl FnOnce(Option<&[u8]>) -> bool,
) -> Result<bool, sqlx::Error> {
    let name = definition.name;
    // One rebuild of a read model at a time; whoever waited finds it done.
    sqlx::query(include_str!("sql/rebuild_lock.sql")).bind(name).execute(&mut *connection).await?;
    let stored: Option<Vec<u8>> = sqlx::query_scalar(include_str!("sql/stored_sha256.sql"))
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
    if !wanted(stored.as_deref()) {
        return Ok(false);
    }
    tracing::info!(projection = name, "rebuilding");
    let shadow = format!("{name}_shadow");
    let mut done = fill(connection, definition, &shadow).await?;
    definition.finish(connection, &shadow).await?;

    let mut transaction = connection.begin().await?;
    let (head, _, _): (i64, chrono::DateTime<chrono::Utc>, Vec<i64>) =
        sqlx::query_as(include_str!("../ledger/sql/lock.sql"))
            .bind(Vec::<String>::new())
            .fetch_one(&mut *transaction)
            .await?;
    while done < head {
        let to = head.min(done + BATCH_EVENTS);
        apply(&mut transaction, &shadow, done, to).await?;
        done = to;
    }
    // Statements under way go on reading the old tables; new ones find the new tables by name.
    let old = format!("{name}_old");
    sqlx::raw_sql(AssertSqlSafe(format!(
        "drop schema if exists {old} cascade;
         do $$ begin
             if exists (select from pg_namespace where nspname = '{name}') then
                 alter schema {name} rename to {old};
             end if;
         end $$;
         alter schema {shadow} rename to {name};
         alter function {name}.apply(bigint, bigint) set search_path = {name}, public;"
    )))
    .execute(&mut *transaction)
    .await?;
    sqlx::query(include_str!("sql/store.sql"))
        .bind(name)
        .bind(definition.mode.name())
        .bind(&definition.event_types)
        .bind(definition.sha256.as_slice())
        .bind(head)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    // Waits for the statements that still read it.
    sqlx::raw_sql(AssertSqlSafe(format!("drop schema if exists {old} cascade")))
        .execute(&mut *connection)
        .await?;
    tracing::info!(projection = name, position = head, "rebuilt");
    Ok(true)
}

/// Makes a shadow and brings it close to the head; returns how far.
pub(super) async fn fill(
    connection: &mut PgConnection,
    definition: &Definition,
    shadow: &str,
) -> Result<i64, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    definition.install(&mut transaction, shadow).await?;
    transaction.commit().await?;
    // A shadow lost in a crash is made again, so its batches need not wait for the disk.
    sqlx::raw_sql("set synchronous_commit = off").execute(&mut *connection).await?;
    let mut done = 0;
    loop {
        let head = ledger::head(&mut *connection).await?;
        if head - done <= CLOSE_EVENTS {
            break;
        }
        let to = head.min(done + BATCH_EVENTS);
        apply(connection, shadow, done, to).await?;
        done = to;
    }
    sqlx::raw_sql("set synchronous_commit = on").execute(&mut *connection).await?;
    Ok(done)
}

pub(super) async fn apply(
    connection: &mut PgConnection,
    schema: &str,
    from: i64,
    to: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(format!("select {schema}.apply($1, $2)")))
        .bind(from)
        .bind(to)
        .execute(connection)
        .await
        .map(|_| ())
}
