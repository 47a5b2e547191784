//! Every price that was in force in a place, as a list that other ledgers read, or as JSON.
//!
//! An export is of a time in the world and a position of the ledger. Events are never changed and no listing is, so both
//! together give the same bytes for ever, and pages can be read one after the other without a snapshot: nothing is locked
//! and no old row is kept for it, however slowly somebody reads.

use std::collections::BTreeSet;
use std::fmt::Display;

use chrono::{DateTime, SubsecRound as _, Utc};
use futures_util::{Stream, stream};
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::estimate::CLOCK_TOLERANCE;
use super::listing::ListingRow;
use super::lookup::{When, nearest_place};
use super::search::PriceRow;
use super::{Pricing, PricingError, snapshot};
use crate::domain::price::Listing;
use crate::domain::price_list::{MAX_ATTRIBUTE_COLUMNS, PriceList, PriceListError, scope_of};

/// Prices that are held in memory at a time.
const PAGE: usize = 1_000;

/// Where prices are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `azure`, ...
    pub provider: String,
    /// AWS offer code or Azure service name; `None`: all of them.
    pub service: Option<String>,
    /// Region code; `None`: all of them.
    pub region: Option<String>,
}

impl Place {
    /// What a list of all prices there covers.
    pub fn scope(&self) -> String {
        scope_of(&self.provider, self.service.as_deref(), self.region.as_deref())
    }
}

impl Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.provider)?;
        if let Some(service) = &self.service {
            write!(formatter, " {service}")?;
        }
        match &self.region {
            Some(region) => write!(formatter, " in {region}"),
            None => Ok(()),
        }
    }
}

/// How prices are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Our own CSV.
    Csv,
    /// A [`PriceRow`] a line.
    Json,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum PriceExportError {
    /// No price was in force.
    #[error("no price of {place} was in force as of {as_of} as far as position {known_at} knows; {near}")]
    Nothing {
        /// What was asked for.
        place: Place,
        /// Time in the world.
        as_of: DateTime<Utc>,
        /// Position of the ledger.
        known_at: i64,
        /// What to try.
        near: String,
    },
    /// No price is known yet.
    #[error("as_of: {0} is in the future, where no price is known; give a time up to now, or leave it out")]
    Future(DateTime<Utc>),
    /// The ledger is not there yet.
    #[error(
        "known_at: {known_at} is no position yet, the last one is {head}; give one up to that, or leave it out"
    )]
    NoPosition {
        /// What was asked for.
        known_at: i64,
        /// The last position.
        head: i64,
    },
    /// More attributes than a list has columns for.
    #[error(
        "the prices have more than {MAX_ATTRIBUTE_COLUMNS} attributes; name a service or a region, or take JSON"
    )]
    TooManyAttributes,
    /// Not the request's fault.
    #[error(transparent)]
    Pricing(#[from] PricingError),
}

impl From<sqlx::Error> for PriceExportError {
    fn from(error: sqlx::Error) -> Self {
        PricingError::from(error).into()
    }
}

impl From<PriceListError> for PricingError {
    fn from(error: PriceListError) -> Self {
        Self::Inconsistent(error.to_string())
    }
}

#[derive(Debug, sqlx::FromRow)]
struct StoredRow {
    #[sqlx(flatten)]
    listing: ListingRow,
    amount: Option<Decimal>,
    effective_at: Option<DateTime<Utc>>,
    position: Option<i64>,
}

impl StoredRow {
    /// The price, if it was in force.
    fn in_force(self) -> Option<Result<InForce, PricingError>> {
        let (amount, observed_at, position) = (self.amount?, self.effective_at?, self.position?);
        let read = self.listing.read();
        Some(read.map(|(price_id, listing)| InForce {
            price_id,
            listing,
            amount: amount.normalize(),
            observed_at,
            position,
        }))
    }
}

/// A price in force.
#[derive(Debug)]
struct InForce {
    price_id: i64,
    listing: Listing,
    amount: Decimal,
    observed_at: DateTime<Utc>,
    position: i64,
}

/// Prices on their way out.
#[derive(Debug)]
pub struct PriceExport {
    pool: PgPool,
    place: Place,
    when: When,
    /// `None`: as JSON.
    list: Option<PriceList>,
    /// The first prices, until they are written.
    first: Option<Vec<InForce>>,
    /// Service, region and price id of the last price that was read; `None`: all were.
    after: Option<(String, String, i64)>,
}

impl Pricing {
    /// Every price that was in force in a place as of a time, as far as a position of the ledger knows; by default, now and
    /// all that is known. `now` is the world time of the request.
    ///
    /// # Errors
    /// See [`PriceExportError`].
    pub async fn prices_export(
        &self,
        place: Place,
        format: ListFormat,
        as_of: Option<DateTime<Utc>>,
        known_at: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<PriceExport, PriceExportError> {
        let as_of = as_of.unwrap_or(now).trunc_subsecs(6);
        if as_of > now + CLOCK_TOLERANCE {
            return Err(PriceExportError::Future(as_of));
        }
        // Only for the search model, which then knows every price that is listed up to the position.
        let mut snapshot = snapshot(&self.pool, &self.engine).await?;
        let head = crate::ledger::head(&mut *snapshot).await?;
        snapshot.rollback().await?;
        let known_at = known_at.unwrap_or(head);
        if known_at > head {
            return Err(PriceExportError::NoPosition { known_at, head });
        }
        let when = When { as_of, known_at };
        let list = match format {
            ListFormat::Csv => Some(PriceList::new(attributes(&self.pool, &place, when).await?)),
            ListFormat::Json => None,
        };
        let (pool, after) = (self.pool.clone(), Some(Default::default()));
        let mut export = PriceExport { pool, place, when, list, first: None, after };
        let first = export.read().await?;
        if first.is_empty() {
            let near = self.near(&export.place).await?;
            return Err(PriceExportError::Nothing { place: export.place, as_of, known_at, near });
        }
        export.first = Some(first);
        Ok(export)
    }

    /// What to try in place of a place without prices.
    async fn near(&self, place: &Place) -> Result<String, PricingError> {
        let places: Vec<(String, String, String)> =
            sqlx::query_as(include_str!("sql/places.sql")).fetch_all(&self.pool).await?;
        let is_there =
            |known: &str, wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == known);
        let is_known = places.iter().any(|(provider, service, region)| {
            *provider == place.provider
                && is_there(service, &place.service)
                && is_there(region, &place.region)
        });
        if is_known {
            return Ok("prices are known of there, but of another time or position".to_owned());
        }
        Ok(nearest_place(&place.provider, place.service.as_deref(), place.region.as_deref(), &places))
    }
}

/// Names of the attributes that the prices have.
async fn attributes(pool: &PgPool, place: &Place, when: When) -> Result<BTreeSet<String>, PriceExportError> {
    let names: Vec<String> = sqlx::query_scalar(include_str!("sql/export_attributes.sql"))
        .bind(&place.provider)
        .bind(&place.service)
        .bind(&place.region)
        .bind(when.as_of)
        .bind(when.known_at)
        .bind(i64::try_from(MAX_ATTRIBUTE_COLUMNS + 1).expect("a small number"))
        // Planned for this very place.
        .persistent(false)
        .fetch_all(pool)
        .await?;
    if names.len() > MAX_ATTRIBUTE_COLUMNS {
        return Err(PriceExportError::TooManyAttributes);
    }
    Ok(names.into_iter().collect())
}

impl PriceExport {
    /// World time of the prices.
    pub fn as_of(&self) -> DateTime<Utc> {
        self.when.as_of
    }

    /// The ledger position up to which events count.
    pub fn known_at(&self) -> i64 {
        self.when.known_at
    }

    /// Where the prices are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The whole export, a page at a time. It ends with an error if not all prices could be read.
    pub fn chunks(self) -> impl Stream<Item = Result<Vec<u8>, PricingError>> + Send + 'static {
        stream::try_unfold(self, |mut export| async move {
            let first = export.first.take();
            let is_first = first.is_some();
            let page = match first {
                Some(page) => page,
                None => export.read().await?,
            };
            if page.is_empty() {
                return Ok(None);
            }
            let chunk = export.write(&page, is_first)?;
            Ok(Some((chunk, export)))
        })
    }

    /// The next prices in force; an empty page: there are no more.
    async fn read(&mut self) -> Result<Vec<InForce>, PricingError> {
        while let Some((service, region, price_id)) = self.after.take() {
            let mut transaction = self.pool.begin_with("begin read only").await?;
            sqlx::query(include_str!("sql/export_plan.sql")).execute(&mut *transaction).await?;
            let rows: Vec<StoredRow> = sqlx::query_as(include_str!("sql/export.sql"))
                .bind(&self.place.provider)
                .bind(&self.place.service)
                .bind(&self.place.region)
                .bind(self.when.as_of)
                .bind(self.when.known_at)
                .bind(service)
                .bind(region)
                .bind(price_id)
                .bind(i64::try_from(PAGE).expect("a small number"))
                // Planned for this very place.
                .persistent(false)
                .fetch_all(&mut *transaction)
                .await?;
            transaction.rollback().await?;
            if let Some(last) = rows.last().filter(|_| rows.len() == PAGE) {
                let ListingRow { service, region, price_id, .. } = &last.listing;
                self.after = Some((service.clone(), region.clone(), *price_id));
            }
            let page =
                rows.into_iter().filter_map(StoredRow::in_force).collect::<Result<Vec<_>, PricingError>>()?;
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    fn write(&self, page: &[InForce], is_first: bool) -> Result<Vec<u8>, PricingError> {
        let Some(list) = &self.list else { return json_lines(page) };
        let rows = list.rows(page.iter().map(|price| (&price.listing, price.amount)))?;
        if !is_first {
            return Ok(rows);
        }
        let mut bytes = list.head(&self.place.scope(), self.when.as_of, self.when.known_at)?;
        bytes.extend(rows);
        Ok(bytes)
    }
}

fn json_lines(page: &[InForce]) -> Result<Vec<u8>, PricingError> {
    let mut bytes = Vec::new();
    for price in page {
        let row = PriceRow {
            price_id: price.price_id,
            listing: price.listing.clone(),
            list_unit_price: Some(price.amount),
            in_force: true,
            observed_at: price.observed_at,
            position: price.position,
        };
        serde_json::to_writer(&mut bytes, &row)
            .map_err(|error| PricingError::Inconsistent(format!("price {}: {error}", price.price_id)))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
