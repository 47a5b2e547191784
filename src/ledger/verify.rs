//! Checks that the log is whole and that nobody has edited it.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgPool;

use super::read::{Event, EventFilter, read};
use super::segments;
use crate::domain::event::PRICES_OBSERVED;

const BATCH: i64 = 5_000;
const SEGMENT_BATCH: i64 = 16;

/// What was checked and held.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Events, and the last position.
    pub events: i64,
    /// Observation segments.
    pub segments: u64,
}

/// What does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A position is missing or comes twice.
    #[error("position {expected} is missing: the next event is at {found}")]
    Gap {
        /// The position that should follow.
        expected: i64,
        /// The one that does.
        found: i64,
    },
    /// The last events are gone.
    #[error("the log ends at position {found}, but its head says {head}")]
    Short {
        /// Last event.
        found: i64,
        /// Head.
        head: i64,
    },
    /// The columns of an event are not those that were hashed.
    #[error("the event at position {0} is not what was recorded: its hash differs")]
    Edited(i64),
    /// The versions of a stream do not follow each other.
    #[error("the event at position {position} has version {found} of stream {stream}, not {expected}")]
    StreamVersion {
        /// Where.
        position: i64,
        /// Which stream.
        stream: String,
        /// Version that should follow.
        expected: i64,
        /// Version found.
        found: i64,
    },
    /// A segment is missing or damaged.
    #[error(transparent)]
    Segment(#[from] segments::SegmentError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Checks positions, stream versions, leaf hashes and observation segments of the whole log. Memory grows with the
/// number of streams.
///
/// # Errors
/// The first thing that does not hold.
pub async fn verify(pool: &PgPool) -> Result<Verified, VerifyError> {
    let head = super::head(pool).await?;
    let mut checker = Checker::default();
    while checker.position < head {
        let events = read(pool, checker.position, &EventFilter::default(), BATCH).await?;
        if events.is_empty() {
            return Err(VerifyError::Short { found: checker.position, head });
        }
        for event in &events {
            checker.check(event)?;
        }
    }
    let mut stored = 0;
    let mut last: Vec<u8> = Vec::new();
    loop {
        let rows: Vec<(Vec<u8>, String, Vec<u8>)> = sqlx::query_as(include_str!("sql/verify_segments.sql"))
            .bind(&last)
            .bind(SEGMENT_BATCH)
            .fetch_all(pool)
            .await?;
        let Some((end, ..)) = rows.last() else { break };
        last.clone_from(end);
        for (sha256, _, content) in rows {
            segments::open(&sha256, &content)?;
            checker.segments.remove(&hex::encode(&sha256));
            stored += 1;
        }
    }
    if let Some(missing) = checker.segments.pop_first() {
        return Err(segments::SegmentError::Missing(missing).into());
    }
    Ok(Verified { events: checker.position, segments: stored })
}

/// State of a check that goes through the log once.
#[derive(Debug, Default)]
struct Checker {
    position: i64,
    versions: HashMap<String, i64>,
    segments: BTreeSet<String>,
}

impl Checker {
    fn check(&mut self, event: &Event) -> Result<(), VerifyError> {
        if event.position != self.position + 1 {
            return Err(VerifyError::Gap { expected: self.position + 1, found: event.position });
        }
        if !event.hash_holds() {
            return Err(VerifyError::Edited(event.position));
        }
        let version = self.versions.entry(event.stream.clone()).or_default();
        if event.stream_version != *version + 1 {
            return Err(VerifyError::StreamVersion {
                position: event.position,
                stream: event.stream.clone(),
                expected: *version + 1,
                found: event.stream_version,
            });
        }
        *version += 1;
        if event.event_type == PRICES_OBSERVED {
            #[derive(serde::Deserialize)]
            struct Named {
                segment: String,
            }
            let named: Named =
                serde_json::from_str(&event.data).map_err(|_| VerifyError::Edited(event.position))?;
            self.segments.insert(named.segment);
        }
        self.position += 1;
        Ok(())
    }
}
