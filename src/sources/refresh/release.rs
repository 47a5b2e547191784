//! Releasing a quarantined run: an administrator says that the list was right.

use std::collections::HashMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::conclude::{Conclusion, Report, read_unlisted, seconds};
use super::coverage::{self, scope_runs};
use super::known::{Known, Official};
use super::{RefreshError, Refresher, SourceVersion, lock_scope, staging};
use crate::domain::refresh::OfficialPrice;
use crate::ledger::segments::{self, SegmentError};
use crate::ledger::{BulkAppend, Origin};

#[derive(Debug, sqlx::FromRow)]
struct Quarantined {
    source: String,
    scope: String,
    observed_at: DateTime<Utc>,
    complete: bool,
    content_sha256: String,
    unlisted_segments: Option<Vec<String>>,
}

/// Applies what a quarantined run observed, compared with the official prices as they are now.
///
/// # Errors
/// There is no such run, it is not in quarantine, a newer run of its scope was recorded, or the database failed.
pub async fn release(refresher: &Refresher, refresh_id: Uuid) -> Result<Report, RefreshError> {
    let mut connection = refresher.pool.acquire().await?.detach();
    let outcome = release_on(refresher, refresh_id, &mut connection).await;
    connection.close().await?;
    outcome
}

async fn release_on(
    refresher: &Refresher,
    refresh_id: Uuid,
    connection: &mut PgConnection,
) -> Result<Report, RefreshError> {
    let began = Instant::now();
    let run = quarantined(connection, refresh_id).await?;
    lock_scope(connection, &run.source, &run.scope).await?;
    // Somebody else may have released it before the lock was to be had.
    let run = quarantined(connection, refresh_id).await.map(|_| run)?;
    let runs = scope_runs(connection, &run.source, &run.scope).await?;
    if let Some(newer) = runs.iter().find(|other| other.recorded() && other.observed_at > run.observed_at) {
        return Err(RefreshError::NotReleasable(format!(
            "refresh {refresh_id} shows prices of {}, but those of {} are on record (refresh {}); an older list cannot \
             be applied after a newer one",
            run.observed_at, newer.observed_at, newer.refresh_id
        )));
    }
    let read_at = crate::ledger::head(&mut *connection).await?;
    let known = observed_again(connection, refresh_id, &runs).await?;
    staging::create(connection).await?;
    for name in run.unlisted_segments.unwrap_or_default() {
        let sha256 = hex::decode(&name).map_err(|_| SegmentError::Missing(name.clone()))?;
        let content = segments::load(connection, &sha256).await?;
        let unlisted = read_unlisted(&content)
            .map_err(|_| SegmentError::Damaged(name.clone(), "it holds no listings"))?;
        staging::copy_unlisted(connection, &unlisted).await?;
    }
    let conclusion = Conclusion {
        refresh_id,
        source: &run.source,
        scope: &run.scope,
        observed_at: run.observed_at,
        complete: run.complete,
        content_sha256: run.content_sha256,
        // Recorded when it was quarantined.
        version: &SourceVersion::default(),
        staged: true,
        read_at,
        releasing: true,
        rules: &refresher.rules,
        judged: None,
        research: None,
    };
    let mut bulk = BulkAppend::begin(connection, Origin::shared(&refresher.actor, refresh_id)).await?;
    let (counts, _) = conclusion.write(&mut bulk, known).await?;
    bulk.commit().await?;
    Ok(Report {
        refresh_id,
        source: run.source.clone(),
        scope: run.scope.clone(),
        observed_at: run.observed_at,
        counts,
        complete: run.complete,
        quarantined: false,
        reason: None,
        research: None,
        seconds: seconds(began),
    })
}

async fn quarantined(connection: &mut PgConnection, refresh_id: Uuid) -> Result<Quarantined, RefreshError> {
    let run: Option<Quarantined> = sqlx::query_as(include_str!("sql/quarantined.sql"))
        .bind(refresh_id)
        .fetch_optional(connection)
        .await?;
    run.ok_or_else(|| {
        RefreshError::NotReleasable(format!(
            "there is no quarantined refresh {refresh_id}; `mercuriale refreshes list` shows them"
        ))
    })
}

/// The scope's prices, with what the run saw of them.
pub(super) async fn observed_again(
    connection: &mut PgConnection,
    refresh_id: Uuid,
    runs: &[coverage::ScopeRun],
) -> Result<Known, RefreshError> {
    let mut observed: HashMap<i64, Decimal> = HashMap::new();
    for observation in coverage::observations(connection, refresh_id).await? {
        observed.insert(observation.price_id, observation.amount);
    }
    let covered = coverage::load(connection, runs).await?;
    let mut known = Known::default();
    for (official, _) in covered.iter() {
        known.push(*official, observed.remove(&official.price_id));
    }
    // Prices on record that the run was the first of its scope to show.
    let ids: Vec<i64> = observed.keys().copied().collect();
    let others: Vec<(i64, String, Decimal, bool, DateTime<Utc>)> =
        sqlx::query_as(include_str!("sql/officials.sql")).bind(&ids).bind(&ids).fetch_all(connection).await?;
    for (price_id, _, amount, in_force, effective_at) in others {
        let price = OfficialPrice { amount, in_force, effective_at };
        known.push(Official { price_id, price, covered: false }, observed.remove(&price_id));
    }
    Ok(known)
}
