//! A list that its source says is unchanged: the same observations again, without reading it again.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::conclude::Report;
use super::{ListOrigin, Read, RefreshError, Refresher, Run, SourceVersion, release};
use crate::sources::{ListEnd, ListHeader};

/// The last complete run of a scope that is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// The run.
    pub refresh_id: Uuid,
    /// What its source said of the list.
    pub version: SourceVersion,
    content_sha256: [u8; 32],
}

/// How the last run of a scope ended.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RunEnd {
    /// What it covered.
    pub scope: String,
    /// The run.
    pub refresh_id: Uuid,
    /// Whether it failed.
    pub failed: bool,
    /// Milliseconds since then, by the clock of the database, which all processes share.
    pub age_ms: i64,
}

/// Row of `scope_last.sql`.
#[derive(sqlx::FromRow)]
struct LastRow {
    refresh_id: Uuid,
    complete: bool,
    content_sha256: String,
    source_version: Option<String>,
    etag: Option<String>,
}

/// The last complete run of a scope that is on record; `None` if there is none, or a partial one has followed.
///
/// # Errors
/// The database failed.
pub async fn last_complete(
    executor: impl PgExecutor<'_>,
    source: &str,
    scope: &str,
) -> Result<Option<LastRun>, sqlx::Error> {
    let row: Option<LastRow> = sqlx::query_as(include_str!("sql/scope_last.sql"))
        .bind(source)
        .bind(scope)
        .fetch_optional(executor)
        .await?;
    Ok(row.filter(|row| row.complete).and_then(|row| {
        let mut content_sha256 = [0; 32];
        hex::decode_to_slice(row.content_sha256, &mut content_sha256).ok()?;
        let version = SourceVersion { version: row.source_version, etag: row.etag };
        Some(LastRun { refresh_id: row.refresh_id, version, content_sha256 })
    }))
}

/// The last ended run of each scope of a source.
///
/// # Errors
/// The database failed.
pub async fn last_ends(executor: impl PgExecutor<'_>, source: &str) -> Result<Vec<RunEnd>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/scope_ends.sql")).bind(source).fetch_all(executor).await
}

impl Refresher {
    /// Records that a source still shows what it showed in the run `before`, under the rules of any other run: what was
    /// observed is compared with the official prices as they are now. `list.scope` must be given.
    ///
    /// # Errors
    /// See [`RefreshError`]; [`RefreshError::Contradiction`] if another run of the scope was recorded since `before` was
    /// read.
    pub async fn refresh_unchanged(
        &self,
        list: ListOrigin,
        observed_at: DateTime<Utc>,
        before: &LastRun,
        version: &SourceVersion,
    ) -> Result<Report, RefreshError> {
        let mut run = self.new_run(list);
        let mut connection = self.pool.acquire().await?.detach();
        let outcome = self.repeat(&mut run, &mut connection, observed_at, before, version).await;
        self.end(&run, connection, outcome).await
    }

    async fn repeat(
        &self,
        run: &mut Run,
        connection: &mut PgConnection,
        observed_at: DateTime<Utc>,
        before: &LastRun,
        version: &SourceVersion,
    ) -> Result<Report, RefreshError> {
        let scope = run
            .scope
            .clone()
            .ok_or_else(|| RefreshError::Contradiction("an unchanged list needs a scope".to_owned()))?;
        let runs = self.begin(run, connection, ListHeader { scope, observed_at }).await?;
        // Read again under the scope's lock.
        if runs.iter().find(|run| run.recorded()).map(|run| run.refresh_id) != Some(before.refresh_id) {
            return Err(RefreshError::Contradiction(format!(
                "refresh {}, which was to be repeated, is not the last one of its scope any more; try again",
                before.refresh_id
            )));
        }
        let known = release::observed_again(connection, before.refresh_id, &runs).await?;
        let end = ListEnd { complete: true, content_sha256: before.content_sha256 };
        let read = Read { end, version: version.clone(), judged: None };
        self.conclude(run, connection, &read, known).await
    }
}
