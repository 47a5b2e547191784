//! Which price a line means: exactly one rate, or an error that says how to get there.
//!
//! A *rate* is the prices that differ only by tier. [`price_select`] narrows the candidates of a resource
//!
//! 1. by the attributes that the client gave,
//! 2. to prices on demand (or, for the market basis, those and the provider's own reserved or spot prices),
//! 3. by the usual defaults of the providers' calculators, each only where the client said nothing about that
//!    attribute and where something remains,
//!
//! and refuses to guess where several rates remain.

mod candidate;
mod error;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::discounts::PricingModel;
use crate::domain::estimate::PricingBasis;
use crate::domain::price::Attributes;

pub use candidate::Candidate;
use candidate::{PSEUDO_ATTRIBUTES, RateKey, TermType};
pub use error::{CandidateSummary, Difference, SelectionError};

/// Hours of a committed year, 365 x 24, as AWS and Azure count it.
pub const HOURS_PER_YEAR: u32 = 8_760;

/// What a line asks of the candidates of its resource.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// As the client wrote it.
    pub resource: &'a str,
    /// What the client gave, by name; case does not matter in names and values.
    pub attributes: &'a Attributes,
    /// How it is bought.
    pub pricing_model: PricingModel,
    /// Where the discount comes from.
    pub pricing_basis: PricingBasis,
}

/// The chosen rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Its tiers by `tier_from`, the first from 0; never empty.
    pub rate: Vec<Candidate>,
    /// `Market` where the provider's own price for the pricing model was found; no policy discount applies then.
    pub basis: PricingBasis,
    /// What a commitment adds to the amounts of the rate.
    pub commitment: Commitment,
}

/// How a reserved rate spreads over its term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Commitment {
    /// The amounts are per unit, with nothing beside.
    None,
    /// A fee is paid once per term, beside the hourly amounts (AWS, partial and all upfront).
    Upfront {
        /// The price of the fee.
        fee: Candidate,
        /// Hours of the term.
        term_hours: u32,
    },
    /// The amounts are for the whole term, whatever the unit says (Azure reservations).
    WholeTerm {
        /// Hours of the term.
        term_hours: u32,
    },
}

/// Attributes that the calculators of AWS and Azure set for a product, with their values.
const PRODUCT_DEFAULTS: [(&str, &str); 6] = [
    ("operatingSystem", "Linux"),
    ("tenancy", "Shared"),
    ("capacitystatus", "Used"),
    ("licenseModel", "No License required"),
    ("preInstalledSw", "NA"),
    ("operation", "RunInstances"),
];
/// Defaults of the price rather than of the product. Azure marks reservations with `isPrimaryMeterRegion` false,
/// so this comes after the choice between a reservation and on demand.
const PRICE_DEFAULTS: [(&str, &str); 3] =
    [("isPrimaryMeterRegion", "true"), ("OfferingClass", "standard"), ("PurchaseOption", "No Upfront")];

/// Chooses the rate that `query` means among the prices known under its resource, in any order.
///
/// `candidates` must hold whole rates: where the resource names one price (its id, key or rate code), also the
/// other prices of its SKU, since the tiers and the fee of a rate have ids of their own.
///
/// # Errors
/// None, or several, remain; or what remains cannot be computed with. Each says what to do.
pub fn price_select(candidates: &[Candidate], query: &Query<'_>) -> Result<Selection, SelectionError> {
    if candidates.is_empty() {
        return Err(SelectionError::NoCandidates { resource: query.resource.to_owned() });
    }
    let named = by_attributes(candidates, query)?;
    let eligible = by_term(&named, query)?;
    let eligible = by_defaults(eligible, &PRODUCT_DEFAULTS, query);

    if query.pricing_basis == PricingBasis::Policy {
        return one_rate(eligible, candidates, PricingBasis::Policy, query);
    }
    let (market, on_demand): (Vec<_>, Vec<_>) =
        eligible.into_iter().partition(|candidate| candidate.is_market_price(query.pricing_model));
    if market.is_empty() && !on_demand.is_empty() {
        return one_rate(on_demand, candidates, PricingBasis::Policy, query);
    }
    one_rate(market, candidates, PricingBasis::Market, query)
}

/// Keeps what has all attributes of the client.
fn by_attributes<'a>(
    candidates: &'a [Candidate],
    query: &Query<'_>,
) -> Result<Vec<&'a Candidate>, SelectionError> {
    let mut left: Vec<_> = candidates.iter().collect();
    for (name, wanted) in query.attributes {
        if !candidates.iter().any(|candidate| candidate.attribute(name).is_some()) {
            return Err(SelectionError::unknown_attribute(name, candidates));
        }
        let kept: Vec<_> = left.iter().copied().filter(|candidate| candidate.has(name, wanted)).collect();
        if kept.is_empty() {
            return Err(SelectionError::no_such_value(name, wanted, &left));
        }
        left = kept;
    }
    Ok(left)
}

/// Keeps prices on demand; for the market basis also those of the pricing model. A client that names the term
/// type, or one certain price, has chosen it.
fn by_term<'a>(named: &[&'a Candidate], query: &Query<'_>) -> Result<Vec<&'a Candidate>, SelectionError> {
    let gives = |name: &str| query.attributes.keys().any(|given| given.eq_ignore_ascii_case(name));
    let is_policy = query.pricing_basis == PricingBasis::Policy;
    if is_policy && gives("termType") {
        return Ok(named.to_vec());
    }
    let kept: Vec<_> = named
        .iter()
        .copied()
        .filter(|candidate| {
            candidate.term_type() == TermType::OnDemand
                || (!is_policy && candidate.is_market_price(query.pricing_model))
        })
        .collect();
    if !kept.is_empty() {
        return Ok(kept);
    }
    let names_a_price = ["type", "price_id", "sku_price_id", "key"].into_iter().any(gives)
        || named.iter().any(|candidate| candidate.is_identified_by(query.resource));
    if is_policy && names_a_price {
        return Ok(named.to_vec());
    }
    Err(SelectionError::not_on_demand(query.resource, named))
}

/// Applies the defaults that the client left open and that leave something.
fn by_defaults<'a>(
    mut left: Vec<&'a Candidate>,
    defaults: &[(&str, &str)],
    query: &Query<'_>,
) -> Vec<&'a Candidate> {
    for (name, value) in defaults {
        if left.len() < 2 {
            break;
        }
        if query.attributes.keys().any(|given| given.eq_ignore_ascii_case(name)) {
            continue;
        }
        let kept: Vec<_> = left.iter().copied().filter(|candidate| candidate.has(name, value)).collect();
        if !kept.is_empty() {
            left = kept;
        }
    }
    left
}

/// The one rate that `survivors` belong to, with all its tiers and its fee from among `all`.
fn one_rate(
    survivors: Vec<&Candidate>,
    all: &[Candidate],
    basis: PricingBasis,
    query: &Query<'_>,
) -> Result<Selection, SelectionError> {
    let survivors = by_defaults(survivors, &PRICE_DEFAULTS, query);
    // A fee is a part of its hourly rate, not a rate of its own.
    let (fees, survivors): (Vec<_>, Vec<_>) = survivors.into_iter().partition(|one| one.is_upfront_fee());
    let mut rates: BTreeMap<RateKey<'_>, Vec<&Candidate>> = BTreeMap::new();
    for candidate in survivors {
        rates.entry(candidate.rate_key()).or_default().push(candidate);
    }
    if rates.len() > 1 {
        let firsts: Vec<_> = rates.values().filter_map(|tiers| first_tier(tiers)).collect();
        return Err(SelectionError::ambiguous(query.resource, &firsts));
    }
    let Some((key, named)) = rates.into_iter().next() else {
        return Err(match fees.iter().map(|fee| fee.price_id).min() {
            Some(price_id) => SelectionError::FeeAlone { price_id },
            None => SelectionError::NoCandidates { resource: query.resource.to_owned() },
        });
    };

    let sku_id = key.0[3];
    // The SKU first: it is quick to compare, and a resource may have a thousand prices.
    let siblings = all
        .iter()
        .filter(|candidate| candidate.listing.sku_id == sku_id)
        .filter(|candidate| candidate.rate_key() == key && !candidate.is_upfront_fee());
    let tiers = match tiers_in_order(siblings.collect()) {
        Ok(tiers) => tiers,
        // Two prices for one tier: the client may have named one of them.
        Err(_) => tiers_in_order(named).map_err(|same| SelectionError::ambiguous(query.resource, &same))?,
    };
    let Some(first) = tiers.first().filter(|first| first.listing.tier_from.is_zero()) else {
        return Err(SelectionError::first_tier_missing(&tiers));
    };
    let commitment = commitment(first, all, query)?;
    let is_discounted = first.term_type().is_discounted();
    if basis == PricingBasis::Policy && query.pricing_model != PricingModel::OnDemand && is_discounted {
        return Err(SelectionError::DiscountedTwice {
            price_id: first.price_id,
            term_type: first.term_type().name().to_owned(),
        });
    }
    Ok(Selection { rate: tiers.into_iter().cloned().collect(), basis, commitment })
}

fn first_tier<'a>(tiers: &[&'a Candidate]) -> Option<&'a Candidate> {
    tiers.iter().copied().min_by_key(|tier| (tier.listing.tier_from, tier.price_id))
}

/// Sorts by `tier_from`; the error holds the prices where two share a tier.
fn tiers_in_order(mut tiers: Vec<&Candidate>) -> Result<Vec<&Candidate>, Vec<&Candidate>> {
    tiers.sort_by_key(|tier| (tier.listing.tier_from, tier.price_id));
    let shared = tiers.windows(2).any(|pair| pair[0].listing.tier_from == pair[1].listing.tier_from);
    if shared { Err(tiers) } else { Ok(tiers) }
}

fn commitment(first: &Candidate, all: &[Candidate], query: &Query<'_>) -> Result<Commitment, SelectionError> {
    if first.term_type() != TermType::Reserved {
        return Ok(Commitment::None);
    }
    let term_hours = || {
        let years = first.term_years().ok_or(SelectionError::UnknownTerm { price_id: first.price_id })?;
        Ok(u32::from(years) * HOURS_PER_YEAR)
    };
    if first.listing.attributes.contains_key("reservationTerm") {
        return Ok(Commitment::WholeTerm { term_hours: term_hours()? });
    }
    let fees: Vec<_> = all.iter().filter(|candidate| candidate.is_upfront_fee_of(first)).collect();
    match fees.as_slice() {
        [] => Ok(Commitment::None),
        [fee] => Ok(Commitment::Upfront { fee: (*fee).clone(), term_hours: term_hours()? }),
        _ => Err(SelectionError::ambiguous(query.resource, &fees)),
    }
}

#[cfg(test)]
mod tests;
