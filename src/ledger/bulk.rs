//! Bulk appends: one transaction, events go in through COPY in bounded chunks.

use std::collections::{BTreeSet, HashMap};

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use sqlx::{Acquire as _, PgConnection};

use super::Origin;
use super::hash::{HashedEvent, leaf_hash};
use crate::domain::event::NewEvent;

/// Microseconds from 1970 to 2000, where PostgreSQL starts counting.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const COLUMNS: i16 = 13;

/// A bulk append under way. It holds the writers' lock from [`BulkAppend::begin`] until [`BulkAppend::commit`], so
/// either all of its events become visible at once or, if it is dropped, none.
///
/// Encoding and hashing of one chunk overlap with PostgreSQL's work on the chunk before.
#[derive(Debug)]
pub struct BulkAppend<'c> {
    transaction: sqlx::Transaction<'c, sqlx::Postgres>,
    origin: Origin,
    recorded_at: DateTime<Utc>,
    /// Last position that PostgreSQL has.
    written: i64,
    /// Last position given out.
    assigned: i64,
    waiting: Option<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    rows: BytesMut,
    to_position: i64,
    types: BTreeSet<&'static str>,
}

impl<'c> BulkAppend<'c> {
    /// Begins a transaction and takes the writers' lock.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin(connection: &'c mut PgConnection, origin: Origin) -> Result<Self, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let (head, recorded_at, _): (i64, DateTime<Utc>, Vec<i64>) =
            sqlx::query_as(include_str!("sql/lock.sql"))
                .bind(Vec::<String>::new())
                .fetch_one(&mut *transaction)
                .await?;
        Ok(Self { transaction, origin, recorded_at, written: head, assigned: head, waiting: None })
    }

    /// The connection, to read what must not change before the commit. What was appended last may not be there yet.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Who appends, and why.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Changes why the following events happen.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// Last position given out so far.
    pub fn position(&self) -> i64 {
        self.assigned
    }

    /// Appends a chunk; a few thousand events keep memory low and PostgreSQL busy. An `expected_version` is taken at
    /// its word here: a wrong one fails the whole bulk append, since PostgreSQL refuses a version that exists.
    ///
    /// # Errors
    /// The database failed, or a stream has moved; nothing of the bulk append will be durable.
    pub async fn append(&mut self, events: Vec<NewEvent>) -> Result<(), sqlx::Error> {
        if events.is_empty() {
            return Ok(());
        }
        let mut versions = self.unstated_versions(&events).await?;
        let first = self.assigned + 1;
        self.assigned += i64::try_from(events.len()).expect("a chunk is small");
        let (origin, recorded_at) = (self.origin.clone(), self.recorded_at);
        let encoding =
            tokio::task::spawn_blocking(move || encode(events, first, recorded_at, &origin, &mut versions));
        let written = self.write_waiting().await;
        let chunk = encoding.await.expect("encoding does not panic");
        written?;
        self.waiting = Some(chunk);
        Ok(())
    }

    /// Commits; all events become visible.
    ///
    /// # Errors
    /// The database failed; whether the events are durable is not known if it failed while committing.
    pub async fn commit(mut self) -> Result<i64, sqlx::Error> {
        self.write_waiting().await?;
        self.transaction.commit().await?;
        Ok(self.assigned)
    }

    /// Versions of the streams whose events state none.
    async fn unstated_versions(&mut self, events: &[NewEvent]) -> Result<HashMap<String, i64>, sqlx::Error> {
        let streams: BTreeSet<&str> = events
            .iter()
            .filter(|event| event.expected_version.is_none())
            .map(|event| event.stream.as_str())
            .collect();
        if streams.is_empty() {
            return Ok(HashMap::new());
        }
        // An event of the waiting chunk may be on one of these streams.
        self.write_waiting().await?;
        let streams: Vec<&str> = streams.into_iter().collect();
        let (_, _, versions): (i64, DateTime<Utc>, Vec<i64>) = sqlx::query_as(include_str!("sql/lock.sql"))
            .bind(&streams)
            .fetch_one(&mut *self.transaction)
            .await?;
        Ok(streams.into_iter().map(str::to_owned).zip(versions).collect())
    }

    async fn write_waiting(&mut self) -> Result<(), sqlx::Error> {
        let Some(chunk) = self.waiting.take() else { return Ok(()) };
        let mut copy = (*self.transaction).copy_in_raw(include_str!("sql/copy_events.sql")).await?;
        copy.send(chunk.rows.freeze()).await?;
        copy.finish().await?;
        sqlx::query(include_str!("sql/advance.sql"))
            .bind(self.written)
            .bind(chunk.to_position)
            .bind(self.recorded_at)
            .bind(chunk.types.into_iter().collect::<Vec<_>>())
            .execute(&mut *self.transaction)
            .await?;
        self.written = chunk.to_position;
        Ok(())
    }
}

/// Rows in PostgreSQL's binary COPY format.
fn encode(
    events: Vec<NewEvent>,
    first: i64,
    recorded_at: DateTime<Utc>,
    origin: &Origin,
    versions: &mut HashMap<String, i64>,
) -> Chunk {
    let mut rows = BytesMut::with_capacity(events.len() * 1_024);
    rows.put_slice(COPY_HEADER);
    let mut types = BTreeSet::new();
    let mut position = first;
    for event in events {
        let origin = origin.of(&event);
        let stream_version = 1 + match event.expected_version {
            Some(version) => version,
            None => versions.get(&event.stream).copied().unwrap_or_default(),
        };
        if let Some(version) = versions.get_mut(&event.stream) {
            *version = stream_version;
        }
        let effective_at = event.effective_at.unwrap_or(recorded_at);
        let hash = leaf_hash(&HashedEvent {
            position,
            event_id: event.event_id,
            stream: &event.stream,
            stream_version,
            event_type: event.event_type,
            recorded_at,
            effective_at,
            actor: &origin.actor,
            tenant: &origin.tenant,
            correlation_id: origin.correlation_id,
            causation_id: origin.causation_id,
            data: &event.data,
        });
        rows.put_i16(COLUMNS);
        let mut field = |bytes: &[u8]| put_field(&mut rows, bytes);
        field(&position.to_be_bytes());
        field(event.event_id.as_bytes());
        field(event.stream.as_bytes());
        field(&stream_version.to_be_bytes());
        field(event.event_type.as_bytes());
        field(&(recorded_at.timestamp_micros() - POSTGRES_EPOCH_MICROS).to_be_bytes());
        field(&(effective_at.timestamp_micros() - POSTGRES_EPOCH_MICROS).to_be_bytes());
        field(origin.actor.as_bytes());
        field(origin.tenant.as_bytes());
        field(origin.correlation_id.as_bytes());
        match origin.causation_id {
            Some(id) => field(id.as_bytes()),
            None => rows.put_i32(-1),
        }
        put_field(&mut rows, event.data.as_bytes());
        put_field(&mut rows, &hash);
        types.insert(event.event_type);
        position += 1;
    }
    rows.put_slice(&COPY_TRAILER);
    Chunk { rows, to_position: position - 1, types }
}

fn put_field(rows: &mut BytesMut, bytes: &[u8]) {
    rows.put_i32(i32::try_from(bytes.len()).expect("a field is smaller than 2 GB"));
    rows.put_slice(bytes);
}
