//! Our own columns.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;

use super::{ExportError, Locale, Sheet};
use crate::domain::discounts::PricingModel;
use crate::domain::estimate::PricingBasis;
use crate::domain::precise::add;
use crate::domain::saved::Version;

/// Columns never move and never change their meaning; new ones come last.
const LINE_COLUMNS: [&str; 25] = [
    "label",
    "provider",
    "service",
    "region",
    "resource",
    "attributes",
    "quantity",
    "usage_per_month",
    "pricing_model",
    "pricing_basis",
    "currency",
    "unit",
    "list_unit_price",
    "unit_price",
    "discount_rate",
    "effective_unit_price",
    "hourly_cost",
    "monthly_cost",
    "annual_cost",
    "price_id",
    "price_key",
    "sku_id",
    "sku_price_id",
    "price_observed_at",
    "price_position",
];
const TOTAL_COLUMNS: [&str; 7] =
    ["of", "provider", "service", "currency", "hourly_cost", "monthly_cost", "annual_cost"];

/// One row a line. Monthly and annual costs are rounded to cents, everything else is exact.
///
/// # Errors
/// See [`ExportError`].
pub fn lines(version: &Version<'_>, locale: Locale) -> Result<Vec<u8>, ExportError> {
    let mut sheet = Sheet::new(locale, &LINE_COLUMNS)?;
    for line in &version.lines {
        let (asked, cost) = (&line.asked, &line.cost);
        for text in [&asked.label, &asked.provider, &asked.service, &asked.region, &asked.resource] {
            sheet.text(text)?;
        }
        let attributes: Vec<String> =
            asked.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        sheet.text(&attributes.join("; "))?;
        sheet.exact(asked.quantity)?;
        match asked.usage_per_month {
            Some(usage) => sheet.exact(usage)?,
            None => sheet.plain("")?,
        }
        sheet.plain(asked.pricing_model.name())?;
        sheet.plain(basis_name(cost.pricing_basis))?;
        sheet.text(&line.currency)?;
        sheet.text(&cost.price.unit)?;
        for price in
            [cost.price.list_unit_price, cost.unit_price, cost.discount_rate, cost.effective_unit_price]
        {
            sheet.exact(price)?;
        }
        sheet.exact(cost.hourly_cost)?;
        sheet.cents(cost.monthly_cost)?;
        sheet.cents(cost.annual_cost)?;
        sheet.plain(&cost.price.price_id.to_string())?;
        sheet.text(&cost.price.key)?;
        sheet.text(&cost.price.sku_id)?;
        let rate = line.charges.iter().find(|charge| charge.price_id == cost.price.price_id);
        sheet.text(rate.map_or("", |charge| &charge.sku_price_id))?;
        sheet.plain(&time(cost.price.observed_at))?;
        sheet.plain(&cost.price.position.to_string())?;
        sheet.end_row()?;
    }
    sheet.finish()
}

/// The sums of unrounded lines: one row a provider, service and currency, then one a currency for all of them.
///
/// # Errors
/// See [`ExportError`].
pub fn totals(version: &Version<'_>, locale: Locale) -> Result<Vec<u8>, ExportError> {
    let mut services: BTreeMap<[&str; 3], [Decimal; 3]> = BTreeMap::new();
    let mut currencies: BTreeMap<&str, [Decimal; 3]> = BTreeMap::new();
    for line in &version.lines {
        let costs = [line.cost.hourly_cost, line.cost.monthly_cost, line.cost.annual_cost];
        let service = [&*line.asked.provider, &*line.asked.service, &*line.currency];
        for sums in [services.entry(service).or_default(), currencies.entry(&line.currency).or_default()] {
            for (sum, cost) in sums.iter_mut().zip(costs) {
                *sum = add(*sum, cost)?;
            }
        }
    }
    let mut sheet = Sheet::new(locale, &TOTAL_COLUMNS)?;
    let services = services.into_iter().map(|(names, costs)| ("service", names, costs));
    let all = currencies.into_iter().map(|(currency, costs)| ("estimate", ["", "", currency], costs));
    for (of, names, [hourly, monthly, annual]) in services.chain(all) {
        sheet.plain(of)?;
        for name in names {
            sheet.text(name)?;
        }
        sheet.exact(hourly)?;
        sheet.cents(monthly)?;
        sheet.cents(annual)?;
        sheet.end_row()?;
    }
    sheet.finish()
}

/// As in requests.
pub(super) const fn basis_name(basis: PricingBasis) -> &'static str {
    match basis {
        PricingBasis::Policy => "policy",
        PricingBasis::Market => "market",
    }
}

/// RFC 3339 with as many digits of a second as it has.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// How a model is called in FOCUS (Pricing Category).
pub(super) const fn category(model: PricingModel) -> &'static str {
    match model {
        PricingModel::OnDemand => "Standard",
        PricingModel::ReservedOneYear | PricingModel::ReservedThreeYears => "Committed",
        PricingModel::Spot => "Dynamic",
    }
}
