//! The relay: from the log to JetStream, in order, each event once.
//!
//! The stream itself is the cursor: the relay goes on after the position of its last message, and every message
//! states the stream sequence it expects to follow, so that neither a relay that was killed after publishing nor a
//! second relay that took itself for the leader can repeat or reorder anything, however long ago. The cursor in PostgreSQL
//! is for a stream whose messages have expired.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use sqlx::PgPool;
use uuid::Uuid;

use super::message::{
    EVENT_SUBJECTS, INVALIDATED_SUBJECT, Invalidated, STREAM, headers, position_of, subject,
};
use crate::domain::event::{DISCOUNT_POLICY_SET, PROPOSAL_APPROVED, REFRESH_COMPLETED, REFRESH_RELEASED};
use crate::ledger::{Event, HEARTBEAT, Lead, Tail};

/// Events published before their acknowledgements are awaited.
const BATCH: i64 = 500;
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Payloads from here on do not fit a message of NATS (1 MiB by default) and are referred to instead.
const MAX_PAYLOAD_BYTES: usize = 900_000;
/// How long the stream keeps events.
const MAX_AGE: Duration = Duration::from_hours(24 * 30);
/// How large the stream may grow; the oldest events go first. The log keeps all of them.
const MAX_BYTES: i64 = 8 << 30;
const CURSOR: &str = "relay";
const INVALIDATION_CURSOR: &str = "relay.invalidation";

/// Why the relay stopped for now.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// NATS failed, or JetStream refused.
    #[error("NATS: {0}")]
    Nats(String),
    /// The stream belongs to another ledger.
    #[error(
        "the stream {STREAM} holds events of another ledger ({found}, not {own}); use another NATS account"
    )]
    Stranger {
        /// `ce-source` of its last message.
        found: String,
        /// Ours.
        own: String,
    },
    /// Another replica leads now.
    #[error("another replica relays now")]
    Deposed,
}

fn nats(error: impl std::fmt::Display) -> RelayError {
    RelayError::Nats(error.to_string())
}

/// Publishes the log.
#[derive(Debug, Clone)]
pub struct Relay {
    pool: PgPool,
    client: async_nats::Client,
    ledger_id: Uuid,
}

/// Where the stream ends.
struct StreamEnd {
    /// Last event it holds, or held.
    position: i64,
    /// Its sequence.
    sequence: u64,
}

impl Relay {
    /// A relay of one ledger to one NATS.
    pub fn new(pool: PgPool, client: async_nats::Client, ledger_id: Uuid) -> Self {
        Self { pool, client, ledger_id }
    }

    /// Relays whenever it is the leader, until the task is dropped. Failures are logged and tried again.
    pub async fn run(self) {
        loop {
            let Err(error) = self.relay().await;
            tracing::warn!(%error, "the relay to NATS has stopped; it goes on from the end of the stream");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits to lead, and relays as long as it does.
    async fn relay(&self) -> Result<Infallible, RelayError> {
        let mut lead = Lead::take(&self.pool, "relay").await?;
        let context = jetstream::new(self.client.clone());
        let mut end = self.stream_end(&context).await?;
        let mut tail = Tail::new(self.pool.clone(), end.position, BATCH).await?;
        let mut touched = self.touched_before(end.position).await?;
        loop {
            let events = loop {
                tokio::select! {
                    events = tail.next() => break events?,
                    () = tokio::time::sleep(HEARTBEAT) => lead.beat().await.map_err(|_| RelayError::Deposed)?,
                }
            };
            end = self.publish(&context, &events, end.sequence).await?;
            save(&self.pool, CURSOR, end.position).await?;
            self.invalidate(&events, &mut touched).await?;
        }
    }

    /// Makes the stream if there is none, and finds where to go on.
    async fn stream_end(&self, context: &jetstream::Context) -> Result<StreamEnd, RelayError> {
        let config = stream::Config {
            name: STREAM.to_owned(),
            description: Some("events of the Mercuriale ledger".to_owned()),
            subjects: vec![EVENT_SUBJECTS.to_owned()],
            max_age: MAX_AGE,
            max_bytes: MAX_BYTES,
            storage: stream::StorageType::File,
            ..stream::Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(nats)?;
        let state = stream.get_info().await.map_err(nats)?.state;
        if state.last_sequence == 0 {
            // Never used, or lost: it is filled from the beginning.
            return Ok(StreamEnd { position: 0, sequence: 0 });
        }
        if state.messages == 0 {
            let position = cursor(&self.pool, CURSOR).await?;
            return Ok(StreamEnd { position, sequence: state.last_sequence });
        }
        let last = stream.get_raw_message(state.last_sequence).await.map_err(nats)?;
        let own = format!("urn:uuid:{}", self.ledger_id);
        let found =
            last.headers.get("ce-source").map(|source| source.as_str().to_owned()).unwrap_or_default();
        if found != own {
            return Err(RelayError::Stranger { found, own });
        }
        let position =
            position_of(&last.headers).ok_or_else(|| nats("the last message has no ce-sequence"))?;
        Ok(StreamEnd { position, sequence: state.last_sequence })
    }

    async fn publish(
        &self,
        context: &jetstream::Context,
        events: &[Event],
        after_sequence: u64,
    ) -> Result<StreamEnd, RelayError> {
        let mut sequence = after_sequence;
        let mut acknowledgements = Vec::with_capacity(events.len());
        for event in events {
            let mut headers = headers(event, self.ledger_id, sequence);
            let payload = if event.data.len() > MAX_PAYLOAD_BYTES {
                let reference = format!("/v1/events?after={}&limit=1", event.position - 1);
                headers.insert("ce-dataref", reference.as_str());
                Bytes::new()
            } else {
                Bytes::from(event.data.clone())
            };
            let sent = context.publish_with_headers(subject(event), headers, payload).await.map_err(nats)?;
            acknowledgements.push(sent);
            sequence += 1;
        }
        for (acknowledgement, expected) in acknowledgements.into_iter().zip(after_sequence + 1..) {
            let stored = acknowledgement.await.map_err(nats)?;
            if stored.sequence != expected {
                return Err(nats(format!("an event is at sequence {}, not {expected}", stored.sequence)));
            }
        }
        metrics::counter!("mercuriale_relayed_events_total").increment(events.len() as u64);
        let position = events.last().map_or(0, |event| event.position);
        Ok(StreamEnd { position, sequence })
    }

    /// Places that moved since the last notice, of events that are in the stream already.
    async fn touched_before(&self, position: i64) -> Result<BTreeSet<String>, RelayError> {
        let told = cursor(&self.pool, INVALIDATION_CURSOR).await?;
        let places: Vec<String> = sqlx::query_scalar(include_str!("sql/moved_places.sql"))
            .bind(told)
            .bind(position)
            .fetch_all(&self.pool)
            .await?;
        Ok(places.into_iter().collect())
    }

    /// After a refresh, an approved proposal or a change of policy, says which places moved.
    async fn invalidate(&self, events: &[Event], touched: &mut BTreeSet<String>) -> Result<(), RelayError> {
        for event in events {
            if let Some(place) = place_of(event) {
                touched.insert(place);
            }
            let policy = event.event_type == DISCOUNT_POLICY_SET;
            if !policy
                && ![REFRESH_COMPLETED, REFRESH_RELEASED, PROPOSAL_APPROVED]
                    .contains(&event.event_type.as_str())
            {
                continue;
            }
            let notice = Invalidated {
                position: event.position,
                places: std::mem::take(touched).into_iter().collect(),
                policy,
            };
            let payload = serde_json::to_vec(&notice).expect("a plain struct is JSON");
            self.client.publish(INVALIDATED_SUBJECT, payload.into()).await.map_err(nats)?;
            save(&self.pool, INVALIDATION_CURSOR, event.position).await?;
        }
        Ok(())
    }
}

/// Where a price event happened.
fn place_of(event: &Event) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Place {
        provider: String,
        service: String,
        region: String,
    }
    if !event.event_type.starts_with("price.") {
        return None;
    }
    let place: Place = serde_json::from_str(&event.data).ok()?;
    Some(format!("{}/{}/{}", place.provider, place.service, place.region))
}

async fn cursor(pool: &PgPool, name: &str) -> Result<i64, sqlx::Error> {
    let position = sqlx::query_scalar(include_str!("sql/cursor.sql")).bind(name).fetch_optional(pool).await?;
    Ok(position.unwrap_or_default())
}

async fn save(pool: &PgPool, name: &str, position: i64) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/cursor_save.sql")).bind(name).bind(position).execute(pool).await.map(|_| ())
}
