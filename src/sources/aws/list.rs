//! What JSON and CSV offer files have in common: header, scope, and the attributes of a term.

use chrono::{DateTime, Utc};

use crate::domain::price::{MAX_ATTRIBUTES, MAX_TEXT_BYTES};
use crate::sources::text::{check_text, shown, time};
use crate::sources::{ListHeader, Overrides};

use super::locations::region_of_location;

/// The region of products that name none, such as transfer between two places.
pub(super) const NO_REGION: &str = "global";
/// The most attributes a product may have, leaving room for those of a term.
pub(super) const MAX_PRODUCT_ATTRIBUTES: usize = MAX_ATTRIBUTES - MAX_TERM_ATTRIBUTES;
/// termType, offerTermCode, `LeaseContractLength`, `PurchaseOption`, `OfferingClass`, appliesTo.
pub(super) const MAX_TERM_ATTRIBUTES: usize = 6;

/// The head of an offer file.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) format_version: Option<String>,
    pub(super) code: Option<String>,
    pub(super) publication_date: Option<String>,
}

impl Offer {
    /// Checks the head and gives the offer code and the time of publication.
    pub(super) fn check(&self) -> Result<(&str, DateTime<Utc>), String> {
        // Told apart first: that a list of savings plans is one matters more than its version.
        let code = match self.code.as_deref() {
            None => return Err("no offerCode before the products: this is not an AWS offer file".to_owned()),
            Some(code) if code.contains("SavingsPlan") => return Err(savings_plan()),
            Some(code) => code,
        };
        match self.format_version.as_deref() {
            None => return Err("no formatVersion before the products".to_owned()),
            Some("v1.0") => {}
            Some(other) => return Err(format!("formatVersion is {}; v1.0 is read", shown(other))),
        }
        if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(format!("offerCode {} is not a code of letters and digits", shown(code)));
        }
        check_text(code)?;
        let published = self
            .publication_date
            .as_deref()
            .ok_or_else(|| "no publicationDate before the products".to_owned())?;
        Ok((code, time(published).map_err(|error| format!("publicationDate: {error}"))?))
    }
}

pub(super) fn savings_plan() -> String {
    "this is a list of savings plans, which are discounts on other prices and not read; \
     take the offer file of the service itself, such as AmazonEC2"
        .to_owned()
}

/// The regions that the products of a list name.
#[derive(Debug, Default)]
pub(super) struct Regions {
    first: Option<String>,
    several: bool,
    /// Products without a region, or of the region "global", were seen.
    global: bool,
}

impl Regions {
    /// Takes note of a product's region. The data transfer of a regional list is [`NO_REGION`] and does not make
    /// it a list of several regions.
    pub(super) fn add(&mut self, region: &str) {
        if region == NO_REGION {
            self.global = true;
        } else {
            match &self.first {
                None => self.first = Some(region.to_owned()),
                Some(first) => self.several |= first != region,
            }
        }
    }

    /// The region of the list, or `all`.
    pub(super) fn scope(&self) -> &str {
        match &self.first {
            Some(region) if !self.several => region,
            None if self.global => NO_REGION,
            _ => "all",
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.first.is_some()
    }
}

pub(super) fn header(
    code: &str,
    published: DateTime<Utc>,
    regions: &Regions,
    overrides: &Overrides,
) -> ListHeader {
    ListHeader {
        scope: overrides.scope.clone().unwrap_or_else(|| format!("{code}/{}", regions.scope())),
        observed_at: overrides.observed_at.unwrap_or(published),
    }
}

/// The region of a product: `regionCode`; in old lists, which have none, the region of its `location`. A
/// location that is not in our table stands for itself, so that no product is filed under a wrong region.
pub(super) fn region<'a>(region_code: &'a str, location: &'a str) -> &'a str {
    if !region_code.is_empty() {
        region_code
    } else if location.is_empty() || location == "Any" {
        NO_REGION
    } else {
        region_of_location(location).unwrap_or(location)
    }
}

/// The offer term code of a rate code: the second part of `SKU.OFFERTERM.RATE`.
pub fn offer_term_code(rate_code: &str) -> Option<&str> {
    let mut parts = rate_code.split('.');
    let (sku, term, rate) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && ![sku, term, rate].contains(&"")).then_some(term)
}

/// Refuses a rate code that does not belong to its SKU and offer term.
pub(super) fn check_rate_code(rate_code: &str, sku: &str, offer_term: &str) -> Result<(), String> {
    check_text(rate_code)?;
    let belongs = rate_code.strip_prefix(sku).is_some_and(|rest| rest.starts_with('.'))
        && offer_term_code(rate_code) == Some(offer_term);
    if belongs {
        Ok(())
    } else {
        Err(format!("rate code {} is not {sku}.{offer_term}.RATE", shown(rate_code)))
    }
}

/// The attributes that say on which terms a price is offered. JSON and CSV spell some values differently.
#[derive(Debug, Default)]
pub(super) struct Term {
    pub(super) reserved: bool,
    pub(super) offer_term_code: String,
    pub(super) lease: String,
    pub(super) purchase_option: String,
    pub(super) offering_class: String,
}

impl Term {
    pub(super) fn clear(&mut self) {
        for text in
            [&mut self.offer_term_code, &mut self.lease, &mut self.purchase_option, &mut self.offering_class]
        {
            text.clear();
        }
    }

    /// Puts the attributes of a price of this term into `attributes`, leaving out empty ones. An on-demand rate
    /// that applies to other SKUs is a free tier.
    pub(super) fn attributes<'a>(&'a self, applies_to: &'a str, attributes: &mut Vec<(&'a str, &'a str)>) {
        let term_type = match (self.reserved, applies_to.is_empty()) {
            (true, _) => "Reserved",
            (false, true) => "OnDemand",
            (false, false) => "FreeTier",
        };
        let all = [
            ("termType", term_type),
            ("offerTermCode", &self.offer_term_code),
            ("LeaseContractLength", &self.lease),
            ("PurchaseOption", &self.purchase_option),
            ("OfferingClass", &self.offering_class),
            ("appliesTo", applies_to),
        ];
        attributes.extend(all.into_iter().filter(|(_, value)| !value.is_empty()));
    }
}

/// `1yr` in JSON, `1yr` or `1 yr` in CSV.
pub(super) fn set_lease(lease: &mut String, text: &str) {
    lease.clear();
    lease.extend(text.chars().filter(|character| *character != ' '));
}

/// Adds a SKU to a list joined with spaces. A free tier may apply to hundreds of SKUs; those that would take the
/// text beyond [`MAX_TEXT_BYTES`] are left out.
pub(super) fn add_applies_to(applies_to: &mut String, sku: &str) {
    if sku.is_empty() || applies_to.len() + 1 + sku.len() > MAX_TEXT_BYTES {
        return;
    }
    if !applies_to.is_empty() {
        applies_to.push(' ');
    }
    applies_to.push_str(sku);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_comes_from_its_code_or_from_the_location() {
        for (code, location, expected) in [
            ("eu-west-3", "EU (Paris)", "eu-west-3"),
            ("", "EU (Paris)", "eu-west-3"),
            ("", "Any", "global"),
            ("", "", "global"),
            ("", "Atlantis", "Atlantis"),
        ] {
            assert_eq!(region(code, location), expected);
        }
    }

    #[test]
    fn the_scope_is_the_one_region_that_products_name() {
        let scope = |regions: &[&str]| {
            let mut seen = Regions::default();
            for region in regions {
                seen.add(region);
            }
            seen.scope().to_owned()
        };
        assert_eq!(scope(&[]), "all");
        assert_eq!(scope(&["global", "eu-west-3", "eu-west-3"]), "eu-west-3");
        assert_eq!(scope(&["global"]), "global");
        assert_eq!(scope(&["eu-west-3", "us-east-1"]), "all");
    }

    #[test]
    fn rate_codes_belong_to_a_sku_and_a_term() {
        assert_eq!(offer_term_code("S.T.R"), Some("T"));
        for code in ["S.T", "S.T.R.X", "S..R", ".T.R", "S.T."] {
            assert_eq!(offer_term_code(code), None, "{code}");
        }
        assert!(check_rate_code("S.T.R", "S", "T").is_ok());
        assert!(check_rate_code("SX.T.R", "S", "T").is_err());
        assert!(check_rate_code("S.U.R", "S", "T").is_err());
    }

    #[test]
    fn free_tiers_keep_as_many_skus_as_a_text_may_hold() {
        let mut joined = String::new();
        for _ in 0..500 {
            add_applies_to(&mut joined, "ABCDEFGHIJKLMNOP");
        }
        assert!(joined.len() <= MAX_TEXT_BYTES && joined.len() > MAX_TEXT_BYTES - 17);
        assert!(joined.split(' ').all(|sku| sku == "ABCDEFGHIJKLMNOP"));
    }
}
