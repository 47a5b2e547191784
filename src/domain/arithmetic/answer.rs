//! The answer: fields in the order in which they are documented, decimals as texts without trailing zeros, rates
//! in the spelling of the policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::MONTHS_PER_YEAR;
use crate::domain::discounts::DiscountPolicy;
use crate::domain::estimate::PricingBasis;
use crate::domain::precise::{Overflow, add, multiply};
use crate::domain::price::Listing;
use crate::domain::selection::Candidate;

/// A whole estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Estimate {
    /// ISO 4217 code; `None` where the lines have several.
    pub currency: Option<String>,
    /// The ledger position at which the prices were validated.
    pub position: i64,
    /// World time of the prices.
    pub as_of: DateTime<Utc>,
    /// The rates that applied.
    pub discount_policy: DiscountPolicy,
    /// In the order of the request.
    pub lines: Vec<LineCost>,
    /// Sums by provider and service, sorted.
    pub services: Vec<ServiceCost>,
    /// Sum of all lines; `None` where they have several currencies.
    pub total: Option<Costs>,
    /// One sum per currency, sorted, where there are several. There are no exchange rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Vec<CurrencyTotal>>,
}

/// What one line costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LineCost {
    /// Of the request.
    pub label: String,
    /// The price; of several tiers, the one that the last unit falls in.
    pub price: PriceUsed,
    /// Only in an estimate with several currencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What the session has set in place of `price`.
    #[serde(rename = "override")]
    pub overridden: Option<Override>,
    /// Per pricing unit, of the session where it has set one. For commitments per hour, with the share of what is paid once per term.
    pub unit_price: Decimal,
    /// 0 where the provider's own price is used.
    pub discount_rate: Decimal,
    /// `unit_price` x (1 - `discount_rate`).
    pub effective_unit_price: Decimal,
    /// What it costs.
    #[serde(flatten)]
    pub costs: Costs,
    /// Whether the policy's discount applied, or the provider's own price.
    pub pricing_basis: PricingBasis,
    /// Where the price has several tiers, those that are reached; where it has a fee, the hourly part and the fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<TierCost>>,
    /// The whole listing of `price`.
    #[serde(skip)]
    pub listing: Arc<Listing>,
    /// What it is billed by: one price, or each tier that is reached, or the hourly part and the fee.
    #[serde(skip)]
    pub charges: Vec<Charge>,
}

/// One price of a line, and what is billed at it in the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Identity in this ledger.
    pub price_id: i64,
    /// What it is the price of.
    pub listing: Arc<Listing>,
    /// As the provider lists it.
    pub list_unit_price: Decimal,
    /// What it is for the session of the request.
    pub overridden: Option<Override>,
    /// What the line pays before the discount.
    pub unit_price: Decimal,
    /// Single units that are billed.
    pub quantity: Decimal,
    /// Single units that one price buys.
    pub factor: Decimal,
    /// After the discount.
    pub monthly_cost: Decimal,
}

/// Amounts of money, unrounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct Costs {
    /// For each hour of the month.
    pub hourly_cost: Decimal,
    /// For the month.
    pub monthly_cost: Decimal,
    /// For twelve such months.
    pub annual_cost: Decimal,
}

impl Costs {
    pub(super) fn new(hourly_cost: Decimal, monthly_cost: Decimal) -> Result<Self, Overflow> {
        Ok(Self { hourly_cost, monthly_cost, annual_cost: multiply(monthly_cost, MONTHS_PER_YEAR)? })
    }

    /// Adds what another line costs. The annual cost is summed, not multiplied again: it is the sum of the lines.
    pub(super) fn add(&mut self, other: &Self) -> Result<(), Overflow> {
        self.hourly_cost = add(self.hourly_cost, other.hourly_cost)?;
        self.monthly_cost = add(self.monthly_cost, other.monthly_cost)?;
        self.annual_cost = add(self.annual_cost, other.annual_cost)?;
        Ok(())
    }
}

/// Where a price was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServedFrom {
    /// The cache of this process.
    Memory,
    /// The shared cache.
    Redis,
    /// The ledger's database.
    Postgres,
}

/// The price that a line used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PriceUsed {
    /// Identity in this ledger.
    pub price_id: i64,
    /// Identity across sources and time.
    pub key: String,
    /// AWS SKU or Azure `skuId`.
    pub sku_id: String,
    /// The provider's spelling.
    pub unit: String,
    /// As the provider lists it.
    pub list_unit_price: Decimal,
    /// When the source showed it.
    pub observed_at: DateTime<Utc>,
    /// Position of the event that set it.
    pub position: i64,
    /// Where it was read.
    pub served_from: ServedFrom,
}

impl PriceUsed {
    pub(super) fn new(candidate: &Candidate, served_from: ServedFrom) -> Self {
        Self {
            price_id: candidate.price_id,
            key: candidate.listing.key.clone(),
            sku_id: candidate.listing.sku_id.clone(),
            unit: candidate.listing.unit.clone(),
            list_unit_price: candidate.amount.normalize(),
            observed_at: candidate.effective_at,
            position: candidate.position,
            served_from,
        }
    }
}

/// A price that applies in one session in place of the official one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Override {
    /// Per pricing unit.
    pub amount: Decimal,
    /// Why, in the words of who set it.
    pub reason: String,
    /// From when on it no longer applies; `None`: as long as the session lasts.
    pub expires_at: Option<DateTime<Utc>>,
    /// Position of the event that set it.
    pub position: i64,
}

/// The overrides of a session, by price id.
pub type Overrides = BTreeMap<i64, Override>;

/// One of several prices of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TierCost {
    /// Identity in this ledger.
    pub price_id: i64,
    /// In pricing units.
    pub tier_from: Decimal,
    /// In pricing units; `None` where the tier does not end.
    pub tier_to: Option<Decimal>,
    /// As the provider lists it.
    pub list_unit_price: Decimal,
    /// What the session has set in its place.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Override>,
    /// Single units that are billed at this price in the month.
    pub quantity: Decimal,
    /// After the discount.
    pub monthly_cost: Decimal,
}

impl TierCost {
    pub(super) fn new(charge: &Charge) -> Self {
        Self {
            price_id: charge.price_id,
            tier_from: charge.listing.tier_from.normalize(),
            tier_to: charge.listing.tier_to.map(|end| end.normalize()),
            list_unit_price: charge.list_unit_price,
            overridden: charge.overridden.clone(),
            quantity: charge.quantity,
            monthly_cost: charge.monthly_cost,
        }
    }
}

/// What the lines of one service cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ServiceCost {
    /// `aws`, `azure`, ...
    pub provider: String,
    /// AWS offer code or Azure service name.
    pub service: String,
    /// Only in an estimate with several currencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// For the month.
    pub monthly_cost: Decimal,
    /// For twelve such months.
    pub annual_cost: Decimal,
}

/// The sum of the lines in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CurrencyTotal {
    /// ISO 4217 code.
    pub currency: String,
    /// What they cost.
    #[serde(flatten)]
    pub costs: Costs,
}
