//! What a line costs, and what an estimate sums to.
//!
//! With `billed` units per month (hours x quantity, or usage x quantity, see [`crate::domain::units`]):
//!
//! ```text
//! effective unit price = unit price x (1 - discount rate)
//! monthly cost         = sum over tiers of (billed units in the tier x effective unit price) / factor of the unit
//! annual cost          = monthly cost x 12
//! hourly cost          = effective unit price x quantity / factor   (hourly units of one tier)
//!                        monthly cost / hours of the month          (all others)
//! ```
//!
//! A session's override takes the place of the unit price; the discount applies to it as to any other.
//! Tiers are graduated: each prices the units between its start and the next tier's start. Every step is exact up
//! to 28 significant digits (see [`crate::domain::precise`]); only quotients are ever rounded with real prices.

mod answer;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::discounts::DiscountPolicy;
use crate::domain::estimate::{PricingBasis, RequestLine};
use crate::domain::precise::{Overflow, add, divide, multiply, subtract};
use crate::domain::selection::{Candidate, Commitment, Selection};
use crate::domain::units::{Billing, Unit};

pub use answer::{
    Charge, Costs, CurrencyTotal, Estimate, LineCost, Override, Overrides, PriceUsed, ServedFrom,
    ServiceCost, TierCost,
};

const MONTHS_PER_YEAR: Decimal = Decimal::from_parts(12, 0, 0, false, 0);
const HOURS_PER_DAY: Decimal = Decimal::from_parts(24, 0, 0, false, 0);

/// Why a line has no cost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// The price is for usage, and the line does not say how much.
    #[error(
        "line {label:?}: the price is by usage, per {unit:?}; give usage_per_month{}",
        in_single_units(*.factor)
    )]
    UsageMissing {
        /// Of the line.
        label: String,
        /// The pricing unit.
        unit: String,
        /// How many the unit counts.
        factor: Decimal,
    },
    /// The price runs by time, and the line gives usage.
    #[error("line {label:?}: the price is by time, per {unit:?}; leave usage_per_month out and use quantity")]
    UsageNotWanted {
        /// Of the line.
        label: String,
        /// The pricing unit.
        unit: String,
    },
    /// The usage exceeds the last tier that is known.
    #[error(
        "line {label:?}: {billed} units are more than {tier_to}, where the last tier known (price {price_id}) ends"
    )]
    BeyondLastTier {
        /// Of the line.
        label: String,
        /// Units per month.
        billed: Decimal,
        /// End of the last tier, in the same units.
        tier_to: Decimal,
        /// The last tier.
        price_id: i64,
    },
    /// A result of more than 28 integer digits.
    #[error("line {label:?}: {overflow}; split the line")]
    Overflow {
        /// Of the line.
        label: String,
        /// The cause.
        overflow: Overflow,
    },
    /// A sum of more than 28 integer digits.
    #[error("the total: {0}; split the estimate")]
    TotalOverflow(Overflow),
}

fn in_single_units(factor: Decimal) -> String {
    if factor == Decimal::ONE {
        String::new()
    } else {
        format!(" in single units, of which one price buys {factor}")
    }
}

/// What one line costs with the rate that was chosen for it.
///
/// `hours` are those of the month, above 0; `overrides` are those of the session, if there is one; `served_from` says
/// where the prices were read.
///
/// # Errors
/// Usage that is missing, or not wanted; usage beyond the last tier; a result that no decimal holds.
pub fn line_cost(
    selection: &Selection,
    line: &RequestLine,
    hours: Decimal,
    policy: &DiscountPolicy,
    overrides: &Overrides,
    served_from: ServedFrom,
) -> Result<LineCost, CostError> {
    let discount_rate = match selection.basis {
        PricingBasis::Policy => policy.rates.of(line.pricing_model),
        PricingBasis::Market => Decimal::ZERO,
    };
    let unit = unit_of(selection);
    let billed = billed_units(selection, unit, line, hours)?;
    let parts = parts(selection, unit, billed, line, overrides)?;

    let overflow = |overflow| CostError::Overflow { label: line.label.clone(), overflow };
    let price = line_price(selection, &parts, discount_rate, overrides).map_err(overflow)?;
    let mut monthly = Decimal::ZERO;
    let mut charges = Vec::with_capacity(parts.len());
    for part in &parts {
        let cost = part.cost(part.quantity, price.kept).map_err(overflow)?;
        monthly = add(monthly, cost).map_err(overflow)?;
        charges.push(part.charge(cost));
    }
    let hourly = if unit.billing == Billing::Hourly && selection.rate.len() == 1 {
        parts.iter().try_fold(Decimal::ZERO, |sum, part| add(sum, part.cost(line.quantity, price.kept)?))
    } else {
        divide(monthly, hours)
    };
    let has_parts = selection.rate.len() > 1 || parts.len() > 1;
    let listing = &price.tier.listing;
    Ok(LineCost {
        label: line.label.clone(),
        price: PriceUsed::new(price.tier, served_from),
        currency: None,
        overridden: price.overridden.cloned(),
        unit_price: price.unit_price,
        discount_rate,
        effective_unit_price: price.effective_unit_price,
        costs: Costs::new(hourly.map_err(overflow)?, monthly).map_err(overflow)?,
        pricing_basis: selection.basis,
        tiers: has_parts.then(|| charges.iter().map(TierCost::new).collect()),
        listing: listing.clone(),
        charges,
    })
}

/// A whole-term price buys the hours of its term, whatever its unit says.
fn unit_of(selection: &Selection) -> Unit {
    match (&selection.commitment, selection.rate.first()) {
        (Commitment::WholeTerm { term_hours }, _) => {
            Unit { billing: Billing::Hourly, factor: Decimal::from(*term_hours) }
        }
        (_, first) => Unit::parse(first.map_or("", |tier| &tier.listing.unit)),
    }
}

/// Units that are billed in the month, before the unit's factor.
fn billed_units(
    selection: &Selection,
    unit: Unit,
    line: &RequestLine,
    hours: Decimal,
) -> Result<Decimal, CostError> {
    let label = || line.label.clone();
    let spelling = || selection.rate.first().map_or_else(String::new, |tier| tier.listing.unit.clone());
    let billed = match (unit.billing, line.usage_per_month) {
        (Billing::Usage, Some(usage)) => multiply(usage, line.quantity),
        (Billing::Usage, None) => {
            return Err(CostError::UsageMissing { label: label(), unit: spelling(), factor: unit.factor });
        }
        (_, Some(_)) => return Err(CostError::UsageNotWanted { label: label(), unit: spelling() }),
        (Billing::Hourly, None) => multiply(line.quantity, hours),
        (Billing::Daily, None) => {
            multiply(line.quantity, hours).and_then(|hours| divide(hours, HOURS_PER_DAY))
        }
        (Billing::Monthly, None) => Ok(line.quantity),
        (Billing::Yearly, None) => divide(line.quantity, MONTHS_PER_YEAR),
    };
    billed.map_err(|overflow| CostError::Overflow { label: label(), overflow })
}

/// A price and how many units of it are billed.
struct Part<'a> {
    candidate: &'a Candidate,
    /// What the session has set in its place.
    overridden: Option<&'a Override>,
    quantity: Decimal,
    /// Units that one price buys.
    factor: Decimal,
}

impl<'a> Part<'a> {
    fn new(candidate: &'a Candidate, quantity: Decimal, factor: Decimal, overrides: &'a Overrides) -> Self {
        Self { candidate, overridden: overrides.get(&candidate.price_id), quantity, factor }
    }

    /// Per pricing unit.
    fn amount(&self) -> Decimal {
        self.overridden.map_or(self.candidate.amount, |overridden| overridden.amount)
    }

    fn cost(&self, quantity: Decimal, kept: Decimal) -> Result<Decimal, Overflow> {
        charge_cost(self.amount(), kept, quantity, self.factor)
    }

    fn charge(&self, monthly_cost: Decimal) -> Charge {
        Charge {
            price_id: self.candidate.price_id,
            listing: self.candidate.listing.clone(),
            list_unit_price: self.candidate.amount.normalize(),
            overridden: self.overridden.cloned(),
            unit_price: self.amount().normalize(),
            quantity: self.quantity,
            factor: self.factor,
            monthly_cost,
        }
    }
}

/// What `quantity` single units cost at a price that buys `factor` of them, of which a discount leaves `kept`.
/// Multiplies first and divides last, so that at most the last step rounds.
///
/// # Errors
/// More than 28 integer digits.
pub fn charge_cost(
    unit_price: Decimal,
    kept: Decimal,
    quantity: Decimal,
    factor: Decimal,
) -> Result<Decimal, Overflow> {
    divide(multiply(multiply(unit_price, kept)?, quantity)?, factor)
}

/// The tiers that `billed` units reach, then the fee of a commitment.
fn parts<'a>(
    selection: &'a Selection,
    unit: Unit,
    billed: Decimal,
    line: &RequestLine,
    overrides: &'a Overrides,
) -> Result<Vec<Part<'a>>, CostError> {
    let overflow = |overflow| CostError::Overflow { label: line.label.clone(), overflow };
    // Tier bounds are in pricing units: 10 of `1M` are ten million.
    let bound = |bound: Decimal| match selection.commitment {
        Commitment::WholeTerm { .. } => Ok(bound),
        _ => multiply(bound, unit.factor).map_err(overflow),
    };
    let mut parts = Vec::with_capacity(1);
    for (index, tier) in selection.rate.iter().enumerate() {
        let from = bound(tier.listing.tier_from)?;
        if index > 0 && billed <= from {
            break;
        }
        let to = match (selection.rate.get(index + 1), tier.listing.tier_to) {
            (Some(next), _) => bound(next.listing.tier_from)?,
            (None, None) => billed,
            (None, Some(end)) => {
                let tier_to = bound(end)?;
                if billed > tier_to {
                    let (label, price_id) = (line.label.clone(), tier.price_id);
                    return Err(CostError::BeyondLastTier { label, billed, tier_to, price_id });
                }
                billed
            }
        };
        let quantity = subtract(billed.min(to), from).map_err(overflow)?;
        parts.push(Part::new(tier, quantity, unit.factor, overrides));
    }
    if let Commitment::Upfront { fee, term_hours } = &selection.commitment {
        parts.push(Part::new(fee, billed, Decimal::from(*term_hours), overrides));
    }
    Ok(parts)
}

/// The price that a line shows.
struct LinePrice<'a> {
    /// The tier that the last unit falls in.
    tier: &'a Candidate,
    overridden: Option<&'a Override>,
    unit_price: Decimal,
    effective_unit_price: Decimal,
    /// What the discount leaves of a price: 1 - rate.
    kept: Decimal,
}

fn line_price<'a>(
    selection: &Selection,
    parts: &[Part<'a>],
    discount_rate: Decimal,
    overrides: &Overrides,
) -> Result<LinePrice<'a>, Overflow> {
    let mut tiers = parts.iter().take(parts.len().min(selection.rate.len()));
    // A selection has a rate and its first tier is always reached; without one nothing can be multiplied.
    let last = tiers.next_back().ok_or(Overflow)?;
    let amount = last.amount();
    let unit_price = match &selection.commitment {
        Commitment::None => amount.normalize(),
        Commitment::WholeTerm { term_hours } => divide(amount, Decimal::from(*term_hours))?,
        Commitment::Upfront { fee, term_hours } => {
            let fee = overrides.get(&fee.price_id).map_or(fee.amount, |overridden| overridden.amount);
            add(amount, divide(fee, Decimal::from(*term_hours))?)?
        }
    };
    let kept = subtract(Decimal::ONE, discount_rate)?;
    Ok(LinePrice {
        tier: last.candidate,
        overridden: last.overridden,
        unit_price,
        effective_unit_price: multiply(unit_price, kept)?,
        kept,
    })
}

/// Sums the lines: by service, and by currency where there are several.
///
/// `position` is the ledger position at which the prices were validated, `as_of` their world time.
///
/// # Errors
/// A sum that no decimal holds.
pub fn estimate_sum(
    mut lines: Vec<LineCost>,
    position: i64,
    as_of: DateTime<Utc>,
    policy: &DiscountPolicy,
) -> Result<Estimate, CostError> {
    let mut by_service: BTreeMap<[&str; 3], Costs> = BTreeMap::new();
    let mut by_currency: BTreeMap<&str, Costs> = BTreeMap::new();
    for LineCost { listing, costs, .. } in &lines {
        let service = by_service.entry([&listing.provider, &listing.service, &listing.currency]).or_default();
        service.add(costs).map_err(CostError::TotalOverflow)?;
        let currency = by_currency.entry(&listing.currency).or_default();
        currency.add(costs).map_err(CostError::TotalOverflow)?;
    }
    let several = by_currency.len() > 1;
    let services = by_service
        .into_iter()
        .map(|([provider, service, currency], costs)| ServiceCost {
            provider: provider.to_owned(),
            service: service.to_owned(),
            currency: several.then(|| currency.to_owned()),
            monthly_cost: costs.monthly_cost,
            annual_cost: costs.annual_cost,
        })
        .collect();
    let mut totals: Vec<_> = by_currency
        .into_iter()
        .map(|(currency, costs)| CurrencyTotal { currency: currency.to_owned(), costs })
        .collect();
    let only = if several { None } else { totals.pop() };
    if several {
        for line in &mut lines {
            line.currency = Some(line.listing.currency.clone());
        }
    }
    Ok(Estimate {
        currency: only.as_ref().map(|total| total.currency.clone()),
        position,
        as_of,
        discount_policy: policy.clone(),
        lines,
        services,
        total: only.map(|total| total.costs),
        totals: several.then_some(totals),
    })
}

#[cfg(test)]
mod tests;
