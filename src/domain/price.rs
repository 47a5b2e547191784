//! What a price is: who charges it, for what, in which unit, and the key that identifies it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Attributes of a price, by name; the names are the provider's own (`instanceType`, `armSkuName`, ...).
pub type Attributes = BTreeMap<String, String>;

/// The largest number of attributes a price may carry.
pub const MAX_ATTRIBUTES: usize = 200;
/// The longest text, in bytes, of a name, key, unit or attribute that a list may hold.
pub const MAX_TEXT_BYTES: usize = 2_000;

/// One price as a source lists it: one tier of one rate of one SKU, without its amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Listing {
    /// Identity across sources and time; see [`aws_key`], [`azure_key`] and [`generic_key`].
    pub key: String,
    /// `aws`, `azure`, or another lower-case name.
    pub provider: String,
    /// AWS offer code or Azure service name.
    pub service: String,
    /// AWS region code or ARM region name; `global` where the provider names none.
    pub region: String,
    /// AWS SKU or Azure `skuId`.
    pub sku_id: String,
    /// AWS rate code or Azure `meterId`.
    pub sku_price_id: String,
    /// The provider's attributes of the product and of the term.
    pub attributes: Attributes,
    /// The pricing unit, in the provider's own spelling (`Hrs`, `GB-Mo`, `10K`).
    pub unit: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Usage from which this tier applies, in pricing units.
    pub tier_from: Decimal,
    /// Usage at which this tier ends; `None` where it does not, or where the source does not say.
    pub tier_to: Option<Decimal>,
}

/// Key of an AWS price: the rate code is unique within an offer; a rate may be quoted in several currencies.
pub fn aws_key(service: &str, rate_code: &str, currency: &str) -> String {
    format!("aws/{service}/{rate_code}/{currency}")
}

/// The fields that tell two Azure retail prices apart. `meterId` alone does not: reservations, dev/test prices,
/// tiers and shared meters repeat it.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are Azure's own")]
pub struct AzureKey<'a> {
    pub meter_id: &'a str,
    pub sku_id: &'a str,
    pub product_id: &'a str,
    pub price_type: &'a str,
    pub reservation_term: &'a str,
    pub tier_minimum_units: Decimal,
    pub region: &'a str,
    pub currency: &'a str,
}

/// Key of an Azure retail price. `|` separates the parts, since `skuId` holds a slash.
pub fn azure_key(key: &AzureKey<'_>) -> String {
    format!(
        "azure|{}|{}|{}|{}|{}|{}|{}|{}",
        key.meter_id,
        key.sku_id,
        key.product_id,
        key.price_type,
        key.reservation_term,
        key.tier_minimum_units.normalize(),
        key.region,
        key.currency
    )
}

/// Key of a price of any other provider, from our own CSV.
pub fn generic_key(
    provider: &str,
    service: &str,
    region: &str,
    sku_price_id: &str,
    tier_from: Decimal,
    currency: &str,
) -> String {
    format!("{provider}/{service}/{region}/{sku_price_id}/{}/{currency}", tier_from.normalize())
}

/// When a version of a price holds, where the source says so (Azure's `effectiveStartDate` and `effectiveEndDate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// First instant at which it holds.
    pub from: Option<DateTime<Utc>>,
    /// First instant at which it holds no more.
    pub to: Option<DateTime<Utc>>,
}

impl Validity {
    /// Whether the version is in force at `at`: the start is inclusive and the end exclusive. Azure's end names the
    /// last minute of a version; its parser counts that minute in, so that one ends where its successor starts.
    pub fn holds_at(&self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}
