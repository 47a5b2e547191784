//! What is known of prices from a later time than a list's. The lists of several scopes do not come in the order of
//! their times, and an old one is no news where a newer one has spoken.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::RefreshError;
use crate::ledger::segments::{self, SEGMENT_PRICE_IDS, SegmentError};

/// Those of the prices that a run which counts saw after `observed_at`.
pub(super) async fn seen_after(
    connection: &mut PgConnection,
    observed_at: DateTime<Utc>,
    price_ids: impl Iterator<Item = i64>,
) -> Result<HashSet<i64>, RefreshError> {
    let wanted: HashSet<i64> = price_ids.collect();
    let stretches: BTreeSet<i64> = wanted.iter().map(|price_id| price_id / SEGMENT_PRICE_IDS).collect();
    let later: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("sql/later_segments.sql"))
        .bind(observed_at)
        .bind(stretches.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    let mut seen = HashSet::new();
    for sha256 in later {
        let content = segments::load(connection, &sha256).await?;
        let observations =
            segments::decode(&content).map_err(|what| SegmentError::Damaged(hex::encode(&sha256), what))?;
        seen.extend(observations.iter().map(|seen| seen.price_id).filter(|id| wanted.contains(id)));
    }
    Ok(seen)
}

/// Those of the prices that were withdrawn or relisted after a time.
pub(super) async fn turned_after(
    connection: &mut PgConnection,
    after: DateTime<Utc>,
    price_ids: impl Iterator<Item = i64>,
) -> Result<HashSet<i64>, RefreshError> {
    let turns: Vec<(i64, DateTime<Utc>)> = sqlx::query_as(include_str!("sql/last_turns.sql"))
        .bind(price_ids.collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(turns.into_iter().filter(|(_, at)| *at > after).map(|(price_id, _)| price_id).collect())
}
