//! Saved estimates: what is kept of a version, read back, compared, summed and exported.
//!
//! A version is the `estimate.saved` event that recorded it: [`version_write`] makes its payload, [`Version::read`]
//! reads it, and everything here is a function of these bytes alone. So a version looks the same for ever, whatever
//! becomes of prices, policies and read models.

mod consolidate;
mod diff;
mod exact;
pub mod export;
mod what_if;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use consolidate::{Consolidated, Consolidation, Sums};
pub use diff::{Diff, Effects, LineDiff, Matched, Point, Repriced, Status, TotalDiff, diff, lines_match};
pub use exact::Exact;
pub use what_if::{WhatIf, request_as_of_now, what_if};

use crate::domain::arithmetic::{CurrencyTotal, Estimate};
use crate::domain::discounts::{DiscountPolicy, PricingModel};
use crate::domain::estimate::{EstimateRequest, PricingBasis};
use crate::domain::price::Attributes;

/// What is said about a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct About {
    /// What the estimate is called.
    pub name: String,
    /// Why this version.
    pub note: Option<String>,
    /// Sorted, none twice.
    pub tags: Vec<String>,
    /// Whether lists leave the estimate out.
    pub archived: bool,
}

/// What lists show of a version's costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Summary {
    /// Lines of the request.
    pub lines: usize,
    /// One sum per currency.
    pub totals: Vec<Total>,
}

/// What the lines of one currency cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Total {
    /// ISO 4217 code.
    pub currency: String,
    /// For the month.
    pub monthly_cost: Decimal,
    /// For twelve such months.
    pub annual_cost: Decimal,
}

/// Payload of `estimate.saved`. The read model takes what stands before `request` and need not read the rest.
#[derive(Serialize)]
struct Payload<'a, R, E, C> {
    v: u8,
    version: i64,
    #[serde(flatten)]
    about: &'a About,
    /// The version whose figures these are, where only what is said about it has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    figures_of: Option<i64>,
    summary: &'a Summary,
    request: R,
    estimate: E,
    charges: C,
}

/// One price of a line and what is billed at it, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = EstimateCharge)]
pub struct StoredCharge<'a> {
    /// Index of the line.
    pub line: usize,
    /// Identity in the ledger.
    pub price_id: i64,
    /// AWS rate code or Azure `meterId`.
    #[serde(borrow)]
    pub sku_price_id: Cow<'a, str>,
    /// The provider's spelling.
    #[serde(borrow)]
    pub unit: Cow<'a, str>,
    /// As the provider lists it.
    pub list_unit_price: Decimal,
    /// What the line pays before the discount.
    pub unit_price: Decimal,
    /// Single units that are billed in the month.
    pub quantity: Decimal,
    /// Single units that one price buys.
    pub factor: Decimal,
    /// After the discount.
    pub monthly_cost: Decimal,
}

/// The payload of a version that was calculated.
pub fn version_write(version: i64, about: &About, request: &EstimateRequest, estimate: &Estimate) -> String {
    let charges: Vec<_> = estimate
        .lines
        .iter()
        .enumerate()
        .flat_map(|(index, line)| line.charges.iter().map(move |charge| (index, charge)))
        .map(|(line, charge)| StoredCharge {
            line,
            price_id: charge.price_id,
            sku_price_id: Cow::Borrowed(&charge.listing.sku_price_id),
            unit: Cow::Borrowed(&charge.listing.unit),
            list_unit_price: charge.list_unit_price,
            unit_price: charge.unit_price,
            quantity: charge.quantity,
            factor: charge.factor,
            monthly_cost: charge.monthly_cost,
        })
        .collect();
    let several = estimate.totals.iter().flatten().cloned();
    let one = estimate.total.zip(estimate.currency.clone());
    let totals = several.chain(one.map(|(costs, currency)| CurrencyTotal { currency, costs }));
    let summary = Summary {
        lines: estimate.lines.len(),
        totals: totals
            .map(|CurrencyTotal { currency, costs }| Total {
                currency,
                monthly_cost: costs.monthly_cost,
                annual_cost: costs.annual_cost,
            })
            .collect(),
    };
    written(&Payload {
        v: 1,
        version,
        about,
        figures_of: None,
        summary: &summary,
        request,
        estimate,
        charges,
    })
}

/// The payload of a version that has the figures of another, byte for byte, and says something else about them.
pub fn version_relabel(stored: &Stored<'_>, about: &About) -> String {
    written(&Payload {
        v: 1,
        version: stored.version + 1,
        about,
        figures_of: Some(stored.figures_of.unwrap_or(stored.version)),
        summary: &stored.summary,
        request: stored.request,
        estimate: stored.estimate,
        charges: stored.charges,
    })
}

fn written(payload: &impl Serialize) -> String {
    serde_json::to_string(payload).expect("payloads are plain structs")
}

/// A stored version, of which only what is said about it has been read.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = StoredEstimate)]
pub struct Stored<'a> {
    /// From one.
    pub version: i64,
    /// What the estimate is called.
    pub name: String,
    /// Why this version.
    pub note: Option<String>,
    /// Sorted, none twice.
    pub tags: Vec<String>,
    /// Whether lists leave the estimate out.
    pub archived: bool,
    /// The version whose figures these are, where only what is said about it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures_of: Option<i64>,
    /// What lists show.
    pub summary: Summary,
    /// As it was asked for, with the defaults written out.
    #[serde(borrow)]
    #[schema(value_type = EstimateRequest)]
    pub request: &'a RawValue,
    /// As it was answered.
    #[serde(borrow)]
    #[schema(value_type = Estimate)]
    pub estimate: &'a RawValue,
    /// What each line is billed by.
    #[serde(borrow)]
    #[schema(value_type = Vec<StoredCharge>)]
    pub charges: &'a RawValue,
}

impl<'a> Stored<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn read(data: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(data)
    }
}

/// A version read in full.
#[derive(Debug, Clone)]
pub struct Version<'a> {
    /// From one.
    pub version: i64,
    /// What is said about it.
    pub about: About,
    /// The calendar month that was asked for, as `2026-02`.
    pub month: Option<Cow<'a, str>>,
    /// Hours of the month; `None` where `month` says it.
    pub hours_per_month: Option<Decimal>,
    /// The ledger position at which the prices were validated.
    pub position: i64,
    /// World time of the prices.
    pub as_of: DateTime<Utc>,
    /// The rates that applied.
    pub discount_policy: DiscountPolicy,
    /// Sums per currency.
    pub summary: Summary,
    /// In the order of the request.
    pub lines: Vec<Line<'a>>,
}

/// A line with what it costs.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// What was asked for.
    pub asked: AskedLine<'a>,
    /// What it costs.
    pub cost: LineAnswer<'a>,
    /// ISO 4217 code.
    pub currency: Cow<'a, str>,
    /// What it is billed by.
    pub charges: Vec<StoredCharge<'a>>,
}

/// A line of a stored request.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "see `domain::estimate::RequestLine`")]
pub struct AskedLine<'a> {
    #[serde(borrow)]
    pub label: Cow<'a, str>,
    #[serde(borrow)]
    pub provider: Cow<'a, str>,
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    #[serde(borrow)]
    pub region: Cow<'a, str>,
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
    pub attributes: Attributes,
    pub quantity: Decimal,
    pub usage_per_month: Option<Decimal>,
    pub pricing_model: PricingModel,
    pub pricing_basis: PricingBasis,
}

/// A line of a stored answer.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "see `domain::arithmetic::LineCost`")]
pub struct LineAnswer<'a> {
    #[serde(borrow)]
    pub price: PriceAnswer<'a>,
    #[serde(borrow, default)]
    currency: Option<Cow<'a, str>>,
    pub unit_price: Decimal,
    pub discount_rate: Decimal,
    pub effective_unit_price: Decimal,
    pub hourly_cost: Decimal,
    pub monthly_cost: Decimal,
    pub annual_cost: Decimal,
    pub pricing_basis: PricingBasis,
}

/// The price of a line of a stored answer.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "see `domain::arithmetic::PriceUsed`")]
pub struct PriceAnswer<'a> {
    pub price_id: i64,
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    #[serde(borrow)]
    pub sku_id: Cow<'a, str>,
    #[serde(borrow)]
    pub unit: Cow<'a, str>,
    pub list_unit_price: Decimal,
    pub observed_at: DateTime<Utc>,
    pub position: i64,
}

#[derive(Deserialize)]
struct RequestParts<'a> {
    #[serde(borrow)]
    month: Option<Cow<'a, str>>,
    hours_per_month: Option<Decimal>,
    #[serde(borrow)]
    lines: Vec<AskedLine<'a>>,
}

#[derive(Deserialize)]
struct AnswerParts<'a> {
    #[serde(borrow)]
    currency: Option<Cow<'a, str>>,
    position: i64,
    as_of: DateTime<Utc>,
    discount_policy: DiscountPolicy,
    #[serde(borrow)]
    lines: Vec<LineAnswer<'a>>,
}

impl<'a> Version<'a> {
    /// Reads a payload in full.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn read(data: &'a str) -> serde_json::Result<Self> {
        let Stored { version, name, note, tags, archived, summary, request, estimate, charges, .. } =
            Stored::read(data)?;
        let request: RequestParts<'a> = serde_json::from_str(request.get())?;
        let answer: AnswerParts<'a> = serde_json::from_str(estimate.get())?;
        let charges: Vec<StoredCharge<'a>> = serde_json::from_str(charges.get())?;
        let inconsistent = |what: &str| <serde_json::Error as serde::de::Error>::custom(what);
        if request.lines.len() != answer.lines.len() {
            return Err(inconsistent("the answer has not as many lines as the request"));
        }
        let mut lines = Vec::with_capacity(request.lines.len());
        let mut charges = charges.into_iter().peekable();
        for (index, (asked, cost)) in request.lines.into_iter().zip(answer.lines).enumerate() {
            let currency = cost.currency.clone().or_else(|| answer.currency.clone());
            let currency = currency.ok_or_else(|| inconsistent("a line has no currency"))?;
            let charges = std::iter::from_fn(|| charges.next_if(|charge| charge.line == index)).collect();
            lines.push(Line { asked, cost, currency, charges });
        }
        if charges.next().is_some() {
            return Err(inconsistent("a charge is of no line, or not in their order"));
        }
        Ok(Self {
            version,
            about: About { name, note, tags, archived },
            month: request.month,
            hours_per_month: request.hours_per_month,
            position: answer.position,
            as_of: answer.as_of,
            discount_policy: answer.discount_policy,
            summary,
            lines,
        })
    }
}
