//! Prices written as a list in our own CSV, as `sources::csv_list` reads it back; docs/CSV.md describes it.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;

use crate::domain::formula::guarded;
use crate::domain::price::Listing;

/// The most columns of attributes of a list: those of all services of a provider fit.
pub const MAX_ATTRIBUTE_COLUMNS: usize = 2_000;

/// The attribute that has a column of its own.
const SOURCE_URL: &str = "sourceUrl";
const COLUMNS: [&str; 11] = [
    "provider",
    "service",
    "region",
    "sku_id",
    "sku_price_id",
    "unit",
    "currency",
    "amount",
    "tier_from",
    "tier_to",
    "source_url",
];

/// Why a list cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PriceListError {
    /// A price has an attribute without a column.
    #[error("price {0:?} has an attribute that is not among the columns of its list")]
    NoColumn(String),
    /// Text could not be written; it is written to memory.
    #[error("CSV: {0}")]
    Csv(#[from] csv::Error),
}

/// What a list of prices of a place covers, as its `# scope:` says. Places that differ have scopes that differ, since a price
/// that a later list of the same scope lacks counts as absent.
pub fn scope_of(provider: &str, service: Option<&str>, region: Option<&str>) -> String {
    let scope = match (service, region) {
        (None, None) => provider.to_owned(),
        (Some(service), None) => format!("{provider}/{service}"),
        (service, Some(region)) => format!("{provider}/{}/{region}", service.unwrap_or("*")),
    };
    // It stands in one line.
    scope.replace(char::is_control, " ")
}

/// A list with a column for each attribute that one of its prices has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    attributes: Vec<String>,
}

impl PriceList {
    /// A list of prices with these attributes.
    pub fn new(attributes: BTreeSet<String>) -> Self {
        Self { attributes: attributes.into_iter().filter(|name| name != SOURCE_URL).collect() }
    }

    /// What comes before the prices: what the list is of, and the titles of its columns.
    ///
    /// # Errors
    /// See [`PriceListError`].
    pub fn head(
        &self,
        scope: &str,
        observed_at: DateTime<Utc>,
        known_at: i64,
    ) -> Result<Vec<u8>, PriceListError> {
        let observed_at = observed_at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let about = format!(
            "# observed_at: {observed_at}\n# scope: {scope}\n# known_at: {known_at}\n# guarded: formulas\n"
        );
        let mut writer = csv::Writer::from_writer(about.into_bytes());
        for title in COLUMNS {
            writer.write_field(title)?;
        }
        for name in &self.attributes {
            writer.write_field(format!("attr:{name}"))?;
        }
        writer.write_record(None::<&[u8]>)?;
        finish(writer)
    }

    /// One row a price. Texts that could be formulas are guarded; amounts and tiers are numbers.
    ///
    /// # Errors
    /// See [`PriceListError`].
    pub fn rows<'a>(
        &self,
        prices: impl Iterator<Item = (&'a Listing, Decimal)>,
    ) -> Result<Vec<u8>, PriceListError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for (listing, amount) in prices {
            let Listing { provider, service, region, sku_id, sku_price_id, unit, currency, .. } = listing;
            for text in [provider, service, region, sku_id, sku_price_id, unit, currency] {
                writer.write_field(&*guarded(text))?;
            }
            writer.write_field(amount.normalize().to_string())?;
            writer.write_field(listing.tier_from.normalize().to_string())?;
            let tier_to = listing.tier_to.map(|end| end.normalize().to_string());
            writer.write_field(tier_to.unwrap_or_default())?;
            let mut written = 0;
            for name in std::iter::once(SOURCE_URL).chain(self.attributes.iter().map(String::as_str)) {
                let value = listing.attributes.get(name);
                written += usize::from(value.is_some());
                writer.write_field(&*guarded(value.map_or("", String::as_str)))?;
            }
            if written < listing.attributes.len() {
                return Err(PriceListError::NoColumn(listing.key.clone()));
            }
            writer.write_record(None::<&[u8]>)?;
        }
        finish(writer)
    }
}

fn finish(writer: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, PriceListError> {
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_a_scope_of_its_own_in_one_line() {
        for (service, region, expected) in [
            (None, None, "aws"),
            (Some("AmazonEC2"), None, "aws/AmazonEC2"),
            (Some("AmazonEC2"), Some("eu-west-3"), "aws/AmazonEC2/eu-west-3"),
            (None, Some("eu-west-3"), "aws/*/eu-west-3"),
            (Some("a\nb"), None, "aws/a b"),
        ] {
            assert_eq!(scope_of("aws", service, region), expected);
        }
    }

    #[test]
    fn an_attribute_is_never_left_out_in_silence() {
        let listing = Listing {
            key: "acme/k".to_owned(),
            provider: "acme".to_owned(),
            service: "s".to_owned(),
            region: "r".to_owned(),
            sku_id: "=sku".to_owned(),
            sku_price_id: "-1".to_owned(),
            attributes: [("cpu", "4"), (SOURCE_URL, "https://acme.example")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            unit: "Hrs".to_owned(),
            currency: "EUR".to_owned(),
            tier_from: Decimal::ZERO,
            tier_to: Some(Decimal::TEN),
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let list = PriceList::new(names(&["cpu", SOURCE_URL]));
        let rows = list.rows([(&listing, Decimal::ONE)].into_iter()).expect("rows");
        assert_eq!(
            String::from_utf8(rows).expect("UTF-8"),
            "acme,s,r,'=sku,-1,Hrs,EUR,1,0,10,https://acme.example,4\n"
        );
        let head = list.head("acme", DateTime::UNIX_EPOCH, 7).expect("a head");
        let head = String::from_utf8(head).expect("UTF-8");
        assert!(head.ends_with("source_url,attr:cpu\n"), "{head}");
        let error = PriceList::new(names(&["ram"])).rows([(&listing, Decimal::ONE)].into_iter());
        assert!(matches!(error, Err(PriceListError::NoColumn(key)) if key == "acme/k"));
    }
}
