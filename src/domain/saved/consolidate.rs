//! Several estimates summed into one report, without rounding.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Exact, Version};

/// Sums of what some lines cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateSums)]
pub struct Sums {
    /// For the month.
    pub monthly_cost: Exact,
    /// For twelve such months.
    pub annual_cost: Exact,
}

impl Sums {
    fn add(&mut self, line: &Self) {
        self.monthly_cost += line.monthly_cost.clone();
        self.annual_cost += line.annual_cost.clone();
    }
}

/// What lines that share these names cost, in one currency. A name that does not belong to the sum is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateReportRow)]
pub struct Consolidated {
    /// ISO 4217 code.
    pub currency: String,
    /// `aws`, `azure`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// AWS offer code or Azure service name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Region code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Of the estimate; an empty text stands for estimates without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What they cost.
    #[serde(flatten)]
    pub sums: Sums,
}

/// By currency first, then by what the report is by.
type By = BTreeMap<[String; 3], Sums>;

/// A report in the making.
#[derive(Debug, Clone, Default)]
pub struct Consolidation {
    totals: By,
    providers: By,
    services: By,
    regions: By,
    tags: By,
}

impl Consolidation {
    /// Adds the lines of an estimate. In the report by tag an estimate counts under each of its tags.
    pub fn add(&mut self, version: &Version<'_>) {
        for line in &version.lines {
            let sums = Sums {
                monthly_cost: line.cost.monthly_cost.into(),
                annual_cost: line.cost.annual_cost.into(),
            };
            let (asked, currency) = (&line.asked, &*line.currency);
            let add = |by: &mut By, first: &str, second: &str| {
                let names = [currency.to_owned(), first.to_owned(), second.to_owned()];
                by.entry(names).or_default().add(&sums);
            };
            add(&mut self.totals, "", "");
            add(&mut self.providers, &asked.provider, "");
            add(&mut self.services, &asked.provider, &asked.service);
            add(&mut self.regions, &asked.provider, &asked.region);
            for tag in &version.about.tags {
                add(&mut self.tags, tag, "");
            }
            if version.about.tags.is_empty() {
                add(&mut self.tags, "", "");
            }
        }
    }

    /// The sums of all lines.
    pub fn totals(&self) -> Vec<Consolidated> {
        named(&self.totals, |_, _, _| {})
    }

    /// By provider.
    pub fn providers(&self) -> Vec<Consolidated> {
        named(&self.providers, |row, provider, _| row.provider = Some(provider))
    }

    /// By provider and service.
    pub fn services(&self) -> Vec<Consolidated> {
        named(&self.services, |row, provider, service| {
            (row.provider, row.service) = (Some(provider), Some(service));
        })
    }

    /// By provider and region.
    pub fn regions(&self) -> Vec<Consolidated> {
        named(&self.regions, |row, provider, region| {
            (row.provider, row.region) = (Some(provider), Some(region));
        })
    }

    /// By tag.
    pub fn tags(&self) -> Vec<Consolidated> {
        named(&self.tags, |row, tag, _| row.tag = Some(tag))
    }
}

fn named(by: &By, name: impl Fn(&mut Consolidated, String, String)) -> Vec<Consolidated> {
    by.iter()
        .map(|([currency, first, second], sums)| {
            let mut row = Consolidated {
                currency: currency.clone(),
                provider: None,
                service: None,
                region: None,
                tag: None,
                sums: sums.clone(),
            };
            name(&mut row, first.clone(), second.clone());
            row
        })
        .collect()
}
