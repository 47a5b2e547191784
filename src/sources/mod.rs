//! Where prices come from: fetch -> parse -> observations.
//!
//! A parser reads one price list as a stream and hands products and prices to a [`ListSink`]; it knows nothing
//! of the ledger. `refresh` is the sink that compares a list with the official prices and records the outcome.

pub mod aws;
pub mod azure;
pub mod csv_list;
pub mod live;
mod llm;
mod named;
mod plan;
mod read;
pub mod refresh;
#[cfg(test)]
mod testing;
mod text;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::price::{Listing, Validity};

pub use plan::plan;
pub use read::{MAX_LIST_BYTES, read_list};

/// What is known of a list before its first price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListHeader {
    /// What the list covers: offer code and region (`AmazonEC2/eu-west-3`), the request's `$filter` or `all`.
    pub scope: String,
    /// When the source showed these prices.
    pub observed_at: DateTime<Utc>,
}

/// A product that several prices share (an AWS SKU).
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// The SKU that prices refer to.
    pub sku_id: &'a str,
    /// AWS region code.
    pub region: &'a str,
    /// The provider's attributes, in any order, no name twice.
    pub attributes: &'a [(String, String)],
}

/// One price of a list.
#[derive(Debug, Clone, Copy)]
pub struct Price<'a> {
    /// See [`crate::domain::price`].
    pub key: &'a str,
    /// `aws`, `azure`, ...
    pub provider: &'a str,
    /// AWS offer code or Azure service name.
    pub service: &'a str,
    /// Region; `None`: that of the [`Product`] with this `sku_id`, whose attributes the price shares as well.
    pub region: Option<&'a str>,
    /// AWS SKU or Azure `skuId`.
    pub sku_id: &'a str,
    /// AWS rate code or Azure `meterId`.
    pub sku_price_id: &'a str,
    /// The provider's spelling.
    pub unit: &'a str,
    /// ISO 4217 code.
    pub currency: &'a str,
    /// In pricing units.
    pub tier_from: Decimal,
    /// In pricing units.
    pub tier_to: Option<Decimal>,
    /// Per pricing unit.
    pub amount: Decimal,
    /// When this version holds.
    pub validity: Validity,
    /// Attributes of the price itself (its term), beside those of its product.
    pub attributes: &'a [(&'a str, &'a str)],
    /// Where it stands, for error messages.
    pub place: &'a Place<'a>,
}

impl<'a> Price<'a> {
    /// A price on which nothing but its amount is new, with the attributes to list it with.
    fn of_listing(
        listing: &'a Listing,
        amount: Decimal,
        attributes: &'a [(&'a str, &'a str)],
        place: &'a Place<'a>,
    ) -> Self {
        Self {
            key: &listing.key,
            provider: &listing.provider,
            service: &listing.service,
            region: Some(&listing.region),
            sku_id: &listing.sku_id,
            sku_price_id: &listing.sku_price_id,
            unit: &listing.unit,
            currency: &listing.currency,
            tier_from: listing.tier_from,
            tier_to: listing.tier_to,
            amount,
            validity: Validity::default(),
            attributes,
            place,
        }
    }
}

/// A place in a list.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// File name or URL.
    pub file: &'a str,
    /// Line (JSON, CSV), from 1; 0 where it is not known.
    pub line: u64,
}

/// Takes what a parser reads.
pub trait ListSink {
    /// Called once, before the first price (products may come earlier).
    fn header(&mut self, header: &ListHeader) -> Result<(), SinkError>;
    /// A product.
    fn product(&mut self, product: &Product<'_>) -> Result<(), SinkError>;
    /// A price.
    fn price(&mut self, price: &Price<'_>) -> Result<(), SinkError>;
}

/// The receiving side refused or failed; the parser stops and passes it on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// How a read list ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEnd {
    /// Whether the whole list was read, so that absence means something.
    pub complete: bool,
    /// SHA-256 of the bytes as they were read, file after file.
    pub content_sha256: [u8; 32],
}

/// Why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The list is not what its format says.
    #[error("{file}{}{}: {message}", at_line(*.line), in_item(item.as_deref()))]
    Malformed {
        /// File name or URL.
        file: String,
        /// Line, from 1; 0 where not known.
        line: u64,
        /// SKU, rate code or meter, where known.
        item: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
    /// The file could not be opened or read.
    #[error("{file}: {source}")]
    Io {
        /// File name or URL.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The receiving side.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

fn at_line(line: u64) -> String {
    if line == 0 { String::new() } else { format!(":{line}") }
}

fn in_item(item: Option<&str>) -> String {
    item.map_or_else(String::new, |item| format!(": {item}"))
}

/// The formats of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Format {
    /// AWS Price List Bulk API, JSON or CSV.
    AwsBulk,
    /// Pages of the Azure Retail Prices API.
    AzureRetail,
    /// Our own columns; see docs/CSV.md.
    Csv,
}

/// One list to read: a file, or the pages of one Azure answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListInput {
    /// The format.
    pub format: Format,
    /// Files in reading order; several only for `AzureRetail`.
    pub files: Vec<PathBuf>,
    /// Overrides the scope that the list states.
    pub scope: Option<String>,
    /// Overrides the time that the list states.
    pub observed_at: Option<DateTime<Utc>>,
    /// Says that the list is not whole.
    pub partial: bool,
}

/// What the caller knows better than the list does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// In place of the scope that the list states.
    pub scope: Option<String>,
    /// In place of the time that the list states.
    pub observed_at: Option<DateTime<Utc>>,
}
