//! `mercuriale estimate`.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;

use super::{Exit, output};
use crate::app::App;
use crate::domain::estimate::request_parse;
use crate::domain::precise::round_cents_half_even;
use crate::domain::saved::export::{self, Locale};
use crate::domain::saved::{About, Version, version_write};
use crate::http::MAX_BODY_BYTES;

/// An hour costs little: more decimals than cents are shown.
const HOURLY_DECIMALS: u32 = 6;

#[derive(Debug, Args)]
pub(super) struct Estimate {
    /// File with a request as `POST /v1/estimates/calculate` takes it; - for standard input
    file: String,
    /// World time of the prices and the discount policy (RFC 3339), in place of the request's
    #[arg(long, value_name = "TIME", value_parser = super::time_of)]
    as_of: Option<DateTime<Utc>>,
    /// The whole answer as JSON
    #[arg(long)]
    json: bool,
    /// One row a line as CSV (docs/CSV.md)
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl Estimate {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        let mut request = request_parse(&self.read()?)?;
        if self.as_of.is_some() {
            request.as_of = self.as_of;
        }
        let estimate = app.pricing.estimate_calculate(&request, Utc::now()).await?;
        if self.json {
            return output::json(&estimate);
        }
        if self.csv {
            // As if it were saved: one way to write CSV.
            let name = request.name.clone().unwrap_or_default();
            let about = About { name, note: None, tags: Vec::new(), archived: false };
            let data = version_write(1, &about, &request, &estimate);
            let csv = export::lines(&Version::read(&data)?, Locale::default())?;
            std::io::stdout().write_all(&csv)?;
            return Ok(Exit::Done);
        }
        let titles =
            ["line", "price", "unit", "list price", "discount", "hourly", "monthly", "annual", "currency"];
        let mut rows: Vec<Vec<String>> = estimate
            .lines
            .iter()
            .map(|line| {
                vec![
                    line.label.clone(),
                    line.price.price_id.to_string(),
                    line.price.unit.clone(),
                    line.unit_price.to_string(),
                    line.discount_rate.to_string(),
                    line.costs.hourly_cost.round_dp(HOURLY_DECIMALS).to_string(),
                    round_cents_half_even(line.costs.monthly_cost).to_string(),
                    round_cents_half_even(line.costs.annual_cost).to_string(),
                    line.listing.currency.clone(),
                ]
            })
            .collect();
        let one = estimate.total.iter().zip(&estimate.currency);
        let several = estimate.totals.iter().flatten().map(|total| (&total.costs, &total.currency));
        rows.extend(one.chain(several).map(|(costs, currency)| {
            let mut row =
                vec!["total".to_owned(), String::new(), String::new(), String::new(), String::new()];
            row.push(costs.hourly_cost.round_dp(HOURLY_DECIMALS).to_string());
            row.extend(
                [costs.monthly_cost, costs.annual_cost].map(|cost| round_cents_half_even(cost).to_string()),
            );
            row.push(currency.clone());
            row
        }));
        output::table(&titles, rows, 3)
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        let limit = u64::try_from(MAX_BODY_BYTES)? + 1;
        if self.file == "-" {
            std::io::stdin().take(limit).read_to_end(&mut body)?;
        } else {
            let file =
                std::fs::File::open(&self.file).with_context(|| format!("cannot open {}", self.file))?;
            file.take(limit).read_to_end(&mut body).with_context(|| format!("cannot read {}", self.file))?;
        }
        anyhow::ensure!(body.len() <= MAX_BODY_BYTES, "{} is larger than {MAX_BODY_BYTES} bytes", self.file);
        Ok(body)
    }
}
