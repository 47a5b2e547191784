//! Why a line does not mean exactly one price, and what to do.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Serialize;

use super::{Candidate, PSEUDO_ATTRIBUTES};

/// The most candidates, differences and values that an error lists.
const MAX_LISTED: usize = 10;
/// The most attribute names that an error lists.
const MAX_NAMES: usize = 60;
/// The longest value that an error repeats, in characters.
const MAX_VALUE_CHARS: usize = 80;

/// Why no price was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Nothing is known under the resource.
    #[error("no price is known for {resource:?}")]
    NoCandidates {
        /// As asked.
        resource: String,
    },
    /// More are known under the resource than are looked at.
    #[error("{limit} prices or more are known as {resource:?}")]
    TooMany {
        /// As asked.
        resource: String,
        /// How many are looked at.
        limit: usize,
    },
    /// No candidate has such an attribute.
    #[error("no price has an attribute {name:?}; the names are {}", .known.join(", "))]
    UnknownAttribute {
        /// As asked.
        name: String,
        /// Names that candidates have.
        known: Vec<String>,
    },
    /// No candidate has the attribute with that value.
    #[error("no price has {name} = {value:?}; with the other attributes, it can be {}", .values.join(" | "))]
    NoSuchValue {
        /// As asked.
        name: String,
        /// As asked.
        value: String,
        /// Values that remaining candidates have; at most ten.
        values: Vec<String>,
    },
    /// Only prices remain that are never chosen by silence.
    #[error(
        "{resource:?} has no price on demand with these attributes, only {}; to use one, give the attribute termType with pricing_basis policy",
        .term_types.join(", ")
    )]
    NotOnDemand {
        /// As asked.
        resource: String,
        /// Term types of the candidates.
        term_types: Vec<String>,
    },
    /// Several rates remain.
    #[error(
        "{count} prices match {resource:?}; narrow with attributes: {}",
        .differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Ambiguous {
        /// As asked.
        resource: String,
        /// How many rates.
        count: usize,
        /// The first ten.
        candidates: Vec<CandidateSummary>,
        /// What tells them apart; at most ten.
        differences: Vec<Difference>,
    },
    /// Only the fee of a commitment remains.
    #[error(
        "price {price_id} is the upfront fee of a commitment; ask for the hourly price, which includes it"
    )]
    FeeAlone {
        /// The fee.
        price_id: i64,
    },
    /// The tiers do not start at zero usage.
    #[error("the first tier known is {price_id}, from {tier_from}; the tier from 0 is missing in the ledger")]
    FirstTierMissing {
        /// The lowest tier.
        price_id: i64,
        /// Where it starts.
        tier_from: Decimal,
    },
    /// A reserved price whose term cannot be read.
    #[error("price {price_id} is reserved, but its term is no number of years")]
    UnknownTerm {
        /// The price.
        price_id: i64,
    },
    /// A policy discount on a price that is lower for the same reason.
    #[error(
        "price {price_id} is a {term_type} price already; use pricing_model on-demand, or pricing_basis market"
    )]
    DiscountedTwice {
        /// The price.
        price_id: i64,
        /// Its term type.
        term_type: String,
    },
}

/// A candidate as an error lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CandidateSummary {
    /// Identity in this ledger.
    pub price_id: i64,
    /// AWS SKU or Azure `skuId`.
    pub sku_id: String,
    /// The provider's spelling.
    pub unit: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Per pricing unit; of the first tier.
    pub list_unit_price: Decimal,
    /// Those attributes that tell it from the others.
    pub attributes: BTreeMap<String, String>,
}

/// An attribute in which candidates differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the attribute.
    pub name: String,
    /// Its values, sorted; at most ten.
    pub values: Vec<String>,
    /// How many values there are.
    pub count: usize,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} = {}", self.name, self.values.join(" | "))?;
        if self.count > self.values.len() { formatter.write_str(" | ...") } else { Ok(()) }
    }
}

impl SelectionError {
    pub(super) fn unknown_attribute(name: &str, candidates: &[Candidate]) -> Self {
        let listed = candidates.iter().flat_map(|candidate| candidate.listing.attributes.keys());
        let known: BTreeSet<&str> = listed.map(String::as_str).chain(PSEUDO_ATTRIBUTES).collect();
        let known = known.into_iter().take(MAX_NAMES).map(str::to_owned).collect();
        Self::UnknownAttribute { name: excerpt(name), known }
    }

    pub(super) fn no_such_value(name: &str, value: &str, left: &[&Candidate]) -> Self {
        let values: BTreeSet<String> = left
            .iter()
            .filter_map(|candidate| candidate.attribute(name))
            .map(|value| excerpt(&value))
            .collect();
        let values = values.into_iter().take(MAX_LISTED).collect();
        Self::NoSuchValue { name: excerpt(name), value: excerpt(value), values }
    }

    pub(super) fn not_on_demand(resource: &str, named: &[&Candidate]) -> Self {
        let term_types: BTreeSet<_> = named.iter().map(|candidate| candidate.term_type()).collect();
        let term_types = term_types.into_iter().map(|term| term.name().to_owned()).collect();
        Self::NotOnDemand { resource: resource.to_owned(), term_types }
    }

    pub(super) fn first_tier_missing(tiers: &[&Candidate]) -> Self {
        let lowest = tiers.first();
        Self::FirstTierMissing {
            price_id: lowest.map_or(0, |tier| tier.price_id),
            tier_from: lowest.map_or(Decimal::ZERO, |tier| tier.listing.tier_from),
        }
    }

    pub(super) fn ambiguous(resource: &str, rates: &[&Candidate]) -> Self {
        let differences = differences(rates);
        let mut sorted = rates.to_vec();
        sorted.sort_by_key(|candidate| candidate.price_id);
        let summary = |candidate: &&Candidate| CandidateSummary {
            price_id: candidate.price_id,
            sku_id: candidate.listing.sku_id.clone(),
            unit: candidate.listing.unit.clone(),
            currency: candidate.listing.currency.clone(),
            list_unit_price: candidate.amount.normalize(),
            attributes: differences
                .iter()
                .filter_map(|Difference { name, .. }| {
                    Some((name.clone(), excerpt(&candidate.attribute(name)?)))
                })
                .collect(),
        };
        Self::Ambiguous {
            resource: resource.to_owned(),
            count: rates.len(),
            candidates: sorted.iter().take(MAX_LISTED).map(summary).collect(),
            differences,
        }
    }
}

/// The attributes in which rates differ, those that tell most apart first; ids only
/// where nothing else does.
fn differences(rates: &[&Candidate]) -> Vec<Difference> {
    let listed = rates.iter().flat_map(|candidate| candidate.listing.attributes.keys().map(String::as_str));
    let names: BTreeSet<&str> = listed.chain(["operatingSystem", "termType", "unit", "currency"]).collect();
    let mut differences = Vec::new();
    for name in names {
        differences.extend(difference(name, rates));
    }
    differences.sort_by(|left, right| right.count.cmp(&left.count).then_with(|| left.name.cmp(&right.name)));
    differences.truncate(MAX_LISTED);
    if differences.is_empty() {
        differences
            .extend(["sku_price_id", "price_id"].into_iter().filter_map(|name| difference(name, rates)));
    }
    differences
}

fn difference(name: &str, rates: &[&Candidate]) -> Option<Difference> {
    let values: BTreeSet<Option<String>> =
        rates.iter().map(|candidate| candidate.attribute(name).map(|value| excerpt(&value))).collect();
    if values.len() < 2 {
        return None;
    }
    let given: Vec<String> = values.into_iter().flatten().collect();
    let count = given.len();
    Some(Difference { name: name.to_owned(), values: given.into_iter().take(MAX_LISTED).collect(), count })
}

fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut excerpt: String = characters.by_ref().take(MAX_VALUE_CHARS).collect();
    if characters.next().is_some() {
        excerpt.push_str("...");
    }
    excerpt
}
