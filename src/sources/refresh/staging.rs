//! The sink that a parser fills: prices on record are noted in memory, the others are staged in temporary tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};

use super::known::{Known, Noted};
use crate::domain::price::{Attributes, Listing};
use crate::sources::{ListHeader, ListSink, Place, Price, Product, SinkError};

/// Rows are sent to PostgreSQL in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces on their way; a parser that is faster than PostgreSQL waits.
pub(super) const PIECES: usize = 4;

/// What the parser's thread asks of the refresh.
#[derive(Debug)]
pub(super) enum FromParser {
    /// The header was read; the answer is what is on record, or why the list is refused.
    Header(ListHeader, oneshot::Sender<Result<Known, String>>),
    Products(String),
    Prices(String),
}

/// The parser's end.
#[derive(Debug)]
pub(super) struct Staging {
    refresh: mpsc::Sender<FromParser>,
    observed_at: Option<chrono::DateTime<chrono::Utc>>,
    known: Known,
    products: String,
    prices: String,
    expired: u64,
}

fn gone<T>(_: T) -> SinkError {
    SinkError("the refresh was stopped".to_owned())
}

impl Staging {
    pub(super) fn new(refresh: mpsc::Sender<FromParser>) -> Self {
        Self {
            refresh,
            observed_at: None,
            known: Known::default(),
            products: String::new(),
            prices: String::new(),
            expired: 0,
        }
    }

    /// Sends what is left and returns what was noted.
    pub(super) fn finish(mut self) -> Result<Known, SinkError> {
        self.send_products(0)?;
        self.send_prices(0)?;
        tracing::debug!(
            expired = self.expired,
            "versions not in force at the time of observation were left out"
        );
        Ok(self.known)
    }

    fn send_products(&mut self, from_bytes: usize) -> Result<(), SinkError> {
        if self.products.len() > from_bytes {
            self.refresh
                .blocking_send(FromParser::Products(std::mem::take(&mut self.products)))
                .map_err(gone)?;
        }
        Ok(())
    }

    fn send_prices(&mut self, from_bytes: usize) -> Result<(), SinkError> {
        if self.prices.len() > from_bytes {
            self.refresh.blocking_send(FromParser::Prices(std::mem::take(&mut self.prices))).map_err(gone)?;
        }
        Ok(())
    }
}

impl ListSink for Staging {
    fn header(&mut self, header: &ListHeader) -> Result<(), SinkError> {
        let (answer, known) = oneshot::channel();
        self.observed_at = Some(header.observed_at);
        self.refresh.blocking_send(FromParser::Header(header.clone(), answer)).map_err(gone)?;
        self.known = known.blocking_recv().map_err(gone)?.map_err(SinkError)?;
        Ok(())
    }

    fn product(&mut self, product: &Product<'_>) -> Result<(), SinkError> {
        let attributes: BTreeMap<&str, &str> =
            product.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        put_text(&mut self.products, product.sku_id, '\t');
        put_text(&mut self.products, product.region, '\t');
        put_json(&mut self.products, &attributes, '\n');
        self.send_products(PIECE_BYTES)
    }

    fn price(&mut self, price: &Price<'_>) -> Result<(), SinkError> {
        let observed_at =
            self.observed_at.ok_or_else(|| SinkError("a price came before the header".to_owned()))?;
        if !price.validity.holds_at(observed_at) {
            self.expired += 1;
            return Ok(());
        }
        match self.known.note(price.key, price.amount, price.validity.from) {
            Noted::OnRecord => Ok(()),
            Noted::Unknown => {
                let attributes: BTreeMap<&str, &str> = price.attributes.iter().copied().collect();
                put_price(&mut self.prices, price, &attributes);
                self.send_prices(PIECE_BYTES)
            }
            Noted::Contradiction(before) => Err(SinkError(format!(
                "{}:{}: {}: the list says both {before} and {}; correct the list",
                price.place.file, price.place.line, price.key, price.amount
            ))),
        }
    }
}

fn put_price(row: &mut String, price: &Price<'_>, attributes: &BTreeMap<&str, &str>) {
    put_text(row, price.key, '\t');
    put_text(row, price.provider, '\t');
    put_text(row, price.service, '\t');
    put_option(row, price.region, '\t');
    put_text(row, price.sku_id, '\t');
    put_text(row, price.sku_price_id, '\t');
    put_text(row, price.unit, '\t');
    put_text(row, price.currency, '\t');
    put_shown(row, price.tier_from);
    match price.tier_to {
        Some(tier_to) => put_shown(row, tier_to),
        None => row.push_str("\\N\t"),
    }
    put_shown(row, price.amount);
    match price.validity.from {
        Some(from) => put_shown(row, from.to_rfc3339()),
        None => row.push_str("\\N\t"),
    }
    put_json(row, attributes, '\t');
    let _ = writeln!(row, "{}", Escaped(&format!("{}:{}", price.place.file, price.place.line)));
}

/// Text for COPY's text format.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['\\', '\t', '\n', '\r']) {
            out.write_str(&rest[..at])?;
            out.write_str(match rest.as_bytes()[at] {
                b'\\' => "\\\\",
                b'\t' => "\\t",
                b'\n' => "\\n",
                _ => "\\r",
            })?;
            rest = &rest[at + 1..];
        }
        out.write_str(rest)
    }
}

fn put_text(row: &mut String, text: &str, end: char) {
    let _ = write!(row, "{}{end}", Escaped(text));
}

fn put_option(row: &mut String, text: Option<&str>, end: char) {
    match text {
        Some(text) => put_text(row, text, end),
        None => {
            let _ = write!(row, "\\N{end}");
        }
    }
}

fn put_shown(row: &mut String, value: impl std::fmt::Display) {
    let _ = write!(row, "{value}\t");
}

fn put_json(row: &mut String, value: &impl serde::Serialize, end: char) {
    put_text(row, &serde_json::to_string(value).expect("a map of texts is JSON"), end);
}

/// A price not on record, with everything that will be listed of it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Unlisted {
    #[serde(flatten)]
    pub(super) listing: Listing,
    pub(super) amount: Decimal,
}

/// Row of `staged_prices` joined with its product.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct StagedRow {
    key: String,
    provider: String,
    service: String,
    region: Option<String>,
    sku_id: String,
    sku_price_id: String,
    unit: String,
    currency: String,
    tier_from: Decimal,
    tier_to: Option<Decimal>,
    amount: Decimal,
    attributes: String,
    place: String,
    product_region: Option<String>,
    product_attributes: Option<String>,
}

impl StagedRow {
    /// The whole price, or what is wrong with it.
    pub(super) fn into_unlisted(self) -> Result<Unlisted, String> {
        let read = |text: &str| serde_json::from_str::<Attributes>(text).map_err(|error| error.to_string());
        let mut attributes = read(&self.attributes)?;
        if let Some(product) = &self.product_attributes {
            for (name, value) in read(product)? {
                attributes.entry(name).or_insert(value);
            }
        }
        let region = self.region.or(self.product_region).ok_or_else(|| {
            format!(
                "{}: {}: the list has no product {}; get the whole list",
                self.place, self.sku_price_id, self.sku_id
            )
        })?;
        Ok(Unlisted {
            listing: Listing {
                key: self.key,
                provider: self.provider,
                service: self.service,
                region,
                sku_id: self.sku_id,
                sku_price_id: self.sku_price_id,
                attributes,
                unit: self.unit,
                currency: self.currency,
                tier_from: self.tier_from.normalize(),
                tier_to: self.tier_to.map(|bound| bound.normalize()),
            },
            amount: self.amount.normalize(),
        })
    }
}

/// Makes the temporary tables.
pub(super) async fn create(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(include_str!("sql/staging.sql")).execute(connection).await.map(|_| ())
}

/// Stages rows.
pub(super) async fn copy(
    connection: &mut PgConnection,
    statement: &'static str,
    rows: String,
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    copy.send(rows.into_bytes()).await?;
    copy.finish().await.map(|_| ())
}

/// Stages prices that a quarantined run kept.
pub(super) async fn copy_unlisted(
    connection: &mut PgConnection,
    unlisted: &[Unlisted],
) -> Result<(), sqlx::Error> {
    let mut rows = String::new();
    for Unlisted { listing, amount } in unlisted {
        let attributes: BTreeMap<&str, &str> =
            listing.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let place = Place { file: "quarantine", line: 0 };
        put_price(&mut rows, &Price::of_listing(listing, *amount, &[], &place), &attributes);
    }
    copy(connection, include_str!("sql/copy_prices.sql"), rows).await
}
