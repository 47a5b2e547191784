//! `mercuriale policy`: the discount rates.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{Exit, output};
use crate::app::App;
use crate::domain::discounts::Rates;
use crate::ledger::Origin;
use crate::pricing::policy_set;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// The rates in force
    Show,
    /// Put rates in force from now on; those that are not given stay as they are
    Set(Set),
}

/// Rates as fractions of the list price: 0.40 is 40 % off.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Set {
    #[arg(long)]
    on_demand: Option<String>,
    #[arg(long)]
    reserved_1y: Option<String>,
    #[arg(long)]
    reserved_3y: Option<String>,
    #[arg(long)]
    spot: Option<String>,
}

impl Policy {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        let policy = app.pricing.discount_policy().await?;
        let Self::Set(set) = self else { return output::json(&policy) };
        let mut rates = serde_json::to_value(&policy.rates)?;
        for (name, rate) in [
            ("on-demand", set.on_demand),
            ("reserved-1y", set.reserved_1y),
            ("reserved-3y", set.reserved_3y),
            ("spot", set.spot),
        ] {
            if let Some(rate) = rate {
                rates[name] = rate.into();
            }
        }
        let rates: Rates = serde_json::from_value(rates)?;
        let origin = Origin::shared(&app.refresher.actor, Uuid::now_v7());
        output::json(&policy_set(&app.refresher.appender, origin, policy.version, rates).await?)
    }
}
