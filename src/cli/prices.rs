//! `mercuriale prices`.

use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use futures_util::TryStreamExt as _;

use super::{Exit, output};
use crate::app::App;
use crate::pricing::{ListFormat, MAX_PAGE, Place, PriceFilter};

#[derive(Debug, Subcommand)]
pub(super) enum Prices {
    /// Prices that match all of these
    Search {
        /// Words in names and attributes
        q: Option<String>,
        /// aws, azure, ...
        #[arg(long)]
        provider: Option<String>,
        /// AWS offer code or Azure service name
        #[arg(long)]
        service: Option<String>,
        /// Region code
        #[arg(long)]
        region: Option<String>,
        /// A whole name: instance type, ARM SKU name, meter name, usage type, SKU
        #[arg(long)]
        resource: Option<String>,
        /// Amounts as of this time (RFC 3339)
        #[arg(long, value_name = "TIME", value_parser = super::time_of)]
        as_of: Option<DateTime<Utc>>,
        /// Prices after this id
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=MAX_PAGE))]
        limit: i64,
        /// One JSON object a price
        #[arg(long)]
        json: bool,
    },
    /// One price, as JSON
    Show {
        /// Its id
        price_id: i64,
    },
    /// A price's events, oldest first
    History {
        /// Its id
        price_id: i64,
        /// Events after this position of the ledger
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// One JSON object an event
        #[arg(long)]
        json: bool,
    },
    /// What refreshes saw of a price, oldest first
    Observations {
        /// Its id
        price_id: i64,
        /// Observations after this position of the ledger
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// One JSON object an observation
        #[arg(long)]
        json: bool,
    },
    /// Every price in force in a place, as CSV that `refresh` reads (docs/CSV.md)
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// aws, azure, ...
    #[arg(long)]
    provider: String,
    /// AWS offer code or Azure service name; all by default
    #[arg(long)]
    service: Option<String>,
    /// Region code; all by default
    #[arg(long)]
    region: Option<String>,
    /// Prices as of this time (RFC 3339); now by default
    #[arg(long, value_name = "TIME", value_parser = super::time_of)]
    as_of: Option<DateTime<Utc>>,
    /// As far as was known at this position of the ledger; the last one by default
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    known_at: Option<i64>,
    /// One JSON object a price
    #[arg(long)]
    json: bool,
}

impl Export {
    async fn run(self, app: &App) -> anyhow::Result<Exit> {
        let place = Place { provider: self.provider, service: self.service, region: self.region };
        let format = if self.json { ListFormat::Json } else { ListFormat::Csv };
        let export = app.pricing.prices_export(place, format, self.as_of, self.known_at, Utc::now()).await?;
        if self.as_of.is_none() || self.known_at.is_none() {
            let as_of = export.as_of().to_rfc3339_opts(SecondsFormat::AutoSi, true);
            output::error(&format!("for the same again: --as-of {as_of} --known-at {}", export.known_at()));
        }
        let mut chunks = std::pin::pin!(export.chunks());
        while let Some(chunk) = chunks.try_next().await? {
            std::io::stdout().write_all(&chunk)?;
        }
        Ok(Exit::Done)
    }
}

impl Prices {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        let known = |price_id| async move {
            match app.pricing.price_get(price_id).await? {
                Some(price) => Ok(price),
                None => Err(anyhow::anyhow!(
                    "there is no price {price_id}; `mercuriale prices search` finds those there are"
                )),
            }
        };
        match self {
            Self::Search { q, provider, service, region, resource, as_of, after, limit, json } => {
                let filter = PriceFilter { provider, service, region, resource, q, as_of };
                let page = app.pricing.prices_find(&filter, after, limit).await?;
                if page.items.is_empty() {
                    output::error(&"no price matches; leave one of the conditions out");
                }
                let titles = [
                    "price",
                    "provider",
                    "service",
                    "region",
                    "sku",
                    "rate",
                    "unit",
                    "from",
                    "list price",
                    "currency",
                ];
                output::page(&page, json, &titles, 7, |price| {
                    let listing = &price.listing;
                    vec![
                        price.price_id.to_string(),
                        listing.provider.clone(),
                        listing.service.clone(),
                        listing.region.clone(),
                        listing.sku_id.clone(),
                        name_of(&listing.attributes),
                        listing.unit.clone(),
                        listing.tier_from.to_string(),
                        output::shown(price.list_unit_price),
                        listing.currency.clone(),
                    ]
                })
            }
            Self::Show { price_id } => output::json(&known(price_id).await?),
            Self::History { price_id, after, json } => {
                known(price_id).await?;
                let page = app.pricing.price_history(price_id, after, MAX_PAGE).await?;
                if json {
                    page.items.iter().try_for_each(|row| output::json(row).map(|_| ()))?;
                    return Ok(Exit::Done);
                }
                let rows = page.items.iter().map(|row| {
                    vec![
                        row.position.to_string(),
                        output::time(row.effective_at),
                        row.event_type.clone(),
                        output::shown(row.list_unit_price),
                    ]
                });
                output::table(&["position", "effective at", "event", "list price"], rows.collect(), 3)
            }
            Self::Observations { price_id, after, json } => {
                known(price_id).await?;
                let page = app.pricing.price_observations(price_id, after, MAX_PAGE).await?;
                if json {
                    page.items.iter().try_for_each(|row| output::json(row).map(|_| ()))?;
                    return Ok(Exit::Done);
                }
                let rows = page.items.iter().map(|row| {
                    vec![
                        row.position.to_string(),
                        output::time(row.observed_at),
                        row.refresh_id.to_string(),
                        row.amount.to_string(),
                    ]
                });
                output::table(&["position", "observed at", "refresh", "amount"], rows.collect(), 3)
            }
            Self::Export(export) => export.run(app).await,
        }
    }
}

/// What people call the product.
fn name_of(attributes: &crate::domain::price::Attributes) -> String {
    ["instanceType", "armSkuName", "usagetype", "meterName", "skuName"]
        .iter()
        .find_map(|name| attributes.get(*name))
        .cloned()
        .unwrap_or_default()
}
