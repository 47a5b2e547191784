//! What a client asks for: a list of resources to price.
//!
//! [`request_parse`] turns the bytes of a request into an [`EstimateRequest`] that is within every limit below,
//! or says everything that is wrong with it: place, line, message and remedy.
//!
//! ```
//! use mercuriale::domain::estimate::request_parse;
//!
//! let request = request_parse(br#"{"lines":[{"provider":"aws","service":"AmazonEC2","region":"eu-west-3",
//!     "resource":"t3.medium","quantity":"3","pricing_model":"reserved-1y"}]}"#)?;
//! assert_eq!(request.hours().to_string(), "730");
//!
//! let invalid = request_parse(br#"{"lines":[{"label":"web","provider":"aws","service":"AmazonEC2",
//!     "region":"eu-west-3","resource":"t3.medium","quantity":3}]}"#).expect_err("a number is no decimal");
//! assert_eq!(invalid.problems[0].place, "/lines/0/quantity");
//! # Ok::<(), mercuriale::domain::estimate::InvalidRequest>(())
//! ```

mod labels;
mod validate;
mod wire;

pub use wire::{LineText, RequestText};

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use labels::{
    Labels, MAX_NOTE_CHARS, MAX_TAG_CHARS, MAX_TAGS, Relabel, relabel_parse, save_request_parse,
};

use crate::domain::discounts::PricingModel;
use crate::domain::object::Object;
use crate::domain::price::Attributes;

/// The most lines a request may have.
pub const MAX_LINES: usize = 10_000;
/// The most problems that are told; the rest is counted.
pub const MAX_PROBLEMS: usize = 20;
/// The longest label of a line, in characters.
pub const MAX_LABEL_CHARS: usize = 200;
/// The longest name of an estimate, in characters.
pub const MAX_NAME_CHARS: usize = 200;
/// The longest provider, service or region, in characters.
pub const MAX_SCOPE_CHARS: usize = 200;
/// The longest resource, in characters.
pub const MAX_RESOURCE_CHARS: usize = 500;
/// The most attributes of a line.
pub const MAX_LINE_ATTRIBUTES: usize = 50;
/// The longest name of an attribute, in characters.
pub const MAX_ATTRIBUTE_NAME_CHARS: usize = 200;
/// The longest value of an attribute, in characters.
pub const MAX_ATTRIBUTE_VALUE_CHARS: usize = 2_000;
/// The largest quantity: a thousand million.
pub const MAX_QUANTITY: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);
/// The largest usage per month, in units of the price: 10^18.
pub const MAX_USAGE_PER_MONTH: Decimal = Decimal::from_parts(2_808_348_672, 232_830_643, 0, false, 0);
/// The most hours per month: those of the longest month.
pub const MAX_HOURS_PER_MONTH: Decimal = Decimal::from_parts(744, 0, 0, false, 0);
/// The most decimals of a quantity, a usage or the hours.
pub const MAX_DECIMALS: u32 = 10;
/// Hours per month where the request says nothing: 365 x 24 / 12, as the calculators of AWS and Azure.
pub const DEFAULT_HOURS_PER_MONTH: Decimal = Decimal::from_parts(730, 0, 0, false, 0);
/// The years that `month` and `as_of` may name.
pub const YEARS: std::ops::RangeInclusive<i32> = 2000..=2199;

/// Where the discount of a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PricingBasis {
    /// The list price on demand, less the rate of the discount policy.
    #[default]
    Policy,
    /// The provider's own reserved or spot price, where the ledger has one.
    Market,
}

/// A calendar month, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Month {
    first_day: NaiveDate,
}

impl Month {
    /// Hours of the month: its days x 24.
    pub fn hours(self) -> Decimal {
        Decimal::from(u32::from(self.first_day.num_days_in_month()) * 24)
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.first_day.format("%Y-%m").to_string()
    }
}

/// A valid request. Its JSON form is a request again, with the defaults written out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = WholeEstimateRequest)]
pub struct EstimateRequest {
    /// Name of the estimate, for saving.
    pub name: Option<String>,
    /// The caller's session, whose overrides apply.
    pub session: Option<Uuid>,
    /// Hours that each month has; `None` where `month` says it.
    pub hours_per_month: Option<Decimal>,
    /// The month whose own hours count.
    #[schema(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}$", example = "2026-02")]
    pub month: Option<Month>,
    /// World time of the prices and the discount policy; `None`: now.
    pub as_of: Option<DateTime<Utc>>,
    /// 1 to [`MAX_LINES`].
    pub lines: Vec<RequestLine>,
}

impl EstimateRequest {
    /// Hours of the month that is estimated.
    pub fn hours(&self) -> Decimal {
        match (self.month, self.hours_per_month) {
            (Some(month), _) => month.hours(),
            (None, hours) => hours.unwrap_or(DEFAULT_HOURS_PER_MONTH),
        }
    }
}

/// One resource to price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = WholeEstimateRequestLine)]
pub struct RequestLine {
    /// What the client calls it; the resource, where the client does not say.
    pub label: String,
    /// `aws`, `azure`, ...
    pub provider: String,
    /// AWS offer code or Azure service name.
    pub service: String,
    /// Region code.
    pub region: String,
    /// Instance type, ARM SKU name, meter name, usage type, SKU or price id.
    pub resource: String,
    /// What the price must have beside; no name twice in any case.
    pub attributes: Attributes,
    /// How many; above 0, at most [`MAX_QUANTITY`].
    pub quantity: Decimal,
    /// Units of the price that one of them uses in a month; above 0, at most [`MAX_USAGE_PER_MONTH`].
    pub usage_per_month: Option<Decimal>,
    /// How it is bought.
    pub pricing_model: PricingModel,
    /// Where the discount comes from.
    pub pricing_basis: PricingBasis,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Fault)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into the request.
    pub place: String,
    /// The label of the line, where it has one.
    pub label: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.place.is_empty() { "the request" } else { &self.place };
        write!(formatter, "{place}")?;
        if let Some(label) = &self.label {
            write!(formatter, " ({label:?})")?;
        }
        write!(formatter, ": {}; {}", self.message, self.remedy)
    }
}

/// A request that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InvalidRequest {
    /// The first [`MAX_PROBLEMS`], in a fixed order; never empty.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub total: usize,
}

/// Reads and checks a request.
///
/// # Errors
/// Everything that is wrong with it. Wrong types and unknown fields come first, then the values.
pub fn request_parse(body: &[u8]) -> Result<EstimateRequest, InvalidRequest> {
    let mut problems = validate::Problems::default();
    let request = read(body, &mut problems).and_then(|text| validate::request(text, &mut problems));
    problems.into_result(request)
}

fn read(body: &[u8], problems: &mut validate::Problems) -> Option<wire::RequestText> {
    match serde_json::from_slice(body) {
        Ok(Object(text)) => Some(text),
        // The second, slower reading finds the places.
        Err(error) => wire::read_slowly(body, &error, problems),
    }
}

#[cfg(test)]
mod tests;
