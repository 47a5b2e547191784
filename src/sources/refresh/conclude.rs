//! What a list means, and the one transaction that records it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use sqlx::postgres::PgDatabaseError;
use uuid::Uuid;

use super::coverage::{self, ScopeRun, format_multirange, missed_before};
use super::known::{Known, Official};
use super::later::{seen_after, turned_after};
use super::staging::{StagedRow, Unlisted};
use super::{Judged, Read, RefreshError, Refresher, ResearchLog, Run, SourceVersion};
use crate::domain::event::{
    NewEvent, PRICE_CHANGED, PRICE_LISTED, PRICE_RELISTED, PRICE_WITHDRAWN, PRICES_OBSERVED, PriceListed,
    PriceMoved, PricesObserved, REFRESH_COMPLETED, REFRESH_QUARANTINED, REFRESH_RELEASED, RefreshCounts,
    RefreshOutcome, Research, price_stream, refresh_stream, relative_change,
};
use crate::domain::money::is_change;
use crate::domain::refresh::{OfficialPrice, RUNS_UNTIL_WITHDRAWN, Rules, Verdict, judge, suspicion};
use crate::ledger::BulkAppend;
use crate::ledger::segments::{self, Kind, Observation, SEGMENT_PRICE_IDS, Segment};

/// Events of one chunk of a bulk append.
const CHUNK_EVENTS: usize = 4_000;
/// Prices not on record in one segment of a quarantined run.
const UNLISTED_PER_SEGMENT: usize = 4_000;

/// What a run found and did.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Report {
    /// Its stream is `refresh/<refresh_id>`.
    pub refresh_id: Uuid,
    /// Format or configured source.
    pub source: String,
    /// What the list covers.
    pub scope: String,
    /// When the source showed it.
    pub observed_at: DateTime<Utc>,
    /// What was found; of a quarantined run, what it would have done.
    #[serde(flatten)]
    pub counts: RefreshCounts,
    /// Whether absence counts.
    pub complete: bool,
    /// Whether it waits for an administrator.
    pub quarantined: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where a language model was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub research: Option<Research>,
    /// How long the run took, to the millisecond.
    pub seconds: f64,
}

/// What the observations of prices on record mean.
#[derive(Debug, Default)]
struct Findings {
    counts: RefreshCounts,
    in_force: u64,
    observations: Vec<Observation>,
    changed: Vec<Move>,
    relisted: Vec<Move>,
    withdrawn: Vec<Move>,
    missing: BTreeSet<i64>,
}

/// A price and its amounts before and after; no amount after where it is withdrawn.
#[derive(Debug, Clone, Copy)]
struct Move {
    price_id: i64,
    previous: Decimal,
    amount: Option<Decimal>,
}

fn find(
    known: &Known,
    runs: &[ScopeRun],
    complete: bool,
    observed_at: DateTime<Utc>,
    rules: &Rules,
) -> Findings {
    let mut found = Findings::default();
    let mut previous: HashMap<i64, Decimal> = HashMap::new();
    for (&Official { price_id, price: official, covered }, seen) in known.iter() {
        let in_force = official.in_force;
        found.in_force += u64::from(in_force && covered);
        let Some(observed) = seen else {
            if in_force && covered && complete {
                found.missing.insert(price_id);
                previous.insert(price_id, official.amount);
            }
            continue;
        };
        found.observations.push(Observation { price_id, amount: observed.normalize() });
        let moved = Move { price_id, previous: official.amount, amount: Some(observed) };
        match judge(&official, observed, observed_at, rules) {
            Verdict::Unchanged => found.counts.unchanged += 1,
            Verdict::WithinThreshold => found.counts.within_threshold += 1,
            Verdict::Changed => found.changed.push(moved),
            Verdict::Relisted => found.relisted.push(moved),
        }
    }
    let missing: Vec<i64> = found.missing.iter().copied().collect();
    found.withdrawn = missed_before(runs, &missing)
        .into_iter()
        .map(|price_id| Move { price_id, previous: previous[&price_id], amount: None })
        .collect();
    found
}

impl Findings {
    /// Takes back what later lists of other scopes overrule, and withdrawals that count runs from before a relisting.
    async fn heed_others(
        &mut self,
        connection: &mut PgConnection,
        runs: &[ScopeRun],
        observed_at: DateTime<Utc>,
    ) -> Result<(), RefreshError> {
        let ids = |moves: &[Move]| moves.iter().map(|moved| moved.price_id).collect::<Vec<_>>();
        let (changed, relisted, withdrawn) = (ids(&self.changed), ids(&self.relisted), ids(&self.withdrawn));
        let all = changed.iter().chain(&relisted).chain(&withdrawn).copied();
        let mut overruled = seen_after(connection, observed_at, all).await?;
        overruled.extend(turned_after(connection, observed_at, relisted.into_iter()).await?);
        if let Some(first) = coverage::first_missed(runs) {
            overruled.extend(turned_after(connection, first.observed_at, withdrawn.into_iter()).await?);
        }
        let moves = self.changed.len() + self.relisted.len();
        for moves in [&mut self.changed, &mut self.relisted, &mut self.withdrawn] {
            moves.retain(|moved| !overruled.contains(&moved.price_id));
        }
        self.counts.unchanged += count(moves - self.changed.len() - self.relisted.len());
        Ok(())
    }

    /// Takes back moves beyond what a source may do to an official price. Its prices were judged before the lock was
    /// taken; what has moved since makes no exception.
    fn bound(&mut self, max_move: Decimal) {
        let moves = self.changed.len() + self.relisted.len();
        for moves in [&mut self.changed, &mut self.relisted] {
            moves.retain(|moved| {
                moved.amount.is_some_and(|amount| !is_change(moved.previous, amount, max_move))
            });
        }
        self.counts.unchanged += count(moves - self.changed.len() - self.relisted.len());
    }

    /// Counts what is known, with `listed` prices not on record beside it.
    fn count(&mut self, listed: u64) {
        self.counts.listed = listed;
        self.counts.observed = count(self.observations.len()) + listed;
        self.counts.changed = count(self.changed.len());
        self.counts.relisted = count(self.relisted.len());
        self.counts.not_observed = count(self.missing.len());
        self.counts.withdrawn = count(self.withdrawn.len());
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length")
}

impl Refresher {
    /// Records what was read.
    pub(super) async fn conclude(
        &self,
        run: &Run,
        connection: &mut PgConnection,
        read: &Read,
        known: Known,
    ) -> Result<Report, RefreshError> {
        let header = run
            .header
            .as_ref()
            .ok_or_else(|| RefreshError::Contradiction("the list has no header".into()))?;
        let outcome = Conclusion {
            refresh_id: run.refresh_id,
            source: &run.source,
            scope: &header.scope,
            observed_at: header.observed_at,
            complete: read.end.complete,
            content_sha256: hex::encode(read.end.content_sha256),
            staged: run.staged,
            version: &read.version,
            read_at: run.read_at,
            releasing: false,
            rules: &self.rules,
            judged: read.judged.as_ref(),
            research: run.research.as_ref(),
        };
        let mut bulk = BulkAppend::begin(connection, run.origin.clone()).await?;
        let (counts, reason) = outcome.write(&mut bulk, known).await?;
        bulk.commit().await?;
        Ok(Report {
            refresh_id: run.refresh_id,
            source: run.source.clone(),
            scope: header.scope.clone(),
            observed_at: header.observed_at,
            counts,
            complete: read.end.complete,
            quarantined: reason.is_some(),
            reason,
            research: run.research.as_ref().map(ResearchLog::read),
            seconds: seconds(run.began),
        })
    }
}

pub(super) fn seconds(began: std::time::Instant) -> f64 {
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    std::time::Duration::from_millis(millis).as_secs_f64()
}

/// A list that was read, or a quarantined one that is released.
#[derive(Debug)]
pub(super) struct Conclusion<'a> {
    pub(super) refresh_id: Uuid,
    pub(super) source: &'a str,
    pub(super) scope: &'a str,
    pub(super) observed_at: DateTime<Utc>,
    pub(super) complete: bool,
    pub(super) content_sha256: String,
    pub(super) version: &'a SourceVersion,
    /// Whether there are staging tables.
    pub(super) staged: bool,
    /// Position up to which the official prices in `known` were read.
    pub(super) read_at: i64,
    /// An administrator has accepted it: no suspicion, and what it observed is recorded already.
    pub(super) releasing: bool,
    pub(super) rules: &'a Rules,
    /// Where each price was judged by itself: the list as a whole is not suspicious then.
    pub(super) judged: Option<&'a Judged>,
    pub(super) research: Option<&'a ResearchLog>,
}

impl Conclusion<'_> {
    /// Appends everything but the start, under the writers' lock that `bulk` holds, and returns the counts, and the
    /// reason if the list is quarantined.
    pub(super) async fn write(
        &self,
        bulk: &mut BulkAppend<'_>,
        mut known: Known,
    ) -> Result<(RefreshCounts, Option<String>), RefreshError> {
        let connection = bulk.connection();
        let moved: Vec<(i64, Decimal, bool, DateTime<Utc>)> =
            sqlx::query_as(include_str!("sql/moved_since.sql"))
                .bind(self.read_at)
                .fetch_all(&mut *connection)
                .await?;
        let moved = moved.into_iter().map(|(price_id, amount, in_force, effective_at)| {
            (price_id, OfficialPrice { amount, in_force, effective_at })
        });
        known.update(&moved.collect());
        let (staged, unlisted) =
            if self.staged { choose_staged(connection, &mut known).await? } else { Default::default() };
        let runs = coverage::scope_runs(connection, self.source, self.scope).await?;
        let mut found = find(&known, &runs, self.complete, self.observed_at, self.rules);
        drop(known);
        found.heed_others(connection, &runs, self.observed_at).await?;
        if let Some(judged) = self.judged {
            found.bound(judged.max_move);
        }
        found.count(unlisted);

        let accepted = count(coverage::accepted_missing(&runs, &found.missing));
        let reason = if self.releasing || self.judged.is_some() {
            None
        } else {
            suspicion(&found.counts, found.in_force, accepted, self.rules)
        };
        found.observations.sort_unstable_by_key(|observation| observation.price_id);
        if let Some(reason) = reason {
            self.observe(bulk, &found.observations).await?;
            let unlisted = if unlisted > 0 { keep_unlisted(bulk).await? } else { Vec::new() };
            self.end(bulk, REFRESH_QUARANTINED, &found, Some(&reason), &unlisted).await?;
            return Ok((found.counts, Some(reason)));
        }
        let listed = if unlisted > 0 { self.list(bulk).await? } else { Vec::new() };
        self.announce(bulk, PRICE_CHANGED, &found.changed).await?;
        self.announce(bulk, PRICE_RELISTED, &found.relisted).await?;
        self.announce(bulk, PRICE_WITHDRAWN, &found.withdrawn).await?;
        if self.releasing {
            // The rest was observed when the list was read; of these, some may have been listed by another since.
            found.observations.retain(|observation| staged.contains(&observation.price_id));
            found.observations.extend(listed);
            self.observe(bulk, &found.observations).await?;
            self.end(bulk, REFRESH_RELEASED, &found, None, &[]).await?;
        } else {
            // Ids are given out in ascending order, so new ones follow those on record.
            found.observations.extend(listed);
            self.observe(bulk, &found.observations).await?;
            if let (Some(judged), Some(research)) = (self.judged, self.research) {
                judged.propose(bulk, research, self.observed_at).await?;
            }
            self.end(bulk, REFRESH_COMPLETED, &found, None, &[]).await?;
        }
        Ok((found.counts, None))
    }

    /// Lists the staged prices that are not on record; returns their observations.
    async fn list(&self, bulk: &mut BulkAppend<'_>) -> Result<Vec<Observation>, RefreshError> {
        let mut price_id: i64 = sqlx::query_scalar(include_str!("sql/price_id_last.sql"))
            .fetch_one(&mut *bulk.connection())
            .await?;
        let mut listed = Vec::new();
        let mut unlisted = UnlistedRows::new(bulk.connection()).await?;
        loop {
            let chunk = unlisted.next(bulk.connection(), CHUNK_EVENTS).await?;
            if chunk.is_empty() {
                return Ok(listed);
            }
            let mut events = Vec::with_capacity(chunk.len());
            for Unlisted { listing, amount } in &chunk {
                price_id += 1;
                listed.push(Observation { price_id, amount: *amount });
                let data = PriceListed {
                    v: 1,
                    price_id,
                    key: &listing.key,
                    provider: &listing.provider,
                    service: &listing.service,
                    region: &listing.region,
                    sku_id: &listing.sku_id,
                    sku_price_id: &listing.sku_price_id,
                    unit: &listing.unit,
                    currency: &listing.currency,
                    tier_from: listing.tier_from,
                    tier_to: listing.tier_to,
                    amount: *amount,
                    attributes: std::borrow::Cow::Borrowed(&listing.attributes),
                };
                events.push(
                    NewEvent::new(price_stream(price_id), PRICE_LISTED, &data)
                        .expecting(0)
                        .effective(self.observed_at),
                );
            }
            bulk.append(events).await?;
        }
    }

    async fn announce(
        &self,
        bulk: &mut BulkAppend<'_>,
        event_type: &'static str,
        moves: &[Move],
    ) -> Result<(), RefreshError> {
        for chunk in moves.chunks(CHUNK_EVENTS) {
            let ids: Vec<i64> = chunk.iter().map(|moved| moved.price_id).collect();
            let places: Vec<(i64, String, String, String)> =
                sqlx::query_as(include_str!("sql/places_of.sql"))
                    .bind(ids)
                    .fetch_all(&mut *bulk.connection())
                    .await?;
            let places: BTreeMap<i64, _> = places
                .iter()
                .map(|(id, provider, service, region)| (*id, (provider, service, region)))
                .collect();
            let events = chunk.iter().map(|moved| {
                let (provider, service, region) = places[&moved.price_id];
                let data = PriceMoved {
                    v: 1,
                    price_id: moved.price_id,
                    provider,
                    service,
                    region,
                    previous: moved.previous,
                    amount: moved.amount,
                    relative_change: moved.amount.and_then(|amount| relative_change(moved.previous, amount)),
                    missed_runs: moved.amount.is_none().then_some(RUNS_UNTIL_WITHDRAWN),
                    cause: "refresh",
                };
                NewEvent::new(price_stream(moved.price_id), event_type, &data).effective(self.observed_at)
            });
            bulk.append(events.collect()).await?;
        }
        Ok(())
    }

    /// Records observations, sorted by price id, as segments.
    async fn observe(
        &self,
        bulk: &mut BulkAppend<'_>,
        observations: &[Observation],
    ) -> Result<(), RefreshError> {
        let mut events = Vec::new();
        for stretch in
            observations.chunk_by(|a, b| a.price_id / SEGMENT_PRICE_IDS == b.price_id / SEGMENT_PRICE_IDS)
        {
            let segment = segments::encode(stretch);
            let name = hex::encode(segment.sha256);
            segments::store(bulk.connection(), Kind::Observations, &[segment]).await?;
            let data = PricesObserved {
                v: 1,
                segment: &name,
                first_price_id: stretch[0].price_id,
                last_price_id: stretch[stretch.len() - 1].price_id,
                count: u64::try_from(stretch.len()).expect("a length"),
            };
            events.push(
                NewEvent::new(refresh_stream(self.refresh_id), PRICES_OBSERVED, &data)
                    .effective(self.observed_at),
            );
        }
        Ok(bulk.append(events).await?)
    }

    async fn end(
        &self,
        bulk: &mut BulkAppend<'_>,
        event_type: &'static str,
        found: &Findings,
        reason: Option<&str>,
        unlisted_segments: &[String],
    ) -> Result<(), RefreshError> {
        let research = self.research.map(ResearchLog::read);
        let data = RefreshOutcome {
            v: 1,
            source: self.source,
            scope: self.scope,
            observed_at: self.observed_at,
            content_sha256: &self.content_sha256,
            complete: self.complete,
            counts: &found.counts,
            not_observed_ids: &format_multirange(&found.missing),
            reason,
            unlisted_segments,
            source_version: self.version.version.as_deref(),
            etag: self.version.etag.as_deref(),
            research: research.as_ref(),
        };
        let event =
            NewEvent::new(refresh_stream(self.refresh_id), event_type, &data).effective(self.observed_at);
        Ok(bulk.append(vec![event]).await?)
    }
}

/// Sorts out the staged prices: those on record join the known ones, and their ids and the number of the others are
/// returned.
async fn choose_staged(
    connection: &mut PgConnection,
    known: &mut Known,
) -> Result<(HashSet<i64>, u64), RefreshError> {
    let contradiction: Option<(String, String, String, String)> =
        sqlx::query_as(include_str!("sql/staged_contradiction.sql")).fetch_optional(&mut *connection).await?;
    if let Some((key, one, other, place)) = contradiction {
        return Err(RefreshError::Contradiction(format!(
            "{place}: {key}: the list says both {one} and {other}; correct the list"
        )));
    }
    sqlx::raw_sql(include_str!("sql/staged_choose.sql"))
        .execute(&mut *connection)
        .await
        .map_err(product_twice)?;
    let on_record: Vec<(i64, Decimal, bool, DateTime<Utc>, Decimal)> =
        sqlx::query_as(include_str!("sql/staged_on_record.sql")).fetch_all(&mut *connection).await?;
    let mut ids = HashSet::with_capacity(on_record.len());
    for (price_id, amount, in_force, effective_at, observed) in on_record {
        ids.insert(price_id);
        let price = OfficialPrice { amount, in_force, effective_at };
        known.push(Official { price_id, price, covered: false }, Some(observed));
    }
    let (_, unlisted): (i64, i64) =
        sqlx::query_as(include_str!("sql/staged_counts.sql")).fetch_one(connection).await?;
    Ok((ids, u64::try_from(unlisted).expect("a count")))
}

/// The only thing that must be unique among what is staged is a product's SKU.
fn product_twice(error: sqlx::Error) -> RefreshError {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => {
            let detail = database.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail);
            RefreshError::Contradiction(format!(
                "the list has a product twice: {}; get the list again",
                detail.unwrap_or_default()
            ))
        }
        _ => error.into(),
    }
}

/// Goes through the staged prices that are not on record.
struct UnlistedRows {
    after: i64,
}

impl UnlistedRows {
    async fn new(connection: &mut PgConnection) -> Result<Self, RefreshError> {
        let (on_record, _): (i64, i64) =
            sqlx::query_as(include_str!("sql/staged_counts.sql")).fetch_one(connection).await?;
        Ok(Self { after: on_record })
    }

    async fn next(
        &mut self,
        connection: &mut PgConnection,
        limit: usize,
    ) -> Result<Vec<Unlisted>, RefreshError> {
        let rows: Vec<StagedRow> = sqlx::query_as(include_str!("sql/staged_unlisted.sql"))
            .bind(self.after)
            .bind(i64::try_from(limit).expect("a small number"))
            .fetch_all(connection)
            .await?;
        self.after += i64::try_from(rows.len()).expect("a length");
        rows.into_iter().map(|row| row.into_unlisted().map_err(RefreshError::Contradiction)).collect()
    }
}

/// Keeps the staged prices that are not on record, for a release; returns the names of their segments.
async fn keep_unlisted(bulk: &mut BulkAppend<'_>) -> Result<Vec<String>, RefreshError> {
    let mut names = Vec::new();
    let mut rows = UnlistedRows::new(bulk.connection()).await?;
    loop {
        let chunk = rows.next(bulk.connection(), UNLISTED_PER_SEGMENT).await?;
        if chunk.is_empty() {
            return Ok(names);
        }
        let segment = Segment::new(unlisted_content(&chunk));
        names.push(hex::encode(segment.sha256));
        segments::store(bulk.connection(), Kind::Listings, &[segment]).await?;
    }
}

/// One JSON document a line.
fn unlisted_content(unlisted: &[Unlisted]) -> Vec<u8> {
    let mut content = Vec::new();
    for price in unlisted {
        serde_json::to_writer(&mut content, price).expect("a plain struct is JSON");
        content.push(b'\n');
    }
    content
}

/// Prices of a segment that [`keep_unlisted`] made.
pub(super) fn read_unlisted(content: &[u8]) -> Result<Vec<Unlisted>, serde_json::Error> {
    serde_json::Deserializer::from_slice(content).into_iter().collect()
}
