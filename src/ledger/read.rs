//! Reading the log, once or as it grows.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgListener;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::hash::{HashedEvent, leaf_hash};
use crate::domain::event::SHARED_TENANT;

/// How long a tail waits for a notification before it looks by itself: a notification is lost with its connection.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Data that is read at a time, as stored; the text of what was compressed is several times as large.
const MAX_READ_BYTES: i64 = 2 << 20;
/// Channel of notifications, see `migrations/0001_ledger.sql`.
const CHANNEL: &str = "mercuriale_ledger";

/// An event as recorded.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
#[expect(missing_docs, reason = "the columns are described in docs/ARCHITECTURE.md")]
pub struct Event {
    pub position: i64,
    pub event_id: Uuid,
    pub stream: String,
    pub stream_version: i64,
    pub event_type: String,
    pub recorded_at: DateTime<Utc>,
    pub effective_at: DateTime<Utc>,
    pub actor: String,
    pub tenant: String,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    /// Exactly the bytes that were hashed.
    pub data: String,
    #[serde(serialize_with = "hex::serialize")]
    pub leaf_hash: Vec<u8>,
}

impl Event {
    /// Whether the stored hash is that of the stored columns.
    pub fn hash_holds(&self) -> bool {
        let hash = leaf_hash(&HashedEvent {
            position: self.position,
            event_id: self.event_id,
            stream: &self.stream,
            stream_version: self.stream_version,
            event_type: &self.event_type,
            recorded_at: self.recorded_at,
            effective_at: self.effective_at,
            actor: &self.actor,
            tenant: &self.tenant,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            data: &self.data,
        });
        hash.as_slice() == self.leaf_hash
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    event: Event,
    has_next: bool,
}

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Any of these types; `None`: all.
    pub event_types: Option<Vec<String>>,
    /// Only this stream.
    pub stream: Option<String>,
    /// Only what belongs to everybody or to this tenant; `None`: of all tenants, for the operator alone.
    pub tenant: Option<Arc<str>>,
}

/// The last position of the log; 0 when it is empty.
///
/// # Errors
/// The database failed.
pub async fn head(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(include_str!("sql/head.sql")).fetch_one(executor).await
}

/// What tells this ledger from others.
///
/// # Errors
/// The database failed.
pub async fn id(executor: impl PgExecutor<'_>) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar(include_str!("sql/ledger_id.sql")).fetch_one(executor).await
}

/// Up to `limit` events after `after`, in position order: at least one if there is any, but no more than memory should hold
/// at once. So only an empty answer is the end.
///
/// # Errors
/// The database failed.
pub async fn read(
    executor: impl PgExecutor<'_>,
    after: i64,
    filter: &EventFilter,
    limit: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    Ok(read_some(executor, after, filter, limit).await?.0)
}

/// The same, and whether some of the `limit` were left out for their size.
///
/// # Errors
/// The database failed.
pub async fn read_some(
    executor: impl PgExecutor<'_>,
    after: i64,
    filter: &EventFilter,
    limit: i64,
) -> Result<(Vec<Event>, bool), sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(include_str!("sql/read.sql"))
        .bind(after)
        .bind(&filter.event_types)
        .bind(&filter.stream)
        .bind(limit)
        .bind(filter.tenant.as_deref())
        .bind(SHARED_TENANT)
        .bind(MAX_READ_BYTES)
        .fetch_all(executor)
        .await?;
    let is_cut = rows.last().is_some_and(|last| last.has_next);
    Ok((rows.into_iter().map(|row| row.event).collect(), is_cut))
}

/// Follows the log: each batch starts where the last one ended, and nothing is ever skipped, since a position becomes
/// visible only after all before it.
#[derive(Debug)]
pub struct Tail {
    pool: PgPool,
    listener: PgListener,
    after: i64,
    batch: i64,
}

impl Tail {
    /// Follows from the event after `after`, at most `batch` events at a time.
    ///
    /// # Errors
    /// The database failed.
    pub async fn new(pool: PgPool, after: i64, batch: i64) -> Result<Self, sqlx::Error> {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self { pool, listener, after, batch })
    }

    /// Waits until there are events and returns them.
    ///
    /// # Errors
    /// The database failed; the same call may be made again and goes on at the same place.
    pub async fn next(&mut self) -> Result<Vec<Event>, sqlx::Error> {
        loop {
            let events = read(&self.pool, self.after, &EventFilter::default(), self.batch).await?;
            if let Some(last) = events.last() {
                self.after = last.position;
                return Ok(events);
            }
            self.wait().await?;
        }
    }

    /// Waits until the log has probably grown.
    ///
    /// # Errors
    /// The listening connection was lost and could not be made again.
    pub async fn wait(&mut self) -> Result<(), sqlx::Error> {
        match tokio::time::timeout(LOOK_AGAIN, self.listener.try_recv()).await {
            // A notification, a lost connection (made again by the listener), or time to look.
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => return Err(error),
        }
        // One look covers all that was announced meanwhile.
        while self.listener.next_buffered().is_some() {}
        Ok(())
    }
}
