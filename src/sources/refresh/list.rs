//! Refreshes as they are shown.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

/// What a refresh may be.
pub const STATES: [&str; 5] = ["started", "completed", "failed", "quarantined", "released"];

/// A refresh and what became of it; counts are absent until it has ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[expect(missing_docs, reason = "see `domain::event::RefreshOutcome`")]
pub struct RefreshRow {
    pub refresh_id: Uuid,
    pub source: String,
    pub scope: Option<String>,
    /// One of [`STATES`].
    pub state: String,
    pub origin: Vec<String>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub observed_at: Option<DateTime<Utc>>,
    pub complete: Option<bool>,
    pub reason: Option<String>,
    pub content_sha256: Option<String>,
    pub observed: Option<i64>,
    pub listed: Option<i64>,
    pub changed: Option<i64>,
    pub unchanged: Option<i64>,
    pub within_threshold: Option<i64>,
    pub not_observed: Option<i64>,
    pub withdrawn: Option<i64>,
    pub relisted: Option<i64>,
    pub released_at: Option<DateTime<Utc>>,
    pub released_by: Option<String>,
    pub source_version: Option<String>,
    pub etag: Option<String>,
    /// Where a language model was asked: see `domain::event::Research`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub research: Option<serde_json::Value>,
    /// The event that led to `state`.
    pub position: i64,
}

/// Up to `limit` refreshes, in the order in which they last changed, after a position; of one state, or all.
///
/// # Errors
/// The database failed.
pub async fn refreshes(
    executor: impl PgExecutor<'_>,
    after: i64,
    state: Option<&str>,
    limit: i64,
) -> Result<Vec<RefreshRow>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/refreshes.sql"))
        .bind(after)
        .bind(None::<Uuid>)
        .bind(state)
        .bind(limit)
        .fetch_all(executor)
        .await
}

/// One refresh; `None` where there is none of that id.
///
/// # Errors
/// The database failed.
pub async fn refresh_get(
    executor: impl PgExecutor<'_>,
    refresh_id: Uuid,
) -> Result<Option<RefreshRow>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/refreshes.sql"))
        .bind(0_i64)
        .bind(refresh_id)
        .bind(None::<&str>)
        .bind(1_i64)
        .fetch_optional(executor)
        .await
}

/// Whether no run of a scope is under way in any process.
///
/// # Errors
/// The database failed.
pub async fn scope_is_free(
    executor: impl PgExecutor<'_>,
    source: &str,
    scope: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(include_str!("sql/scope_free.sql")).bind(source).bind(scope).fetch_one(executor).await
}
