//! A price that a line may mean, and how its attributes are read.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::domain::discounts::PricingModel;
use crate::domain::price::Listing;

/// A listed price with its amount at the time that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Identity in this ledger.
    pub price_id: i64,
    /// What it is the price of; shared, since caches and answers hold it as well.
    pub listing: Arc<Listing>,
    /// Per pricing unit.
    pub amount: Decimal,
    /// When the source showed this amount first.
    pub effective_at: DateTime<Utc>,
    /// Position of the event that set it.
    pub position: i64,
}

/// Fields of a price that narrow like attributes.
pub(super) const PSEUDO_ATTRIBUTES: [&str; 6] =
    ["unit", "currency", "sku_id", "sku_price_id", "price_id", "key"];

/// The kinds of terms, as the attribute `termType` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TermType {
    OnDemand,
    Reserved,
    Spot,
    LowPriority,
    DevTest,
    FreeTier,
    /// A name that this program does not know.
    Other,
}

impl TermType {
    const NAMED: [(Self, &'static str); 6] = [
        (Self::OnDemand, "OnDemand"),
        (Self::Reserved, "Reserved"),
        (Self::Spot, "Spot"),
        (Self::LowPriority, "LowPriority"),
        (Self::DevTest, "DevTest"),
        (Self::FreeTier, "FreeTier"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(term, _)| *term == self).map_or("other", |(_, name)| name)
    }

    /// Whether the price is already lower because of its pricing model.
    pub(super) fn is_discounted(self) -> bool {
        matches!(self, Self::Reserved | Self::Spot | Self::LowPriority)
    }
}

/// What the tiers of one rate have in common: provider, service, region, SKU, unit, currency, then what tells
/// apart the rates of one SKU.
pub(super) type RateKey<'a> = ([&'a str; 6], TermType, [&'a str; 4]);

impl Candidate {
    /// An attribute, a pseudo attribute or a derived one; case does not matter.
    pub(super) fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let listing = &*self.listing;
        if let Some(value) = listing.attributes.get(name) {
            return Some(value.into());
        }
        let given = |(given, _): &(&String, &String)| given.eq_ignore_ascii_case(name);
        if let Some((_, value)) = listing.attributes.iter().find(given) {
            return Some(value.into());
        }
        let known = |pseudo: &&&str| pseudo.eq_ignore_ascii_case(name);
        match PSEUDO_ATTRIBUTES.iter().find(known).copied() {
            Some("unit") => Some((&listing.unit).into()),
            Some("currency") => Some((&listing.currency).into()),
            Some("sku_id") => Some((&listing.sku_id).into()),
            Some("sku_price_id") => Some((&listing.sku_price_id).into()),
            Some("price_id") => Some(self.price_id.to_string().into()),
            Some("key") => Some((&listing.key).into()),
            _ if name.eq_ignore_ascii_case("termType") => Some(TermType::OnDemand.name().into()),
            _ if name.eq_ignore_ascii_case("operatingSystem") => {
                self.azure_operating_system().map(Into::into)
            }
            _ => None,
        }
    }

    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.attribute(name).is_some_and(|actual| actual.eq_ignore_ascii_case(value))
    }

    /// Azure names the system only in the product (`Virtual Machines DSv3 Series Windows`). Cloud Services, sold
    /// under the same service and SKU names, run Windows.
    fn azure_operating_system(&self) -> Option<&'static str> {
        let listing = &*self.listing;
        if listing.provider != "azure" || listing.service != "Virtual Machines" {
            return None;
        }
        let product = listing.attributes.get("productName")?;
        let windows =
            ["Windows", "Cloud Services", "CloudServices"].iter().any(|word| product.contains(word));
        Some(if windows { "Windows" } else { "Linux" })
    }

    pub(super) fn term_type(&self) -> TermType {
        self.listing.attributes.get("termType").map_or(TermType::OnDemand, |name| {
            let named = TermType::NAMED.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
            named.map_or(TermType::Other, |(term, _)| *term)
        })
    }

    /// Whether it is the provider's own price for the pricing model.
    pub(super) fn is_market_price(&self, model: PricingModel) -> bool {
        let term = self.term_type();
        match model {
            PricingModel::OnDemand => term == TermType::OnDemand,
            PricingModel::ReservedOneYear => term == TermType::Reserved && self.term_years() == Some(1),
            PricingModel::ReservedThreeYears => term == TermType::Reserved && self.term_years() == Some(3),
            PricingModel::Spot => term == TermType::Spot,
        }
    }

    /// Years of a commitment: AWS's `LeaseContractLength` (`1yr`, `1 yr`), Azure's `reservationTerm` (`3 Years`).
    pub(super) fn term_years(&self) -> Option<u8> {
        let attributes = &self.listing.attributes;
        let text = attributes.get("LeaseContractLength").or_else(|| attributes.get("reservationTerm"))?;
        let (years, rest) = text.split_at(text.find(|character: char| !character.is_ascii_digit())?);
        rest.trim_start().starts_with(['y', 'Y']).then(|| years.parse().ok())?
    }

    /// Whether `resource` names this very price.
    pub(super) fn is_identified_by(&self, resource: &str) -> bool {
        [&self.listing.key, &self.listing.sku_price_id].iter().any(|name| name.eq_ignore_ascii_case(resource))
            || resource.parse() == Ok(self.price_id)
    }

    pub(super) fn is_upfront_fee(&self) -> bool {
        self.term_type() == TermType::Reserved && self.listing.unit.eq_ignore_ascii_case("Quantity")
    }

    /// Whether it is the fee of the hourly rate that `hourly` belongs to.
    pub(super) fn is_upfront_fee_of(&self, hourly: &Self) -> bool {
        let (mut fee, of) = (self.rate_key(), hourly.rate_key());
        fee.0[4] = of.0[4];
        self.is_upfront_fee() && fee == of
    }

    pub(super) fn rate_key(&self) -> RateKey<'_> {
        let listing = &*self.listing;
        let attribute = |name: &str| listing.attributes.get(name).map_or("", String::as_str);
        let within_sku = match listing.provider.as_str() {
            "aws" => [attribute("offerTermCode"), "", "", ""],
            "azure" => [
                listing.sku_price_id.as_str(),
                attribute("productId"),
                attribute("type"),
                attribute("reservationTerm"),
            ],
            _ => [""; 4],
        };
        let shared = [
            listing.provider.as_str(),
            &listing.service,
            &listing.region,
            &listing.sku_id,
            &listing.unit,
            &listing.currency,
        ];
        (shared, self.term_type(), within_sku)
    }
}
