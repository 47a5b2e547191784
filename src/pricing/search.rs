//! Prices, their history and what was observed of them, page by page.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use uuid::Uuid;

use super::listing::ListingRow;
use super::{Pricing, PricingError, snapshot};
use crate::domain::price::Listing;
use crate::ledger::segments;

/// The most rows of a page.
pub const MAX_PAGE: i64 = 500;

/// A page and where the next one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// In ascending order of what the cursor counts.
    pub items: Vec<T>,
    /// `after` of the next page; `None`: this is the last one.
    #[serde(skip)]
    pub next_after: Option<i64>,
}

impl<T> Page<T> {
    /// Makes a page of `limit` rows from up to one more; `cursor` is what `after` counts.
    pub fn of(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> i64) -> Self {
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_after = if more { items.last().map(cursor) } else { None };
        Self { items, next_after }
    }
}

/// Which prices to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceFilter {
    /// `aws`, `azure`, ...
    pub provider: Option<String>,
    /// AWS offer code or Azure service name.
    pub service: Option<String>,
    /// Region code.
    pub region: Option<String>,
    /// A whole name: instance type, ARM SKU name, meter name, usage type, SKU.
    pub resource: Option<String>,
    /// Free text over names and attributes.
    pub q: Option<String>,
    /// Amounts as of this time in the world; `None`: now.
    pub as_of: Option<DateTime<Utc>>,
}

/// A price with its amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PriceRow {
    /// Identity in this ledger.
    pub price_id: i64,
    /// What it is the price of.
    #[serde(flatten)]
    pub listing: Listing,
    /// Per pricing unit; `None` where it was withdrawn as of the time asked for.
    pub list_unit_price: Option<Decimal>,
    /// Whether it is offered.
    pub in_force: bool,
    /// When the source showed this amount.
    pub observed_at: DateTime<Utc>,
    /// The event that set it.
    pub position: i64,
}

#[derive(Debug, sqlx::FromRow)]
struct StoredPrice {
    #[sqlx(flatten)]
    listing: ListingRow,
    amount: Option<Decimal>,
    in_force: bool,
    effective_at: DateTime<Utc>,
    position: i64,
}

impl TryFrom<StoredPrice> for PriceRow {
    type Error = PricingError;

    fn try_from(row: StoredPrice) -> Result<Self, PricingError> {
        let (price_id, listing) = row.listing.read()?;
        Ok(Self {
            price_id,
            listing,
            list_unit_price: row.amount.map(|amount| amount.normalize()),
            in_force: row.in_force,
            observed_at: row.effective_at,
            position: row.position,
        })
    }
}

/// One event of a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct HistoryRow {
    /// In the ledger.
    pub position: i64,
    /// `price.listed`, `price.changed`, `price.withdrawn` or `price.relisted`.
    pub event_type: String,
    /// The price from then on; `None`: withdrawn.
    #[sqlx(rename = "amount")]
    pub list_unit_price: Option<Decimal>,
    /// What led to it, where it moved.
    pub cause: Option<String>,
    /// When it holds in the world.
    pub effective_at: DateTime<Utc>,
    /// When the ledger took it.
    pub recorded_at: DateTime<Utc>,
}

/// What one refresh saw of a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Observed {
    /// The event that names the segment.
    pub position: i64,
    /// The run.
    pub refresh_id: Uuid,
    /// When the source showed it.
    pub observed_at: DateTime<Utc>,
    /// What it asked.
    pub amount: Decimal,
    /// SHA-256 of the segment that holds it, hex.
    pub segment: String,
}

impl Pricing {
    /// Finds prices, after a price id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn prices_find(
        &self,
        filter: &PriceFilter,
        after: i64,
        limit: i64,
    ) -> Result<Page<PriceRow>, PricingError> {
        let mut snapshot = snapshot(&self.pool, &self.engine).await?;
        let rows: Vec<StoredPrice> = sqlx::query_as(include_str!("sql/prices.sql"))
            .bind(&filter.provider)
            .bind(&filter.service)
            .bind(&filter.region)
            .bind(&filter.resource)
            .bind(&filter.q)
            .bind(filter.as_of)
            .bind(after)
            .bind(limit + 1)
            .fetch_all(&mut *snapshot)
            .await?;
        let items = rows.into_iter().map(PriceRow::try_from).collect::<Result<_, _>>()?;
        Ok(Page::of(items, limit, |price: &PriceRow| price.price_id))
    }

    /// One price; `None` where there is none of that id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn price_get(&self, price_id: i64) -> Result<Option<PriceRow>, PricingError> {
        let mut snapshot = snapshot(&self.pool, &self.engine).await?;
        let row: Option<StoredPrice> = sqlx::query_as(include_str!("sql/price.sql"))
            .bind(price_id)
            .fetch_optional(&mut *snapshot)
            .await?;
        row.map(PriceRow::try_from).transpose()
    }

    /// A price's events, oldest first, after a position.
    ///
    /// # Errors
    /// The database failed.
    pub async fn price_history(
        &self,
        price_id: i64,
        after: i64,
        limit: i64,
    ) -> Result<Page<HistoryRow>, PricingError> {
        let mut rows: Vec<HistoryRow> = sqlx::query_as(include_str!("sql/history.sql"))
            .bind(price_id)
            .bind(after)
            .bind(limit + 1)
            .fetch_all(&self.pool)
            .await?;
        for row in &mut rows {
            row.list_unit_price = row.list_unit_price.map(|amount| amount.normalize());
        }
        Ok(Page::of(rows, limit, |row: &HistoryRow| row.position))
    }

    /// What refreshes saw of a price, oldest first, after a position. A page may hold fewer than `limit` and still have a
    /// next one, since not every segment of its stretch shows it.
    ///
    /// # Errors
    /// The database failed, or a segment is missing or damaged.
    pub async fn price_observations(
        &self,
        price_id: i64,
        after: i64,
        limit: i64,
    ) -> Result<Page<Observed>, PricingError> {
        let mut connection = self.pool.acquire().await?;
        let rows: Vec<(i64, Uuid, DateTime<Utc>, Vec<u8>)> =
            sqlx::query_as(include_str!("sql/observed_segments.sql"))
                .bind(price_id)
                .bind(after)
                .bind(limit + 1)
                .fetch_all(&mut *connection)
                .await?;
        let page = Page::of(rows, limit, |row: &(i64, Uuid, DateTime<Utc>, Vec<u8>)| row.0);
        let mut items = Vec::new();
        // Runs that saw the same share a segment.
        let mut last: Option<(Vec<u8>, Option<Decimal>)> = None;
        for (position, refresh_id, observed_at, sha256) in page.items {
            let amount = match &last {
                Some((same, amount)) if *same == sha256 => *amount,
                _ => {
                    let inconsistent =
                        |error: segments::SegmentError| PricingError::Inconsistent(error.to_string());
                    let content = segments::load(&mut connection, &sha256).await.map_err(inconsistent)?;
                    let observations = segments::decode(&content).map_err(|what| {
                        PricingError::Inconsistent(format!("segment {}: {what}", hex::encode(&sha256)))
                    })?;
                    let found =
                        observations.binary_search_by_key(&price_id, |observation| observation.price_id);
                    found.ok().map(|place| observations[place].amount)
                }
            };
            if let Some(amount) = amount {
                let segment = hex::encode(&sha256);
                items.push(Observed { position, refresh_id, observed_at, amount, segment });
            }
            last = Some((sha256, amount));
        }
        Ok(Page { items, next_after: page.next_after })
    }
}
