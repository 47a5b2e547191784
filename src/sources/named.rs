//! A price as people name it, in our own CSV and in the configuration: docs/CSV.md describes its columns and keys.

use rust_decimal::Decimal;

use crate::domain::price::{AzureKey, aws_key, azure_key, generic_key};

use super::text::{check_currency, shown};
use super::{aws, azure};

/// The columns that identify a price, beside its tier and attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) provider: &'a str,
    pub(super) service: &'a str,
    /// Not empty.
    pub(super) region: &'a str,
    pub(super) sku_id: &'a str,
    pub(super) sku_price_id: &'a str,
    pub(super) unit: &'a str,
    pub(super) currency: &'a str,
}

/// Attributes that follow from others, for a price that does not give them.
pub(super) type Derived<'a> = [Option<(&'static str, &'a str)>; 2];

impl<'a> Named<'a> {
    /// Checks what does not depend on attributes; otherwise the column, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for (title, text) in [
            ("service", self.service),
            ("sku_id", self.sku_id),
            ("sku_price_id", self.sku_price_id),
            ("unit", self.unit),
        ] {
            if text.is_empty() {
                return Err((title, "is empty".to_owned()));
            }
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.provider.is_empty() || !self.provider.bytes().all(plain) {
            let message =
                format!("{} is not a name of small letters, digits and hyphens", shown(self.provider));
            return Err(("provider", message));
        }
        check_currency(self.currency).map_err(|message| ("currency", message))
    }

    /// The key of the price, and derived attributes; `value_of` gives an attribute, or nothing as an empty text.
    /// Otherwise the column, and what is wrong with it.
    pub(super) fn identify(
        &self,
        tier_from: Decimal,
        value_of: impl Fn(&str) -> &'a str,
    ) -> Result<(String, Derived<'a>), (String, String)> {
        match self.provider {
            "aws" => {
                let term = aws::offer_term_code(self.sku_price_id).ok_or_else(|| {
                    let message = "is not a rate code such as SKU.OFFERTERM.RATE";
                    ("sku_price_id".to_owned(), message.to_owned())
                })?;
                let key = aws_key(self.service, self.sku_price_id, self.currency);
                Ok((key, [Some(("termType", "OnDemand")), Some(("offerTermCode", term))]))
            }
            "azure" => {
                for name in ["productId", "type"] {
                    if value_of(name).is_empty() {
                        let message = "is needed to identify an Azure price".to_owned();
                        return Err((format!("attr:{name}"), message));
                    }
                }
                let key = azure_key(&AzureKey {
                    meter_id: self.sku_price_id,
                    sku_id: self.sku_id,
                    product_id: value_of("productId"),
                    price_type: value_of("type"),
                    reservation_term: value_of("reservationTerm"),
                    tier_minimum_units: tier_from,
                    region: self.region,
                    currency: self.currency,
                });
                Ok((key, azure::derived_attributes(self.service, value_of)))
            }
            provider => {
                let key = generic_key(
                    provider,
                    self.service,
                    self.region,
                    self.sku_price_id,
                    tier_from,
                    self.currency,
                );
                Ok((key, [None, None]))
            }
        }
    }
}
