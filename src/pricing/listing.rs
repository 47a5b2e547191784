//! A price's listing as the statements of `sql/` read it.

use rust_decimal::Decimal;

use super::PricingError;
use crate::domain::price::{Attributes, Listing};

/// Columns of `current_prices.prices`, and the attributes of `price_search.prices` as text.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct ListingRow {
    pub(super) price_id: i64,
    key: String,
    pub(super) provider: String,
    pub(super) service: String,
    pub(super) region: String,
    sku_id: String,
    sku_price_id: String,
    unit: String,
    currency: String,
    tier_from: Decimal,
    tier_to: Option<Decimal>,
    attributes: String,
}

impl ListingRow {
    /// The price id, and what it is the price of.
    pub(super) fn read(self) -> Result<(i64, Listing), PricingError> {
        let attributes: Attributes = serde_json::from_str(&self.attributes).map_err(|error| {
            PricingError::Inconsistent(format!("attributes of price {}: {error}", self.price_id))
        })?;
        let listing = Listing {
            key: self.key,
            provider: self.provider,
            service: self.service,
            region: self.region,
            sku_id: self.sku_id,
            sku_price_id: self.sku_price_id,
            attributes,
            unit: self.unit,
            currency: self.currency,
            tier_from: self.tier_from.normalize(),
            tier_to: self.tier_to.map(|bound| bound.normalize()),
        };
        Ok((self.price_id, listing))
    }
}
