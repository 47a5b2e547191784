//! Why two versions cost different amounts: configuration, prices, discount policy; the parts add up exactly.
//!
//! From the old cost to the new one in three steps, each of which changes one thing:
//!
//! ```text
//! old configuration, old price, old policy   = from
//! new configuration, old price, old policy     the step is `configuration`
//! new configuration, new price, old policy     the step is `price`
//! new configuration, new price, new policy   = to; the step is `discount_policy`
//! ```
//!
//! So what two things did together (twice the machines at a higher price) belongs to the later step. A line that was added
//! or removed is a change of configuration. Differences are [`Exact`].

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;

use super::{AskedLine, Exact, Line, StoredCharge, Version};
use crate::domain::arithmetic::{LineCost, charge_cost};
use crate::domain::discounts::{DiscountPolicy, PricingModel};
use crate::domain::estimate::{DEFAULT_HOURS_PER_MONTH, PricingBasis};
use crate::domain::precise::{Overflow, add, subtract};

/// What was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateDiffPoint)]
pub struct Point {
    /// `None`: now, or what if.
    pub version: Option<i64>,
    /// The ledger position at which the prices were validated.
    pub position: i64,
    /// World time of the prices.
    pub as_of: DateTime<Utc>,
    /// The version of the discount policy.
    pub discount_policy: u64,
}

impl Point {
    fn of(version: &Version<'_>, is_saved: bool) -> Self {
        Self {
            version: is_saved.then_some(version.version),
            position: version.position,
            as_of: version.as_of,
            discount_policy: version.discount_policy.version,
        }
    }
}

/// Monthly costs and why they differ: `difference` = `configuration` + `price` + `discount_policy`, exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateDiffEffects)]
pub struct Effects {
    /// Before; zero for a line that was added.
    pub from_monthly_cost: Exact,
    /// After; zero for a line that was removed.
    pub to_monthly_cost: Exact,
    /// After less before.
    pub difference: Exact,
    /// Because something else is asked for.
    pub configuration: Exact,
    /// Because prices moved.
    pub price: Exact,
    /// Because discount rates changed.
    pub discount_policy: Exact,
}

impl Effects {
    /// From the costs at each step.
    fn between(from: Exact, configured: &Exact, priced: &Exact, to: Exact) -> Self {
        Self {
            difference: to.clone() - from.clone(),
            configuration: configured.clone() - from.clone(),
            price: priced.clone() - configured.clone(),
            discount_policy: to.clone() - priced.clone(),
            from_monthly_cost: from,
            to_monthly_cost: to,
        }
    }

    fn add(&mut self, other: &Self) {
        self.from_monthly_cost += other.from_monthly_cost.clone();
        self.to_monthly_cost += other.to_monthly_cost.clone();
        self.difference += other.difference.clone();
        self.configuration += other.configuration.clone();
        self.price += other.price.clone();
        self.discount_policy += other.discount_policy.clone();
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = EstimateDiffStatus)]
pub enum Status {
    /// Costs the same for the same.
    Unchanged,
    /// Costs or asks something else.
    Changed,
    /// Is new.
    Added,
    /// Is gone.
    Removed,
}

/// One line of both, or of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateDiffLine)]
pub struct LineDiff {
    /// By which the lines were matched.
    pub label: String,
    /// What became of it.
    pub status: Status,
    /// ISO 4217 code.
    pub currency: String,
    /// What is asked for differently: names of fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub changed: Vec<&'static str>,
    /// The old prices of what is asked for now are not known, so `price` is zero and its part is in `configuration`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub old_price_unknown: bool,
    /// What it costs, and why.
    #[serde(flatten)]
    pub effects: Effects,
}

/// The sums of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateDiffTotal)]
pub struct TotalDiff {
    /// ISO 4217 code.
    pub currency: String,
    /// Of all its lines.
    #[serde(flatten)]
    pub effects: Effects,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateDiff)]
pub struct Diff {
    /// The old one.
    pub from: Point,
    /// The new one.
    pub to: Point,
    /// Of the new one in their order, then those that are gone.
    pub lines: Vec<LineDiff>,
    /// By currency, sorted.
    pub totals: Vec<TotalDiff>,
}

/// Which lines belong together: indices in the old and the new version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// The old line of each new one.
    old_of: Vec<Option<usize>>,
    /// Old lines that are gone.
    gone: Vec<usize>,
}

/// Matches lines by label; of several with one label first those that ask for the same, then in their order. Lines of
/// different currencies do not belong together, since there are no exchange rates.
pub fn lines_match(from: &Version<'_>, to: &Version<'_>) -> Matched {
    let mut waiting: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in from.lines.iter().enumerate() {
        waiting.entry(&line.asked.label).or_default().push(index);
    }
    let mut old_of = vec![None; to.lines.len()];
    for is_same_needed in [true, false] {
        for (index, line) in to.lines.iter().enumerate() {
            if old_of[index].is_some() {
                continue;
            }
            let Some(olds) = waiting.get_mut(&*line.asked.label) else { continue };
            let found = olds.iter().position(|&old| {
                let old = &from.lines[old];
                old.currency == line.currency
                    && (!is_same_needed || fields_changed(from, &old.asked, to, &line.asked).is_empty())
            });
            old_of[index] = found.map(|place| olds.remove(place));
        }
    }
    let mut gone: Vec<usize> = waiting.into_values().flatten().collect();
    gone.sort_unstable();
    Matched { old_of, gone }
}

impl Matched {
    /// New lines whose old prices the old version does not hold: they ask for something else, by other prices.
    pub fn to_reprice(&self, from: &Version<'_>, to: &Version<'_>) -> Vec<usize> {
        let is_needed = |(index, old): (usize, &Option<usize>)| {
            let (new, old) = (&to.lines[index], &from.lines[(*old)?]);
            let is_other = !fields_changed(from, &old.asked, to, &new.asked).is_empty();
            (is_other && at_old_prices(old, new).is_none()).then_some(index)
        };
        self.old_of.iter().enumerate().filter_map(is_needed).collect()
    }
}

/// Names of the fields that ask for something else. Hours are those of the request.
fn fields_changed(
    from: &Version<'_>,
    old: &AskedLine<'_>,
    to: &Version<'_>,
    new: &AskedLine<'_>,
) -> Vec<&'static str> {
    let hours = |version: &Version<'_>| version.hours_per_month.unwrap_or(DEFAULT_HOURS_PER_MONTH);
    [
        ("provider", old.provider != new.provider),
        ("service", old.service != new.service),
        ("region", old.region != new.region),
        ("resource", old.resource != new.resource),
        ("attributes", old.attributes != new.attributes),
        ("quantity", old.quantity != new.quantity),
        ("usage_per_month", old.usage_per_month != new.usage_per_month),
        ("pricing_model", old.pricing_model != new.pricing_model),
        ("pricing_basis", old.pricing_basis != new.pricing_basis),
        ("month", from.month != to.month),
        ("hours_per_month", from.month.is_none() && to.month.is_none() && hours(from) != hours(to)),
    ]
    .into_iter()
    .filter_map(|(name, is_other)| is_other.then_some(name))
    .collect()
}

/// A price and how much is billed at it.
#[derive(Debug, Clone, Copy)]
struct Billed {
    unit_price: Decimal,
    quantity: Decimal,
    factor: Decimal,
}

fn billed(charges: &[StoredCharge<'_>]) -> Vec<Billed> {
    let of = |charge: &StoredCharge<'_>| Billed {
        unit_price: charge.unit_price,
        quantity: charge.quantity,
        factor: charge.factor,
    };
    charges.iter().map(of).collect()
}

/// What the new line bills, at the prices of the old one; `None` where the old one has not all of them.
fn at_old_prices(old: &Line<'_>, new: &Line<'_>) -> Option<Vec<Billed>> {
    let at_old = |charge: &StoredCharge<'_>| {
        let known = old.charges.iter().find(|known| known.price_id == charge.price_id)?;
        Some(Billed { unit_price: known.unit_price, quantity: charge.quantity, factor: charge.factor })
    };
    new.charges.iter().map(at_old).collect()
}

/// A new line as it was priced at the time of the old version.
#[derive(Debug, Clone)]
pub struct Repriced {
    currency: String,
    basis: PricingBasis,
    billed: Vec<Billed>,
}

impl From<&LineCost> for Repriced {
    fn from(line: &LineCost) -> Self {
        let of = |charge: &crate::domain::arithmetic::Charge| Billed {
            unit_price: charge.unit_price,
            quantity: charge.quantity,
            factor: charge.factor,
        };
        Self {
            currency: line.listing.currency.clone(),
            basis: line.pricing_basis,
            billed: line.charges.iter().map(of).collect(),
        }
    }
}

fn cost_at(
    policy: &DiscountPolicy,
    model: PricingModel,
    basis: PricingBasis,
    billed: &[Billed],
) -> Result<Exact, Overflow> {
    let rate = match basis {
        PricingBasis::Policy => policy.rates.of(model),
        PricingBasis::Market => Decimal::ZERO,
    };
    let kept = subtract(Decimal::ONE, rate)?;
    let cost = billed.iter().try_fold(Decimal::ZERO, |sum, part| {
        add(sum, charge_cost(part.unit_price, kept, part.quantity, part.factor)?)
    });
    cost.map(Exact::from)
}

/// Compares two versions. `repriced` has the new lines of [`Matched::to_reprice`] as they were priced at the time of the
/// old one; those that it lacks were not on record then. `to_is_saved` is false for what was calculated only now.
///
/// # Errors
/// A cost that no decimal holds.
pub fn diff(
    from: &Version<'_>,
    to: &Version<'_>,
    to_is_saved: bool,
    matched: &Matched,
    repriced: &BTreeMap<usize, Repriced>,
) -> Result<Diff, Overflow> {
    let mut lines = Vec::with_capacity(matched.old_of.len() + matched.gone.len());
    for (index, (new, old)) in to.lines.iter().zip(&matched.old_of).enumerate() {
        lines.push(match old {
            Some(old) => line_diff(from, &from.lines[*old], to, new, repriced.get(&index))?,
            None => alone(new, Status::Added),
        });
    }
    lines.extend(matched.gone.iter().map(|old| alone(&from.lines[*old], Status::Removed)));
    let mut totals: BTreeMap<&str, Effects> = BTreeMap::new();
    for line in &lines {
        totals.entry(&line.currency).or_default().add(&line.effects);
    }
    let totals = totals
        .into_iter()
        .map(|(currency, effects)| TotalDiff { currency: currency.to_owned(), effects })
        .collect();
    Ok(Diff { from: Point::of(from, true), to: Point::of(to, to_is_saved), lines, totals })
}

/// A line that only one of them has.
fn alone(line: &Line<'_>, status: Status) -> LineDiff {
    let (cost, none) = (Exact::from(line.cost.monthly_cost), Exact::default());
    let effects = match status {
        Status::Removed => Effects::between(cost, &none, &none, none.clone()),
        _ => Effects::between(none, &cost.clone(), &cost.clone(), cost),
    };
    LineDiff {
        label: line.asked.label.to_string(),
        status,
        currency: line.currency.to_string(),
        changed: Vec::new(),
        old_price_unknown: false,
        effects,
    }
}

fn line_diff(
    from: &Version<'_>,
    old: &Line<'_>,
    to: &Version<'_>,
    new: &Line<'_>,
    repriced: Option<&Repriced>,
) -> Result<LineDiff, Overflow> {
    let (old_policy, model) = (&from.discount_policy, new.asked.pricing_model);
    let changed = fields_changed(from, &old.asked, to, &new.asked);
    let (before, after) = (Exact::from(old.cost.monthly_cost), Exact::from(new.cost.monthly_cost));
    let priced = cost_at(old_policy, model, new.cost.pricing_basis, &billed(&new.charges))?;
    let mut old_price_unknown = false;
    let configured = if changed.is_empty() {
        before.clone()
    } else if let Some(billed) = at_old_prices(old, new) {
        cost_at(old_policy, model, new.cost.pricing_basis, &billed)?
    } else if let Some(then) = repriced.filter(|then| then.currency == new.currency) {
        cost_at(old_policy, model, then.basis, &then.billed)?
    } else {
        old_price_unknown = true;
        priced.clone()
    };
    let effects = Effects::between(before, &configured, &priced, after);
    let is_unchanged = changed.is_empty()
        && [&effects.difference, &effects.price, &effects.discount_policy].iter().all(|part| part.is_zero());
    Ok(LineDiff {
        label: new.asked.label.to_string(),
        status: if is_unchanged { Status::Unchanged } else { Status::Changed },
        currency: new.currency.to_string(),
        changed,
        old_price_unknown,
        effects,
    })
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
